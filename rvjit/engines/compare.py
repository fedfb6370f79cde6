"""Copies of machines, and the first difference between two."""

from __future__ import annotations

from collections.abc import Iterable

from rvjit.isa.registers import ABI_NAMES
from rvjit.machine.layout import word_of
from rvjit.machine.machine import Machine
from rvjit.machine.memory import Memory
from rvjit.machine.pages import PAGE_SHIFT, PAGE_SIZE, PUBLIC

Difference = tuple[str, str, str]

_COMPARED = {name: word_of(name) for name in ("pc", "cycles", "reservation", "reservation_size")}
_PUBLIC_ONLY = bytes(flags & PUBLIC for flags in range(256))


def new_like(machine: Machine) -> Machine:
    """Make an empty machine with the same memory window and rules."""
    memory = machine.memory
    return Machine(Memory(memory.size, memory.base, wxorx=memory.wxorx), machine.rules)


def copy_machine(source: Machine, target: Machine) -> None:
    """Make *target*, made by `new_like`, equal to *source*."""
    target.copy_registers(source)
    target.breakpoints = source.breakpoints
    for page in range(source.memory.page_count):
        if source.memory.flags[page]:
            target.memory.copy_page(source.memory, page)


def first_difference(first: Machine, second: Machine) -> Difference | None:
    """Name of the first thing that differs, and its two values; None if all is equal.

    Compares registers, pc, cycles, the reservation, public page flags and every byte of memory.
    """
    return state_difference(first, second, range(first.memory.page_count))


def state_difference(first: Machine, second: Machine, pages: Iterable[int]) -> Difference | None:
    """As `first_difference`, but of the bytes of memory only those of *pages*."""
    for number, name in enumerate(ABI_NAMES):
        if first.x[number] != second.x[number]:
            return f"x{number} ({name})", hex(first.x[number]), hex(second.x[number])
    for name, word in _COMPARED.items():
        if first.words[word] != second.words[word]:
            return name, hex(first.words[word]), hex(second.words[word])
    flags = [each.memory.flags.tobytes().translate(_PUBLIC_ONLY) for each in (first, second)]
    if flags[0] != flags[1]:
        page = next(i for i, pair in enumerate(zip(*flags, strict=True)) if pair[0] != pair[1])
        address = first.memory.base + page * PAGE_SIZE
        return f"flags of the page at {address:#x}", hex(flags[0][page]), hex(flags[1][page])
    for page in pages:
        start = page << PAGE_SHIFT
        one = first.memory.buffer[start : start + PAGE_SIZE]
        two = second.memory.buffer[start : start + PAGE_SIZE]
        if one != two:
            at = next(i for i in range(PAGE_SIZE) if one[i] != two[i])
            return f"byte at {first.memory.base + start + at:#x}", hex(one[at]), hex(two[at])
    return None

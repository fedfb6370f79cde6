"""Differences between two states of a guest: what differs, and where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rvjit.isa.registers import ABI_NAMES
from rvjit.machine.pages import PAGE_SIZE

_WORDS = (*ABI_NAMES, "pc", "cycles", "reservation", "reservation_size")


@dataclass(frozen=True)
class Differences:
    """What differs between a first and a second state; true where anything does.

    *registers* are (name, first, second), pc, cycles and the reservation among them; *flags* are
    (address of the page, first, second); *memory* are the ranges of bytes that differ, as (address,
    size), ascending and not touching; *host* are (name, first, second) of host state, the exit code
    among it.
    """

    registers: tuple[tuple[str, int, int], ...] = ()
    flags: tuple[tuple[int, int, int], ...] = ()
    memory: tuple[tuple[int, int], ...] = ()
    host: tuple[tuple[str, object, object], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.registers or self.flags or self.memory or self.host)

    def as_dict(self) -> dict[str, Any]:
        """Return the same for JSON, numbers as '0x…' strings."""
        return {
            "registers": [_row("name", name, hex(a), hex(b)) for name, a, b in self.registers],
            "flags": [_row("address", hex(at), hex(a), hex(b)) for at, a, b in self.flags],
            "memory": [{"address": hex(at), "size": size} for at, size in self.memory],
            "host": [_row("name", name, repr(a), repr(b)) for name, a, b in self.host],
        }

    def lines(self) -> Iterator[str]:
        """Yield a line of text for each difference."""
        for name, a, b in self.registers:
            yield f"register {name}: {a:#x}, {b:#x}"
        for at, a, b in self.flags:
            yield f"flags of the page at {at:#x}: {a:#x}, {b:#x}"
        for at, size in self.memory:
            yield f"memory at {at:#x}: {size} bytes"
        for name, first, second in self.host:
            yield f"host state {name}: {first!r}, {second!r}"


def differing_words(
    first: Sequence[int], second: Sequence[int]
) -> tuple[tuple[str, int, int], ...]:
    """Compare x0..x31, pc, cycles, reservation and its size."""
    rows = zip(_WORDS, first, second, strict=True)
    return tuple((name, a, b) for name, a, b in rows if a != b)


def differing_flags(base: int, first: bytes, second: bytes) -> tuple[tuple[int, int, int], ...]:
    """Compare the flags bytes of all pages of a memory at *base*."""
    if first == second:
        return ()
    rows = enumerate(zip(first, second, strict=True))
    return tuple((base + page * PAGE_SIZE, a, b) for page, (a, b) in rows if a != b)


def differing_bytes(
    address: int, first: bytes | memoryview, second: bytes | memoryview
) -> Iterator[tuple[int, int]]:
    """Yield the ranges in which two pages of 4096 bytes at *address* differ."""
    mixed = int.from_bytes(first, "little") ^ int.from_bytes(second, "little")
    marks = mixed.to_bytes(PAGE_SIZE, "little").translate(_NOT_ZERO)
    start = marks.find(1)
    while start >= 0:
        stop = marks.find(0, start)
        stop = len(marks) if stop < 0 else stop
        yield address + start, stop - start
        start = marks.find(1, stop)


_NOT_ZERO = bytes([0]) + bytes([1]) * 255


def _row(key: str, value: str, first: str, second: str) -> dict[str, str]:
    return {key: value, "first": first, "second": second}


def joined(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Join ascending ranges that touch."""
    found: list[tuple[int, int]] = []
    for at, size in ranges:
        if found and sum(found[-1]) == at:
            found[-1] = found[-1][0], found[-1][1] + size
        else:
            found.append((at, size))
    return tuple(found)


def differing_states(
    first: Mapping[str, object], second: Mapping[str, object]
) -> tuple[tuple[str, object, object], ...]:
    """Compare host states by name; one that is missing is None."""
    names = sorted({*first, *second})
    rows = [(name, first.get(name), second.get(name)) for name in names]
    return tuple(row for row in rows if row[1] != row[2])

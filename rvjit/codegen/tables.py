"""Jump tables: where an indirect jump is likely to go.

Compilers turn a dense `switch` into a load from a table of targets, or of distances to them. What
is found here are hints: compiled code compares the target that the guest computed with the one
that it was compiled for, so a wrong hint costs time and nothing else. That allows guesses: the
table's address and size often stand in registers since long before the jump.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rvjit.bits import MASK64, to_signed
from rvjit.codegen.affine import Affine, displacement, registers_at
from rvjit.codegen.block import Block
from rvjit.machine.machine import Machine
from rvjit.machine.pages import EXECUTABLE, PAGE_SHIFT

# Entries of one table, with and without a comparison that tells how many there are.
MAX_ENTRIES = 512
MAX_UNBOUNDED = 64

# Targets farther from the jump than this are taken for the end of the table.
_REACH = 1 << 16

_Constants = dict[int, int]


@dataclass(frozen=True)
class JumpTable:
    """A table in guest memory and the targets that it holds now.

    Instruction number *load* of the block loads an entry of *size* bytes; the first entry is at
    *address*.
    """

    load: int
    address: int
    size: int
    targets: tuple[int, ...]


def find_table(
    machine: Machine, block: Block, before: Sequence[Block], others: Iterable[Block]
) -> JumpTable | None:
    """Recognise the table that the jump at the end of *block* goes through, if there is one.

    *before* are blocks that lead here, *others* blocks of the same function, for what they set.
    """
    registers = registers_at(block)
    jump = block.last
    target = registers[-2][jump.rs1].moved(jump.imm)
    load = _load_of(block, registers, target)
    if load is None:
        return None
    insn = block.insns[load]
    access = insn.spec.effects.load
    assert access is not None
    known = _Known(machine, others)
    loaded = dict(registers[load + 1][insn.rd].terms)
    distance = known.value(target.plus(registers[load + 1][insn.rd], -1))
    address = registers[load][insn.rs1].moved(displacement(insn, access))
    index = [term for term in address.terms if term[1] == access.size]
    if distance is None or len(index) != 1 or len(loaded) != 1:
        return None
    first = known.value(address.plus(Affine(tuple(index)), -1))
    if first is None:
        return None
    bound = known.bound(before)
    targets = _read(machine, block, first, access.size, distance, bound)
    return JumpTable(load, first, access.size, targets) if targets else None


def _load_of(block: Block, registers: list[dict[int, Affine]], target: Affine) -> int | None:
    """Number of the instruction that loaded what *target* is made of."""
    for index in reversed(range(len(block.insns) - 1)):
        insn = block.insns[index]
        access = insn.spec.effects.load
        if access is None or access.size < 4 or not insn.rd or insn.spec.effects.atomic:
            continue
        value = registers[index + 1][insn.rd]
        if len(value.terms) == 1 and value.terms[0] in target.terms:
            return index
    return None


class _Known:
    """Registers that hold a constant somewhere in a function, or now in the machine."""

    def __init__(self, machine: Machine, blocks: Iterable[Block]) -> None:
        self._machine = machine
        self._constants: _Constants = {0: 0}
        for block in blocks:
            for number, value in registers_at(block)[-1].items():
                if not value.terms:
                    self._constants[number] = value.const & MASK64

    def value(self, sum_: Affine) -> int | None:
        """Value of a sum of registers at the start of a block, None if it has other terms."""
        total = sum_.const
        for number, factor in sum_.terms:
            if number >= 32:
                return None
            total += self.register(number) * factor
        return total & MASK64

    def register(self, number: int) -> int:
        """Value of a register, at a guess."""
        return self._constants.get(number, self._machine.x[number])

    def bound(self, before: Sequence[Block]) -> int:
        """How many entries a comparison in one of the blocks *before* leaves, at a guess."""
        found = MAX_UNBOUNDED
        for block in before:
            last = block.last
            jump = last.spec.effects.jump
            if jump is None or jump.condition is None:
                continue
            end = registers_at(block)[-1]
            for number in (last.rs1, last.rs2):
                value = end[number]
                constant = self.value(value)
                if number and constant is not None and 1 <= constant < MAX_ENTRIES:
                    return constant + 1
        return found


def _read(
    machine: Machine, block: Block, first: int, size: int, distance: int, count: int
) -> tuple[int, ...]:
    """Read targets up to *count*, or up to what cannot be one."""
    memory = machine.memory
    at = block.pcs[-1]
    found: list[int] = []
    for address in range(first, first + count * size, size):
        if not memory.base <= address <= memory.base + memory.size - size:
            break
        entry = to_signed(memory.read_int(address, size), 8 * size)
        target = entry + distance & MASK64 & ~1
        offset = target - memory.base
        if abs(target - at) > _REACH or not 0 <= offset < memory.size:
            break
        if not memory.flags[offset >> PAGE_SHIFT] & EXECUTABLE:
            break
        found.append(target)
    return tuple(found)

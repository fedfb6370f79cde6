"""Many single instructions in one program: each loads its operands, runs, stores its results.

So one QEMU process, or one run of compiled code, judges thousands of instructions. Only
instructions that go on to the next are possible here.
"""

from __future__ import annotations

from dataclasses import dataclass

from rvjit.isa import Insn
from rvjit.isa.ext import a
from rvjit.isa.ext import rv64i as i
from rvjit.isa.spec import Atomic
from tests.oracle.guest import CODE_BASE, DATA_BASE, GP, REGISTERS, GuestProgram, Outcome

_CANARY = 0x0123_4567_89AB_CDEF  # what rd holds before
_PAGE = 4096
_SCRATCH = 0x4000  # bytes at DATA_BASE that the instructions may touch
_TABLE = DATA_BASE + _SCRATCH


@dataclass(frozen=True)
class Case:
    """One instruction, registers before it, and whether ``lr`` at the reservation comes first.

    *cells* are 8-byte words of memory, aligned, which are set before and read after.
    """

    insn: Insn
    registers: dict[int, int]
    cells: tuple[tuple[int, int], ...] = ()  # address, value
    reservation: tuple[int, int] | None = None  # address, size
    name: str = ""

    @property
    def observed(self) -> list[int]:
        """Registers compared afterwards."""
        operands = {self.insn.rd, self.insn.rs1, self.insn.rs2, *self.registers}
        return sorted(operands - {0, GP})


@dataclass(frozen=True)
class Batch:
    """A program made of cases, and how to read its outcome."""

    program: GuestProgram
    cases: tuple[Case, ...]
    slots: tuple[int, ...]  # address of each case's part of the table

    def results(self, outcome: Outcome) -> list[tuple[dict[int, int], tuple[int, ...]]]:
        """For each case: the observed registers and the cells after it."""
        found = []
        for case, slot in zip(self.cases, self.slots, strict=True):
            words = _Words(outcome.data, slot + 8 * _before(case))
            registers = {number: words.next() for number in case.observed}
            found.append((registers, tuple(words.next() for _ in case.cells)))
        return found


class _Words:
    def __init__(self, data: bytes, address: int) -> None:
        self._data = data
        self._at = address - DATA_BASE

    def next(self) -> int:
        self._at += 8
        return int.from_bytes(self._data[self._at - 8 : self._at], "little")


def _before(case: Case) -> int:
    """Words that a case reads."""
    return len(case.observed) + 2 * len(case.cells) + (case.reservation is not None)


def make_batch(cases: list[Case], reproduce: str) -> Batch:
    """Put *cases* into one program."""
    code = bytearray()
    table = bytearray()
    slots = []
    for case in cases:
        insn = case.insn
        assert not insn.spec.effects.ends_block
        used = {insn.rd, insn.rs1, insn.rs2, *case.registers, GP, 0}
        free = [number for number in range(1, REGISTERS) if number not in used]
        # The table's pointer moves on, so every program is one long walk through it.
        context, first, second = free[0], free[1], free[2]
        slot = _TABLE + len(table)
        slots.append(slot)
        words, inputs = _case(case, slot, context, first, second)
        table += b"".join(value.to_bytes(8, "little") for value in inputs)
        table += bytes(8 * (len(case.observed) + len(case.cells)))
        code += words
    end = CODE_BASE + len(code)
    code += i.ecall.encode().to_bytes(4, "little")
    table += bytes(-len(table) % _PAGE)
    registers = (0,) * REGISTERS
    program = GuestProgram(bytes(code), end, registers, bytes(_SCRATCH) + bytes(table), reproduce)
    return Batch(program, tuple(cases), tuple(slots))


def _case(case: Case, slot: int, context: int, first: int, second: int) -> tuple[bytes, list[int]]:
    insn = case.insn
    upper = (slot + 0x800) & -_PAGE
    words = [
        i.lui.encode(rd=context, imm=upper),
        i.addi.encode(rd=context, rs1=context, imm=slot - upper),
    ]
    inputs: list[int] = []

    def take(register: int, value: int) -> None:
        words.append(i.ld.encode(rd=register, rs1=context, imm=8 * len(inputs)))
        inputs.append(value)

    addresses = []
    for address, value in case.cells:
        take(first, address)
        addresses.append(8 * len(inputs) - 8)
        take(second, value)
        words.append(i.sd.encode(rs1=first, rs2=second, imm=0))
    if case.reservation:
        address, size = case.reservation
        take(first, address)
        lr = {4: "lr.w", 8: "lr.d"}[size]
        words.append(next(s for s in a.A.insns if s.name == lr).encode(rd=0, rs1=first))
    for number in case.observed:
        take(number, case.registers.get(number, _CANARY if number == insn.rd else 0))
    code = _bytes(words) + insn.word.to_bytes(insn.length, "little")
    out = 8 * len(inputs)
    words = []
    for number in case.observed:
        words.append(i.sd.encode(rs1=context, rs2=number, imm=out))
        out += 8
    for at in addresses:
        words += [
            i.ld.encode(rd=first, rs1=context, imm=at),
            i.ld.encode(rd=first, rs1=first, imm=0),
            i.sd.encode(rs1=context, rs2=first, imm=out),
        ]
        out += 8
    if insn.spec.effects.atomic is Atomic.LR:
        # An open reservation would reach into the next case.
        sc = next(s for s in a.A.insns if s.name == "sc.w")
        words.append(sc.encode(rd=0, rs1=context, rs2=0))
    return code + _bytes(words), inputs


def _bytes(words: list[int]) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in words)

"""Affine: what a block's registers hold, as sums of multiples of what they held at its start.

All of it is arithmetic modulo 2**64, as the guest's own is, so nothing is lost by overflow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from rvjit.bits import MASK64, to_signed
from rvjit.codegen.block import Block
from rvjit.isa import Insn
from rvjit.isa.expr import Op, Val
from rvjit.isa.spec import Access, Effects

# Sums of more terms than this are taken for something new: no address is made of so many.
MAX_TERMS = 3

# From this number on a term is not a register, but something that the block computed otherwise.
FRESH = 32

Terms = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Affine:
    """*const* plus, for each of *terms*, a register's value at the block's start times a factor."""

    terms: Terms
    const: int = 0

    def plus(self, other: Affine, factor: int = 1) -> Affine:
        """Return the sum with *factor* times *other*."""
        factors = dict(self.terms)
        for register, coefficient in other.terms:
            factors[register] = factors.get(register, 0) + coefficient * factor & MASK64
        terms = tuple(sorted((number, value) for number, value in factors.items() if value))
        return Affine(terms, to_signed(self.const + other.const * factor, 64))

    def moved(self, distance: int) -> Affine:
        """Return the sum with a constant."""
        return Affine(self.terms, to_signed(self.const + distance, 64))


ZERO = Affine(())

_AT_START = {0: ZERO} | {number: Affine(((number, 1),)) for number in range(1, 32)}


def registers_at(block: Block) -> list[dict[int, Affine]]:
    """What each register holds before each instruction of *block*, and behind the last."""
    now = _AT_START
    fresh = FRESH
    found = []
    for insn, pc in zip(block.insns, block.pcs, strict=True):
        found.append(now)
        if not insn.rd:
            continue
        value = _result(insn, pc, now)
        if value is None or len(value.terms) > MAX_TERMS:
            value = Affine(((fresh, 1),))
            fresh += 1
        now = {**now, insn.rd: value}
    found.append(now)
    return found


def changes(block: Block) -> dict[int, Affine]:
    """What a turn of *block* adds to each register, where that is the same in every turn.

    The terms of such a change are registers that a turn leaves alone.
    """
    end = registers_at(block)[-1]
    added = {number: end[number].plus(start, -1) for number, start in _AT_START.items()
             if end[number] is not start}  # fmt: skip
    still = {number for number in _AT_START if added.get(number, ZERO) == ZERO}
    return dict.fromkeys(still, ZERO) | {
        number: change
        for number, change in added.items()
        if all(register in still for register, _ in change.terms)
    }


def displacement(insn: Insn, access: Access) -> int:
    """What *access* adds to rs1."""
    address = access.address
    is_sum = address.op is Op.ADD and address.args[0].op is Op.RS1 and address.args[1].op is Op.IMM
    return insn.imm if is_sum else 0


_LEAVES = {Op.CONST, Op.IMM, Op.PC, Op.NEXT_PC, Op.RS1, Op.RS2}


@cache
def _may_be_sum(effects: Effects) -> bool:
    """Whether the tree of rd is made of what `_result` understands; most are not."""

    def fits(value: Val) -> bool:
        if value.op in (Op.ADD, Op.SUB, Op.SHL):
            return all(fits(arg) for arg in value.args)
        return value.op in _LEAVES

    rd = effects.rd
    return rd is not None and rd.width == 64 and fits(rd)


def _result(insn: Insn, pc: int, now: dict[int, Affine]) -> Affine | None:
    rd = insn.spec.effects.rd
    if rd is None or not _may_be_sum(insn.spec.effects):
        return None

    def read(value: Val) -> Affine | None:
        match value.op:
            case Op.CONST:
                return Affine((), to_signed(value.payload, 64))
            case Op.IMM:
                return Affine((), insn.imm)
            case Op.PC:
                return Affine((), pc)
            case Op.NEXT_PC:
                return Affine((), pc + insn.length)
            case Op.RS1:
                return now[insn.rs1]
            case Op.RS2:
                return now[insn.rs2]
            case Op.ADD:
                return _combine(read, value, 1)
            case Op.SUB:
                return _combine(read, value, -1)
            case Op.SHL:
                amount = read(value.args[1])
                whole = read(value.args[0])
                if amount is None or amount.terms or whole is None:
                    return None
                return ZERO.plus(whole, 1 << (amount.const & 63))
            case _:
                return None

    return read(rd)


def _combine(read: Callable[[Val], Affine | None], value: Val, sign: int) -> Affine | None:
    first, second = (read(arg) for arg in value.args)
    if first is None or second is None:
        return None
    return first.plus(second, sign)

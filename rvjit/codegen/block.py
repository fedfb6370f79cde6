"""Basic block: operations that run one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from rvjit.bits import MASK64
from rvjit.isa import Insn, Operation, PriceModel
from rvjit.isa.expr import Op, Val


@dataclass(frozen=True)
class Block:
    """Operations that run one after the other; only the last may go elsewhere.

    *next_pc* is where control goes without a jump.
    """

    pc: int
    operations: tuple[Operation, ...]
    next_pc: int

    @cached_property
    def insns(self) -> tuple[Insn, ...]:
        """The instructions that run: of a fused operation its steps."""
        return tuple(step for each in self.operations for step in each.steps)

    @cached_property
    def pcs(self) -> tuple[int, ...]:
        """The address of each of `insns`: all steps of a fused operation have its own."""
        found: list[int] = []
        pc = self.pc
        for each in self.operations:
            found += [pc] * len(each.steps)
            pc += each.length
        return tuple(found)

    def charges(self, prices: PriceModel) -> list[int]:
        """The price of each of `insns`; a fused operation's is its first step's."""
        found: list[int] = []
        for each in self.operations:
            found += [prices[each.cost], *(0 for _ in each.steps[1:])]
        return found

    @property
    def last(self) -> Insn:
        """The instruction that ends the block."""
        return self.insns[-1]

    @cached_property
    def target(self) -> int | None:
        """Where the last instruction jumps to, if that is known now.

        That it is for a jump through a register, too, where the block computed the register from
        constants only (auipc and jalr: how compilers call what may be far away).
        """
        last = self.last
        jump = last.spec.effects.jump
        if jump is None:
            return None
        if _adds_to(jump.target, Op.PC):
            return self.pcs[-1] + last.imm & MASK64
        known: dict[int, int] = {0: 0}
        for insn, pc in zip(self.insns[:-1], self.pcs, strict=False):
            value = _constant(insn, pc, known)
            if insn.rd:
                known.pop(insn.rd, None)
                if value is not None:
                    known[insn.rd] = value
        if jump.target.uses(Op.RD_IS_RS1) and last.rd and last.rd == last.rs1:
            return self.next_pc + last.imm & MASK64 & ~1
        base = known.get(last.rs1)
        return None if base is None else base + last.imm & MASK64 & ~1

    def price(self, prices: PriceModel) -> int:
        """Cycles of the whole block."""
        return sum(prices[each.cost] for each in self.operations)


def _adds_to(value: Val, op: Op) -> bool:
    """Whether *value* is the leaf *op* plus the immediate."""
    return value.op is Op.ADD and value.args[0].op is op and value.args[1].op is Op.IMM


def _constant(insn: Insn, pc: int, known: dict[int, int]) -> int | None:
    """What *insn* writes to rd, if that follows from the *known* registers."""
    rd = insn.spec.effects.rd
    if rd is None:
        return None
    if rd.op is Op.IMM:
        return insn.imm & MASK64
    if _adds_to(rd, Op.PC):
        return pc + insn.imm & MASK64
    if _adds_to(rd, Op.RS1) and insn.rs1 in known:
        return known[insn.rs1] + insn.imm & MASK64
    return None

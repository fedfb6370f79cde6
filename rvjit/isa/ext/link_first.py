"""JALR as CKB-VM's version 0 has it: the link is written before the target is read.

The manual (Unconditional Jumps) takes the target from rs1 as it was. Where rd and rs1 are one
register the two differ: version 0 jumps relative to the link.
"""

from __future__ import annotations

from rvjit.isa.cost import Cost
from rvjit.isa.expr import select
from rvjit.isa.ext import rv64i as i
from rvjit.isa.spec import Extension, Sem

LINK_FIRST = Extension("link_first")


@LINK_FIRST.insn("jalr", i.jalr.row.text, i.jalr.syntax, Cost.JUMP, instead_of=i.jalr)
def jalr_link_first(s: Sem) -> None:
    """Link, then jump to a register plus offset, bit 0 cleared."""
    s.rd = s.next_pc
    s.jump((select(s.rd_is_rs1, s.next_pc, s.rs1) + s.imm) & ~1)

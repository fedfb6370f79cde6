"""Zicond: conditional zeroing (Unprivileged ISA, Zicond chapter)."""

from __future__ import annotations

from rvjit.isa.cost import Cost
from rvjit.isa.expr import select
from rvjit.isa.spec import Extension, Sem

ZICOND = Extension("zicond")


@ZICOND.insn("czero.eqz", "0000111 rs2 rs1 101 rd 0110011", "rd, rs1, rs2", Cost.ALU)
def czero_eqz(s: Sem) -> None:
    """Zero if rs2 is zero, else rs1."""
    s.rd = select(s.rs2.eq(0), 0, s.rs1)


@ZICOND.insn("czero.nez", "0000111 rs2 rs1 111 rd 0110011", "rd, rs1, rs2", Cost.ALU)
def czero_nez(s: Sem) -> None:
    """Zero if rs2 is not zero, else rs1."""
    s.rd = select(s.rs2.eq(0), s.rs1, 0)

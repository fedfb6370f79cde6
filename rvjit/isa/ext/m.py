"""M: multiplication and division (Unprivileged ISA, M chapter)."""

from __future__ import annotations

from rvjit.isa.cost import Cost
from rvjit.isa.spec import Extension, Sem

M = Extension("m")


@M.insn("mul", "0000001 rs2 rs1 000 rd 0110011", "rd, rs1, rs2", Cost.MUL)
def mul(s: Sem) -> None:
    """Low half of the product."""
    s.rd = s.rs1 * s.rs2


@M.insn("mulh", "0000001 rs2 rs1 001 rd 0110011", "rd, rs1, rs2", Cost.MUL)
def mulh(s: Sem) -> None:
    """High half of the signed product."""
    s.rd = s.rs1.mulh_ss(s.rs2)


@M.insn("mulhsu", "0000001 rs2 rs1 010 rd 0110011", "rd, rs1, rs2", Cost.MUL)
def mulhsu(s: Sem) -> None:
    """High half of signed rs1 times unsigned rs2."""
    s.rd = s.rs1.mulh_su(s.rs2)


@M.insn("mulhu", "0000001 rs2 rs1 011 rd 0110011", "rd, rs1, rs2", Cost.MUL)
def mulhu(s: Sem) -> None:
    """High half of the unsigned product."""
    s.rd = s.rs1.mulh_uu(s.rs2)


@M.insn("div", "0000001 rs2 rs1 100 rd 0110011", "rd, rs1, rs2", Cost.DIV)
def div(s: Sem) -> None:
    """Signed quotient; by zero all ones, overflow the dividend."""
    s.rd = s.rs1.div_s(s.rs2)


@M.insn("divu", "0000001 rs2 rs1 101 rd 0110011", "rd, rs1, rs2", Cost.DIV)
def divu(s: Sem) -> None:
    """Unsigned quotient; by zero all ones."""
    s.rd = s.rs1.div_u(s.rs2)


@M.insn("rem", "0000001 rs2 rs1 110 rd 0110011", "rd, rs1, rs2", Cost.DIV)
def rem(s: Sem) -> None:
    """Signed remainder; by zero the dividend, overflow zero."""
    s.rd = s.rs1.rem_s(s.rs2)


@M.insn("remu", "0000001 rs2 rs1 111 rd 0110011", "rd, rs1, rs2", Cost.DIV)
def remu(s: Sem) -> None:
    """Unsigned remainder; by zero the dividend."""
    s.rd = s.rs1.rem_u(s.rs2)


@M.insn("mulw", "0000001 rs2 rs1 000 rd 0111011", "rd, rs1, rs2", Cost.MUL)
def mulw(s: Sem) -> None:
    """Product, 32 bits."""
    s.rd = (s.rs1.trunc(32) * s.rs2.trunc(32)).sext()


@M.insn("divw", "0000001 rs2 rs1 100 rd 0111011", "rd, rs1, rs2", Cost.DIV)
def divw(s: Sem) -> None:
    """Signed quotient, 32 bits."""
    s.rd = s.rs1.trunc(32).div_s(s.rs2.trunc(32)).sext()


@M.insn("divuw", "0000001 rs2 rs1 101 rd 0111011", "rd, rs1, rs2", Cost.DIV)
def divuw(s: Sem) -> None:
    """Unsigned quotient, 32 bits, result sign-extended."""
    s.rd = s.rs1.trunc(32).div_u(s.rs2.trunc(32)).sext()


@M.insn("remw", "0000001 rs2 rs1 110 rd 0111011", "rd, rs1, rs2", Cost.DIV)
def remw(s: Sem) -> None:
    """Signed remainder, 32 bits."""
    s.rd = s.rs1.trunc(32).rem_s(s.rs2.trunc(32)).sext()


@M.insn("remuw", "0000001 rs2 rs1 111 rd 0111011", "rd, rs1, rs2", Cost.DIV)
def remuw(s: Sem) -> None:
    """Unsigned remainder, 32 bits, result sign-extended."""
    s.rd = s.rs1.trunc(32).rem_u(s.rs2.trunc(32)).sext()

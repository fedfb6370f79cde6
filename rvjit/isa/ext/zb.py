"""Zba, Zbb, Zbc, Zbs: bit manipulation (Unprivileged ISA, B chapter)."""

from __future__ import annotations

from rvjit.isa.cost import Cost
from rvjit.isa.expr import Val, const, select
from rvjit.isa.spec import Extension, Sem

ZBA = Extension("zba")
ZBB = Extension("zbb")
ZBC = Extension("zbc")
ZBS = Extension("zbs")

_RRR = "rd, rs1, rs2"
_RR = "rd, rs1"
_RRI = "rd, rs1, shamt"


@ZBA.insn("add.uw", "0000100 rs2 rs1 000 rd 0111011", _RRR, Cost.ALU)
def add_uw(s: Sem) -> None:
    """Add the zero-extended low word of rs1 to rs2."""
    s.rd = s.rs1.trunc(32).zext() + s.rs2


@ZBA.insn("sh1add", "0010000 rs2 rs1 010 rd 0110011", _RRR, Cost.ALU)
def sh1add(s: Sem) -> None:
    """Shift rs1 left by one and add."""
    s.rd = s.rs1.shl(1) + s.rs2


@ZBA.insn("sh2add", "0010000 rs2 rs1 100 rd 0110011", _RRR, Cost.ALU)
def sh2add(s: Sem) -> None:
    """Shift rs1 left by two and add."""
    s.rd = s.rs1.shl(2) + s.rs2


@ZBA.insn("sh3add", "0010000 rs2 rs1 110 rd 0110011", _RRR, Cost.ALU)
def sh3add(s: Sem) -> None:
    """Shift rs1 left by three and add."""
    s.rd = s.rs1.shl(3) + s.rs2


@ZBA.insn("sh1add.uw", "0010000 rs2 rs1 010 rd 0111011", _RRR, Cost.ALU)
def sh1add_uw(s: Sem) -> None:
    """As sh1add, on the zero-extended low word of rs1."""
    s.rd = s.rs1.trunc(32).zext().shl(1) + s.rs2


@ZBA.insn("sh2add.uw", "0010000 rs2 rs1 100 rd 0111011", _RRR, Cost.ALU)
def sh2add_uw(s: Sem) -> None:
    """As sh2add, on the zero-extended low word of rs1."""
    s.rd = s.rs1.trunc(32).zext().shl(2) + s.rs2


@ZBA.insn("sh3add.uw", "0010000 rs2 rs1 110 rd 0111011", _RRR, Cost.ALU)
def sh3add_uw(s: Sem) -> None:
    """As sh3add, on the zero-extended low word of rs1."""
    s.rd = s.rs1.trunc(32).zext().shl(3) + s.rs2


@ZBA.insn("slli.uw", "000010 shamt[5:0] rs1 001 rd 0011011", _RRI, Cost.ALU)
def slli_uw(s: Sem) -> None:
    """Shift the zero-extended low word left."""
    s.rd = s.rs1.trunc(32).zext().shl(s.imm)


@ZBB.insn("andn", "0100000 rs2 rs1 111 rd 0110011", _RRR, Cost.ALU)
def andn(s: Sem) -> None:
    """And with the complement of rs2."""
    s.rd = s.rs1 & ~s.rs2


@ZBB.insn("orn", "0100000 rs2 rs1 110 rd 0110011", _RRR, Cost.ALU)
def orn(s: Sem) -> None:
    """Or with the complement of rs2."""
    s.rd = s.rs1 | ~s.rs2


@ZBB.insn("xnor", "0100000 rs2 rs1 100 rd 0110011", _RRR, Cost.ALU)
def xnor(s: Sem) -> None:
    """Complement of the exclusive or."""
    s.rd = ~(s.rs1 ^ s.rs2)


@ZBB.insn("clz", "0110000 00000 rs1 001 rd 0010011", _RR, Cost.ALU)
def clz(s: Sem) -> None:
    """Count leading zeros; 64 for zero."""
    s.rd = s.rs1.clz()


@ZBB.insn("ctz", "0110000 00001 rs1 001 rd 0010011", _RR, Cost.ALU)
def ctz(s: Sem) -> None:
    """Count trailing zeros; 64 for zero."""
    s.rd = s.rs1.ctz()


@ZBB.insn("cpop", "0110000 00010 rs1 001 rd 0010011", _RR, Cost.ALU)
def cpop(s: Sem) -> None:
    """Count ones."""
    s.rd = s.rs1.cpop()


@ZBB.insn("clzw", "0110000 00000 rs1 001 rd 0011011", _RR, Cost.ALU)
def clzw(s: Sem) -> None:
    """Count leading zeros of the low word; 32 for zero."""
    s.rd = s.rs1.trunc(32).clz().zext()


@ZBB.insn("ctzw", "0110000 00001 rs1 001 rd 0011011", _RR, Cost.ALU)
def ctzw(s: Sem) -> None:
    """Count trailing zeros of the low word; 32 for zero."""
    s.rd = s.rs1.trunc(32).ctz().zext()


@ZBB.insn("cpopw", "0110000 00010 rs1 001 rd 0011011", _RR, Cost.ALU)
def cpopw(s: Sem) -> None:
    """Count ones of the low word."""
    s.rd = s.rs1.trunc(32).cpop().zext()


@ZBB.insn("max", "0000101 rs2 rs1 110 rd 0110011", _RRR, Cost.ALU)
def max_(s: Sem) -> None:
    """Larger, signed."""
    s.rd = select(s.rs1.lt_s(s.rs2), s.rs2, s.rs1)


@ZBB.insn("maxu", "0000101 rs2 rs1 111 rd 0110011", _RRR, Cost.ALU)
def maxu(s: Sem) -> None:
    """Larger, unsigned."""
    s.rd = select(s.rs1.lt_u(s.rs2), s.rs2, s.rs1)


@ZBB.insn("min", "0000101 rs2 rs1 100 rd 0110011", _RRR, Cost.ALU)
def min_(s: Sem) -> None:
    """Smaller, signed."""
    s.rd = select(s.rs1.lt_s(s.rs2), s.rs1, s.rs2)


@ZBB.insn("minu", "0000101 rs2 rs1 101 rd 0110011", _RRR, Cost.ALU)
def minu(s: Sem) -> None:
    """Smaller, unsigned."""
    s.rd = select(s.rs1.lt_u(s.rs2), s.rs1, s.rs2)


@ZBB.insn("sext.b", "0110000 00100 rs1 001 rd 0010011", _RR, Cost.ALU)
def sext_b(s: Sem) -> None:
    """Sign-extend the low byte."""
    s.rd = s.rs1.trunc(8).sext()


@ZBB.insn("sext.h", "0110000 00101 rs1 001 rd 0010011", _RR, Cost.ALU)
def sext_h(s: Sem) -> None:
    """Sign-extend the low two bytes."""
    s.rd = s.rs1.trunc(16).sext()


@ZBB.insn("zext.h", "0000100 00000 rs1 100 rd 0111011", _RR, Cost.ALU)
def zext_h(s: Sem) -> None:
    """Zero-extend the low two bytes."""
    s.rd = s.rs1.trunc(16).zext()


@ZBB.insn("rol", "0110000 rs2 rs1 001 rd 0110011", _RRR, Cost.ALU)
def rol(s: Sem) -> None:
    """Rotate left."""
    s.rd = s.rs1.rol(s.rs2)


@ZBB.insn("ror", "0110000 rs2 rs1 101 rd 0110011", _RRR, Cost.ALU)
def ror(s: Sem) -> None:
    """Rotate right."""
    s.rd = s.rs1.ror(s.rs2)


@ZBB.insn("rori", "011000 shamt[5:0] rs1 101 rd 0010011", _RRI, Cost.ALU)
def rori(s: Sem) -> None:
    """Rotate right by an immediate."""
    s.rd = s.rs1.ror(s.imm)


@ZBB.insn("rolw", "0110000 rs2 rs1 001 rd 0111011", _RRR, Cost.ALU)
def rolw(s: Sem) -> None:
    """Rotate the low word left."""
    s.rd = s.rs1.trunc(32).rol(s.rs2.trunc(32)).sext()


@ZBB.insn("rorw", "0110000 rs2 rs1 101 rd 0111011", _RRR, Cost.ALU)
def rorw(s: Sem) -> None:
    """Rotate the low word right."""
    s.rd = s.rs1.trunc(32).ror(s.rs2.trunc(32)).sext()


@ZBB.insn("roriw", "0110000 shamt[4:0] rs1 101 rd 0011011", _RRI, Cost.ALU)
def roriw(s: Sem) -> None:
    """Rotate the low word right by an immediate."""
    s.rd = s.rs1.trunc(32).ror(s.imm.trunc(32)).sext()


@ZBB.insn("orc.b", "0010100 00111 rs1 101 rd 0010011", _RR, Cost.ALU)
def orc_b(s: Sem) -> None:
    """Set every byte that is not zero to 0xff."""
    s.rd = s.rs1.or_bytes()


@ZBB.insn("rev8", "0110101 11000 rs1 101 rd 0010011", _RR, Cost.ALU)
def rev8(s: Sem) -> None:
    """Reverse the bytes."""
    s.rd = s.rs1.byte_swap()


@ZBC.insn("clmul", "0000101 rs2 rs1 001 rd 0110011", _RRR, Cost.ALU)
def clmul(s: Sem) -> None:
    """Carry-less product, low half."""
    s.rd = s.rs1.clmul(s.rs2)


@ZBC.insn("clmulh", "0000101 rs2 rs1 011 rd 0110011", _RRR, Cost.ALU)
def clmulh(s: Sem) -> None:
    """Carry-less product, high half."""
    s.rd = s.rs1.clmulh(s.rs2)


@ZBC.insn("clmulr", "0000101 rs2 rs1 010 rd 0110011", _RRR, Cost.ALU)
def clmulr(s: Sem) -> None:
    """Carry-less product, bits 126 to 63."""
    s.rd = s.rs1.clmulr(s.rs2)


def _bit(index: Val) -> Val:
    return const(1).shl(index)


@ZBS.insn("bclr", "0100100 rs2 rs1 001 rd 0110011", _RRR, Cost.ALU)
def bclr(s: Sem) -> None:
    """Clear a bit."""
    s.rd = s.rs1 & ~_bit(s.rs2)


@ZBS.insn("bclri", "010010 shamt[5:0] rs1 001 rd 0010011", _RRI, Cost.ALU)
def bclri(s: Sem) -> None:
    """Clear a bit given by an immediate."""
    s.rd = s.rs1 & ~_bit(s.imm)


@ZBS.insn("bext", "0100100 rs2 rs1 101 rd 0110011", _RRR, Cost.ALU)
def bext(s: Sem) -> None:
    """Extract a bit."""
    s.rd = s.rs1.shr_u(s.rs2) & 1


@ZBS.insn("bexti", "010010 shamt[5:0] rs1 101 rd 0010011", _RRI, Cost.ALU)
def bexti(s: Sem) -> None:
    """Extract a bit given by an immediate."""
    s.rd = s.rs1.shr_u(s.imm) & 1


@ZBS.insn("binv", "0110100 rs2 rs1 001 rd 0110011", _RRR, Cost.ALU)
def binv(s: Sem) -> None:
    """Invert a bit."""
    s.rd = s.rs1 ^ _bit(s.rs2)


@ZBS.insn("binvi", "011010 shamt[5:0] rs1 001 rd 0010011", _RRI, Cost.ALU)
def binvi(s: Sem) -> None:
    """Invert a bit given by an immediate."""
    s.rd = s.rs1 ^ _bit(s.imm)


@ZBS.insn("bset", "0010100 rs2 rs1 001 rd 0110011", _RRR, Cost.ALU)
def bset(s: Sem) -> None:
    """Set a bit."""
    s.rd = s.rs1 | _bit(s.rs2)


@ZBS.insn("bseti", "001010 shamt[5:0] rs1 001 rd 0010011", _RRI, Cost.ALU)
def bseti(s: Sem) -> None:
    """Set a bit given by an immediate."""
    s.rd = s.rs1 | _bit(s.imm)

"""RV64I: the base integer instructions (Unprivileged ISA, RV32I and RV64I chapters)."""

from __future__ import annotations

from rvjit.isa.cost import Cost
from rvjit.isa.expr import Val
from rvjit.isa.spec import Extension, Sem, System

I = Extension("i")  # noqa: E741


@I.insn("lui", "imm[31:12] rd 0110111", "rd, imm", Cost.ALU)
def lui(s: Sem) -> None:
    """Load the upper 20 bits."""
    s.rd = s.imm


@I.insn("auipc", "imm[31:12] rd 0010111", "rd, imm", Cost.ALU)
def auipc(s: Sem) -> None:
    """Add an upper immediate to pc."""
    s.rd = s.pc + s.imm


@I.insn("jal", "imm[20|10:1|11|19:12] rd 1101111", "rd, imm", Cost.JUMP)
def jal(s: Sem) -> None:
    """Jump and link."""
    s.rd = s.next_pc
    s.jump(s.pc + s.imm)


@I.insn("jalr", "imm[11:0] rs1 000 rd 1100111", "rd, imm(rs1)", Cost.JUMP)
def jalr(s: Sem) -> None:
    """Jump to a register plus offset, bit 0 cleared, and link."""
    s.rd = s.next_pc
    s.jump((s.rs1 + s.imm) & ~1)


@I.insn("beq", "imm[12|10:5] rs2 rs1 000 imm[4:1|11] 1100011", "rs1, rs2, imm", Cost.BRANCH)
def beq(s: Sem) -> None:
    """Branch if equal."""
    s.jump(s.pc + s.imm, s.rs1.eq(s.rs2))


@I.insn("bne", "imm[12|10:5] rs2 rs1 001 imm[4:1|11] 1100011", "rs1, rs2, imm", Cost.BRANCH)
def bne(s: Sem) -> None:
    """Branch if different."""
    s.jump(s.pc + s.imm, s.rs1.ne(s.rs2))


@I.insn("blt", "imm[12|10:5] rs2 rs1 100 imm[4:1|11] 1100011", "rs1, rs2, imm", Cost.BRANCH)
def blt(s: Sem) -> None:
    """Branch if less, signed."""
    s.jump(s.pc + s.imm, s.rs1.lt_s(s.rs2))


@I.insn("bge", "imm[12|10:5] rs2 rs1 101 imm[4:1|11] 1100011", "rs1, rs2, imm", Cost.BRANCH)
def bge(s: Sem) -> None:
    """Branch if not less, signed."""
    s.jump(s.pc + s.imm, ~s.rs1.lt_s(s.rs2))


@I.insn("bltu", "imm[12|10:5] rs2 rs1 110 imm[4:1|11] 1100011", "rs1, rs2, imm", Cost.BRANCH)
def bltu(s: Sem) -> None:
    """Branch if less, unsigned."""
    s.jump(s.pc + s.imm, s.rs1.lt_u(s.rs2))


@I.insn("bgeu", "imm[12|10:5] rs2 rs1 111 imm[4:1|11] 1100011", "rs1, rs2, imm", Cost.BRANCH)
def bgeu(s: Sem) -> None:
    """Branch if not less, unsigned."""
    s.jump(s.pc + s.imm, ~s.rs1.lt_u(s.rs2))


@I.insn("lb", "imm[11:0] rs1 000 rd 0000011", "rd, imm(rs1)", Cost.LOAD)
def lb(s: Sem) -> None:
    """Load a byte, sign-extended."""
    s.rd = s.load(s.rs1 + s.imm, 1).sext()


@I.insn("lh", "imm[11:0] rs1 001 rd 0000011", "rd, imm(rs1)", Cost.LOAD)
def lh(s: Sem) -> None:
    """Load two bytes, sign-extended."""
    s.rd = s.load(s.rs1 + s.imm, 2).sext()


@I.insn("lw", "imm[11:0] rs1 010 rd 0000011", "rd, imm(rs1)", Cost.LOAD)
def lw(s: Sem) -> None:
    """Load four bytes, sign-extended."""
    s.rd = s.load(s.rs1 + s.imm, 4).sext()


@I.insn("ld", "imm[11:0] rs1 011 rd 0000011", "rd, imm(rs1)", Cost.LOAD_D)
def ld(s: Sem) -> None:
    """Load eight bytes."""
    s.rd = s.load(s.rs1 + s.imm, 8)


@I.insn("lbu", "imm[11:0] rs1 100 rd 0000011", "rd, imm(rs1)", Cost.LOAD)
def lbu(s: Sem) -> None:
    """Load a byte, zero-extended."""
    s.rd = s.load(s.rs1 + s.imm, 1).zext()


@I.insn("lhu", "imm[11:0] rs1 101 rd 0000011", "rd, imm(rs1)", Cost.LOAD)
def lhu(s: Sem) -> None:
    """Load two bytes, zero-extended."""
    s.rd = s.load(s.rs1 + s.imm, 2).zext()


@I.insn("lwu", "imm[11:0] rs1 110 rd 0000011", "rd, imm(rs1)", Cost.LOAD)
def lwu(s: Sem) -> None:
    """Load four bytes, zero-extended."""
    s.rd = s.load(s.rs1 + s.imm, 4).zext()


@I.insn("sb", "imm[11:5] rs2 rs1 000 imm[4:0] 0100011", "rs2, imm(rs1)", Cost.STORE)
def sb(s: Sem) -> None:
    """Store a byte."""
    s.store(s.rs1 + s.imm, s.rs2.trunc(8))


@I.insn("sh", "imm[11:5] rs2 rs1 001 imm[4:0] 0100011", "rs2, imm(rs1)", Cost.STORE)
def sh(s: Sem) -> None:
    """Store two bytes."""
    s.store(s.rs1 + s.imm, s.rs2.trunc(16))


@I.insn("sw", "imm[11:5] rs2 rs1 010 imm[4:0] 0100011", "rs2, imm(rs1)", Cost.STORE)
def sw(s: Sem) -> None:
    """Store four bytes."""
    s.store(s.rs1 + s.imm, s.rs2.trunc(32))


@I.insn("sd", "imm[11:5] rs2 rs1 011 imm[4:0] 0100011", "rs2, imm(rs1)", Cost.STORE_D)
def sd(s: Sem) -> None:
    """Store eight bytes."""
    s.store(s.rs1 + s.imm, s.rs2)


@I.insn("addi", "imm[11:0] rs1 000 rd 0010011", "rd, rs1, imm", Cost.ALU)
def addi(s: Sem) -> None:
    """Add an immediate."""
    s.rd = s.rs1 + s.imm


@I.insn("slti", "imm[11:0] rs1 010 rd 0010011", "rd, rs1, imm", Cost.ALU)
def slti(s: Sem) -> None:
    """Set if less than an immediate, signed."""
    s.rd = s.rs1.lt_s(s.imm).zext()


@I.insn("sltiu", "imm[11:0] rs1 011 rd 0010011", "rd, rs1, imm", Cost.ALU)
def sltiu(s: Sem) -> None:
    """Set if less than the sign-extended immediate, unsigned."""
    s.rd = s.rs1.lt_u(s.imm).zext()


@I.insn("xori", "imm[11:0] rs1 100 rd 0010011", "rd, rs1, imm", Cost.ALU)
def xori(s: Sem) -> None:
    """Exclusive or with an immediate."""
    s.rd = s.rs1 ^ s.imm


@I.insn("ori", "imm[11:0] rs1 110 rd 0010011", "rd, rs1, imm", Cost.ALU)
def ori(s: Sem) -> None:
    """Or with an immediate."""
    s.rd = s.rs1 | s.imm


@I.insn("andi", "imm[11:0] rs1 111 rd 0010011", "rd, rs1, imm", Cost.ALU)
def andi(s: Sem) -> None:
    """And with an immediate."""
    s.rd = s.rs1 & s.imm


@I.insn("slli", "000000 shamt[5:0] rs1 001 rd 0010011", "rd, rs1, shamt", Cost.ALU)
def slli(s: Sem) -> None:
    """Shift left."""
    s.rd = s.rs1.shl(s.imm)


@I.insn("srli", "000000 shamt[5:0] rs1 101 rd 0010011", "rd, rs1, shamt", Cost.ALU)
def srli(s: Sem) -> None:
    """Shift right, zeros coming in."""
    s.rd = s.rs1.shr_u(s.imm)


@I.insn("srai", "010000 shamt[5:0] rs1 101 rd 0010011", "rd, rs1, shamt", Cost.ALU)
def srai(s: Sem) -> None:
    """Shift right, signs coming in."""
    s.rd = s.rs1.shr_s(s.imm)


@I.insn("add", "0000000 rs2 rs1 000 rd 0110011", "rd, rs1, rs2", Cost.ALU)
def add(s: Sem) -> None:
    """Add."""
    s.rd = s.rs1 + s.rs2


@I.insn("sub", "0100000 rs2 rs1 000 rd 0110011", "rd, rs1, rs2", Cost.ALU)
def sub(s: Sem) -> None:
    """Subtract."""
    s.rd = s.rs1 - s.rs2


@I.insn("sll", "0000000 rs2 rs1 001 rd 0110011", "rd, rs1, rs2", Cost.ALU)
def sll(s: Sem) -> None:
    """Shift left by the low six bits of rs2."""
    s.rd = s.rs1.shl(s.rs2)


@I.insn("slt", "0000000 rs2 rs1 010 rd 0110011", "rd, rs1, rs2", Cost.ALU)
def slt(s: Sem) -> None:
    """Set if less, signed."""
    s.rd = s.rs1.lt_s(s.rs2).zext()


@I.insn("sltu", "0000000 rs2 rs1 011 rd 0110011", "rd, rs1, rs2", Cost.ALU)
def sltu(s: Sem) -> None:
    """Set if less, unsigned."""
    s.rd = s.rs1.lt_u(s.rs2).zext()


@I.insn("xor", "0000000 rs2 rs1 100 rd 0110011", "rd, rs1, rs2", Cost.ALU)
def xor(s: Sem) -> None:
    """Exclusive or."""
    s.rd = s.rs1 ^ s.rs2


@I.insn("srl", "0000000 rs2 rs1 101 rd 0110011", "rd, rs1, rs2", Cost.ALU)
def srl(s: Sem) -> None:
    """Shift right by the low six bits of rs2, zeros coming in."""
    s.rd = s.rs1.shr_u(s.rs2)


@I.insn("sra", "0100000 rs2 rs1 101 rd 0110011", "rd, rs1, rs2", Cost.ALU)
def sra(s: Sem) -> None:
    """Shift right by the low six bits of rs2, signs coming in."""
    s.rd = s.rs1.shr_s(s.rs2)


@I.insn("or", "0000000 rs2 rs1 110 rd 0110011", "rd, rs1, rs2", Cost.ALU)
def or_(s: Sem) -> None:
    """Or."""
    s.rd = s.rs1 | s.rs2


@I.insn("and", "0000000 rs2 rs1 111 rd 0110011", "rd, rs1, rs2", Cost.ALU)
def and_(s: Sem) -> None:
    """And."""
    s.rd = s.rs1 & s.rs2


def _word(value: Val) -> Val:
    """Low half, sign-extended: what every instruction ending in W writes."""
    return value.trunc(32).sext()


@I.insn("addiw", "imm[11:0] rs1 000 rd 0011011", "rd, rs1, imm", Cost.ALU)
def addiw(s: Sem) -> None:
    """Add an immediate, 32 bits."""
    s.rd = _word(s.rs1 + s.imm)


@I.insn("slliw", "0000000 shamt[4:0] rs1 001 rd 0011011", "rd, rs1, shamt", Cost.ALU)
def slliw(s: Sem) -> None:
    """Shift left, 32 bits."""
    s.rd = s.rs1.trunc(32).shl(s.imm.trunc(32)).sext()


@I.insn("srliw", "0000000 shamt[4:0] rs1 101 rd 0011011", "rd, rs1, shamt", Cost.ALU)
def srliw(s: Sem) -> None:
    """Shift right, zeros coming in, 32 bits."""
    s.rd = s.rs1.trunc(32).shr_u(s.imm.trunc(32)).sext()


@I.insn("sraiw", "0100000 shamt[4:0] rs1 101 rd 0011011", "rd, rs1, shamt", Cost.ALU)
def sraiw(s: Sem) -> None:
    """Shift right, signs coming in, 32 bits."""
    s.rd = s.rs1.trunc(32).shr_s(s.imm.trunc(32)).sext()


@I.insn("addw", "0000000 rs2 rs1 000 rd 0111011", "rd, rs1, rs2", Cost.ALU)
def addw(s: Sem) -> None:
    """Add, 32 bits."""
    s.rd = _word(s.rs1 + s.rs2)


@I.insn("subw", "0100000 rs2 rs1 000 rd 0111011", "rd, rs1, rs2", Cost.ALU)
def subw(s: Sem) -> None:
    """Subtract, 32 bits."""
    s.rd = _word(s.rs1 - s.rs2)


@I.insn("sllw", "0000000 rs2 rs1 001 rd 0111011", "rd, rs1, rs2", Cost.ALU)
def sllw(s: Sem) -> None:
    """Shift left by the low five bits of rs2, 32 bits."""
    s.rd = s.rs1.trunc(32).shl(s.rs2.trunc(32)).sext()


@I.insn("srlw", "0000000 rs2 rs1 101 rd 0111011", "rd, rs1, rs2", Cost.ALU)
def srlw(s: Sem) -> None:
    """Shift right by the low five bits of rs2, zeros coming in, 32 bits."""
    s.rd = s.rs1.trunc(32).shr_u(s.rs2.trunc(32)).sext()


@I.insn("sraw", "0100000 rs2 rs1 101 rd 0111011", "rd, rs1, rs2", Cost.ALU)
def sraw(s: Sem) -> None:
    """Shift right by the low five bits of rs2, signs coming in, 32 bits."""
    s.rd = s.rs1.trunc(32).shr_s(s.rs2.trunc(32)).sext()


@I.insn("fence", "fm<4> pred<4> succ<4> 00000 000 00000 0001111", "pred, succ", Cost.FENCE)
def fence(s: Sem) -> None:
    """Order memory accesses: nothing to do for one hart."""


@I.insn("fence.i", "000000000000 00000 001 00000 0001111", "", Cost.FENCE)
def fence_i(s: Sem) -> None:
    """Order fetches after stores: nothing to do, stores to code are seen at once."""


@I.insn("ecall", "000000000000 00000 000 00000 1110011", "", Cost.SYSTEM)
def ecall(s: Sem) -> None:
    """Call the environment."""
    s.system(System.ECALL)


@I.insn("ebreak", "000000000001 00000 000 00000 1110011", "", Cost.SYSTEM)
def ebreak(s: Sem) -> None:
    """Call the debugger."""
    s.system(System.EBREAK)

"""C: compressed instructions of RV64C, without floating point (Unprivileged ISA, C chapter).

Each is a spelling of a base instruction. HINT encodings (rd = x0, zero shifts) need no rows of
their own: their expansion writes x0 or changes nothing. They are noted for CKB-VM, whose version 0
refuses most, and where sequences are fused they are nothing but c.nop.
"""

from __future__ import annotations

from rvjit.isa.ext import rv64i as i
from rvjit.isa.registers import RA, SP
from rvjit.isa.spec import Extension

C = Extension("c")

# Quadrant 0.
C.expand("c.addi4spn", "000 uimm[5:4|9:6|2|3] rd' 00", "rd', sp, uimm", i.addi, ("uimm",),
         rd="rd'", rs1=SP, imm="uimm")
C.expand("c.lw", "010 uimm[5:3] rs1' uimm[2|6] rd' 00", "rd', uimm(rs1')", i.lw,
         rd="rd'", rs1="rs1'", imm="uimm")
C.expand("c.ld", "011 uimm[5:3] rs1' uimm[7:6] rd' 00", "rd', uimm(rs1')", i.ld,
         rd="rd'", rs1="rs1'", imm="uimm")
C.expand("c.sw", "110 uimm[5:3] rs1' uimm[2|6] rs2' 00", "rs2', uimm(rs1')", i.sw,
         rs1="rs1'", rs2="rs2'", imm="uimm")
C.expand("c.sd", "111 uimm[5:3] rs1' uimm[7:6] rs2' 00", "rs2', uimm(rs1')", i.sd,
         rs1="rs1'", rs2="rs2'", imm="uimm")

# Quadrant 1.
C.expand("c.nop", "000 0 00000 00000 01", "", i.addi, rd=0, rs1=0, imm=0)
C.expand("c.nop", "000 imm[5] 00000 imm[4:0] 01", "", i.addi, is_hint=True,
         rd=0, rs1=0, imm="imm")
C.expand("c.addi", "000 imm[5] rd imm[4:0] 01", "rd, imm", i.addi, hints=("rd", "imm"),
         rd="rd", rs1="rd", imm="imm")
C.expand("c.addiw", "001 imm[5] rd imm[4:0] 01", "rd, imm", i.addiw, ("rd",),
         rd="rd", rs1="rd", imm="imm")
C.expand("c.li", "010 imm[5] rd imm[4:0] 01", "rd, imm", i.addi, hints=("rd",),
         rd="rd", rs1=0, imm="imm")
C.expand("c.addi16sp", "011 imm[9] 00010 imm[4|6|8:7|5] 01", "sp, imm", i.addi, ("imm",),
         rd=SP, rs1=SP, imm="imm")
C.expand("c.lui", "011 imm[17] rd imm[16:12] 01", "rd, imm", i.lui, ("imm",), hints=("rd",),
         rd="rd", imm="imm")
C.expand("c.srli", "100 shamt[5] 00 rd' shamt[4:0] 01", "rd', shamt", i.srli,
         hints=("shamt",), hints_are_old=True,
         rd="rd'", rs1="rd'", imm="shamt")
C.expand("c.srai", "100 shamt[5] 01 rd' shamt[4:0] 01", "rd', shamt", i.srai,
         hints=("shamt",), hints_are_old=True,
         rd="rd'", rs1="rd'", imm="shamt")
C.expand("c.andi", "100 imm[5] 10 rd' imm[4:0] 01", "rd', imm", i.andi,
         rd="rd'", rs1="rd'", imm="imm")
for _name, _row, _base in (
    ("c.sub", "100 0 11 rd' 00 rs2' 01", i.sub),
    ("c.xor", "100 0 11 rd' 01 rs2' 01", i.xor),
    ("c.or", "100 0 11 rd' 10 rs2' 01", i.or_),
    ("c.and", "100 0 11 rd' 11 rs2' 01", i.and_),
    ("c.subw", "100 1 11 rd' 00 rs2' 01", i.subw),
    ("c.addw", "100 1 11 rd' 01 rs2' 01", i.addw),
):
    C.expand(_name, _row, "rd', rs2'", _base, rd="rd'", rs1="rd'", rs2="rs2'")
C.expand("c.j", "101 imm[11|4|9:8|10|6|7|3:1|5] 01", "imm", i.jal, rd=0, imm="imm")
C.expand("c.beqz", "110 imm[8|4:3] rs1' imm[7:6|2:1|5] 01", "rs1', imm", i.beq,
         rs1="rs1'", rs2=0, imm="imm")
C.expand("c.bnez", "111 imm[8|4:3] rs1' imm[7:6|2:1|5] 01", "rs1', imm", i.bne,
         rs1="rs1'", rs2=0, imm="imm")

# Quadrant 2.
C.expand("c.slli", "000 shamt[5] rd shamt[4:0] 10", "rd, shamt", i.slli, hints=("rd", "shamt"),
         rd="rd", rs1="rd", imm="shamt")
C.expand("c.lwsp", "010 uimm[5] rd uimm[4:2|7:6] 10", "rd, uimm(sp)", i.lw, ("rd",),
         rd="rd", rs1=SP, imm="uimm")
C.expand("c.ldsp", "011 uimm[5] rd uimm[4:3|8:6] 10", "rd, uimm(sp)", i.ld, ("rd",),
         rd="rd", rs1=SP, imm="uimm")
C.expand("c.jr", "100 0 rs1 00000 10", "rs1", i.jalr, ("rs1",), rd=0, rs1="rs1", imm=0)
C.expand("c.mv", "100 0 rd rs2 10", "rd, rs2", i.add, ("rs2",), hints=("rd",),
         rd="rd", rs1=0, rs2="rs2")
C.expand("c.ebreak", "100 1 00000 00000 10", "", i.ebreak)
C.expand("c.jalr", "100 1 rs1 00000 10", "rs1", i.jalr, ("rs1",), rd=RA, rs1="rs1", imm=0)
C.expand("c.add", "100 1 rd rs2 10", "rd, rs2", i.add, ("rs2",), hints=("rd",),
         rd="rd", rs1="rd", rs2="rs2")
C.expand("c.swsp", "110 uimm[5:2|7:6] rs2 10", "rs2, uimm(sp)", i.sw,
         rs1=SP, rs2="rs2", imm="uimm")
C.expand("c.sdsp", "111 uimm[5:3|8:6] rs2 10", "rs2, uimm(sp)", i.sd,
         rs1=SP, rs2="rs2", imm="uimm")

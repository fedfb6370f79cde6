"""MOP: macro-op fusion as CKB-VM's versions 1 and 2 have it; no extension of the manual's.

What is fused costs what the fused operation does, not the sum. Results are those of the members,
but for four differences that consensus depends on; they are marked below.
"""

from __future__ import annotations

from rvjit.isa.cost import Cost
from rvjit.isa.expr import Op, Val
from rvjit.isa.ext import m
from rvjit.isa.ext import rv64i as i
from rvjit.isa.fusion import Fusions, fits32, immediate_of, wrap32

MOP = Fusions(nop=i.addi, specs={spec.name: spec for spec in (*i.I.insns, *m.M.insns)})

_SUM = immediate_of(0) + immediate_of(1)
_PC = Val(Op.PC, 64)

# Far jumps. Version 1 leaves the register of the upper half as it was (first difference), which may
# be x0 and counts all the same (second), and wraps the distance to 32 bits (third). Version 2 wants
# that register to be the link, and a sum that needs no wrapping.

MOP.fuse(
    "far_jump_abs", Cost.JUMP, """
        lui  a, imm
        jalr ra, imm(a)
    """,
    steps="jalr ra, imm(zero)", versions=(1,), immediate=wrap32(_SUM),
)  # fmt: skip
MOP.fuse(
    "far_jump_abs", Cost.JUMP, """
        lui  ra, imm
        jalr ra, imm(ra)
    """,
    steps="jalr ra, imm(zero)", versions=(2,), immediate=wrap32(_SUM),
)  # fmt: skip
MOP.fuse(
    "far_jump_rel", Cost.JUMP, """
        auipc a, imm
        jalr  ra, imm(a)
    """,
    steps="jalr ra, imm(zero)", versions=(1,), immediate=_PC + wrap32(_SUM),
)  # fmt: skip
MOP.fuse(
    "far_jump_rel", Cost.JUMP, """
        auipc ra, imm
        jalr  ra, imm(ra)
    """,
    steps="jalr ra, imm(zero)", versions=(2,), immediate=_PC + _SUM, conditions=(fits32(_SUM),),
)  # fmt: skip

# Constants.

MOP.fuse(
    "load_imm", Cost.ALU, """
        lui   a, imm
        addiw a, a, imm
    """,
    steps="lui a, imm", immediate=wrap32(_SUM),
)  # fmt: skip
MOP.fuse(
    "load_imm", Cost.ALU, """
        auipc a, imm
        addi  a, a, imm
    """,
    steps="lui a, imm", versions=(2,), immediate=_PC + _SUM,
    conditions=(_PC.lt_u(1 << 31), fits32(_SUM), fits32(_PC + _SUM)),
)  # fmt: skip

# Both halves of a product, quotient and remainder.

for _name, _high in (("wide_mul", "mulh"), ("wide_mulu", "mulhu"), ("wide_mulsu", "mulhsu")):
    MOP.fuse(_name, Cost.MUL, f"{_high} a, b, c \n mul d, b, c", different="ab ac ad")
for _name, _divide, _remain in (("wide_div", "div", "rem"), ("wide_divu", "divu", "remu")):
    MOP.fuse(_name, Cost.DIV, f"{_divide} a, b, c \n {_remain} d, b, c", different="ab ac ad")

# Sums with carries and differences with borrows, in the order in which they are tried.

MOP.fuse(
    "adc", Cost.ALU, """
        add  a, a, b
        sltu b, a, b
        add  a, a, c
        sltu c, a, c
        or   b, b, c
    """,
    different="ab ac bc", nonzero="abc",
)  # fmt: skip
MOP.fuse(
    "add3a", Cost.ALU, """
        add  a, b, a
        sltu c, a, b
        add  d, c, e
    """,
    versions=(2,), different="ab ea ec", nonzero="ac",
)  # fmt: skip
MOP.fuse(
    "add3b", Cost.ALU, """
        add  a, b, c
        sltu b, a, b
        add  d, b, e
    """,
    versions=(2,), different="ab ea eb", nonzero="ab",
)  # fmt: skip
MOP.fuse(
    "add3c", Cost.ALU, """
        add  a, b, c
        sltu d, a, b
        add  d, d, e
    """,
    versions=(2,), different="ab ea ed", nonzero="ad",
)  # fmt: skip
MOP.fuse(
    "adcs", Cost.ALU, """
        add  a, b, c
        sltu d, a, b
    """,
    versions=(2,), different="ab", nonzero="a",
)  # fmt: skip
MOP.fuse(
    "adcs", Cost.ALU, """
        add  a, a, b
        sltu d, a, b
    """,
    versions=(2,), different="ab", nonzero="a",
)  # fmt: skip
# A borrow is taken with the first difference whatever the comparison names (fourth difference).
MOP.fuse(
    "sbb", Cost.ALU, """
        sub  b, a, b
        sltu d, a, *
        sub  a, b, c
        sltu c, b, a
        or   b, c, d
    """,
    steps="""
        sub  b, a, b
        sltu d, a, b
        sub  a, b, c
        sltu c, b, a
        or   b, c, d
    """,
    different="ab da db ca cb cd", nonzero="abcd",
)  # fmt: skip
MOP.fuse(
    "sbbs", Cost.ALU, """
        sub  a, b, c
        sltu d, b, c
    """,
    versions=(2,), different="ab ac",
)  # fmt: skip

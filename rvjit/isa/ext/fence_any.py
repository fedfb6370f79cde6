"""FENCE and FENCE.I with reserved fields.

The manual (Memory Ordering Instructions; Zifencei) reserves rd, rs1 and the immediate of FENCE.I
for finer-grain fences and asks implementations to ignore them. CKB-VM refuses such words, so they
stand apart from the base and a profile chooses.
"""

from __future__ import annotations

from rvjit.isa.cost import Cost
from rvjit.isa.spec import Extension, Sem

FENCE_ANY = Extension("fence_any")


@FENCE_ANY.insn("fence", "fm<4> pred<4> succ<4> rs1 000 rd 0001111", "pred, succ", Cost.FENCE)
def fence_reserved(s: Sem) -> None:
    """A fence whose reserved registers are ignored."""


@FENCE_ANY.insn("fence.i", "imm[11:0] rs1 001 rd 0001111", "", Cost.FENCE)
def fence_i_reserved(s: Sem) -> None:
    """An instruction fence whose reserved fields are ignored."""

"""Pairs of instructions that get one handler: a measured choice, like a list of passes.

It changes speed only. `python -m benchmarks.threaded_pairs` counts again and prints the table. A
line is a first instruction, as it is spelt, and the second ones::

    name: name[+added][<forwards] ...

*added* is the variant of a jump (see `threaded_decoder.Kind`). *forwards* tells which operands of
the second are the first's result: 1 rs1, 2 rs2, 3 both; the handler then has it in a register. One
without *forwards* serves for all operands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_SECOND = re.compile(r"(?P<name>[^+<]+)(?:\+(?P<added>\d))?(?:<(?P<forwards>\d))?")


@dataclass(frozen=True)
class Pair:
    """Two instructions in a row, each by the name of its encoding."""

    first: str
    second: str
    added: int
    forwards: int

    def __str__(self) -> str:
        """Return it as it stands in the table, with a space between."""
        added = f"+{self.added}" if self.added else ""
        forwards = f"<{self.forwards}" if self.forwards else ""
        return f"{self.first} {self.second}{added}{forwards}"


def pairs() -> Iterator[Pair]:
    """The pairs of the table."""
    for line in TABLE.replace("\n  ", " ").split("\n"):
        if not line:
            continue
        first, seconds = line.split(": ")
        for second in seconds.split():
            found = _SECOND.fullmatch(second)
            assert found is not None, second
            yield Pair(
                first, found["name"], int(found["added"] or 0), int(found["forwards"] or 0)
            )


TABLE = """
add: add.uw<1 bltu<2 c.add c.ldsp c.slli<1 xor
add.uw: lbu<1
addi: addi auipc bgeu+1<1 bltu+1 bltu+1<1 c.addi c.beqz c.sd<2 c.xor mul sb
addiw: c.and<2 mul<1
addw: c.mv
and: and c.add sh3add<1 slli<1 sltu
andi: c.beqz+1<1 c.mv c.slli<1 c.sw<2 sh2add<1
auipc: jalr+2<1
c.add: add and andi<1 bltu+1 bne+1 c.add c.addi c.addiw c.ld<1 c.lw<1 c.sd c.sd<1 c.sub<1
  lbu<1 mulhu rori sltu sltu<1 srl srli xor xor<1
c.addi: addi beq beq+1 beq<1 bltu+1 bne+1 bne+1<1 c.add c.addi c.addiw c.jr c.mv c.sd
  c.sd<2 c.sdsp<1 c.sw<2 minu or sb<2 sd<2
c.addi4spn: c.li
c.addiw: bltu<1 c.addi c.bnez+1 c.xor minu<1 srai
c.addw: bltu+1<2 c.addiw c.bnez+1
c.and: c.addw c.xor<1 c.xor<2 or<1
c.ld: addi addw c.add c.addi c.addiw c.ld c.ld<1 c.mv c.or c.sd ld ld<1 mulhu
c.ldsp: c.addi c.ldsp xor<2
c.li: bltu c.mv
c.lw: addi bgeu<2 c.add c.addi<1 c.addiw c.addw c.jr+1<1 c.lw srliw
c.mv: addi auipc beq+1 bne+1 c.bnez+1 c.j c.j+1 c.jr+2 c.ldsp c.li c.mv c.sd divu lbu lbu<1 or
  remuw
c.or: c.add srli
c.sd: addi c.addi c.j+1 c.jr c.lw c.mv c.sd lbu
c.sdsp: bne c.addi4spn c.lw c.sdsp
c.slli: c.add c.add<1 c.or<1 c.slli c.srli c.srli<1 or<1 sll
c.srai: c.and<1
c.srli: c.add<1 c.addi<1 c.srai mul srli
c.sub: addiw<1 bgeu+1
c.sw: c.addi c.jr c.ldsp c.sw
c.xor: and<1 andi<1 c.add c.mv c.slli c.xor mul<1 rori roriw slli<1 sltu<2 srli srliw<1 sw
divu: mul<1
lbu: addi bne+1<1 bne<2 c.addi c.addiw c.bnez+1<1 c.lw c.slli c.xor<1 lbu sh3add
ld: c.add<2 c.sd<2 ld
lh: lh
lui: addi<1
lw: c.addi lw
minu: c.addiw<1 c.sw<2
mul: and c.add c.add<2 c.beqz c.srli c.srli<1 mul mulhu remu<1 srli<1
mulhu: mul
or: bne+1 c.or<1 or slli slliw srli srliw
remu: andi c.j+1
remuw: c.mv
rol: c.ld
rori: c.add c.add<2 c.xor c.xor<1 rori
sb: c.addi c.mv sb
sd: c.jr sd
sh2add: c.lw<1
sh3add: c.ld c.ld<1 rol sh3add
sll: sub
slli: c.add c.slli c.srli<1 c.xor<1 or srliw xor<1
slliw: srliw
sltiu: c.addi
sltu: and c.add c.add<1 c.add<2 c.addw<2 c.lw c.sd sltu
srai: sub
srl: c.ld
srli: add<1 c.slli c.xor<1 c.xor<2 slli
srliw: addi c.mv c.xor<2 mul<1 or slli
sub: c.add
subw: c.and<1
sw: c.sw
xor: add c.add c.ldsp c.xor rori slli<1 srliw<1 xor
"""

"""Sequences of instructions that get one handler: a measured choice, like a list of passes.

It changes speed only. `python -m benchmarks.threaded_sequences` counts again and prints the table.
A line is a sequence that has a handler, or one instruction, and what may follow it in another::

    name [name[<forwards] ...]: name[+added][<forwards] ...

Instructions are named as they are spelt. *added* is the variant of a jump (see
`threaded_decoder.Kind`). *forwards* tells which operands of an instruction are the result of the
one before: 1 rs1, 2 rs2, 3 both; the handler then has it in a register. One without *forwards*
serves for all operands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_STEP = re.compile(r"(?P<name>[^+<]+)(?:\+(?P<added>\d))?(?:<(?P<forwards>\d))?")


@dataclass(frozen=True)
class Step:
    """An instruction of a sequence, by the name of its encoding."""

    name: str
    added: int = 0
    forwards: int = 0

    def __str__(self) -> str:
        """Return it as it stands in the table."""
        added = f"+{self.added}" if self.added else ""
        forwards = f"<{self.forwards}" if self.forwards else ""
        return f"{self.name}{added}{forwards}"


Sequence = tuple[Step, ...]


def sequences() -> Iterator[Sequence]:
    """The sequences of the table; what one begins with comes before it."""
    for line in TABLE.replace("\n  ", " ").split("\n"):
        if line:
            head, tails = line.split(": ")
            before = tuple(_step(word) for word in head.split())
            for word in tails.split():
                yield (*before, _step(word))


def _step(word: str) -> Step:
    found = _STEP.fullmatch(word)
    assert found is not None, word
    return Step(found["name"], int(found["added"] or 0), int(found["forwards"] or 0))


TABLE = """
add: add add.uw<1 bltu<2 c.add c.ldsp lbu<1
addi: add.uw addi bltu+1<1 c.addi c.beqz c.jr+1 c.sw c.xor lui
addiw: bgeu<1 c.and<2 sltiu<1
and: and c.add c.and sltu
andi: beq+1
andn: xor
auipc: jalr+2<1
c.add: add andi c.add c.ld c.lw<1 c.sd lw rori sltu xor
c.addi: addi beq beq+1 bltu+1 bne+1 c.add c.addi c.bnez+1 c.jr c.mv c.sd c.sdsp<1 c.sw<2 sd sw<2
c.addiw: c.addi minu<1
c.andi: beq+1
c.ld: c.addiw c.bnez+1<1 c.ld c.sd c.sdsp<2 ld sh3add
c.ldsp: c.ldsp
c.li: addi andn bgeu c.j c.jr c.li
c.lw: addw bgeu<2 c.addiw c.lw sh3add<1
c.mv: bltu bne+1 c.bnez+1 c.j c.j+1 c.jr+2 c.li c.mv divu lbu remuw
c.or: c.addi c.or c.sd<2 xor
c.sd: c.j+1 c.mv
c.sdsp: bne c.sdsp
c.slli: c.add c.slli c.srli
c.srai: c.and<1
c.srli: c.srli mul
c.sub: addiw<1
c.sw: c.addi c.sw
c.xor: andi<1 c.or c.xor rori roriw slli<1 sltiu<1 sltu<2 srli srliw
lbu: addi bltu<2 bne+1<1 c.andi<1 c.bnez+1<1 c.lw c.xor<1 lbu
ld: ld
lh: lh
lhu: beq<1
lui: addi<1 ld<1 lui
lw: lw
lwu: lwu
mul: and c.add c.jr c.srli<1 c.sw<2 mul mulhu remu<1 srli<1 srliw<1
mulhu: c.srli<1 mul
or: bne+1 or slli
remu: andi
rori: c.add<2 c.xor rori
roriw: roriw
sb: c.mv sb
sd: c.jr sd
sh1add: c.slli<1
sh2add: c.lw<1
sh3add: c.ld<1 sh3add
sh3add.uw: c.lw<1 c.sd<1 sh3add.uw
slli: add<2 addiw<1 c.srli<1 c.xor<1 xor<1
slliw: c.xor<1 xor<1
sltiu: c.addi sub
sltu: addi c.add c.jr
srli: c.or c.slli slli
srliw: c.mv c.xor<2 slli
sub: c.add sltu
subw: c.and<1
xor: add c.add c.ldsp mul<1 xor xori
xori: c.li
addi add.uw: lbu<1
addi addi: addi
addi c.addi: lw<1
addi c.sw: c.sw
addiw c.and<2: c.addw
addiw sltiu<1: sltiu
and c.add: srai
and c.and: c.xor<1
c.add andi: c.sw<2 c.xor<1
c.add c.add: c.add sltu xor
c.add c.sd: c.j+1 c.jr
c.add rori: c.xor c.xor<1 xor
c.add sltu: c.add
c.add xor: xor
c.addi addi: bgeu+1<1 c.sd<2
c.addi c.add: bltu+1 bne+1
c.addi c.addi: bltu+1 c.addiw
c.addi c.mv: beq+1 bne+1
c.addi c.sd: c.beqz c.jr
c.addi c.sdsp<1: c.sdsp
c.addi sd: sw
c.addiw c.addi: bne+1 minu
c.addiw minu<1: c.sw<2
c.ld c.addiw: bge<1
c.ld c.ld: addw beq+1<2 ld
c.ld c.sd: c.bnez+1
c.ld ld: c.sd<2 ld
c.ldsp c.ldsp: c.ldsp
c.li andn: c.beqz<1
c.lw addw: bgeu<1
c.lw c.addiw: bltu<1
c.lw c.lw: addi bltu<2
c.mv c.li: bltu bltu+1
c.mv c.mv: c.jr+2 c.sd or
c.mv lbu: c.addiw
c.or c.or: c.beqz<1
c.sd c.mv: bltu+1 c.mv
c.sdsp c.sdsp: c.sdsp
c.slli c.add: c.ld<1 c.lw<1
c.slli c.slli: c.srli
c.slli c.srli: c.add
c.srli mul: c.beqz
c.sw c.addi: addi bne+1
c.sw c.sw: c.jr
c.xor rori: c.xor
c.xor roriw: c.or xor<2
c.xor sltu<2: c.addw<2
c.xor srli: c.slli c.xor<1
lbu addi: bltu bltu+1 bne<2
lbu c.andi<1: c.bnez+1<1
lbu c.xor<1: andi<1 sltu<2
lbu lbu: bne<2 c.lw c.slli sh3add
ld ld: bgeu<2
lui ld<1: mul
mul c.add: c.addiw c.sub<1 sltu<1
mul c.srli<1: slli<1
mul c.sw<2: bltu+1
mul mul: c.addw<2 c.srli
mul mulhu: c.srli<1
mul remu<1: c.j+1
mul srli<1: c.xor
mulhu mul: mulhu
or or: or
or slli: c.or<2 or
remu andi: c.beqz+1<1
rori c.add<2: xor<1
rori c.xor: rori xor
roriw roriw: c.and
sd sd: sd
sh2add c.lw<1: c.jr+1<1 srliw
sh3add c.ld<1: lbu
sh3add.uw c.lw<1: add.uw
slli add<2: c.ld<1
slli c.srli<1: c.addi<1
slli c.xor<1: sw
slli xor<1: srliw<1
sltu c.add: add and c.add mulhu
srli c.or: slli
srli c.slli: c.or or
srliw c.mv: bne
srliw slli: srliw
sub c.add: srl
xor c.add: rori
xor xor: xor
xori c.li: and
addi add.uw lbu<1: sh2add.uw
addiw c.and<2 c.addw: c.bnez+1
and c.and c.xor<1: c.lw
c.add andi c.sw<2: c.jr
c.add andi c.xor<1: andi
c.add c.add c.add: c.add
c.add rori c.xor<1: rori
c.add sltu c.add: sltu
c.addi addi c.sd<2: c.add c.sd
c.addi c.addi c.addiw: c.bnez+1
c.addi sd sw: c.j+1
c.ld ld ld: addi
c.ldsp c.ldsp c.ldsp: c.ldsp
c.mv c.mv c.sd: c.j c.lw
c.mv c.mv or: c.or<1
c.sd c.mv c.mv: blt
c.sdsp c.sdsp c.sdsp: c.addi4spn c.sdsp
c.slli c.add c.lw<1: c.jr+1<1 srliw
c.xor roriw c.or: roriw
c.xor roriw xor<2: roriw
c.xor sltu<2 c.addw<2: bltu+1<2
lbu c.xor<1 sltu<2: c.lw
lbu lbu c.slli: c.slli sll
lbu lbu sh3add: rol sh3add
mul c.add c.addiw: srai
mul c.add c.sub<1: bgeu+1
mul mul c.addw<2: mulw
mul mul c.srli: srli
mul mulhu c.srli<1: c.jr
mul srli<1 c.xor: and<1
or or or: slliw
or slli or: srliw
rori c.xor xor: bne+1
roriw roriw c.and: andn
sh3add c.ld<1 lbu: c.add
sh3add.uw c.lw<1 add.uw: bgeu
slli c.srli<1 c.addi<1: sb<2
slli xor<1 srliw<1: c.xor<2 xor<1
sltu c.add c.add: sltu
srliw slli srliw: slli
sub c.add srl: c.ld
xor xor xor: xor
xori c.li and: c.beqz<1
"""

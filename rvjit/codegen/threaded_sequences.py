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
add: add add.uw<1 addi c.add c.addi lbu sltu xor
addi: addi andi<1 bltu bne c.add c.addi c.beqz c.jr c.li c.slli c.sw c.xor lui
addiw: bgeu<1 c.and<2
and: add and c.add c.and c.beqz c.ldsp or
andi: bne<2 c.add c.beqz+1<1 slli sltiu<1
andn: and c.beqz<1 xor
auipc: jalr+1<1 jalr+2<1
beq: addi c.addi c.ld lw
bltu: addi c.mv
c.add: add addi andi c.add c.addi c.addiw c.ld<1 c.lw<1 c.or c.sd c.xor lbu lbu<1 ld lw rori
  sb<1 sd sltu srliw sub xor
c.addi: addi beq beq+1 bltu bltu+1 bne+1 c.add c.addi c.addiw c.and<1 c.beqz c.bnez+1 c.jr c.li
  c.mv c.sd c.sw sb sd sw<2 xori
c.addi4spn: c.mv
c.addiw: c.bnez+1 c.slli c.xor slli srai
c.and: andn c.xor
c.andi: c.add c.beqz<1 c.bnez+1<1
c.beqz: addi beq+1 c.addi
c.beqz+1: c.beqz+1
c.ld: c.add c.addi c.addiw c.ld c.sd c.sdsp<2 lbu<1 ld
c.ldsp: xor
c.li: addi bgeu blt bltu bne+1 c.j c.j+1 c.jr c.li c.mv c.slli
c.lw: bgeu<2 c.add c.addi c.addw c.lw c.mv c.slli<1 lw
c.mv: addi addiw beq+1 bge blt bltu bltu+1 bne+1 c.beqz c.bnez+1 c.j c.j+1 c.jr+2 c.li c.mv
  c.srli divu lbu ld remuw sd
c.or: c.add c.or srli
c.sd: bne+1 c.addi c.mv c.sd
c.sdsp: c.addi4spn c.sdsp
c.slli: c.add c.or c.slli c.srli or
c.srli: c.add c.srli
c.sub: addiw<1 blt+1
c.subw: beq+1<2
c.sw: c.addi c.sw sw
c.xor: c.add c.slli c.xor sltiu<1 xor
lb: beq+1<1
lbu: addi bne+1<1 c.addi c.bnez+1<1 c.lw lbu sb
ld: add addi c.add c.addi c.ld c.li ld sd xor
lh: lh
lhu: bne<2
lui: addi<1 c.add ld lui
lw: bgeu+1<2 c.addi lw
lwu: lwu
mul: and c.add c.jr c.srli<1 mul mulhu sd<2 srli<1
mulhu: add c.add c.srli<1 mul
or: bne+1 or slli srli
rori: c.add c.xor rori xor
roriw: c.add roriw
sb: bltu+1 c.addi sb
sd: c.jr c.mv ld mul mulhu sd
sh2add: c.lw<1 sh2add
sh3add: c.addi c.ld<1 c.lw<1 rol sd<1 sh3add
slli: addiw<1 c.add c.addi c.or c.slli c.srli c.xor slli srli xor
slliw: xor<1
slt: c.sub<1
sltu: add c.add c.jr sltu sub
srli: add addi c.add c.beqz c.bnez<1 c.ld c.slli c.xor slli srli xor
srliw: c.beqz c.mv c.slli c.xor slli
sub: addi c.add c.sub sltu
subw: c.and<1
sw: sw
xor: add and bne+1 c.add c.ldsp c.sdsp c.xor mul sd<2 xor xori
add add: sub
add c.add: c.add sltu
add lbu: c.bnez+1<1
add sb<1: c.mv
add sltu: c.add
add xor: xor
add.uw lbu<1: sh2add.uw
addi addi: addi
addi c.addi: bltu+1
addi c.beqz: bne+1
addi c.mv: c.mv
addi c.sw: c.sw
and and: and
andi c.sw<2: c.jr
beq+1 beq+1: c.sd
bgeu c.ld: sh3add
c.add c.add: bltu+1 c.add sltu
c.add c.addi: beq+1 c.beqz
c.add c.mv: beq c.mv
c.add c.sd: c.j+1 c.jr
c.add rori: c.xor
c.add sltu: add c.add
c.add srli: c.slli
c.addi addi: c.addi
c.addi c.add: bltu+1 c.add
c.addi c.addi: bltu+1 bne+1 c.add
c.addi c.bnez+1: c.j+1
c.addi c.mv: bne+1
c.addi c.sd: beq c.beqz
c.addi c.xor: bne+1
c.addiw beq+1<1: beq+1
c.addiw c.addi: c.bnez+1 minu
c.addiw minu<1: c.sw<2
c.andi c.bnez+1<1: c.j+1
c.beqz+1 c.beqz+1: lhu
c.ld c.addi: c.sd
c.ld c.ld: addw ld mulhu slt<2
c.ld c.mv: c.mv
c.ld lbu<1: c.beqz+1<1
c.ld ld: c.add
c.ldsp c.addi: c.jr
c.ldsp c.ldsp: c.addi
c.ldsp xor: c.ldsp
c.li c.li: c.li
c.lui addi<1: sub<2
c.lui sub<2: ld<1 sd<1
c.lw addw: bgeu<1
c.lw c.addi: bltu+1 c.sw<2
c.lw c.addiw: bltu<1
c.lw c.lw: addi bltu<2
c.mv c.add: sb<1
c.mv c.ld: c.ld
c.mv c.mv: addiw<1 c.jr+2 c.ld c.mv c.sd
c.sd c.addi: bne+1 c.add
c.sd c.mv: bltu+1
c.sd sd: sd
c.sdsp c.sdsp: c.addi4spn c.sdsp
c.slli c.add: addi c.add c.j c.ld<1 c.sd
c.slli c.or: c.addi c.slli
c.slli c.slli: or
c.sw c.addi: bne+1
c.sw c.sw: c.jr
c.xor c.add: rori
c.xor mul<1: bne+1
c.xor roriw: c.or
c.xor xor: bne+1
lbu addi: bltu bltu+1 bne<2 sltu<2
lbu c.addi: addi
lbu c.xor<1: andi<1 sltu<2
lbu lbu: bne<2 c.lw c.slli lbu
ld addi: c.sd<2
ld c.add: ld sd<2 sltu<1
ld c.ld: c.sdsp<2
ld ld: ld
lui addi<1: c.add c.mv
lui ld: mul
lw c.addi: bltu+1
lwu bne<2: andi
mul c.add: sltu
mul mul: c.srli
mul mulhu: mul
mul remu<1: c.j+1
mulhu mul: mulhu
or c.or<1: c.li
or slli: c.or<2 or
rori c.add: rori
roriw c.add: xor
roriw roriw: c.add
sb c.addi: bltu+1 bne+1
sb c.mv: bne+1 c.bnez+1
sd sd: sd
sd sw: c.j+1
sh2add c.lw<1: c.jr+1<1 srliw
sh3add c.sd<1: c.j+1
sh3add.uw c.lw: add.uw
slli add<2: c.ld<1
slli c.add: c.ld<1
slli c.slli: c.add<1
slli c.srli: c.add<1 c.addi<1
slli c.xor: srli<1
slli xor: srli<1 srliw<1
sltiu c.addi: c.addi
sltu and: c.add
sltu c.add: c.add sltu
sltu c.addw<2: bltu+1<2
sltu sltu: c.add
srli add: bltu<2
srli c.slli: c.add c.or
srli c.xor: and<1
srli sb: sb
srliw c.slli: c.or or
srliw slli: srliw
sub sltu: c.add
xor c.add: rori xor
xor rori: c.add<2
xor xor: xor
add c.add sltu: c.add
add lbu c.addi: c.bnez+1
add lbu c.beqz<1: addiw
add srli c.slli: c.xor
addiw bgeu<1 sh3add.uw: sh3add.uw
and c.add sltu: c.add
c.add andi c.xor<1: andi
c.add c.add c.add: add<1 c.add
c.add c.add sltu: c.add
c.add c.sw c.addi: bne+1<1
c.add rori c.xor: c.xor rori
c.add sltu c.add: sltu
c.addi addi c.sd<2: c.add c.sd
c.addi c.add bltu+1: add
c.addi c.sdsp<1 c.sdsp: c.addi4spn c.sdsp
c.addw c.bnez+1 c.mv: c.ldsp
c.and c.xor srli: c.xor<1
c.ld c.addiw bge<1: c.bnez+1
c.ld c.ld beq+1<2: c.j+1
c.ld c.ld c.ld: c.ld
c.ld c.ld c.mv: c.jr+2
c.ldsp c.ldsp c.addi: c.jr
c.ldsp c.ldsp c.ldsp: c.addi c.ldsp
c.li bltu c.li: addi bltu<1
c.lui sub<2 sd<1: addi c.slli
c.lw c.lw bltu<2: c.mv
c.mv beq c.mv: c.mv<2
c.mv c.ldsp c.ldsp: c.ldsp
c.mv c.mv c.mv: bltu+1 c.mv
c.mv lbu addi: bltu+1
c.or srli slli: c.xor
c.sd c.addi c.add: bne+1
c.sd c.addi c.sd<2: c.jr
c.sdsp c.sdsp c.sdsp: c.mv c.sdsp
c.slli c.add c.lw<1: c.jr+1<1 srliw
c.slli c.or c.or: c.sw<2
c.slli c.slli c.slli: c.slli
c.slli c.slli c.srli: c.srai
c.slli c.srli beq+1<2: c.addi
c.slli c.srli bgeu: c.slli
c.srli mul c.beqz: remu
c.subw beq+1<2 add.uw: beq+1<2
c.xor mul<1 c.sw<2: bltu+1
lbu c.addi addi: bgeu+1<1
lbu lbu c.slli: sll
lbu lbu lbu: lb lbu
ld ld ld: ld
lw c.addi bltu+1: bgeu+1
lw lw lw: lw
mul c.add c.sub<1: bgeu+1
mul c.add sltu: c.add
mul c.srli<1 sh1add<3: c.slli<1
mul mul c.addw<2: mulw
mul mul mul: mul
mul mulhu c.srli<1: c.jr
mul srli<1 c.xor: mul<1
or c.or<1 xori<1: c.li
or or or: slliw
or slli or: srliw
rori rori rori: rori
roriw c.xor roriw: c.xor<2 xor<2
sb sb sb: sb
sd sd sd: sd
sh3add c.ld<1 lbu: c.add
slli c.xor sw: c.sw
slli xor srliw<1: c.xor xor<1
sltu c.add sltu: c.add
srl c.ld c.or: c.sd<2
srli c.or slli: c.or<2
srli c.slli c.or: c.add
srli c.slli or: or srli
srli srli srli: srli
srliw slli srliw: slli
xor c.add rori: c.add
xor xor xor: xor
"""

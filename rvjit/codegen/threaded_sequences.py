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
add: add addi c.add c.addi c.ldsp lbu sltu srli xor
add.uw: lbu<1
addi: addi beq bltu bltu+1 bne c.add c.addi c.beqz c.li c.mv c.sw c.xor
addiw: bgeu<1 c.and<2 c.bnez+1
and: and c.add
andi: bne<2 c.add c.beqz+1<1 c.sw<2 sltiu<1
andn: xor
auipc: jalr+1<1 jalr+2<1
c.add: add addi andi c.add c.addi c.mv c.sd c.sw lbu<1 rori sb<1 sltu srli sub xor
c.addi: addi beq beq+1 bltu+1 bne+1 c.add c.addi c.and<1 c.beqz c.bnez+1 c.jr c.mv c.sd c.sdsp<1
  c.sw c.xor sb sd
c.addiw: bltu<1 c.addi c.bnez+1 minu<1
c.addw: c.bnez+1
c.and: c.xor
c.andi: c.add c.beqz<1 c.bnez+1<1
c.ld: c.addi c.addiw c.ld c.sd lbu<1 ld
c.ldsp: c.ldsp
c.li: addi bgeu bltu bne+1 c.j c.li c.mv
c.lui: addi sub<2
c.lw: addw bgeu<2 c.add c.addi c.addw c.lw lw
c.mv: addi addiw beq beq+1 bge blt bltu bne+1 c.add c.beqz c.bnez+1 c.j c.j+1 c.jr+2 c.li c.mv
  c.srli divu lbu ld remuw
c.or: c.add c.or c.sw srli
c.sd: bne+1 c.addi c.mv c.sd
c.sdsp: c.addi4spn c.sdsp
c.slli: c.add c.or c.slli c.srli or srli
c.srli: c.add c.srli mul
c.sub: addiw<1 blt+1
c.subw: beq+1<2
c.sw: c.addi c.sw
c.xor: c.add c.xor mul<1 sltiu<1 sltu<2
lb: beq+1<1
lbu: addi bne+1<1 c.add c.addi c.addiw c.bnez+1<1 c.xor<1 lbu
ld: addi c.add c.ld ld
lh: lh
lui: addi<1 ld lui
lw: c.addi lw
lwu: bne<2 lwu
mul: and c.add c.srli<1 mul mulhu remu<1 sd<2 srli<1
mulhu: c.add mul
or: bne+1 c.or<1 or slli srli
rori: c.add c.xor rori
roriw: c.add c.xor roriw
sb: bltu+1 c.mv sb
sd: c.jr ld sd
sh1add: c.slli
sh2add: c.lw<1
sh3add: c.addi c.ld<1 c.sd<1 rol sh3add
sh3add.uw: c.lw<1
slli: add<2 addiw<1 c.add c.or c.slli c.srli c.xor slli srli xor
slt: c.sub<1
sltu: add c.add c.addi c.jr sltu sub
srli: add c.slli c.xor sb slli srli
srliw: c.mv c.slli c.xor slli
sub: c.add sltu
subw: c.and<1
xor: and bne+1 c.add c.ldsp c.xor mul rori xor
add c.ldsp: c.ldsp
add lbu: c.beqz<1
add sltu: c.add
addi addi: addi
addi c.addi: bltu+1
addi c.sw: c.sw
c.add c.add: bltu+1 c.add
c.add c.addi: c.beqz
c.add lbu<1: lbu
c.add rori: c.xor
c.add sltu: c.add
c.addi addi: c.sd<2
c.addi c.add: bltu+1 c.add
c.addi c.addi: bne+1 c.add c.bnez+1
c.addi c.mv: bne+1 c.mv lbu<1
c.addi c.sdsp<1: c.sdsp
c.addi c.xor: bne+1
c.addiw c.addi: bne+1 c.bnez+1 minu
c.addiw minu<1: c.sw<2
c.ld c.addiw: bge<1
c.ld c.ld: addw c.ld ld slt<2
c.ld lbu<1: c.beqz+1<1
c.ldsp c.ldsp: c.addi c.ldsp
c.li c.li: c.li
c.lui sub<2: ld<1 sd<1
c.lw addw: bgeu<1
c.lw c.addi: bltu+1 c.sw<2
c.lw c.lw: addi bltu<2
c.mv c.add: sb<1
c.mv c.li: bltu
c.mv c.mv: c.jr+2 c.mv c.sd
c.sd c.addi: bne+1 c.add c.sd<2
c.sd c.mv: bltu+1
c.sdsp c.sdsp: c.addi4spn c.sdsp
c.slli c.add: addi c.ld<1 c.lw<1
c.slli c.slli: c.or c.slli c.srli
c.slli c.srli: beq+1<2
c.srli mul: c.beqz
c.sw c.addi: bne+1
c.sw c.sw: c.jr
c.xor mul<1: bne+1
c.xor sltu<2: c.addw<2
lbu addi: bltu+1
lbu c.addi: addi
lbu c.xor<1: andi<1 sltu<2
lbu lbu: bne<2 c.slli lbu
ld addi: c.sd<2
ld c.add: sd<2
ld ld: ld
lui addi<1: c.add
lw c.addi: bltu+1
lw lw: lw
mul c.add: c.addiw c.sub<1
mul mul: c.srli mul
mul remu<1: c.j+1
mul srli<1: c.xor
mulhu mul: c.add
or or: or
or slli: c.or<2 or
rori c.add: rori
rori c.xor: rori
sb c.mv: bne+1 c.bnez+1
sb sb: sb
sd sd: sd
sh2add c.lw<1: c.jr+1<1 srliw
sh3add c.sd<1: c.j+1
slli add<2: c.ld<1
slli c.slli: c.add<1
slli c.xor: srli sw
slli xor: srliw<1
sltu c.add: sltu
sltu c.addi: c.beqz
srli add: bltu<2
srli c.slli: c.or or
srli c.xor: and<1
srli srli: srli
srliw c.slli: c.or
srliw slli: c.add srliw
sub c.add: srl
xor c.add: xor
xor xor: xor
add c.ldsp c.ldsp: c.ldsp
c.add c.add c.add: c.add
c.add sltu c.add: sltu
c.addi addi c.sd<2: c.sd
c.addi c.sdsp<1 c.sdsp: c.addi4spn c.sdsp
c.ld c.ld c.ld: c.ld
c.ldsp c.ldsp c.addi: c.jr
c.ldsp c.ldsp c.ldsp: c.ldsp
c.mv c.mv c.mv: c.mv
c.sd c.addi c.add: bne+1
c.sd c.addi c.sd<2: c.jr
c.sdsp c.sdsp c.addi4spn: c.li
c.sdsp c.sdsp c.sdsp: c.sdsp
c.slli c.add c.lw<1: c.jr+1<1 srliw
c.slli c.slli c.srli: c.srai
c.xor sltu<2 c.addw<2: bltu+1<2
lbu lbu c.slli: sll
lbu lbu lbu: lb lbu
ld ld ld: ld
lw lw lw: lw
mul c.add c.addiw: srai
mul c.add c.sub<1: bgeu+1
mul mul mul: mul
mul srli<1 c.xor: and<1 mul<1
or or or: slliw
or slli or: srliw
sb sb sb: sb
sd sd sd: sd
slli c.xor srli: sb<2
slli c.xor sw: c.sw
slli xor srliw<1: c.xor xor<1
sltu c.add sltu: c.add
srli srli srli: srli
sub c.add srl: c.ld
xor xor xor: xor
"""

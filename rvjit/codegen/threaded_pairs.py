"""Pairs of instructions that get one handler: a measured choice, like a list of passes.

It changes speed only. `python -m benchmarks.threaded_pairs` counts again and prints the table. A
line is a first instruction, with its length in bytes, and the second ones::

    name.length: name.length[+added][<forwards] ...

*added* is the variant of a jump (see `threaded_decoder.Kind`). *forwards* tells which operands of
the second are the first's result: 1 rs1, 2 rs2, 3 both; the handler then has it in a register. One
without *forwards* serves for all operands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_SECOND = re.compile(r"(?P<name>.+)\.(?P<length>[24])(?:\+(?P<added>\d))?(?:<(?P<forwards>\d))?")


@dataclass(frozen=True)
class Pair:
    """Two instructions in a row, each by name and length."""

    first: tuple[str, int]
    second: tuple[str, int]
    added: int
    forwards: int

    def __str__(self) -> str:
        """Return it as it stands in the table, with a space between."""
        added = f"+{self.added}" if self.added else ""
        forwards = f"<{self.forwards}" if self.forwards else ""
        first, second = (f"{name}.{length}" for name, length in (self.first, self.second))
        return f"{first} {second}{added}{forwards}"


def pairs() -> Iterator[Pair]:
    """The pairs of the table."""
    for line in TABLE.replace("\n  ", " ").split("\n"):
        if not line:
            continue
        first, seconds = line.split(": ")
        name, length = first.rsplit(".", 1)
        for second in seconds.split():
            found = _SECOND.fullmatch(second)
            assert found is not None, second
            yield Pair(
                (name, int(length)),
                (found["name"], int(found["length"])),
                int(found["added"] or 0),
                int(found["forwards"] or 0),
            )


TABLE = """
add.2: add.2 add.2<1 add.2<2 add.4<1 addi.2 addi.4<1 addiw.2 bge.4 bgeu.4+1 blt.4 bltu.4
  bltu.4+1 bne.4+1 jal.2 jal.2+1 lbu.4 lbu.4<1 ld.2 ld.2<1 lw.2<1 lw.4 lw.4<1 mul.4 roriw.4
  sd.2<1 sd.4 sh3add.4 srliw.4 sub.4 sw.2<2 xor.4
add.4: add.2 add.4 addi.2 bltu.4<2 lbu.4<1 ld.2
addi.2: add.2 addi.2 addi.4 and.2<1 beq.4 beq.4+1 bltu.4 bltu.4+1 bne.2+1 bne.4+1 bne.4+1<1
  jal.2 jal.2+1 jalr.2 lui.4 lw.4<1 sd.2<1 sd.4 sd.4<2 slli.2 slli.2<1 sw.2 sw.4<2
addi.4: add.2 addi.2 addi.4 auipc.4 beq.4<2 bltu.4+1 bltu.4<1 bltu.4<2 bne.4<2 jalr.2+1 lbu.4
  ld.4<1 lui.4 lw.4<1 mul.4 sw.2
addiw.2: bge.4<1 sd.2 sd.4 slli.4 srai.4
addw.4: addi.2
and.2: xor.2<1 xor.2<2 xor.4<1
and.4: and.2 and.4 andn.4 xor.4<1
andi.2: beq.2<1 bne.2+1<1
andi.4: slli.2 slli.4
andn.4: xor.4
auipc.4: jalr.4+2<1
bext.4: beq.2<1
lbu.4: add.2 addi.2 addi.4 addi.4<1 andi.2<1 bltu.4<2 bne.2+1<1 bne.4<2 lbu.4 lw.2 sh3add.4
  sh3add.4<1 slli.2 slli.2<1 srli.2 xor.2
ld.2: addi.2 addiw.2 beq.4+1<2 bne.2+1<1 lbu.4 ld.2 sd.4 slli.2
ld.4: addi.2 addiw.2 bgeu.4<1 bgeu.4<2 ld.4
lh.4: bge.4+1<1 lh.4 mul.4
lhu.4: beq.4<1 bne.4<2 lhu.4
lui.4: addi.2<1 addi.4<1 lw.4 slli.uw.4<1
lw.2: add.2 addi.4 jalr.2+1<1 lw.2 sh3add.4 sh3add.4<1 slli.2 slli.2<1
lw.4: addi.2 addi.2<1 addi.4 and.2 bgeu.4+1<2 ld.4 lw.4 roriw.4 srliw.4 xor.4
mul.4: add.2 add.2<2 addi.2 jal.2 mul.4 srli.2 sw.4<2
or.2: add.2 addi.2 or.2<1 slli.4 sw.2<2 xor.4
or.4: roriw.4 slli.4 srliw.4
roriw.4: add.2 and.4 or.4 roriw.4 xor.2 xor.2<1 xor.4<2
sb.4: sb.4
sd.2: add.2 addi.2 jal.2+1 sd.2
sd.4: add.2 auipc.4 bne.2+1 bne.4+1 ld.2 sh1add.4
sh.4: sh.4
sh1add.4: addi.4<1
sh2add.4: addi.2 lw.2<1
sh3add.4: addi.2 lbu.4<1 ld.2 ld.2<1 sd.2<1 sh3add.4
slli.2: add.2 add.2<1 add.4<2 lbu.4 or.2<2 slli.2 srai.2 srai.2<1 srli.2 srli.2<1 srliw.4
slli.4: add.2 add.2<1 addi.4 or.2<2 or.4 slli.2 srliw.4 srlw.4 xor.2<2 xor.4<1
slli.uw.4: addi.4<1
sltiu.4: addi.2 addi.2<1
sltu.4: addw.4<2
srai.2: and.2<1 srai.2 sub.2<1
srai.4: sub.4
srl.4: andi.2<1
srli.2: add.2 sh3add.4 srai.2 srli.4 xor.2
srli.4: add.4<1 srli.4 xor.2<1
srliw.4: or.2 or.4 slli.2 slli.4 srliw.4 xor.2 xor.2<1 xor.2<2
srlw.4: srli.2
sub.2: blt.4+1<2
sub.4: add.2 srai.2<1
sw.2: add.2 addi.2 bltu.4+1 sw.2
sw.4: bgeu.4 bltu.4+1 lbu.4 ld.2
xor.2: add.2 andi.4<1 bltu.4+1 lw.2 mul.4<1 roriw.4 slli.2 slli.2<1 slli.4<1 sltiu.4<1 sltu.4<2
  srli.4 srliw.4 srliw.4<1 xor.2
xor.4: add.2 add.2<1 and.4 andi.4<1 lw.4 mul.4<1 roriw.4 srliw.4<1 xor.2 xor.4
"""

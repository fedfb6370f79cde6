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
add.2: add.2 add.2<1 add.4 addi.2 addi.4 addiw.2 and.4 andi.4<1 auipc.4 beq.4+1 bltu.4+1 bne.2+1
  bne.4+1 divu.4 jal.2 jal.2+1 jalr.2+2 lbu.4 lbu.4<1 ld.2 ld.2<1 lw.2<1 mulhu.4 or.4 remuw.4
  rori.4 sd.2 sd.2<1 sltu.4 sltu.4<1 srl.4 srli.4 sub.2<1 xor.4 xor.4<1
add.4: add.2 add.uw.4<1 bltu.4<2 ld.2 slli.2<1 xor.4
add.uw.4: lbu.4<1
addi.2: add.2 addi.2 addi.4 addiw.2 beq.4 beq.4+1 beq.4<1 bltu.4 bltu.4+1 bne.4+1 bne.4+1<1
  jalr.2 minu.4 or.4 sb.4<2 sd.2 sd.2<1 sd.2<2 sd.4<2 sw.2<2
addi.4: add.2 addi.2 addi.4 auipc.4 beq.2 bgeu.4+1<1 bltu.4+1 bltu.4+1<1 mul.4 sb.4 sd.2<2 xor.2
addiw.2: addi.2 bltu.4<1 bne.2+1 minu.4<1 srai.4 xor.2
addiw.4: and.2<2 bgeu.4<1 mul.4<1 sd.2
addw.2: addiw.2 bltu.4+1<2 bne.2+1
addw.4: add.2
and.2: addw.2 or.4<1 xor.2<1 xor.2<2
and.4: add.2 and.4 sh3add.4<1 slli.4<1 sltu.4
andi.4: add.2 beq.2+1<1 sh2add.4<1 slli.2<1 sw.2<2
auipc.4: jalr.4+2<1
divu.4: mul.4<1
lbu.4: addi.2 addi.4 addiw.2 bne.2+1<1 bne.4+1<1 bne.4<2 lbu.4 lw.2 sh3add.4 slli.2 xor.2<1
ld.2: add.2 addi.2 addi.4 addiw.2 addw.4 ld.2 ld.2<1 ld.4 ld.4<1 mulhu.4 or.2 sd.2 xor.4<2
ld.4: add.2<2 ld.2 ld.4 sd.2<2
lh.4: lh.4
lui.4: addi.4<1
lw.2: add.2 addi.2<1 addi.4 addiw.2 addw.2 bgeu.4<2 bltu.4<2 jalr.2+1<1 lw.2 srliw.4
lw.4: addi.2 lw.4
lwu.4: lwu.4
minu.4: addiw.2<1 sw.2<2
mul.4: add.2 add.2<2 and.4 beq.2 mul.4 mulhu.4 remu.4<1 srli.2 srli.2<1 srli.4<1
mulhu.4: mul.4
or.2: add.2 addi.2 sd.2<2 srli.4
or.4: bne.4+1 or.2<1 or.4 slli.4 slliw.4 srli.4 srliw.4
remu.4: andi.4 jal.2+1
remuw.4: add.2
rol.4: ld.2
rori.4: add.2 add.2<2 rori.4 xor.2 xor.2<1
sb.4: add.2 addi.2 sb.4
sd.2: add.2 addi.2 addi.4 bne.4 jal.2 jal.2+1 jalr.2 lbu.4 lw.2 sd.2
sd.4: jalr.2 sd.4
sh2add.4: lw.2<1
sh3add.4: ld.2 ld.2<1 rol.4 sd.2<1 sh3add.4
sll.4: sub.4
slli.2: add.2 add.2<1 or.2<1 or.4<1 sll.4 slli.2 srli.2 srli.2<1
slli.4: add.2 add.4<2 addiw.4<1 or.2<2 or.4 slli.2 srli.2<1 srliw.4 xor.2<1 xor.4<1
slliw.4: srliw.4
sltiu.4: addi.2
sltu.4: add.2 add.2<1 add.2<2 addw.2<2 and.4 lw.2 sd.2 sltu.4
srai.2: and.2<1
srai.4: sub.4
srl.4: ld.2
srli.2: add.2<1 addi.2<1 mul.4 srai.2 srli.4
srli.4: add.4<1 slli.2 slli.4 xor.2<1 xor.2<2
srliw.4: add.2 addi.4 mul.4<1 or.4 slli.4 xor.2<2
sub.2: addiw.4<1 bgeu.4+1
sub.4: add.2
subw.4: and.2<1
sw.2: addi.2 jalr.2 ld.2 sw.2
sw.4: sw.2
xor.2: add.2 and.4<1 andi.4<1 mul.4<1 rori.4 roriw.4 slli.2 slli.4<1 sltu.4<2 srli.4 srliw.4<1
  sw.4 xor.2
xor.4: add.2 add.4 ld.2 rori.4 rori.4<1 slli.4<1 srliw.4<1 xor.2 xor.4
"""

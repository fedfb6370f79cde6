"""Random sequences that CKB-VM fuses, and near misses: one register, order or member is another.

Typed from the rules (CKB-VM's decoder), not taken from the definitions.
"""

from __future__ import annotations

import random

Instruction = tuple[str, dict[str, int]]  # a form's name and its operands

# One letter, one register; numbers are immediates of any kind.
SEQUENCES = (
    ("add a a b", "sltu b a b", "add a a c", "sltu c a c", "or b b c"),
    ("sub b a b", "sltu d a b", "sub a b c", "sltu c b a", "or b c d"),
    ("sub b a b", "sltu d a e", "sub a b c", "sltu c b a", "or b c d"),
    ("add a b a", "sltu c a b", "add d c e"),
    ("add a b c", "sltu b a b", "add d b e"),
    ("add a b c", "sltu d a b", "add d d e"),
    ("add a b c", "sltu d a b"),
    ("add a a b", "sltu d a b"),
    ("sub a b c", "sltu d b c"),
    ("mulh a b c", "mul d b c"),
    ("mulhu a b c", "mul d b c"),
    ("mulhsu a b c", "mul d b c"),
    ("div a b c", "rem d b c"),
    ("divu a b c", "remu d b c"),
    ("lui a 20", "addiw a a 12"),
    ("auipc a 20", "addi a a 12"),
)
_SHORT = range(8, 16)


def random_sequence(
    rng: random.Random,
    writable: tuple[int, ...],
    readable: tuple[int, ...],
    *,
    changed_results: bool = True,
) -> list[Instruction]:
    """A sequence or near miss on a few registers; *writable* ones include x0 now and then.

    Without *changed_results* there is none whose result fusion changes.
    """
    while True:
        lines = [line.split() for line in rng.choice(SEQUENCES)]
        some = [*rng.sample(writable, 4), rng.choice(readable)]
        letters = "abcde"
        if rng.random() < 0.5:
            roles = dict(zip(letters, some, strict=True))
        else:
            roles = {letter: rng.choice(some) for letter in letters}
        if rng.random() < 0.2:
            roles[rng.choice(letters)] = 0
        registers = [[roles[letter] for letter in line[1:] if letter.isalpha()] for line in lines]
        names = [line[0] for line in lines]
        if rng.random() < 0.35:
            _miss(rng, names, registers, some)
        writes = {registers_of[0] for registers_of in registers}
        if not writes <= {0, *writable}:
            continue
        if not changed_results and _may_change(names):
            continue
        insns = [
            _instruction(rng, name, numbers) for name, numbers in zip(names, registers, strict=True)
        ]
        return insns[: rng.randint(1, len(insns))] if rng.random() < 0.1 else insns


def _miss(
    rng: random.Random, names: list[str], registers: list[list[int]], some: list[int]
) -> None:
    index = rng.randrange(len(names))
    kind = rng.randrange(4)
    if kind == 0:
        names[index] = {"add": "sub", "sltu": "slt", "or": "xor", "addiw": "addi"}.get(
            names[index], names[index]
        )
    elif kind == 1:
        registers[index][1:] = registers[index][:0:-1]
    else:
        registers[index][rng.randrange(len(registers[index]))] = rng.choice((0, *some))


def _may_change(names: list[str]) -> bool:
    """Whether this may be a subtraction with borrow, which is known to be wrong."""
    return len(names) == 5 and names[0] == "sub"


def _instruction(rng: random.Random, name: str, registers: list[int]) -> Instruction:
    """Encode it somehow: half of the time compressed where that can be."""
    if name in ("lui", "auipc"):
        high = rng.choice((0, 1, -1, 0x7FFFF, -0x80000, rng.randint(-0x80000, 0x7FFFF)))
        if name == "lui" and -32 <= high < 32 and high and registers[0] not in (0, 2):
            return "c.lui", {"rd": registers[0], "imm": high << 12}
        return name, {"rd": registers[0], "imm": high << 12}
    if name in ("addi", "addiw"):
        rd, rs1 = registers
        low = rng.choice((0, 1, -1, 31, -32, 2047, -2048, rng.randint(-2048, 2047)))
        if rd == rs1 and -32 <= low < 32 and (rd or name == "addi") and rng.random() < 0.5:
            return (f"c.{name}", {"rd": rd, "imm": low}) if rd else ("c.li", {"rd": 0, "imm": low})
        return name, {"rd": rd, "rs1": rs1, "imm": low}
    rd, rs1, rs2 = registers
    if rng.random() < 0.5:
        if name == "add" and rs2 and rd == rs1:
            return "c.add", {"rd": rd, "rs2": rs2}
        if name == "add" and rs2 and not rs1:
            return "c.mv", {"rd": rd, "rs2": rs2}
        if name in ("sub", "or") and rd == rs1 and rd in _SHORT and rs2 in _SHORT:
            return f"c.{name}", {"rd": rd, "rs2": rs2}
    return name, {"rd": rd, "rs1": rs1, "rs2": rs2}

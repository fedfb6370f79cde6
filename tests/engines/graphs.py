"""Random control flow without structure: jumps from anywhere to anywhere, into loops, too.

Every block counts down the same fuel before it goes on, so that every program ends.
"""

from __future__ import annotations

import random

from rvjit.machine.pages import PAGE_SIZE
from tests.differential.rig import LINUX, Guest, Part
from tests.engines.assemble import assemble

BASE = 0x10000
CODE = BASE + 0x4000
DATA = BASE + 0x1000
SIZE = 0x10000
_CHANGED = ("a0", "a1", "a2", "a3", "a4", "a5")
_READ = (*_CHANGED, "zero", "s2")
_PLAIN = ("add", "sub", "xor", "or", "mul", "sltu", "sh1add", "addw")
_BRANCHES = ("beq", "bne", "blt", "bge", "bltu", "bgeu")


def random_graph(seed: int, blocks: int = 8, fuel: int = 60) -> Guest:
    """A guest of *blocks* blocks, the same for a seed each time, that passes *fuel* of them."""
    rng = random.Random(seed)
    lines = []
    for number in range(blocks):
        lines.append(f"b{number}:")
        lines += [_plain(rng) for _ in range(rng.randrange(3))]
        lines.append(f"m{number}:")
        lines += [_plain(rng) for _ in range(rng.randrange(3))]
        lines += ["addi s0, s0, -1", "beqz s0, end", *_leave(rng, blocks)]
    lines += ["j b0", "end: ecall"]
    code = assemble("\n".join(lines), CODE)
    registers = [0, code["end"], DATA, 0, *(rng.getrandbits(64) for _ in range(28))]
    registers[8], registers[9] = fuel, DATA
    return Guest(
        parts=(Part(CODE, code.data, "rx"), Part(DATA, rng.randbytes(PAGE_SIZE), "rw")),
        pc=code["b0"],
        registers=tuple(registers),
        base=BASE,
        size=SIZE,
        rules=LINUX,
        reproduce=f"random_graph({seed}, {blocks}, {fuel})",
    )


def _plain(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.15:
        return f"sd {rng.choice(_READ)}, {8 * rng.randrange(64)}(s1)"
    if kind < 0.3:
        return f"ld {rng.choice(_CHANGED)}, {8 * rng.randrange(64)}(s1)"
    if kind < 0.5:
        return f"addi {rng.choice(_CHANGED)}, {rng.choice(_READ)}, {rng.randint(-2048, 2047)}"
    operands = f"{rng.choice(_CHANGED)}, {rng.choice(_READ)}, {rng.choice(_READ)}"
    return f"{rng.choice(_PLAIN)} {operands}"


def _leave(rng: random.Random, blocks: int) -> list[str]:
    """The end of a block; the next one follows where it does not go elsewhere."""

    def place() -> str:
        return f"{rng.choice('bm')}{rng.randrange(blocks)}"

    def condition() -> str:
        return f"{rng.choice(_BRANCHES)} {rng.choice(_CHANGED)}, {rng.choice(_READ)}"

    kind = rng.random()
    if kind < 0.6:
        return [f"{condition()}, {place()}"]
    if kind < 0.7:
        return [f"j {place()}"]
    if kind < 0.8:
        return [f"call {place()}"]
    if kind < 0.85:
        return ["ret"]  # to wherever the last call was
    return [f"la t0, {place()}", f"la t1, {place()}", f"{condition()}, . + 8", "mv t0, t1", "jr t0"]

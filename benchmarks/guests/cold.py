"""Write the C source of `cold`: thousands of functions, each of which runs once.

    python benchmarks/guests/cold.py > FILE

Deterministic: a fixed generator chooses what each function does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

FUNCTIONS = 3000
HEAD = f"""\
/* {FUNCTIONS} functions that each run once, in turn, argv[1] times. Written by cold.py. */
#include "runtime.h"

static uint64_t table[64];
"""
_BODIES: tuple[Callable[[int, int, int], str], ...] = (
    lambda a, b, c: f"x = (x ^ {a}) * {b | 1};\n    x ^= x >> {c % 31 + 1};",
    lambda a, b, c: f"if (x & {1 << c % 20})\n        x += {a};\n    else\n        x ^= {b};",
    lambda a, b, c: f"table[{a % 64}] += x + {b};\n    x += table[{c % 64}];",
    lambda a, b, c: f"for (int i = 0; i < {c % 3 + 2}; i++)\n        x = x * {a | 1} + {b};",
    lambda a, b, c: f"x = x << {c % 31 + 1} | x >> {63 - c % 31};\n    x -= {a} ^ table[{b % 64}];",
    lambda a, b, c: f"table[x % 64] ^= {a};\n    if (x > {b}u)\n        x -= table[{c % 64}];",
)


def numbers(state: int) -> Iterator[int]:
    """Yield 24-bit numbers of a fixed sequence (a linear congruential generator)."""
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        yield state >> 40


def source(functions: int = FUNCTIONS) -> str:
    """Return the C source."""
    draw = numbers(20260101)
    parts = [HEAD]
    for index in range(functions):
        bodies = [
            _BODIES[next(draw) % len(_BODIES)](next(draw), next(draw), next(draw)) for _ in range(2)
        ]
        lines = "\n    ".join(bodies)
        parts.append(
            f"__attribute__((noinline)) static uint64_t f{index}(uint64_t x)\n"
            f"{{\n    {lines}\n    return x;\n}}\n"
        )
    calls = "\n".join(f"        x = f{index}(x);" for index in range(functions))
    parts.append(
        "int main(int argc, char **argv)\n{\n"
        "    uint64_t rounds = size_argument(argc, argv, 1), x = 1;\n"
        f"    for (uint64_t i = 0; i < rounds; i++) {{\n{calls}\n    }}\n"
        '    print_result("checksum", x);\n    return 0;\n}\n'
    )
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(source())

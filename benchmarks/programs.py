"""What is run: the example guests, and how large each is made for which engines.

An interpreter written in Python and a processor are five orders of magnitude apart, so there is no
size that suits all engines. Each program has a ladder of sizes; each `Role` is one rung and the
engines that can climb it. Within a role every engine gets the same size.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Program:
    """An example guest and its sizes, as what native gcc -O2 needs for them.

    *tiny* is 1 to 3 M guest instructions (native: about a millisecond, most of it start-up),
    *short* takes native code some 0.03 s, *long* some 0.3 s, *huge* some 3 s on a 4 GHz core of
    2025.
    """

    name: str
    tiny: int
    short: int
    long: int
    huge: int


@dataclass(frozen=True)
class Role:
    """One size of every program, and the engines that run it."""

    name: str
    engines: tuple[str, ...]


PROGRAMS: tuple[Program, ...] = (
    Program("bytecode", 400, 32_000, 300_000, 2_800_000),
    Program("coremix", 60, 7_000, 70_000, 700_000),
    Program("fib", 23, 36, 41, 46),
    Program("json", 400, 150_000, 1_500_000, 15_000_000),
    Program("mandelbrot", 64, 950, 3_000, 9_500),
    Program("matmul", 120, 26_000, 260_000, 2_600_000),
    Program("quicksort", 15_000, 600_000, 5_500_000, 55_000_000),
    Program("sha256", 24, 8_500, 85_000, 850_000),
    Program("sieve", 100, 22_000, 190_000, 1_800_000),
)

TINY = Role("tiny", ("interp", "jit", "unicorn", "qemu", "native"))
MEDIUM = Role("medium", ("jit", "unicorn", "qemu", "native"))
LARGE = Role("large", ("jit", "qemu", "native"))
ROLES: tuple[Role, ...] = (TINY, MEDIUM, LARGE)

# Engines that are timed inside from so many instructions on. Only the interpreter: where a JIT is
# stopped, it has to compile one more region to go on, which users do not pay.
WARM_UP = {"interp": 100_000}

# Start to exit of a program that does next to nothing; the bare Python is the floor for those
# engines that are Python packages.
STARTUP_PROGRAM = "hello"
STARTUP_SIZE = 1
STARTUP = Role("startup", ("python", "interp", "jit", "unicorn", "qemu", "native"))


def size_of(program: Program, role: Role, *, quick: bool) -> int:
    """Return the argument that *program* gets in *role*."""
    if role is TINY:
        return program.tiny
    if role is MEDIUM:
        return program.short if quick else program.long
    return program.long if quick else program.huge

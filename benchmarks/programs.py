"""What is run: the guests of `guests/`, and how large each is made.

Every guest's work grows with its argument, nearly in proportion. `Rung`s are sizes in seconds that
native code needs, since a process start, an emulator and a processor are too far apart for one
size; ratios are only ever taken between runs of the same rungs.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


@dataclass(frozen=True)
class Program:
    """A guest: what it is an example of, and the size that takes native code about a second.

    That second is one of a server processor of 2023 at 2.6 to 3.7 GHz. *quick* guests are those of
    quick mode; *fits_caches* is false for those that wait for memory.
    """

    name: str
    kind: str
    per_second: int
    quick: bool = False
    fits_caches: bool = True


PROGRAMS: tuple[Program, ...] = (
    Program("bignum", "big numbers", 124_000),
    Program("blake2b", "hashing", 780_000),
    Program("bytecode", "interpreter", 690_000, quick=True),
    Program("calls", "calls", 30_000, quick=True),
    Program("chase", "memory", 8_400, fits_caches=False),
    Program("coremix", "mixed", 217_000, quick=True),
    Program("crc32", "hashing", 446_000),
    Program("divide", "integer", 5_260_000),
    Program("editdist", "integer", 11_200),
    Program("forth", "indirect calls", 1_540_000),
    Program("hashtable", "memory", 47_700, quick=True),
    Program("heap", "memory", 5_500),
    Program("json", "strings", 2_590_000, quick=True),
    Program("keccak", "hashing", 780_000),
    Program("lz", "strings", 3_000),
    Program("matmul", "integer", 657_000, quick=True),
    Program("montgomery", "big numbers", 15_000, quick=True),
    Program("nqueens", "calls", 8_700),
    Program("quicksort", "sorting", 18_300_000, quick=True),
    Program("sha256", "hashing", 190_000, quick=True),
    Program("sieve", "memory", 528_000),
    Program("siphash", "hashing", 39_600_000),
    Program("stream", "memory", 1_540, fits_caches=False),
    Program("strings", "strings", 3_740),
    Program("virtual", "indirect calls", 460_000, quick=True),
)
BY_NAME = {program.name: program for program in PROGRAMS}

HELLO = "hello"  # prints a line: what a start costs
COLD = "cold"  # thousands of functions that each run once in each of argv[1] rounds


class Rung(enum.Enum):
    """A size: seconds of native code in full and in quick mode."""

    SMALL = (0.03, 0.004)
    MEDIUM = (0.3, 0.015)
    LARGE = (3.0, 0.1)

    def size(self, program: Program, *, quick: bool) -> int:
        """Return the argument that *program* gets, at least 1."""
        return size_for(program, self.value[quick])


def size_for(program: Program, seconds: float) -> int:
    """Return the argument with which native code takes about so many seconds."""
    return max(round(program.per_second * seconds), 1)

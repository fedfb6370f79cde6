"""Counts, prices and return codes of CKB's scheduler: all of them are part of behaviour."""

from __future__ import annotations

from rvjit.bits import MASK64

BYTES_PER_CYCLE = 4
EXEC_CYCLES = 75_000  # exec of version 2, besides the bytes it loads
SPAWN_CYCLES = 100_000  # a spawn, besides YIELD_CYCLES
SWAP_CYCLES = 100_000  # a VM evicted, or resumed
YIELD_CYCLES = 800  # every call that goes to the scheduler, but exec

MAX_VMS = 16  # more than that may not be there when one more is spawned, so 17 can live
MAX_INSTANTIATED = 4
MAX_FDS = 64  # that many may not be open when two more are made
MAX_ARGV_SIZE = 1 << 20  # exec of version 1: bytes of strings, and 8 for each

ROOT = 0  # id of the first VM; ids ascend and are never used again
FIRST_FD = 2  # even: the end to read from, odd: the end to write to, of one pipe

SUCCESS = 0
INDEX_OUT_OF_BOUND = 1
ITEM_MISSING = 2
SLICE_OUT_OF_BOUND = 3
WRONG_FORMAT = 4
WAIT_FAILURE = 5
INVALID_FD = 6
OTHER_END_CLOSED = 7
MAX_VMS_SPAWNED = 8
MAX_FDS_CREATED = 9

MAX_CYCLES = MASK64  # "no limit", as CKB has it


def bytes_price(size: int) -> int:
    """Return the cycles that *size* bytes cost."""
    return -(-size // BYTES_PER_CYCLE)

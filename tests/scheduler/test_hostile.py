"""Scripts that want to do harm get the defined code or error, and the host stays as it is."""

from __future__ import annotations

import math
import os
import random
import resource
import time
from collections import Counter
from contextlib import suppress

import pytest

from rvjit.errors import CyclesExceeded, ScriptError
from rvjit.scheduler.data import DataPieces
from rvjit.scheduler.events import Event
from rvjit.scheduler.scheduler import LimitCycles, Scheduler
from rvjit.scheduler.suspended import FullSuspendedState
from rvjit.scheduler.transaction import TransactionContext
from tests.engines.assemble import R, X, assemble, elf
from tests.scheduler.scripts import program

BAD = (0x400000, (1 << 64) - 1, 0x3FFFFC)
CODE = 0x10000  # an address that nothing can be stored at
GOOD = 0x200000

OUT, DENIED = "MemOutOfBound", "MemWriteOnExecutablePage"

# Number, arguments, and the error.
FATAL = [
    *[((2604, bad), OUT) for bad in BAD],
    ((2604, CODE), DENIED),
    *[((2605, 3, GOOD, bad), OUT) for bad in BAD],
    *[((2606, 2, GOOD, bad), OUT) for bad in BAD],
    *[((2607, GOOD, bad), OUT) for bad in BAD],
    ((2607, GOOD, CODE), DENIED),
    *[((2601, 0, 3, 0, 0, bad), OUT) for bad in BAD],
    ((2601, 0, 0, 0, 0, GOOD), "External"),
    *[((2177, bad), OUT) for bad in BAD[:2]],
    *[((2051, GOOD, bad), OUT) for bad in BAD],
    ((2051, GOOD, CODE), DENIED),
    *[((2092, GOOD, bad, 0, 0, 3), OUT) for bad in BAD],
    ((2091, 0x200001, 0x1000, 0, 8, 0, 3), "MemPageUnalignedAccess"),
    ((2091, 0x400000, 0x1000, 0, 8, 0, 3), OUT),
    ((2091, GOOD, 0x1000, (1 << 64) - 4, 8, 0, 3), OUT),
    ((2091, 0x10000, 0x1000, 0, 8, 0, 3), "MemWriteOnFreezedPage"),
    ((2043, 0, 3, 0, 0, 1, 0x400000), OUT),
    ((2043, 0, 3, 0, 0, (1 << 64) - 1, 0), OUT),  # argc: as many empty texts as memory has
    ((2043, 0, 3, 0, 1 << 40, 0, 0), "ElfParseError"),
    ((1,), "InvalidEcall"),
    ((2609,), "InvalidEcall"),
    ((2178,), "InvalidEcall"),
    (((1 << 64) - 1,), "InvalidEcall"),
    ((2602, 0, GOOD), "Unexpected"),  # waits for itself
]

CODES = [
    ((2601, 9, 3, 0, 0, GOOD), 1),
    ((2602, 12345, 0x400000), 5),  # the address does not matter then
    ((2605, 2, GOOD, GOOD), 6),
    ((2606, 3, GOOD, GOOD), 6),
    ((2606, 2, GOOD, GOOD), 6),
    ((2605, (1 << 64) - 1, GOOD, GOOD), 6),
    ((2608, 0), 6),
    ((2608, (1 << 64) - 1), 6),
    ((2043, 0, 9, 0, 0, 0, 0), 1),
    ((2043, 0, 3, 7, 0, 0, 0), 1),
    ((2092, GOOD, GOOD, 0, 77, 3), 1),
    ((2051, 0x400000, GOOD), 0),  # a size of 0: the buffer is not looked at
    ((2607, 0x400000, GOOD), 0),  # no fds: likewise
]


def one_call(*call: int) -> Scheduler:
    file = program("hostile")
    return Scheduler(
        TransactionContext.around(file),
        args=[b"%d" % each for each in call],
        engine="threaded",
    )


@pytest.mark.parametrize(("call", "name"), FATAL, ids=str)
def test_calls_that_end_the_script(call: tuple[int, ...], name: str) -> None:
    with pytest.raises(ScriptError) as caught:
        one_call(*call).run(10_000_000)
    assert caught.value.name == name


@pytest.mark.parametrize(("call", "code"), CODES, ids=str)
def test_calls_that_get_a_code(call: tuple[int, ...], code: int) -> None:
    assert one_call(*call).run().exit_code == 100 + code


BOMB = """
    _start: li sp, 0x380000
            sd zero, 0(sp)       # argc
            sd zero, 8(sp)
            addi a0, sp, 64
            sd a0, 16(sp)        # where the id goes
            sd zero, 24(sp)
    again:  li a0, 0
            li a1, 3
            li a2, 0
            li a3, 0
            mv a4, sp
            li a7, 2601
            ecall
            {after}
            j again
"""


@pytest.mark.parametrize("after", ["nop", "li a7, 93\n ecall"], ids=["forever", "and-exit"])
def test_a_spawn_bomb_goes_off_in_bounds(after: str) -> None:
    """Children that spawn children: no more than 17 VMs, and memory for few machines."""
    file = elf(assemble(BOMB.format(after=after)), R | X)
    pieces = DataPieces({"program": file, "cell_dep/0": file})
    most = 0

    def look(event: Event) -> None:
        nonlocal most
        most = max(most, len(scheduler.vm_ids))

    scheduler = Scheduler(pieces, engine="threaded", observer=look)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with suppress(CyclesExceeded):
        scheduler.run(LimitCycles(50_000_000))
    assert most == 17
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scheduler.close()
    assert peak - before < 64 << 10  # KiB


def test_a_long_list_of_fds_is_no_way_to_hold_up_the_host() -> None:
    """All of memory as fds that nobody owns, again and again."""
    source = """
        _start: li sp, 0x11000
                addi a0, sp, 64
                sd a0, 24(sp)
        again:  li a0, 0
                li a1, 3
                li a2, 0
                li a3, 0
                mv a4, sp
                li a7, 2601
                ecall
                j again
    """
    code = assemble(source)
    file = elf(code, R | X)
    pieces = DataPieces({"program": file, "cell_dep/0": file})
    with pytest.raises(ScriptError):
        Scheduler(pieces, engine="threaded").run(1_000_000)


# Any call with any arguments.

NUMBERS = (
    93, 2041, 2042, 2043, 2051, 2052, 2061, 2062, 2071, 2072, 2073, 2074, 2081, 2082, 2083, 2091,
    2092, 2104, 2177, 2601, 2602, 2603, 2604, 2605, 2606, 2607, 2608,
)  # fmt: skip
VALUES = (
    0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 4096, 0x10000, 0x11000, 0x12000, 0x12FF8, 0x200000, 0x3FFFF8,
    0x3FFFFC, 0x400000, 0x100000001, 0x0100000000000001, 0x0100000000000002, 1 << 32, (1 << 63),
    (1 << 64) - 8, (1 << 64) - 1,
)  # fmt: skip
# What the scheduler may say; anything else, above all what Python says, is a bug.
NAMES = {
    "CyclesExceeded", "ElfParseError", "External", "InvalidEcall", "MemOutOfBound",
    "MemOutOfStack", "MemPageUnalignedAccess", "MemWriteOnExecutablePage", "MemWriteOnFreezedPage",
    "SnapshotDataLoadError", "Unexpected", "InvalidInstruction", "ElfSegmentAddrOrSizeError",
}  # fmt: skip


def random_script(seed: int) -> bytes:
    """A script of some calls with arguments that are likely to mean something."""
    draw = random.Random(seed)
    lines = ["_start:"]
    for _ in range(draw.randrange(3, 12)):
        for register in range(6):
            value = draw.choice(VALUES)
            if draw.random() < 0.2:
                value = draw.getrandbits(draw.choice((8, 22, 64)))
            lines.append(f" li a{register}, {value}")
        if draw.random() < 0.3:  # spawn and exec with a chance
            lines += [" li a0, 0", " li a1, 3", " li a2, 0", " li a3, 0", " li a4, 0x200000"]
        if draw.random() < 0.3:
            lines += [" li t0, 0x200000", f" li t1, {draw.choice(VALUES)}", " sd t1, 0(t0)"]
        lines += [f" li a7, {draw.choice(NUMBERS[1:])}", " ecall"]
    lines += [" li a7, 93", " ecall"]
    return elf(assemble("\n".join(lines)), R | X)


def run_random(seed: int, engine: str) -> tuple[object, int]:
    file = random_script(seed)
    context = TransactionContext.around(file)
    scheduler = Scheduler(context, version=1 + seed % 2, engine=engine)
    try:
        end: object = scheduler.run(3_000_000).exit_code
    except ScriptError as error:
        end = error.name
        assert end in NAMES, seed
    cycles = scheduler.consumed_cycles
    assert len(scheduler.vm_ids) <= 17
    FullSuspendedState.from_bytes(scheduler.suspend().to_bytes())
    scheduler.close()
    return end, cycles


def run_cut(seed: int) -> tuple[object, int] | None:
    """As `run_random`, in pieces, some of which go through bytes; None where it takes too long."""
    draw = random.Random(seed)
    context = TransactionContext.around(random_script(seed))
    options = {"corrected": True, "version": 1 + seed % 2, "engine": "threaded"}
    scheduler = Scheduler(context, **options)
    while True:
        try:
            return scheduler.run(draw.choice((600, 5000, 150_000))).exit_code, (
                scheduler.consumed_cycles
            )
        except CyclesExceeded:
            if scheduler.consumed_cycles > 3_000_000:
                return None
        except ScriptError as error:
            return error.name, scheduler.consumed_cycles
        if draw.random() < 0.3:
            state = FullSuspendedState.from_bytes(scheduler.suspend().to_bytes())
            scheduler.close()
            scheduler = Scheduler.resume(context, state, engine="threaded")


def check_random(seeds: range, seconds: float = math.inf) -> Counter[object]:
    """Run the scripts of *seeds*, or as many as *seconds* allow."""
    ends: Counter[object] = Counter()
    deadline = time.monotonic() + seconds
    for seed in seeds:
        if time.monotonic() > deadline:
            break
        first = run_random(seed, "threaded")
        if seed % 10 == 0:
            assert run_random(seed, "interp") == first, seed
            if first[0] != "CyclesExceeded":
                assert run_cut(seed) in (first, None), seed
        ends[first[0]] += 1
    return ends


def test_any_call_with_any_arguments(seeds) -> None:
    ends = check_random(seeds(120))
    assert len(ends) > 5


@pytest.mark.slow
def test_many_more_calls(seeds) -> None:
    """.ci/run gives it a minute."""
    seconds = float(os.environ.get("RVJIT_FUZZ_SECONDS", "inf"))
    ends = check_random(seeds(20_000), seconds)
    print(f"{ends.total()} scripts: {dict(ends)}")  # noqa: T201

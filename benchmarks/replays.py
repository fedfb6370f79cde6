"""What checkpoints for replays cost, and how quick a replay is.

    python -m benchmarks.replays

Prints the pause of a checkpoint in milliseconds, least and median of many, in memory and by fork,
for a guest of 64 MiB of which little or all is in use, by pages written between two checkpoints, in
a warm process and in one that has LLVM loaded; next to it a bare `os.fork` of the same process
whose child ends at once. Then the time until a sleeping process is awake, the speed of a replay,
and what taking a checkpoint every second costs a run, in CPU time.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rvjit import VM, CheckpointRing, example
from rvjit.machine.pages import PAGE_SIZE
from rvjit.replay.forked import Forks

_SIZE = 64 << 20
_TIMES = 200
_ALL = _SIZE // PAGE_SIZE - 1024  # pages; the program and its stack are in the others
CASES = [
    ("memory", 0, 0),
    ("memory", 0, 256),
    ("memory", _ALL, 256),
    ("fork", 0, 0),
    ("fork", 0, 256),
    ("fork", _ALL, 0),
    ("fork", _ALL, 256),
]


def times(action: Callable[[], object], before: Callable[[], object]) -> tuple[float, float]:
    """Return least and median milliseconds of *action*, each time after *before*."""
    found = []
    for _ in range(_TIMES):
        before()
        started = time.perf_counter()
        action()
        found.append((time.perf_counter() - started) * 1e3)
    found.sort()
    return found[0], found[len(found) // 2]


def bare_fork() -> None:
    """Fork a child that ends at once; its end is waited for later."""
    if not os.fork():
        os._exit(0)


def pause(kind: str, in_use: int, written: int, *, llvm: bool) -> dict[str, float]:
    """Measure one case, in a process of its own."""
    if llvm:
        from rvjit.codegen.llvm import compiler

        compiler()
    vm = VM.from_elf(example("hello"), memory_size=_SIZE, engine="tiered", stdout=len)
    vm.run()
    memory = vm.machine.memory
    first = memory.base + (512 * PAGE_SIZE)
    folder = tempfile.mkdtemp()
    with CheckpointRing(
        vm, Path(folder) / "trace", seconds=1e6, kind=kind, max_bytes=1 << 30
    ) as ring:
        ring.checkpoint()
        memory.protect(first, _ALL * PAGE_SIZE, read=True, write=True, execute=False)
        for page in range(in_use):
            memory.write(first + page * PAGE_SIZE, b"in use")
        pages = random.Random(1)

        def write() -> None:
            for _ in range(written):
                page = pages.randrange(_ALL if in_use else 1024)
                memory.write(first + page * PAGE_SIZE, pages.randbytes(8))
            ring._recorder.begin()  # noqa: SLF001 - what we wrote is not to be noted
            time.sleep(0.002)

        least, median = times(ring.checkpoint, write)
    Path(folder).rmdir()
    bare, _ = times(bare_fork, lambda: time.sleep(0.002))
    return {"least": least, "median": median, "bare": bare}


def wake_up() -> tuple[float, float]:
    """Return least and median milliseconds until a sleeping process is awake."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(20):
            vm = VM.from_elf(example("hello"), memory_size=_SIZE, stdout=len)
            with CheckpointRing(vm, Path(folder) / "trace", every=10**9, kind="fork") as ring:
                ring.run(cycle_limit=100)
                time.sleep(0.02)
                keeper = ring._keeper  # noqa: SLF001
                ring.fail("now")
                assert isinstance(keeper, Forks)
                assert keeper.wake_seconds is not None
                found.append(keeper.wake_seconds * 1e3)
    found.sort()
    return found[0], found[len(found) // 2]


def speeds() -> tuple[float, float]:
    """Return million cycles a second of a replay without and with a trace, in memory."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for cycles, last in ((400_000_000, 1), (100_000, None)):
            vm = VM.from_elf(example("sieve"), args=["100000"], engine="tiered", stdout=len)
            with CheckpointRing(vm, Path(folder) / "trace", every=10**10, last=last) as ring:
                ran = ring.run(cycle_limit=cycles).cycles
                started = time.process_time()
                ring.fail("now")
                found.append(ran / (time.process_time() - started) / 1e6)
    return found[0], found[1]


def overhead(kind: str) -> float:
    """Return the CPU time of a run with a checkpoint every 0.2 s, relative to one without."""
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        for with_ring in (False, True) * 3:
            vm = VM.from_elf(example("sieve"), args=["600000"], engine="tiered", stdout=len)
            started = time.process_time()
            if with_ring:
                with CheckpointRing(vm, Path(folder) / "trace", seconds=0.2, kind=kind) as ring:
                    ring.run()
            else:
                vm.run()
            used = time.process_time() - started
            seconds[with_ring] = min(seconds.get(with_ring, used), used)
    return seconds[True] / seconds[False]


def _in_a_process(*case: object) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.replays", *map(str, case)]
    answer: dict[str, float] = json.loads(subprocess.check_output(command))
    return answer


def main() -> None:
    """Print the tables; with arguments, measure one case and print it as JSON."""
    if len(sys.argv) > 1:
        kind, in_use, written, llvm = sys.argv[1:]
        print(json.dumps(pause(kind, int(in_use), int(written), llvm=llvm == "True")))
        return
    print(f"pause of a checkpoint in ms, guest of {_SIZE >> 20} MiB: least, median (bare fork)")
    for llvm in (False, True):
        for kind, in_use, written in CASES:
            found = _in_a_process(kind, in_use, written, llvm)
            print(
                f"  {kind:6}  {'LLVM loaded' if llvm else 'warm':11}  "
                f"{'all' if in_use else 'little':6} in use, {written:3} pages written:  "
                f"{found['least']:.3f}  {found['median']:.3f}  ({found['bare']:.3f})"
            )
    print("awake after: {:.3f} ms, median {:.3f}".format(*wake_up()))
    print("replay: {:.0f} million cycles/s, with a trace {:.3f}".format(*speeds()))
    for kind in ("memory", "fork"):
        print(f"CPU time with a checkpoint every 0.2 s, {kind}: {overhead(kind):.3f} of without")


if __name__ == "__main__":
    main()

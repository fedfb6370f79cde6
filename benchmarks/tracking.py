"""What it costs compiled code to keep track of the pages that it writes.

    python -m benchmarks.tracking [--seconds S] [--repeat N] [GUEST ...]

Runs each guest in three builds: as it is; without tracking, where stores look only whether the page
may be written to; and without any look at the page's flags, so that stores into read-only pages and
into code go unnoticed, too. Prints CPU seconds of the first, compilation left out, and its ratio to
each of the others, of each the least in N alternating rounds.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import rvjit
from benchmarks.guests import build
from benchmarks.programs import BY_NAME, size_for
from rvjit.codegen import access, loops
from rvjit.machine.pages import STORE_FAST, WRITABLE


@contextmanager
def untracked() -> Iterator[None]:
    """Compile stores that test the permission instead of the flag that pages get when written."""
    kept = access.STORE_FAST, loops.ALL_FAST
    access.STORE_FAST = WRITABLE  # type: ignore[misc]
    loops.ALL_FAST = loops.ALL_FAST // STORE_FAST * WRITABLE  # type: ignore[misc]
    try:
        yield
    finally:
        access.STORE_FAST, loops.ALL_FAST = kept  # type: ignore[misc]


@contextmanager
def unchecked() -> Iterator[None]:
    """Compile stores that look at no flags, but for a test before some loops that never fails."""
    kept = access.MemoryAccess.ready_to_store, loops.ALL_FAST
    access.MemoryAccess.ready_to_store = lambda *_: None  # type: ignore[method-assign]
    loops.ALL_FAST = 0  # type: ignore[misc]
    try:
        yield
    finally:
        access.MemoryAccess.ready_to_store, loops.ALL_FAST = kept  # type: ignore[method-assign,misc]


def run(name: str, size: int) -> tuple[float, bytes]:
    """Return the CPU seconds of a run, compilation left out, and its output."""
    output = bytearray()
    guest = build.HERE / "rv64" / f"{name}.elf"
    vm = rvjit.VM.from_elf(guest, args=[str(size)], engine="jit", stdout=output.extend, cache=False)
    started = time.process_time()
    result = vm.run()
    seconds = time.process_time() - started - (vm.engine.statistics.compile_seconds or 0)
    assert result.exit_code == 0, vm.fault_report(result)
    vm.close()
    return seconds, bytes(output)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("guests", nargs="*", default=list(BY_NAME), metavar="GUEST")
    parser.add_argument("--seconds", type=float, default=0.3, metavar="S", help="of native code")
    parser.add_argument("--repeat", type=int, default=5, metavar="N")
    options = parser.parse_args()
    ratios: list[tuple[float, float]] = []
    print("guest        tracked   to untracked   to unchecked")
    for name in options.guests:
        size = size_for(BY_NAME[name], options.seconds)
        builds = (nullcontext, untracked, unchecked)
        rounds = []
        for _ in range(options.repeat):
            seconds, outputs = [], set()
            for build_so in builds:
                with build_so():
                    each, output = run(name, size)
                seconds.append(each)
                outputs.add(output)
            assert len(outputs) == 1, f"{name}: {outputs}"
            rounds.append(seconds)
        tracked, *others = map(min, zip(*rounds, strict=True))
        first, second = (tracked / each for each in others)
        ratios.append((first, second))
        print(f"{name:12} {tracked:7.3f} s {first:12.3f} {second:14.3f}", flush=True)
    means = [math.exp(statistics.fmean(map(math.log, each))) for each in zip(*ratios, strict=True)]
    print(f"geometric mean {means[0]:18.3f} {means[1]:14.3f}")


if __name__ == "__main__":
    main()

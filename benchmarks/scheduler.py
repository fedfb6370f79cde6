"""What switching between the VMs of a script costs.

    python -m benchmarks.scheduler [--engines NAME,...] [--exchanges N] [--laps N] [--rounds N]

Ping-pong: two VMs and two pipes. An exchange is a message that one VM has written and the other has
read; there and back are two. Each takes two runs of a VM, two system calls and a transfer.

Ring: a token goes round 16 VMs, of which four have a machine, so that nearly every step evicts a VM
and gives another its machine.

Figures are those of the best of some rounds, by the CPU time of this process, as other work on the
machine can only add to that; wall time is beside it. Loading and compiling are in an unmeasured
round before.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NamedTuple

from rvjit.engines import NAMES
from rvjit.scheduler.data import DataPieces
from rvjit.scheduler.events import Event
from rvjit.scheduler.scheduler import Scheduler

_GUESTS = Path(__file__).parent.parent / "tests" / "guests" / "ckb"


class Cost(NamedTuple):
    """Seconds of the best round, and how often what is measured happened in it."""

    cpu: float
    wall: float
    count: int

    def __str__(self) -> str:
        return f"{self.count / self.cpu:>12,.0f} {self.count / self.wall:>12,.0f}"


def _run(guest: str, argument: int, engine: str) -> tuple[float, float]:
    file = (_GUESTS / f"{guest}.elf").read_bytes()
    data = DataPieces({"program": file, "cell_dep/0": file})
    scheduler = Scheduler(data, args=[b"%d" % argument], engine=engine)
    cpu, wall = time.process_time(), time.perf_counter()
    assert scheduler.run().exit_code == 0
    spent = time.process_time() - cpu, time.perf_counter() - wall
    scheduler.close()
    return spent


def evictions(laps: int) -> int:
    """Count the evictions of a ring; they do not depend on the engine."""
    file = (_GUESTS / "ring.elf").read_bytes()
    found = 0

    def look(event: Event) -> None:
        nonlocal found
        found += event.kind == "evicted"

    data = DataPieces({"program": file, "cell_dep/0": file})
    Scheduler(data, args=[b"%d" % laps], engine="threaded", observer=look).run()
    return found


def measure(guest: str, argument: int, count: int, engine: str, rounds: int) -> Cost:
    """Run a guest some times; return the best."""
    _run(guest, argument, engine)
    times = [_run(guest, argument, engine) for _ in range(rounds)]
    return Cost(min(cpu for cpu, _ in times), min(wall for _, wall in times), count)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engines", default="threaded,tiered", metavar="NAME,...")
    parser.add_argument("--exchanges", type=int, default=100_000, metavar="N")
    parser.add_argument("--laps", type=int, default=40, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    options = parser.parse_args()
    count = evictions(options.laps)
    print(f"{'':10} {'':10} {'per CPU s':>12} {'per wall s':>12}")
    for engine in options.engines.split(","):
        if engine not in NAMES:
            parser.error(f"unknown engine {engine!r}: known are {', '.join(NAMES)}")
        there_and_back = options.exchanges // 2
        cost = measure("pingpong", there_and_back, 2 * there_and_back, engine, options.rounds)
        print(f"{engine:10} exchanges  {cost}")
        cost = measure("ring", options.laps, count, engine, options.rounds)
        print(f"{engine:10} evictions  {cost}")


if __name__ == "__main__":
    main()

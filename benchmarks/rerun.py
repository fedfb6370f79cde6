"""What it costs to run a loaded tiny guest again from Python: reset and run.

    python -m benchmarks.rerun [--engines NAME,...] [--rounds N]

The guest runs some 100 instructions, writes one word of its stack and exits. Each figure is the CPU
time of this process for one reset and one run; the best of N rounds of 1000 counts, since other
work on the machine can only add to it. The guest's own share is below 0.2 us but for the
interpreter; it is measured apart, as what 10 times the instructions cost more.
"""

from __future__ import annotations

import argparse
import math
import time

import rvjit
from rvjit.engines import NAMES
from tests.engines.assemble import assemble, elf

TURNS = 30  # of a loop of three instructions
_CALLS = 1000
_GUEST = """
    _start: li a1, {turns}
    loop:   addi a0, a0, 3
            addi a1, a1, -1
            bnez a1, loop
            sd a0, -8(sp)
            li a0, 0
            li a7, 93
            ecall
"""


def cost(engine: str, turns: int, rounds: int) -> tuple[float, float, int]:
    """CPU seconds of reset and run together, of reset alone, and instructions of the guest."""
    program = elf(assemble(_GUEST.format(turns=turns)))
    vm = rvjit.VM.from_elf(program, engine=engine, memory_size=4 << 20)
    instructions = vm.run().cycles
    both = alone = math.inf
    for _ in range(rounds):
        started = time.process_time()
        for _ in range(_CALLS):
            vm.reset()
            vm.run()
        middle = time.process_time()
        for _ in range(_CALLS):
            vm.reset()
        ended = time.process_time()
        both = min(both, (middle - started) / _CALLS)
        alone = min(alone, (ended - middle) / _CALLS)
        vm.run()
    vm.close()
    return both, alone, instructions


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engines", default=",".join(NAMES), metavar="NAME,...")
    parser.add_argument("--rounds", type=int, default=20, metavar="N")
    options = parser.parse_args()
    print("engine     instructions  reset and run      guest's          own  of that reset")
    for engine in options.engines.split(","):
        both, reset, count = cost(engine, TURNS, options.rounds)
        longer, _, more = cost(engine, 10 * TURNS, options.rounds)
        guest = max(longer - both, 0.0) * count / (more - count)
        shown = [f"{1e6 * seconds:8.2f} us" for seconds in (both, guest, both - guest, reset)]
        print(f"{engine:10} {count:12} {'  '.join(shown)}", flush=True)


if __name__ == "__main__":
    main()

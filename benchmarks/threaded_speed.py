"""Speed of the threaded engine on the example guests, in million guest instructions a second.

    python -m benchmarks.threaded_speed [--scale FACTOR] [--repeat N] [NAME ...]

CPU seconds of the process, so other work on the machine disturbs little; the best of N runs counts.
Sizes take about a second each at scale 1.
"""

from __future__ import annotations

import argparse
import math
import time

import rvjit

SIZES = {
    "bytecode": 400_000,
    "coremix": 120_000,
    "fib": 40,
    "json": 900_000,
    "mandelbrot": 2600,
    "matmul": 260_000,
    "quicksort": 16_000_000,
    "sha256": 70_000,
    "sieve": 180_000,
}
GOLDEN = (1 + 5**0.5) / 2


def size_of(name: str, scale: float) -> int:
    """The size of a program that takes *scale* seconds or so."""
    if name == "fib":
        return SIZES[name] + round(math.log(scale, GOLDEN))
    return int(SIZES[name] * (scale**0.5 if name == "mandelbrot" else scale))


def speed(name: str, scale: float, repeat: int) -> tuple[float, float]:
    """Instructions that the program runs, and how many a second."""
    best = math.inf
    count = 0
    for _ in range(repeat):
        vm = rvjit.VM.from_elf(
            rvjit.example(name),
            args=[str(size_of(name, scale))],
            engine="threaded",
            stdout=lambda _: None,
        )
        started = time.process_time()
        result = vm.run()
        best = min(best, time.process_time() - started)
        if result.exit_code != 0:
            raise SystemExit(f"{name}: {result}")
        count = result.cycles
    return count, count / best


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", default=list(SIZES), metavar="NAME")
    parser.add_argument("--scale", type=float, default=1.0, metavar="FACTOR")
    parser.add_argument("--repeat", type=int, default=3, metavar="N")
    options = parser.parse_args()
    found = []
    for name in options.names:
        count, rate = speed(name, options.scale, options.repeat)
        found.append(rate)
        print(f"{name:12} {count / 1e6:9.1f} M {rate / 1e6:8.0f} M/s", flush=True)
    mean = math.fsum(found) / len(found)
    geometric = math.exp(math.fsum(math.log(rate) for rate in found) / len(found))
    print(f"mean {mean / 1e6:.0f} M/s, geometric {geometric / 1e6:.0f} M/s")


if __name__ == "__main__":
    main()

"""One engine against native code on some guests: a quick look while something is being tuned.

    python -m benchmarks.ratio [--engine NAME] [--seconds S] [--repeat N] [GUEST ...]

For each guest: instructions, million instructions a second, CPU seconds of the engine from the
first instruction to the exit (compilation included) and of native code, and the median of their
ratios over N alternating runs. `python -m benchmarks` measures everything, and more carefully.
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import rvjit
from benchmarks.guests import build
from benchmarks.programs import BY_NAME, size_for
from rvjit import engines


def native_seconds(program: Path, size: int) -> tuple[float, bytes]:
    """Return user and system time of a process, and its output."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output = subprocess.run([program, str(size)], check=True, capture_output=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, output


def engine_seconds(name: str, size: int, engine: str) -> tuple[float, int, bytes]:
    """Return CPU time of a run, its instructions and its output."""
    output = bytearray()
    guest = build.HERE / "rv64" / f"{name}.elf"
    vm = rvjit.VM.from_elf(guest, args=[str(size)], engine=engine, stdout=output.extend)
    started = time.process_time()
    result = vm.run()
    seconds = time.process_time() - started
    if result.exit_code != 0:
        raise SystemExit(f"{name}: {vm.fault_report(result)}")
    vm.close()
    return seconds, result.cycles, bytes(output)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("guests", nargs="*", default=list(BY_NAME), metavar="GUEST")
    parser.add_argument("--engine", choices=engines.NAMES, default="jit", metavar="NAME")
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S", help="of native code")
    parser.add_argument("--repeat", type=int, default=1, metavar="N")
    options = parser.parse_args()
    ratios, speeds = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.guests:
            program = Path(folder) / name
            size = size_for(BY_NAME[name], options.seconds)
            build.build_native(name, program)
            runs = []
            for _ in range(options.repeat):
                below, expected = native_seconds(program, size)
                above, count, output = engine_seconds(name, size, options.engine)
                if output != expected:
                    sys.stdout.write(f"{name}: OUTPUT DIFFERS: {output!r}, {expected!r}\n")
                runs.append((above / below, count / above, above, below))
            ratio, speed, above, below = (
                statistics.median(column) for column in zip(*runs, strict=True)
            )
            ratios.append(ratio)
            speeds.append(speed)
            print(
                f"{name:12} {count / 1e6:9.1f} M {speed / 1e6:7.0f} M/s"
                f" {above:7.3f} s {below:7.3f} s native {ratio:7.2f}",
                flush=True,
            )
    mean = math.exp(statistics.fmean(math.log(ratio) for ratio in ratios))
    print(f"mean {statistics.fmean(speeds) / 1e6:.0f} M/s, ratio {mean:.2f} (geometric mean)")


if __name__ == "__main__":
    main()

"""Measure engines against each other, alternating in one run.

    python -m benchmarks.measure [--quick] [--only NAME,...] [--engines NAME,...] [--repeat N]
                                 [--out DIR] [--publish]

A round runs every program in every role, and within a role one engine after the other, each in a
process of its own; then comes the next round. So what changes on the machine over time hits all
engines alike, and ratios are taken between neighbours in time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.backends import BY_NAME, HERE, ROOT, Backend, Task
from benchmarks.host import describe_commit, describe_host, describe_versions
from benchmarks.launch import RunFailed, Sample, run_process
from benchmarks.programs import (
    PROGRAMS,
    ROLES,
    STARTUP,
    STARTUP_PROGRAM,
    STARTUP_SIZE,
    WARM_UP,
    size_of,
)
from benchmarks.report import RESULTS_NAME, publish, write_markdown

SCHEMA = 1
_QUICK_SECONDS = 105.0  # no new point is begun after that, which leaves time for the last one
_QUICK_TIMEOUT, _FULL_TIMEOUT = 60.0, 900.0
_STARTUP_RUNS = 5  # a start takes milliseconds, so each round can afford several

Advance = Callable[[str], None]


@dataclass
class Point:
    """One program with one size on several engines, and what came of it."""

    program: str
    role: str
    size: int
    engines: tuple[str, ...]
    runs_per_round: int = 1
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0  # wall time of the last round, to foresee the next

    def outputs_agree(self) -> bool:
        """Tell whether all runs that print the guest's output printed the same."""
        digests = {
            sample.output_digest
            for engine, samples in self.samples.items()
            if engine != "python"
            for sample in samples
        }
        return len(digests) <= 1

    def to_json(self) -> dict[str, Any]:
        """Return everything for the result file."""
        return {
            "program": self.program,
            "role": self.role,
            "size": self.size,
            "outputs_agree": self.outputs_agree(),
            "failures": self.failures,
            "samples": {
                engine: [sample.to_json() for sample in samples]
                for engine, samples in self.samples.items()
            },
        }


def plan(names: Sequence[str], engines: Sequence[str], *, quick: bool) -> list[Point]:
    """Return the points to measure for these programs on these engines."""
    points = []
    if STARTUP_PROGRAM in names:
        wanted = tuple(name for name in STARTUP.engines if name in engines)
        points.append(Point(STARTUP_PROGRAM, STARTUP.name, STARTUP_SIZE, wanted, _STARTUP_RUNS))
    for program in PROGRAMS:
        if program.name not in names:
            continue
        for role in ROLES:
            wanted = tuple(name for name in role.engines if name in engines)
            size = size_of(program, role, quick=quick)
            points.append(Point(program.name, role.name, size, wanted))
    return [point for point in points if point.engines]


class Runner:
    """Runs points; *work* holds built programs and the children's reports."""

    def __init__(self, work: Path, timeout: float) -> None:
        self._work = work
        self._timeout = timeout
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._prepared: set[tuple[str, str]] = set()

    def run_round(self, point: Point, number: int, advance: Advance) -> None:
        """Run *point* once on each of its engines, in turn, and note what they took."""
        started = time.monotonic()
        for _ in range(point.runs_per_round):
            for name in point.engines:
                if name not in point.failures:
                    self._run(point, BY_NAME[name], number)
        for name in point.engines:
            advance(f"{point.program} {point.role} {name}")
        point.seconds = time.monotonic() - started

    def _run(self, point: Point, backend: Backend, number: int) -> None:
        report = self._work / "report"
        task = Task(point.program, point.size, WARM_UP.get(backend.name, 0), self._work, report)
        try:
            if (backend.name, point.program) not in self._prepared:
                backend.prepare(point.program, self._work)
                self._prepared.add((backend.name, point.program))
            sample = run_process(
                backend.command(task),
                report=report,
                environment=self._environment,
                timeout=self._timeout,
                round_number=number,
            )
        except (RunFailed, subprocess.CalledProcessError) as error:
            point.failures[backend.name] = str(error)
            return
        point.samples.setdefault(backend.name, []).append(sample)


def measure(
    points: Sequence[Point], *, repeat: int, quick: bool, advance: Advance
) -> tuple[int, int]:
    """Run *repeat* rounds, in quick mode fewer where time runs out.

    Return how many rounds are complete and how many points the last one lacks.
    """
    started = time.monotonic()
    timeout = _QUICK_TIMEOUT if quick else _FULL_TIMEOUT
    with tempfile.TemporaryDirectory() as work:
        runner = Runner(Path(work), timeout)
        for number in range(repeat):
            for index, point in enumerate(points):
                spent = time.monotonic() - started
                if quick and spent + point.seconds > _QUICK_SECONDS:
                    return number, len(points) - index
                runner.run_round(point, number, advance)
    return repeat, 0


def present(names: Sequence[str]) -> tuple[list[Backend], dict[str, str]]:
    """Split the engines into those that are here and the reasons why others are not."""
    found, skipped = [], {}
    for name in names:
        reason = BY_NAME[name].missing()
        if reason is None:
            found.append(BY_NAME[name])
        else:
            skipped[name] = reason
    return found, skipped


def run_all(
    names: Sequence[str], engines: Sequence[str], *, repeat: int, quick: bool, note: Advance
) -> dict[str, Any]:
    """Measure and return the content of the result file."""
    found, skipped = present(engines)
    for name, reason in skipped.items():
        note(f"{name} is left out: {reason}")
    points = plan(names, [backend.name for backend in found], quick=quick)
    host = describe_host()
    started = time.monotonic()
    with Meter(sum(len(point.engines) for point in points) * repeat, note) as advance:
        rounds, lacking = measure(points, repeat=repeat, quick=quick, advance=advance)
    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "mode": "quick" if quick else "full",
        "rounds": rounds,
        "points_lacking_in_last_round": lacking,
        "seconds": round(time.monotonic() - started, 1),
        "host": {**host, "load_after": round(os.getloadavg()[0], 2)},
        "versions": describe_versions(found),
        "commit": describe_commit(),
        "skipped": skipped,
        "points": [point.to_json() for point in points],
    }


class Meter:
    """Shows how far a measurement is: a bar on a terminal, lines elsewhere.

    Inside a ``with`` its value is a function to be called once per step.
    """

    def __init__(self, total: int, note: Advance) -> None:
        self._total, self._done, self._note = total, 0, note
        self._bar: Any = None
        self._task: Any = None
        if sys.stderr.isatty():
            try:
                from rich.console import Console
                from rich.progress import Progress
            except ImportError:
                return
            self._bar = Progress(console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("starting", total=total)

    def __enter__(self) -> Advance:
        if self._bar is None:
            return self._line
        self._bar.start()
        return self._move

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _move(self, text: str) -> None:
        self._bar.update(self._task, advance=1, description=f"{text:28}")

    def _line(self, text: str) -> None:
        self._done += 1
        self._note(f"[{self._done}/{self._total}] {text}")


def _note(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Return an argparse type: names from *known*, separated by commas."""

    def parse(text: str) -> list[str]:
        chosen = [name for name in text.split(",") if name]
        unknown = [name for name in chosen if name not in known]
        if unknown or not chosen:
            raise argparse.ArgumentTypeError(f"{text!r}: known are {', '.join(known)}")
        return chosen

    return parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; 1 where outputs differ, an engine failed or there was no time for a round."""
    programs = [STARTUP_PROGRAM, *(program.name for program in PROGRAMS)]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.measure", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, under two minutes")
    parser.add_argument(
        "--only", type=_names(programs), default=programs, metavar="NAME,...",
        help=f"programs: {', '.join(programs)}",
    )  # fmt: skip
    parser.add_argument(
        "--engines", type=_names(list(BY_NAME)), default=list(BY_NAME), metavar="NAME,...",
        help=f"engines: {', '.join(BY_NAME)}",
    )  # fmt: skip
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="rounds (default 3)")
    parser.add_argument(
        "--out", type=Path, default=HERE / "out", metavar="DIR", help="default benchmarks/out"
    )
    parser.add_argument(
        "--publish", action="store_true", help=f"also replace benchmarks/{RESULTS_NAME}"
    )
    options = parser.parse_args(arguments)
    if options.repeat < 1:
        parser.error("--repeat must be at least 1")
    if options.publish and (options.only != programs or options.engines != list(BY_NAME)):
        parser.error("--publish needs all programs and engines")
    results = run_all(
        options.only, options.engines, repeat=options.repeat, quick=options.quick, note=_note
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    markdown = write_markdown(results)
    (options.out / RESULTS_NAME).write_text(markdown)
    complete = results["rounds"] > 0
    if options.publish and complete:
        publish(markdown)
    sys.stdout.write(markdown)
    wrong = [] if complete else ["time ran out before the first round was complete"]
    wrong += [
        f"{point['program']} {point['role']}: {why}"
        for point in results["points"]
        for why in [
            *(f"{name}: {message}" for name, message in point["failures"].items()),
            *([] if point["outputs_agree"] else ["outputs differ"]),
        ]
    ]
    for line in wrong:
        _note(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())

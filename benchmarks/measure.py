"""Measure backends against each other, alternating in one run.

A round runs every guest in every role, and within a role one series after the other, each in a
process of its own; then comes the next round. So what changes on the machine over time hits all
alike, and ratios are taken between neighbours in time.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.backends import BY_NAME, ROOT, Backend, Task
from benchmarks.caches import Caches
from benchmarks.host import describe_commit, describe_host, describe_versions
from benchmarks.launch import RunFailed, Sample, run_process
from benchmarks.lineup import BY_KEY, Point, Series, State, plan
from benchmarks.progress import Advance, Meter

SCHEMA = 2
_QUICK_SECONDS = 105.0  # no new point is begun after that, which leaves time for the last one
_QUICK_TIMEOUT, _FULL_TIMEOUT = 60.0, 900.0


def _surroundings() -> dict[str, str]:
    """Return the environment of a measured process; users' Pythons keep compiled modules."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


class Runner:
    """Runs points; *work* holds built programs, caches and the children's reports."""

    def __init__(self, work: Path, timeout: float) -> None:
        self._work = work
        self._timeout = timeout
        self._prepared: set[tuple[str, str]] = set()
        self.caches = Caches(work, self._fill)
        self.loads: list[float] = []

    def run_round(self, point: Point, number: int, advance: Advance) -> None:
        """Run *point* once in each of its series, in turn, and note what they took."""
        started = time.monotonic()
        self.loads.append(os.getloadavg()[0])
        for _ in range(point.runs):
            for key in point.series:
                if key not in point.failures:
                    self._run(point, BY_KEY[key], number)
        for key in point.series:
            advance(f"{point.program} {point.role.name} {key}")
        point.seconds = time.monotonic() - started

    def _run(self, point: Point, series: Series, number: int) -> None:
        backend = BY_NAME[series.backend]
        try:
            if (backend.name, point.program) not in self._prepared:
                backend.prepare(point.program, self._work)
                self._prepared.add((backend.name, point.program))
            size = point.fill_sizes[series.key]
            cache = self.caches.folder(backend, series.state, point.program, size)
            sample = self._launch(backend, point.program, point.size, series.state, cache, number)
        except (RunFailed, subprocess.CalledProcessError) as error:
            point.failures[series.key] = str(error)
            return
        point.samples.setdefault(series.key, []).append(sample)

    def _fill(self, backend: Backend, program: str, size: int, cache: Path) -> None:
        self._launch(backend, program, size, State.WARM, cache, filling=True)

    def _launch(
        self,
        backend: Backend,
        program: str,
        size: int,
        state: State,
        cache: Path,
        number: int = 0,
        *,
        filling: bool = False,
    ) -> Sample:
        report = self._work / "report"
        task = Task(program, size, state, cache, self._work, report, filling)
        return run_process(
            backend.command(task),
            report=report,
            environment={**_surroundings(), **backend.environment(task)},
            timeout=self._timeout,
            round_number=number,
        )


def measure(
    runner: Runner, points: Sequence[Point], *, repeat: int, quick: bool, advance: Advance
) -> tuple[int, int]:
    """Run *repeat* rounds, in quick mode fewer where time runs out.

    Return how many rounds are complete and how many points the last one lacks.
    """
    started = time.monotonic()
    for number in range(repeat):
        for index, point in enumerate(points):
            spent = time.monotonic() - started
            if quick and spent + point.seconds > _QUICK_SECONDS:
                return number, len(points) - index
            runner.run_round(point, number, advance)
    return repeat, 0


def present(names: Sequence[str]) -> tuple[list[Backend], dict[str, str]]:
    """Split the backends into those that are here and the reasons why others are not."""
    found, skipped = [], {}
    for name in names:
        reason = BY_NAME[name].missing()
        if reason is None:
            found.append(BY_NAME[name])
        else:
            skipped[name] = reason
    return found, skipped


def run_all(
    names: Sequence[str], backends: Sequence[str], *, repeat: int, quick: bool, note: Advance
) -> dict[str, Any]:
    """Measure and return the content of the result file."""
    found, skipped = present(backends)
    for name, reason in skipped.items():
        note(f"{name} is skipped: {reason}")
    points = plan(names, [backend.name for backend in found], quick=quick)
    host = describe_host()
    started = time.monotonic()
    timeout = _QUICK_TIMEOUT if quick else _FULL_TIMEOUT
    with (
        tempfile.TemporaryDirectory() as work,
        Meter(sum(len(point.series) for point in points) * repeat, note) as advance,
    ):
        runner = Runner(Path(work), timeout)
        rounds, lacking = measure(runner, points, repeat=repeat, quick=quick, advance=advance)
        keeping = [each.name for each in found if runner.caches.keeps_code(each)]
    loads = runner.loads or [host["load"]]
    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "mode": "quick" if quick else "full",
        "rounds": rounds,
        "points_lacking_in_last_round": lacking,
        "seconds": round(time.monotonic() - started, 1),
        "host": {
            **host,
            "load_while_measuring": [
                round(each, 2) for each in (min(loads), statistics.fmean(loads), max(loads))
            ],
        },
        "versions": describe_versions(found),
        "commit": describe_commit(),
        "skipped": skipped,
        "keeping_code": keeping,
        "points": [point.to_json() for point in points],
    }

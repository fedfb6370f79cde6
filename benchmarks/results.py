"""A result file, asked for medians and ratios. Everything is None where it was not measured."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from typing import Any

from benchmarks.lineup import SLOW, TITLES

Json = dict[str, Any]
NATIVE = "native"
# CPU seconds of the run where the process tells them, of the whole process elsewhere: the start of
# a Python process varies by more than a native one takes.
STEADY = "steady"
SPECIAL_ROLES = ("start", "once")


class Results:
    """The samples of a result file by guest, role and series."""

    def __init__(self, content: Json) -> None:
        self.content = content
        self._points = {(point["program"], point["role"]): point for point in content["points"]}

    def programs(self) -> list[str]:
        """Return the names of the guests with more than one size, in order."""
        return list(dict.fromkeys(name for name, role in self._points if role not in SPECIAL_ROLES))

    def series(self, *roles: str) -> list[str]:
        """Return the series that have samples in one of the roles, in `lineup`'s order."""
        seen = {
            key
            for (_, role), point in self._points.items()
            if role in roles
            for key, samples in point["samples"].items()
            if samples
        }
        return [key for key in TITLES if key in seen]

    def size(self, program: str, role: str) -> int | None:
        """Return the argument that the guest got."""
        point = self._points.get((program, role))
        return None if point is None else point["size"]

    def samples(self, program: str, role: str, key: str) -> list[Json]:
        """Return the runs, possibly none."""
        point = self._points.get((program, role))
        return [] if point is None else point["samples"].get(key, [])

    def values(self, program: str, role: str, key: str, name: str) -> list[float]:
        """Return one field of all runs that have it."""
        return [run[name] for run in self.samples(program, role, key) if name in run]

    def median(self, program: str, role: str, key: str, name: str) -> float | None:
        """Return the median of one field over the runs that have it."""
        values = self.values(program, role, key, name)
        return statistics.median(values) if values else None

    def peak(self, key: str, roles: Iterable[str]) -> dict[str, float]:
        """Return the largest peak memory in any of the roles by guest."""
        found = {}
        for program in self.programs():
            peaks = [
                peak for role in roles for peak in self.values(program, role, key, "peak_bytes")
            ]
            if peaks:
                found[program] = max(peaks)
        return found

    def spread(self, key: str) -> float | None:
        """Return the largest (slowest - fastest) / median of CPU seconds in medium and large."""
        found = []
        for (_, role), point in self._points.items():
            values = [run["cpu_seconds"] for run in point["samples"].get(key, ())]
            if role in ("medium", "large") and len(values) > 1:
                found.append((max(values) - min(values)) / statistics.median(values))
        return max(found, default=None)

    def ratio(self, program: str, role: str, key: str, other: str = NATIVE) -> float | None:
        """Return CPU seconds of whole processes of *key* over those of *other*, by round."""
        below = _by_round(self.samples(program, role, other))
        above = _by_round(self.samples(program, role, key))
        ratios = [seconds / below[n] for n, seconds in above.items() if below.get(n)]
        return statistics.median(ratios) if ratios else None

    def added(self, program: str, key: str, name: str = STEADY) -> dict[int, float]:
        """Return by round what the larger of two sizes takes more than the smaller, warm.

        What is done once, whatever the size, is in both and falls out. The sizes are those of
        `rungs_of` the series.
        """
        return self._added(program, key, rungs_of(key), name)

    def _added(
        self, program: str, key: str, rungs: tuple[str, str], name: str = STEADY
    ) -> dict[int, float]:
        small, large = (_by_round(self.samples(program, role, key), name) for role in rungs)
        return {number: value - small[number] for number, value in large.items() if number in small}

    def steady_ratio(self, program: str, key: str) -> float | None:
        """Return added seconds of *key* over those of native at the same sizes, by round."""
        below = self._added(program, NATIVE, rungs_of(key))
        ratios = [
            seconds / below[number]
            for number, seconds in self.added(program, key).items()
            if below.get(number, 0) > 0
        ]
        return statistics.median(ratios) if ratios else None

    def steady_speed(self, program: str, key: str) -> float | None:
        """Return guest instructions for each added CPU second, where the engine counts them."""
        count = self.added(program, key, "instructions")
        seconds = self.added(program, key)
        speeds = [count[n] / seconds[n] for n in count if seconds.get(n, 0) > 0]
        return statistics.median(speeds) if speeds else None

    def compiled_share(self, program: str) -> float | None:
        """Return the share of a large run's instructions that ran in compiled code."""
        shares = [
            1 - run["exact_instructions"] / run["instructions"]
            for run in self.samples(program, "large", "tiered")
            if "exact_instructions" in run
        ]
        return statistics.median(shares) if shares else None

    def compile_cost(self, program: str) -> float | None:
        """Return CPU seconds of compilation for each guest instruction compiled, cold."""
        costs = [
            run["compile_seconds"] / run["compiled_instructions"]
            for run in self.samples(program, "medium", "tiered-cold")
            if run.get("compiled_instructions")
        ]
        return statistics.median(costs) if costs else None


def rungs_of(key: str) -> tuple[str, str]:
    """Return the two roles whose difference is the steady state of a series."""
    return ("small", "medium") if key in SLOW else ("medium", "large")


def _by_round(samples: Iterable[Json], name: str = "cpu_seconds") -> dict[int, float]:
    """Return the median of one field by round."""
    found: dict[int, list[float]] = {}
    for run in samples:
        value = run.get("run_seconds", run["cpu_seconds"]) if name == STEADY else run.get(name)
        if value is not None:
            found.setdefault(run["round"], []).append(value)
    return {number: statistics.median(values) for number, values in found.items()}


def geometric_mean(values: Iterable[float | None]) -> float | None:
    """Return the geometric mean; None where a value is missing or not positive, or all are."""
    found = list(values)
    if not found or any(value is None or value <= 0 for value in found):
        return None
    return math.exp(statistics.fmean(math.log(value) for value in found if value is not None))


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of what is there, None if nothing is."""
    found = [value for value in values if value is not None]
    return statistics.fmean(found) if found else None

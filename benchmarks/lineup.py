"""Who is measured at what.

A series is a backend and what its cache holds; a role is a size of guests. Within a role all series
get the same sizes and run one after the other.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.launch import Sample
from benchmarks.programs import BY_NAME, COLD, HELLO, Rung


class State(enum.Enum):
    """What the backend's cache of compiled code holds when the process starts."""

    NONE = "none"  # it has no such cache
    FIRST = "first"  # nothing
    COLD = "cold"  # what the backend itself needs, nothing of the guest
    WARM = "warm"  # the guest has run before, at the largest size


@dataclass(frozen=True)
class Series:
    """One backend in one state; *key* names it in result files."""

    key: str
    title: str
    backend: str
    state: State = State.NONE


SERIES: tuple[Series, ...] = (
    Series("python", "bare Python", "python"),
    Series("native", "native", "native"),
    Series("tiered", "tiered", "tiered", State.WARM),
    Series("tiered-cold", "tiered, cold", "tiered", State.COLD),
    Series("tiered-first", "tiered, nothing cached", "tiered", State.FIRST),
    Series("command", "rvjit run", "command", State.WARM),
    Series("jit", "jit", "jit", State.WARM),
    Series("threaded", "threaded", "threaded", State.WARM),
    Series("wasmtime", "wasmtime", "wasmtime", State.WARM),
    Series("wasmtime-cold", "wasmtime, cold", "wasmtime", State.COLD),
    Series("qemu", "qemu-riscv64", "qemu"),
    Series("unicorn", "Unicorn", "unicorn"),
)
BY_KEY = {series.key: series for series in SERIES}
TITLES = {series.key: series.title for series in SERIES}


@dataclass(frozen=True)
class Role:
    """One size of guests, the series that run it, and how often each does in a round."""

    name: str
    series: tuple[str, ...]
    rung: Rung | None = None
    runs_per_round: tuple[int, int] = (1, 1)  # in full and in quick mode


# An emulator that needs twenty times what native code needs gets a tenth of the size.
FAST = ("native", "tiered", "jit", "wasmtime", "qemu")
SLOW = ("threaded", "unicorn")

SMALL = Role("small", ("native", *SLOW), Rung.SMALL)
MEDIUM = Role("medium", (*FAST, "tiered-cold", "wasmtime-cold", *SLOW), Rung.MEDIUM)
LARGE = Role("large", FAST, Rung.LARGE)
STARTING = Role(
    "start",
    ("python", "tiered", "tiered-first", "command", "threaded", "wasmtime",
     "wasmtime-cold", "qemu", "unicorn", "native"),
    runs_per_round=(10, 2),
)  # fmt: skip
ONCE = Role(
    "once",
    ("tiered-cold", "tiered", "wasmtime-cold", "wasmtime", "qemu", "unicorn", "native"),
    runs_per_round=(5, 2),
)
RUNGS = (SMALL, MEDIUM, LARGE)
SPECIAL = {HELLO: STARTING, COLD: ONCE}  # guests of one size
SPECIAL_SIZE = 1


@dataclass
class Point:
    """One guest of one size for several series, and what came of it."""

    program: str
    role: Role
    size: int
    series: tuple[str, ...]
    runs: int = 1
    fill_sizes: dict[str, int] = field(default_factory=dict)  # by series: what fills its cache
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0  # wall time of the last round, to foresee the next

    def outputs_agree(self) -> bool:
        """Tell whether all runs that print the guest's output printed the same."""
        digests = {
            sample.output_digest
            for key, samples in self.samples.items()
            if key != "python"
            for sample in samples
        }
        return len(digests) <= 1

    def to_json(self) -> dict[str, object]:
        """Return everything for the result file."""
        return {
            "program": self.program,
            "role": self.role.name,
            "size": self.size,
            "outputs_agree": self.outputs_agree(),
            "failures": self.failures,
            "samples": {
                key: [sample.to_json() for sample in samples]
                for key, samples in self.samples.items()
            },
        }


def plan(names: Sequence[str], backends: Sequence[str], *, quick: bool) -> list[Point]:
    """Return the points to measure for these guests on these backends."""
    points = []
    for name in names:
        roles = (SPECIAL[name],) if name in SPECIAL else RUNGS
        fill_sizes: dict[str, int] = {}
        for role in roles:
            keys = tuple(key for key in role.series if BY_KEY[key].backend in backends)
            size = SPECIAL_SIZE
            if role.rung is not None:
                size = role.rung.size(BY_NAME[name], quick=quick)
            fill_sizes.update(dict.fromkeys(keys, size))  # roles grow, the last one stays
            runs = role.runs_per_round[quick]
            points.append(Point(name, role, size, keys, runs, fill_sizes))
    return [point for point in points if point.series]

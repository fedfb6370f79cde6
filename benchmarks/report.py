"""Turn a result file into tables.

python -m benchmarks.report [RESULTS.json] [--publish]

Seconds are medians over the rounds. A ratio between engines with the same size is the median of the
ratios within each round, whose runs are neighbours in time.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS_NAME = "RESULTS.md"
NATIVE = "native"
TITLES = {
    "python": "bare Python",
    "interp": "interp",
    "jit": "JIT",
    "unicorn": "Unicorn",
    "qemu": "qemu-riscv64",
    "native": "native",
}
_NONE = "-"

Json = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """Rows of text under a heading; all columns but the first are aligned to the right."""

    heading: str
    text: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def to_markdown(self) -> str:
        """Return heading, text and table."""
        rule = ["---", *["---:"] * (len(self.columns) - 1)]
        lines = [f"| {' | '.join(row)} |" for row in (self.columns, rule, *self.rows)]
        return "\n".join([f"## {self.heading}", "", self.text, "", *lines, ""])


class Results:
    """A result file, asked for medians and ratios. Everything is None where it was not measured."""

    def __init__(self, content: Json) -> None:
        self.content = content
        self._points = {(point["program"], point["role"]): point for point in content["points"]}

    def programs(self) -> list[str]:
        """Return the names of the measured programs, without the start-up one, in order."""
        return list(dict.fromkeys(name for name, role in self._points if role != "startup"))

    def engines(self, *roles: str) -> list[str]:
        """Return the engines that have samples in one of the roles, in `TITLES`' order."""
        seen = {
            engine
            for (_, role), point in self._points.items()
            if role in roles
            for engine, samples in point["samples"].items()
            if samples
        }
        return [engine for engine in TITLES if engine in seen]

    def size(self, program: str, role: str) -> int | None:
        """Return the argument that the program got."""
        point = self._points.get((program, role))
        return None if point is None else point["size"]

    def samples(self, program: str, role: str, engine: str) -> list[Json]:
        """Return the runs, possibly none."""
        point = self._points.get((program, role))
        return [] if point is None else point["samples"].get(engine, [])

    def median(self, program: str, role: str, engine: str, name: str) -> float | None:
        """Return the median of one field over the runs that have it."""
        values = [run[name] for run in self.samples(program, role, engine) if name in run]
        return statistics.median(values) if values else None

    def spread(self, engine: str) -> float | None:
        """Return the largest (slowest - fastest) / median of CPU seconds in medium and large."""
        found = []
        for (_, role), point in self._points.items():
            values = [run["cpu_seconds"] for run in point["samples"].get(engine, ())]
            if role in ("medium", "large") and len(values) > 1:
                found.append((max(values) - min(values)) / statistics.median(values))
        return max(found, default=None)

    def ratio(self, program: str, role: str, engine: str, other: str = NATIVE) -> float | None:
        """Return CPU seconds of *engine* over those of *other*, paired by round."""
        below = {run["round"]: run["cpu_seconds"] for run in self.samples(program, role, other)}
        ratios = [
            run["cpu_seconds"] / below[run["round"]]
            for run in self.samples(program, role, engine)
            if below.get(run["round"])
        ]
        return statistics.median(ratios) if ratios else None

    def instructions(self, program: str, role: str) -> float | None:
        """Return the guest instructions of a run, as our engines count them."""
        for engine in ("jit", "interp"):
            count = self.median(program, role, engine, "instructions")
            if count is not None:
                return count
        return None

    def native_seconds_per_instruction(self, program: str) -> float | None:
        """Return what native code needs for the work of one guest instruction."""
        return _divide(
            self.median(program, "large", NATIVE, "cpu_seconds"),
            self.instructions(program, "large"),
        )

    def steady_seconds_per_instruction(self, program: str, role: str, engine: str) -> float | None:
        """Return seconds per instruction after the warm-up."""
        rates = [
            run["steady_seconds"] / run["steady_instructions"]
            for run in self.samples(program, role, engine)
            if "steady_seconds" in run
        ]
        return statistics.median(rates) if rates else None

    def interpreter_ratio(self, program: str) -> float | None:
        """Return the interpreter's time per instruction over native time per instruction."""
        return _divide(
            self.steady_seconds_per_instruction(program, "tiny", "interp"),
            self.native_seconds_per_instruction(program),
        )

    def added_seconds(self, program: str, engine: str) -> dict[int, float]:
        """Return by round what the large size takes more than the medium one, in CPU seconds.

        What is done once, whatever the size, is in both and falls out.
        """
        below = {
            run["round"]: run["cpu_seconds"] for run in self.samples(program, "medium", engine)
        }
        return {
            run["round"]: run["cpu_seconds"] - below[run["round"]]
            for run in self.samples(program, "large", engine)
            if run["round"] in below
        }

    def steady_ratio(self, program: str, engine: str) -> float | None:
        """Return added seconds of *engine* over those of native, paired by round."""
        below = self.added_seconds(program, NATIVE)
        ratios = [
            seconds / below[number]
            for number, seconds in self.added_seconds(program, engine).items()
            if below.get(number, 0) > 0
        ]
        return statistics.median(ratios) if ratios else None

    def steady_speed(self, program: str, engine: str) -> float | None:
        """Return guest instructions for each added CPU second."""
        large, medium = (self.instructions(program, role) for role in ("large", "medium"))
        seconds = list(self.added_seconds(program, engine).values())
        if large is None or medium is None or not seconds:
            return None
        return _divide(large - medium, statistics.median(seconds))


def geometric_mean(values: Iterable[float | None]) -> float | None:
    """Return the geometric mean; None where a value is missing, or all are."""
    found = list(values)
    if not found or None in found:
        return None
    return math.exp(statistics.fmean(math.log(value) for value in found if value is not None))


def write_markdown(content: Json) -> str:
    """Return the whole report."""
    results = Results(content)
    parts = [_head(content)]
    if results.programs():
        parts += [
            table.to_markdown()
            for table in (
                _ratios(results),
                _steady(results),
                _speeds(results),
                _tiny(results),
                _memory(results),
            )
        ]
    if results.engines("startup"):
        parts.append(_startup(results).to_markdown())
    parts.append(_foot(results))
    return "\n".join(parts)


def publish(markdown: str) -> None:
    """Replace the committed summary."""
    (HERE / RESULTS_NAME).write_text(markdown, encoding="utf-8")


def _head(content: Json) -> str:
    host = content["host"]
    flag = " --quick" if content["mode"] == "quick" else ""
    how = f"Made by `python -m benchmarks.measure{flag}`; README.md says how things are measured."
    run = f"{content['mode']} mode, {content['rounds']} complete rounds, {content['seconds']:.0f} s"
    load = f"{host['load']}, when it ended {host['load_after']} (1 is the benchmark itself)"
    lines = [
        "# Results",
        "",
        how,
        "",
        f"- {content['created']}, commit {content['commit']}, {run}",
        f"- {host['cpu']}, {host['cores']} cores, {host['memory_gib']} GiB, {host['os']}",
        f"- load when it began {load}",
        *(f"- {name}: {version}" for name, version in content["versions"].items()),
        *(f"- left out: {name}, {reason}" for name, reason in content["skipped"].items()),
    ]
    if content["rounds"] == 0:
        lines.append(f"- incomplete: {content['points_lacking_in_last_round']} points lack")
    return "\n".join([*lines, ""])


def _ratios(results: Results) -> Table:
    columns: list[tuple[str, Callable[[str], float | None]]] = [
        ("JIT", lambda name: results.ratio(name, "large", "jit")),
        ("qemu-riscv64", lambda name: results.ratio(name, "large", "qemu")),
        ("Unicorn (1)", lambda name: results.ratio(name, "medium", "unicorn")),
        ("JIT (1)", lambda name: results.ratio(name, "medium", "jit")),
        ("interp (2)", results.interpreter_ratio),
    ]
    rows = [
        [
            name,
            _plain(results.size(name, "large")),
            _seconds(results.median(name, "large", NATIVE, "cpu_seconds")),
            "1",
            *(_ratio(column(name)) for _, column in columns),
        ]
        for name in results.programs()
    ]
    means = [geometric_mean(column(name) for name in results.programs()) for _, column in columns]
    rows.append(["**geometric mean**", "", "", "1", *(f"**{_ratio(mean)}**" for mean in means)])
    return Table(
        "CPU time of whole processes, as ratios to native",
        "Start, loading and compilation included; smaller is better. (1) measured at the medium "
        "size, against native at that size. (2) per guest instruction at the tiny size, start left "
        "out, against native per guest instruction at the large size: native needs less than a "
        "millisecond for the tiny size, so there is no ratio at equal size.",
        ["program", "size", "native s", "native", *(title for title, _ in columns)],
        rows,
    )


def _steady(results: Results) -> Table:
    engines = ("jit", "qemu")

    def row(name: str) -> list[str]:
        return [
            name,
            *(_ratio(results.steady_ratio(name, engine)) for engine in engines),
            _millions(results.instructions(name, "large")),
            _seconds(results.median(name, "large", "jit", "run_seconds")),
            _seconds(results.median(name, "large", "jit", "compile_wall_seconds")),
            _plain(results.median(name, "large", "jit", "compiled_instructions")),
            _plain(results.median(name, "large", "jit", "regions")),
        ]

    names = results.programs()
    means = [geometric_mean(results.steady_ratio(name, each) for name in names) for each in engines]
    return Table(
        "Steady state, as ratios to native",
        "CPU time that the large size takes more than the medium one, which leaves out start, "
        "loading and compilation, over the same of native. The rest is about the JIT at the large "
        "size: `run` is CPU time from the first instruction to the exit, `compile` wall time "
        "within it.",
        ["program", "JIT", "qemu-riscv64", "M instructions", "run s", "compile s",
         "compiled instructions", "regions"],
        [*(row(name) for name in names),
         ["**geometric mean**", *(f"**{_ratio(mean)}**" for mean in means), "", "", "", "", ""]],
    )  # fmt: skip


def _speeds(results: Results) -> Table:
    def values(name: str) -> list[float | None]:
        interpreter = results.steady_seconds_per_instruction(name, "tiny", "interp")
        unicorn = results.median(name, "medium", "unicorn", "run_seconds")
        speeds = [
            _divide(1, interpreter),
            results.steady_speed(name, "jit"),
            _divide(results.instructions(name, "medium"), unicorn),
            results.steady_speed(name, "qemu"),
            results.steady_speed(name, NATIVE),
        ]
        return [_divide(speed, 1e6) for speed in speeds]

    names = results.programs()
    table = [values(name) for name in names]
    means = [geometric_mean(column) for column in zip(*table, strict=True)]
    return Table(
        "Speed in million guest instructions per second of CPU time",
        "The work of that many instructions of the RV64IMAC + Zba, Zbb, Zbs guest; native code and "
        "Unicorn, whose guests lack Zb*, execute other instructions for the same work. interp "
        "after a warm-up at the tiny size, Unicorn from the first instruction on at the medium "
        "size, the others in steady state as above.",
        ["program", "interp", "JIT", "Unicorn", "qemu-riscv64", "native"],
        [
            *([name, *map(_speed, row)] for name, row in zip(names, table, strict=True)),
            ["**geometric mean**", *(f"**{_speed(mean)}**" for mean in means)],
        ],
    )  # fmt: skip


def _tiny(results: Results) -> Table:
    engines = results.engines("tiny")
    names = results.programs()

    def times(name: str) -> list[float | None]:
        return [results.median(name, "tiny", engine, "cpu_seconds") for engine in engines]

    means = [geometric_mean(column) for column in zip(*map(times, names), strict=True)]
    return Table(
        "Tiny runs: CPU milliseconds of whole processes, all at the same size",
        "What a short run costs from start to exit.",
        ["program", "size", "M instructions", *(TITLES[engine] for engine in engines)],
        [
            *(
                [
                    name,
                    _plain(results.size(name, "tiny")),
                    _millions(results.instructions(name, "tiny")),
                    *map(_milliseconds, times(name)),
                ]
                for name in names
            ),
            ["**geometric mean**", "", "", *(f"**{_milliseconds(mean)}**" for mean in means)],
        ],
    )


def _memory(results: Results) -> Table:
    columns = [("medium", "unicorn"), ("large", "jit"), ("large", "qemu"), ("large", NATIVE)]
    return Table(
        "Peak resident memory in MiB",
        "Of whole processes. The guests themselves need about 1 MiB.",
        ["program", *(f"{TITLES[engine]} ({role})" for role, engine in columns)],
        [
            [
                name,
                *(
                    _mebibytes(results.median(name, role, engine, "peak_bytes"))
                    for role, engine in columns
                ),
            ]
            for name in results.programs()
        ],
    )


def _startup(results: Results) -> Table:
    def row(engine: str) -> list[str]:
        samples = results.samples("hello", "startup", engine)
        fastest = min((run["cpu_seconds"] for run in samples), default=None)
        return [
            TITLES[engine],
            _milliseconds(results.median("hello", "startup", engine, "cpu_seconds")),
            _milliseconds(fastest),
            _mebibytes(results.median("hello", "startup", engine, "peak_bytes")),
        ]

    return Table(
        "Start to exit of hello, whole process",
        "CPU milliseconds and peak resident memory; memory only of processes that measure their "
        "own, the others are gone too soon.",
        ["engine", "median ms", "fastest ms", "peak MiB"],
        [row(engine) for engine in results.engines("startup")],
    )


def _foot(results: Results) -> str:
    spreads = [
        f"{TITLES[engine]} {spread:.0%}"
        for engine in results.engines("medium", "large")
        if (spread := results.spread(engine)) is not None
    ]
    disagreeing = [
        f"{point['program']} {point['role']}"
        for point in results.content["points"]
        if not point["outputs_agree"]
    ]
    failed = [
        f"{point['program']} {point['role']} on {engine}: {message}"
        for point in results.content["points"]
        for engine, message in point["failures"].items()
    ]
    lines = [
        "## Checks",
        "",
        f"- outputs differ: {', '.join(disagreeing)}"
        if disagreeing
        else "- all engines printed the same for every program and size",
        *(f"- failed: {line}" for line in failed),
    ]
    if spreads:
        lines.append(
            "- largest spread between the rounds (slowest - fastest, of the median) at the medium "
            f"and large size: {', '.join(spreads)}"
        )
    return "\n".join([*lines, ""])


def _divide(above: float | None, below: float | None) -> float | None:
    return None if above is None or not below else above / below


def _ratio(value: float | None) -> str:
    return _NONE if value is None else f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def _speed(value: float | None) -> str:
    return _NONE if value is None else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _seconds(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3f}"


def _milliseconds(value: float | None) -> str:
    return _NONE if value is None else f"{value * 1000:.1f}"


def _millions(value: float | None) -> str:
    return _NONE if value is None else f"{value / 1e6:,.1f}"


def _mebibytes(value: float | None) -> str:
    return _NONE if value is None else f"{value / (1 << 20):.1f}"


def _plain(value: float | None) -> str:
    return _NONE if value is None else f"{value:.0f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables of a result file."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("results", nargs="?", type=Path, default=HERE / "out" / "results.json")
    parser.add_argument(
        "--publish", action="store_true", help=f"also replace benchmarks/{RESULTS_NAME}"
    )
    options = parser.parse_args(arguments)
    markdown = write_markdown(json.loads(options.results.read_text()))
    if options.publish:
        publish(markdown)
    sys.stdout.write(markdown)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

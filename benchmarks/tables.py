"""The tables of a report, one function each."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.lineup import SERIES, TITLES, State
from benchmarks.programs import BY_NAME, COLD, HELLO
from benchmarks.results import NATIVE, Results, geometric_mean, mean, rungs_of

_NONE = "-"
_STEADY = tuple(series.key for series in SERIES if series.state in (State.WARM, State.NONE))

Column = Callable[[str], float | None]
Show = Callable[[float | None], str]


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


def steady_series(results: Results) -> list[str]:
    """Return the series with a steady state, native left out."""
    present = results.series("medium", "large")
    return [key for key in _STEADY if key in present and key not in (NATIVE, "python", "command")]


def summary(results: Results) -> Table:
    """Give one line for each series: mean and worst ratio, start, cold guest, memory."""
    keys = (*steady_series(results), NATIVE)
    ratios = [_of(results.steady_ratio, key) for key in keys]
    wholes = [_of(lambda n, key: results.ratio(n, "medium", key), key) for key in keys]
    names = _measured(results, [*ratios, *wholes])

    def row(key: str) -> list[str]:
        cold = f"{key}-cold" if f"{key}-cold" in TITLES else key
        known = {name: results.steady_ratio(name, key) or 0 for name in names}
        worst = max(known, key=lambda name: known[name], default=None)
        peaks = results.peak(key, rungs_of(key))
        return [
            TITLES[key],
            _ratio(geometric_mean(known.values())),
            _NONE if worst is None else f"{_ratio(known[worst])} ({worst})",
            _ratio(geometric_mean(results.ratio(n, "medium", cold) for n in names)),
            _ratio(geometric_mean(results.ratio(n, "medium", key) for n in names)),
            _milliseconds(results.median(HELLO, "start", key, "cpu_seconds")),
            _milliseconds(results.median(COLD, "once", cold, "cpu_seconds")),
            _mebibytes(statistics.median(peaks.values()) if peaks else None),
        ]

    return Table(
        "Summary",
        "Ratios are CPU time over that of native gcc -O2, geometric means over the guests that "
        f"every backend has run ({len(names)}). Cold and warm are whole processes at the medium "
        "size, with nothing of the guest in the code cache and with a filled one. Milliseconds are "
        f"CPU time of whole processes: {HELLO} warm, and {COLD}, thousands of functions that each "
        "run once, with nothing of it in the cache. Memory is the median over the guests.",
        ["", "steady", "worst", "cold", "warm", "hello ms", "cold code ms", "peak MiB"],
        [row(key) for key in keys],
    )


def steady(results: Results) -> Table:
    """Compare steady states guest by guest."""
    keys = steady_series(results)
    marks = {key: " (1)" if rungs_of(key) == ("small", "medium") else "" for key in keys}
    columns = [_of(results.steady_ratio, key) for key in keys]
    rows = [
        [
            name,
            BY_NAME[name].kind if name in BY_NAME else "",
            _plain(results.size(name, "large")),
            _seconds(results.median(name, "large", NATIVE, "cpu_seconds")),
            *(_ratio(column(name)) for column in columns),
        ]
        for name in results.programs()
    ]
    rows.append(_mean_row(results, columns, blanks=3))
    return Table(
        "Steady state, as ratios to native",
        "CPU time that the large size takes more than the medium one, over the same of native: "
        "what is done once (start, loading, compilation) falls out. Smaller is better. (1) from "
        "the medium and the small size, natively too.",
        ["guest", "kind", "size", "native s", *(TITLES[key] + marks[key] for key in keys)],
        rows,
    )


def processes(results: Results) -> Table:
    """Compare whole processes, cold and warm."""
    keys = [key for key in results.series("medium") if key != NATIVE]
    columns = [_of(lambda name, key: results.ratio(name, "medium", key), key) for key in keys]
    rows = [
        [
            name,
            _milliseconds(results.median(name, "medium", NATIVE, "cpu_seconds")),
            *(_ratio(column(name)) for column in columns),
        ]
        for name in results.programs()
    ]
    rows.append(_mean_row(results, columns, blanks=1))
    return Table(
        "Whole processes at the medium size, as ratios to native",
        "CPU time from start to exit, loading and compilation included. Cold: nothing of the guest "
        "is in the code cache; the others that have one run with what an earlier run left.",
        ["guest", "native ms", *(TITLES[key] for key in keys)],
        rows,
    )


def engine(results: Results) -> Table:
    """Tell what our engines did."""
    columns: list[tuple[str, Column, Show]] = [
        ("M instructions", lambda n: results.median(n, "large", "tiered", "instructions"),
         _millions),
        ("in compiled code", results.compiled_share, _percent),
        ("regions", lambda n: results.median(n, "medium", "tiered-cold", "regions"), _plain),
        ("instructions compiled",
         lambda n: results.median(n, "medium", "tiered-cold", "compiled_instructions"), _plain),
        ("compile ms", lambda n: results.median(n, "medium", "tiered-cold", "compile_seconds"),
         _milliseconds),
        ("ms for each", results.compile_cost, lambda value: _fine(_scaled(value, 1e3))),
        ("tiered M/s", lambda n: results.steady_speed(n, "tiered"), _millions),
        ("threaded M/s", lambda n: results.steady_speed(n, "threaded"), _millions),
    ]  # fmt: skip
    names = results.programs()
    rows = [[name, *(show(column(name)) for _, column, show in columns)] for name in names]
    averages = ["" for _ in columns]
    for index in (1, 5, 6):
        averages[index] = columns[index][2](mean(columns[index][1](name) for name in names))
    cached = [name for name in names if name in BY_NAME and BY_NAME[name].fits_caches]
    averages[7] = columns[7][2](mean(columns[7][1](name) for name in cached))
    rows.append(["**mean**", *averages])
    return Table(
        "Our engines",
        "Instructions of a large run and the share of them that ran in compiled code (empty where "
        "the engine does not count them); what a cold run at the medium size compiled, in CPU "
        "time; millions of instructions a second in steady state, the last mean without guests "
        f"that wait for memory ({', '.join(n for n in names if n not in cached) or 'none here'}).",
        ["guest", *(title for title, _, _ in columns)],
        rows,
    )


def memory(results: Results) -> Table:
    """Compare peak memory."""
    keys = [key for key in results.series("medium", "large") if key != "python"]
    peaks = {key: results.peak(key, rungs_of(key)) for key in keys}
    return Table(
        "Peak resident memory in MiB",
        "Of whole processes, the guests' own memory included, at the larger of the sizes that the "
        "backend runs.",
        ["guest", *(TITLES[key] for key in keys)],
        [
            [name, *(_mebibytes(peaks[key].get(name)) for key in keys)]
            for name in results.programs()
        ],
    )


def starts(results: Results) -> Table:
    """Compare starts."""
    return _single(
        results,
        HELLO,
        "start",
        "Start to exit of hello, whole process",
        "Peak memory only of processes that measure their own; the others are gone too soon.",
    )


def once(results: Results) -> Table:
    """Compare cold code."""
    return _single(
        results,
        COLD,
        "once",
        "Cold code: thousands of functions that each run once, whole process",
        "`tiered, cold` has its own engine in the cache and nothing of the guest.",
    )


def _single(results: Results, program: str, role: str, heading: str, text: str) -> Table:
    def row(key: str) -> list[str]:
        cpu = results.values(program, role, key, "cpu_seconds")
        return [
            TITLES[key],
            _milliseconds(statistics.median(cpu)),
            _milliseconds(min(cpu)),
            _milliseconds(results.median(program, role, key, "wall_seconds")),
            _mebibytes(results.median(program, role, key, "peak_bytes")),
        ]

    return Table(
        heading,
        text,
        ["", "CPU ms", "fastest", "wall ms", "peak MiB"],
        [row(key) for key in results.series(role)],
    )


def _of(function: Callable[[str, str], float | None], key: str) -> Column:
    return lambda name: function(name, key)


def _measured(results: Results, columns: Iterable[Column]) -> list[str]:
    """Return the guests that have a positive value in every column, so that means compare."""
    kept = results.programs()
    for column in columns:
        kept = [name for name in kept if (column(name) or 0) > 0]
    return kept


def _mean_row(results: Results, columns: Sequence[Column], blanks: int) -> list[str]:
    """Return the last row of a table of ratios, after *blanks* empty cells."""
    names = _measured(results, columns)
    all_there = len(names) == len(results.programs())
    title = "geometric mean" if all_there else f"geometric mean of {len(names)} complete rows"
    means = [_ratio(geometric_mean(column(name) for name in names)) for column in columns]
    return [f"**{title}**", *[""] * blanks, *(f"**{mean}**" for mean in means)]


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _ratio(value: float | None) -> str:
    return _NONE if value is None else f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def _fine(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3f}"


def _seconds(value: float | None) -> str:
    return _fine(value)


def _percent(value: float | None) -> str:
    return _NONE if value is None else f"{value:.2%}"


def _milliseconds(value: float | None) -> str:
    return _NONE if value is None else f"{value * 1000:.1f}"


def _millions(value: float | None) -> str:
    return _NONE if value is None else f"{value / 1e6:,.0f}"


def _mebibytes(value: float | None) -> str:
    return _NONE if value is None else f"{value / (1 << 20):.1f}"


def _plain(value: float | None) -> str:
    return _NONE if value is None else f"{value:.0f}"

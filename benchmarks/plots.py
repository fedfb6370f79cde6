"""The plots of a report: SVG files, made by matplotlib where it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.lineup import TITLES
from benchmarks.programs import COLD, HELLO
from benchmarks.results import Json, Results, geometric_mean, rungs_of

# Colours that people with colour blindness can tell apart (Okabe and Ito).
COLOURS = {
    "tiered": "#0072b2", "tiered-cold": "#56b4e9", "tiered-first": "#a6cee3", "command": "#004c7a",
    "jit": "#999999", "threaded": "#cc79a7", "wasmtime": "#009e73", "wasmtime-cold": "#7fcfb4",
    "qemu": "#e69f00", "unicorn": "#d55e00", "native": "#000000", "python": "#777777",
}  # fmt: skip


def names(results: Results) -> list[tuple[str, str]]:
    """Return (file, title) of the plots that the results are enough for."""
    found = []
    if _ratio_series(results):
        found.append(("steady.svg", "Steady state, as ratios to native gcc -O2"))
    if results.series("start", "once"):
        found.append(("processes.svg", "Whole processes: CPU milliseconds"))
    if results.series("large"):
        found.append(("memory.svg", "Peak resident memory"))
    return found


def write_plots(content: Json, folder: Path) -> str | None:
    """Write the plots into *folder*; say what is missing if that cannot be done."""
    if importlib.util.find_spec("matplotlib") is None:
        return "no plots: the package matplotlib is not installed"
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "rvjit", "font.size": 9, "axes.axisbelow": True})
    results = Results(content)
    drawn = {"steady.svg": _steady, "processes.svg": _processes, "memory.svg": _memory}
    for name, title in names(results):
        figure = drawn[name](results)
        figure.suptitle(title)
        figure.savefig(folder / name, metadata={"Date": None})
    return None


def _ratio_series(results: Results) -> list[str]:
    return [
        key
        for key in ("tiered", "jit", "wasmtime", "qemu", "threaded", "unicorn")
        if any(results.steady_ratio(name, key) for name in results.programs())
    ]


def _figure(width: float, height: float, panels: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def _steady(results: Results) -> Any:
    """Draw a group of bars for each guest, and one for the geometric mean, on a log scale."""
    keys = _ratio_series(results)
    guests = results.programs()
    columns = {key: [results.steady_ratio(name, key) for name in guests] for key in keys}
    figure, (axes,) = _figure(max(6.0, 0.55 * (len(guests) + 1) + 1), 4.2)
    height = 0.8 / len(keys)
    for index, key in enumerate(keys):
        values = [*columns[key], geometric_mean(columns[key])]
        axes.bar(
            [at + height * (index - (len(keys) - 1) / 2) for at in range(len(values))],
            [value if value and value > 0 else float("nan") for value in values],
            width=height,
            color=COLOURS[key],
            label=TITLES[key],
        )
    axes.set_yscale("log")
    axes.set_ylabel("CPU time / native")
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(range(len(guests) + 1), [*guests, "geometric mean"], rotation=60, ha="right")
    axes.grid(axis="y", which="both", linewidth=0.3)
    figure.legend(ncols=len(keys), loc="outside lower center", fontsize=8)
    return figure


def _processes(results: Results) -> Any:
    """Draw starts and the cold guest side by side."""
    panels = [
        (HELLO, "start", "start to exit of hello"),
        (COLD, "once", "3000 functions, each run once"),
    ]
    panels = [panel for panel in panels if results.series(panel[1])]
    figure, columns = _figure(4.6 * len(panels), 3.4, len(panels))
    for axes, (program, role, title) in zip(columns, panels, strict=True):
        keys = results.series(role)
        values = [results.median(program, role, key, "cpu_seconds") or 0 for key in keys]
        _horizontal(axes, keys, [value * 1000 for value in values], "CPU ms")
        axes.set_title(title, fontsize=9)
    return figure


def _memory(results: Results) -> Any:
    """Draw the median peak over the guests."""
    found = {}
    for key in results.series("medium", "large"):
        peaks = sorted(results.peak(key, rungs_of(key)).values())
        if peaks:
            found[key] = peaks[len(peaks) // 2] / (1 << 20)
    figure, (axes,) = _figure(5.2, 3.2)
    _horizontal(axes, list(found), list(found.values()), "MiB, median over the guests")
    return figure


def _horizontal(axes: Any, keys: Sequence[str], values: Sequence[float], label: str) -> None:
    shown = list(reversed(keys))
    bars = axes.barh(
        [TITLES[key] for key in shown], list(reversed(values)),
        color=[COLOURS[key] for key in shown],
    )  # fmt: skip
    axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=8)
    axes.set_xscale("log")
    axes.margins(x=0.2)
    axes.set_xlabel(label)

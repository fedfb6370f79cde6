"""Turn a result file into tables.

python -m benchmarks.report [RESULTS.json] [--publish]

Seconds are medians over the rounds. A ratio is the median of the ratios within each round, whose
runs are neighbours in time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import plots, tables
from benchmarks.lineup import SERIES, TITLES, State
from benchmarks.results import Json, Results

HERE = Path(__file__).resolve().parent
RESULTS_NAME = "RESULTS.md"
PUBLISHED = HERE / "results"  # plots and raw numbers that RESULTS.md links to


def write_markdown(content: Json, folder: str = "") -> str:
    """Return the whole report; its plots are linked in *folder*, given relative to it."""
    results = Results(content)
    parts = [_head(content)]
    if results.programs():
        parts += [tables.summary(results).to_markdown()]
        parts += [f"![{title}]({folder}{name})\n" for name, title in plots.names(results)]
        wanted = [tables.steady, tables.processes, tables.engine, tables.memory]
        parts += [table(results).to_markdown() for table in wanted]
    if results.series("start"):
        parts.append(tables.starts(results).to_markdown())
    if results.series("once"):
        parts.append(tables.once(results).to_markdown())
    parts.append(_foot(results))
    return "\n".join(parts)


def publish(content: Json) -> None:
    """Replace the committed report, its plots and its raw numbers."""
    PUBLISHED.mkdir(exist_ok=True)
    problem = plots.write_plots(content, PUBLISHED)
    if problem:
        raise SystemExit(f"cannot publish: {problem}")
    markdown = write_markdown(content, f"{PUBLISHED.name}/")
    (HERE / RESULTS_NAME).write_text(markdown, encoding="utf-8")
    lines = json.dumps(content, separators=(",", ":")).replace('{"program"', '\n{"program"')
    (PUBLISHED / "results.json").write_text(f"{lines}\n", encoding="utf-8")


def _head(content: Json) -> str:
    host = content["host"]
    flag = " --quick" if content["mode"] == "quick" else ""
    run = f"{content['mode']} mode, {content['rounds']} complete rounds, {content['seconds']:.0f} s"
    least, average, most = host["load_while_measuring"]
    load = f"{host['load']} before, {least} to {most} while measuring, {average} on the mean"
    lines = [
        "# Results",
        "",
        f"Made by `python -m benchmarks{flag}`; README.md says how things are measured.",
        "",
        f"- {content['created']}, commit {content['commit']}, {run}",
        f"- {host['cpu']}, {host['cores']} cores, {host['memory_gib']} GiB, {host['os']}",
        f"- load average {load} (1 is the benchmark itself)",
        *(f"- {name}: {version}" for name, version in content["versions"].items()),
        *(f"- skipped: {name}: {reason}" for name, reason in content["skipped"].items()),
    ]
    cacheless = [
        series.backend
        for series in SERIES
        if series.state is State.WARM
        and series.backend not in content["keeping_code"]
        and any(series.key in point["samples"] for point in content["points"])
    ]
    if cacheless:
        lines.append(
            f"- nothing was left in the code cache of {', '.join(cacheless)}: warm is as cold"
        )
    if content["rounds"] == 0:
        lines.append(f"- incomplete: {content['points_lacking_in_last_round']} points lack")
    return "\n".join([*lines, ""])


def _foot(results: Results) -> str:
    spreads = [
        f"{TITLES[key]} {spread:.0%}"
        for key in results.series("medium", "large")
        if (spread := results.spread(key)) is not None
    ]
    points = results.content["points"]
    disagreeing = [f"{point['program']} {point['role']}" for point in points
                   if not point["outputs_agree"]]  # fmt: skip
    failed = [
        f"{point['program']} {point['role']} on {key}: {message}"
        for point in points
        for key, message in point["failures"].items()
    ]
    lines = [
        "## Checks",
        "",
        f"- outputs differ: {', '.join(disagreeing)}"
        if disagreeing
        else "- all backends printed the same for every guest and size",
        *(f"- failed: {line}" for line in failed),
    ]
    if spreads:
        lines.append(
            "- largest spread between the rounds (slowest - fastest, of the median) at the medium "
            f"and large size: {', '.join(spreads)}"
        )
    return "\n".join([*lines, ""])


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
    content = json.loads(options.results.read_text())
    if options.publish:
        publish(content)
    sys.stdout.write(write_markdown(content))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

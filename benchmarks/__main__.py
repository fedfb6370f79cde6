"""Measure everything: python -m benchmarks [--quick] [--only GUEST,...] [--backends NAME,...]."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.backends import BY_NAME, HERE, OPTIONAL
from benchmarks.lineup import SPECIAL
from benchmarks.measure import run_all
from benchmarks.plots import write_plots
from benchmarks.programs import PROGRAMS
from benchmarks.progress import note
from benchmarks.report import RESULTS_NAME, publish, write_markdown

GUESTS = [*SPECIAL, *(program.name for program in PROGRAMS)]
QUICK_GUESTS = [*SPECIAL, *(program.name for program in PROGRAMS if program.quick)]
USUAL_BACKENDS = [name for name in BY_NAME if name not in OPTIONAL]


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Return an argparse type: names from *known*, separated by commas."""

    def parse(text: str) -> list[str]:
        chosen = [name for name in text.split(",") if name]
        unknown = [name for name in chosen if name not in known]
        if unknown or not chosen:
            raise argparse.ArgumentTypeError(f"{text!r}: known are {', '.join(known)}")
        return chosen

    return parse


def make_parser() -> argparse.ArgumentParser:
    """Make the command line's parser."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure rvjit, other emulators, wasmtime and native code in one run.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, fewer guests, under two minutes"
    )
    parser.add_argument(
        "--only", type=_names(GUESTS), metavar="GUEST,...", help=f"guests: {', '.join(GUESTS)}"
    )
    parser.add_argument(
        "--backends",
        type=_names(list(BY_NAME)),
        default=USUAL_BACKENDS,
        metavar="NAME,...",
        help=f"by default {', '.join(USUAL_BACKENDS)}; on request {', '.join(OPTIONAL)}",
    )
    parser.add_argument(
        "--repeat", type=int, metavar="N", help="rounds (default 3, in quick mode 1)"
    )
    parser.add_argument(
        "--out", type=Path, default=HERE / "out", metavar="DIR", help="default benchmarks/out"
    )
    parser.add_argument(
        "--publish",
        action="store_true",
        help=f"also replace benchmarks/{RESULTS_NAME}, its plots and its raw numbers",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; 1 where outputs differ, a backend failed or there was no time for a round."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    repeat = (1 if options.quick else 3) if options.repeat is None else options.repeat
    if repeat < 1:
        parser.error("--repeat must be at least 1")
    if options.publish and (options.only or not set(USUAL_BACKENDS) <= set(options.backends)):
        parser.error("--publish needs all guests and backends")
    guests = options.only or (QUICK_GUESTS if options.quick else GUESTS)
    results = run_all(guests, options.backends, repeat=repeat, quick=options.quick, note=note)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    problem = write_plots(results, options.out)
    if problem:
        note(problem)
    markdown = write_markdown(results)
    (options.out / RESULTS_NAME).write_text(markdown, encoding="utf-8")
    complete = results["rounds"] > 0
    if options.publish and complete:
        publish(results)
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
        note(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())

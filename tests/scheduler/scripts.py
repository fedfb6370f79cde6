"""Scripts of tests/guests/ckb, how they end, and ways to run them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rvjit.errors import ScriptError
from rvjit.scheduler.data import DataPieces
from rvjit.scheduler.events import Event
from rvjit.scheduler.scheduler import Scheduler, TerminatedResult

FOLDER = Path(__file__).parent.parent / "guests" / "ckb"

# Name, arguments, and the exit code or the error it ends with.
CASES: list[tuple[str, tuple[str, ...], int | str]] = [
    ("chain", (), 42),
    ("counts", (), 16),
    ("cycles", (), 103),
    ("deadlock", (), "Unexpected"),
    ("deadlock", ("two",), "Unexpected"),
    ("early", (), 42),
    ("errors", (), 21),
    ("passing", (), 13),
    ("pingpong", (), 0),
    ("ring", (), 0),
    ("transfer", (), 0),
    ("tree", (), 15),
    ("wake", (), 0),
]
IDS = ["-".join((name, *args)) for name, args, _ in CASES]


@cache
def program(name: str) -> bytes:
    return (FOLDER / f"{name}.elf").read_bytes()


def data_of(name: str, **more: bytes) -> DataPieces:
    """The data that scripts expect: they spawn themselves from cell dep 0."""
    file = program(name)
    return DataPieces({"program": file, "cell_dep/0": file, **more})


def make(name: str, *args: str, **options: Any) -> Scheduler:
    options = {"engine": "threaded", **options}
    return Scheduler(data_of(name), args=[arg.encode() for arg in args], **options)


@dataclass
class Ended:
    """How a script ended, and what happened on the way."""

    result: TerminatedResult | None
    error: str | None
    cycles: int
    events: list[Event]

    @property
    def order(self) -> list[tuple[Any, ...]]:
        """The events without the time at which they were."""
        return [(event.kind, event.vm, dict(event.details)) for event in self.events]


def finish(scheduler: Scheduler, events: list[Event], mode: Any = None) -> Ended:
    """Run to the end, whatever that is."""
    try:
        result = scheduler.run(mode)
    except ScriptError as error:
        return Ended(None, error.name, scheduler.consumed_cycles, events)
    return Ended(result, None, result.consumed_cycles, events)


def run(name: str, *args: str, **options: Any) -> Ended:
    events: list[Event] = []
    scheduler = make(name, *args, observer=events.append, **options)
    try:
        return finish(scheduler, events)
    finally:
        scheduler.close()

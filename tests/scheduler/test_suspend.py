"""Scripts that are cut, put to rest and taken up again end as those that were not."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from pathlib import Path

import pytest

from rvjit.errors import ScriptError
from rvjit.scheduler.events import Event
from rvjit.scheduler.scheduler import Scheduler
from rvjit.scheduler.suspended import FullSuspendedState
from tests.scheduler.scripts import CASES, IDS, Ended, data_of, finish, make, run


def through_bytes(scheduler: Scheduler, name: str, events: list[Event]) -> Scheduler:
    data = scheduler.suspend().to_bytes()
    scheduler.close()
    state = FullSuspendedState.from_bytes(data)
    assert state.to_bytes() == data
    return Scheduler.resume(data_of(name), state, engine="threaded", observer=events.append)


def in_steps(name: str, args: tuple[str, ...], *, corrected: bool) -> Ended:
    """Run a script with a rest after every iteration."""
    events: list[Event] = []
    scheduler = make(name, *args, observer=events.append, corrected=corrected)
    try:
        while True:
            found = scheduler.iterate().terminated_status
            if found is not None:
                return Ended(found, None, found.consumed_cycles, events)
            scheduler = through_bytes(scheduler, name, events)
    except ScriptError as error:
        return Ended(None, error.name, scheduler.consumed_cycles, events)


@dataclass
class Iteration:
    """One iteration of a script that nobody cut."""

    before: int  # cycles of all earlier ones
    carried: int  # what the scheduler had charged since the last one
    cycles: int  # all that this one adds
    ran: int  # of these, the VM's
    io: bool  # whether pipes had something to do afterwards


@cache
def iterations(name: str, args: tuple[str, ...]) -> list[Iteration]:
    events: list[Event] = []
    scheduler = make(name, *args, observer=events.append)
    found = []
    over = False
    while not over:
        events.clear()
        before, carried = scheduler.consumed_cycles, scheduler._account.iteration
        try:
            over = scheduler.iterate().terminated_status is not None
        except ScriptError:
            over = True
        ran = sum(event.details["cycles"] for event in events if event.kind == "ran")
        io = any(event.kind in ("transfer", "closed") for event in events)
        found.append(Iteration(before, carried, scheduler.consumed_cycles - before, ran, io))
    return found


@pytest.mark.parametrize("corrected", [False, True], ids=["as-ckb", "corrected"])
@pytest.mark.parametrize(("name", "args", "end"), CASES, ids=IDS)
def test_a_rest_after_every_iteration(
    name: str, args: tuple[str, ...], end: int | str, corrected: bool
) -> None:
    if name == "ring":
        args = ("1",)
    whole = run(name, *args)
    found = in_steps(name, args, corrected=corrected)
    assert found.error == whole.error
    assert found.order == whole.order
    if corrected:
        assert found == whole
    else:  # CKB's resume forgets what looking at pipes has cost
        lost = sum(each.carried for each in iterations(name, args))
        assert found.cycles == whole.cycles - lost


def test_charges_are_lost_somewhere() -> None:
    """Or the test above would show nothing."""
    assert sum(each.carried for each in iterations("ring", ("1",))) > 10**6


@cache
def whole_run(name: str, *args: str) -> Ended:
    return run(name, *args)


def limits_near_events(name: str, args: tuple[str, ...], reach: int) -> list[int]:
    found = set()
    for event in whole_run(name, *args).events:
        found.update(range(max(event.at - reach, 0), event.at + reach + 1))
    return sorted(found)


def check_cut(name: str, args: tuple[str, ...], limit: int, *, corrected: bool) -> str:
    """Cut a script at *limit*, let it go on through bytes or as it is; return which case it was."""
    whole = whole_run(name, *args)
    events: list[Event] = []
    scheduler = make(name, *args, observer=events.append, corrected=corrected)
    first = finish(scheduler, events, limit)
    if first.error != "CyclesExceeded":
        assert first == whole
        assert whole.cycles <= limit
        return "not cut"
    done = first.cycles
    by_bytes = bool(limit & 1)
    if by_bytes:
        scheduler = through_bytes(scheduler, name, events)
    found = finish(scheduler, events)
    scheduler.close()
    if corrected:
        assert (found.result, found.error, found.cycles) == (
            whole.result, whole.error, whole.cycles
        )  # fmt: skip
        assert without_cut(found.events, whole.events)
        return "corrected"
    # CKB's: find the iteration that was cut, and what became of it.
    steps = iterations(name, args)
    at = next(index for index, each in enumerate(steps) if each.before + each.cycles > limit)
    step = steps[at]
    left = limit - step.before
    spent = done - step.before
    passed = spent > left  # the limit was found passed after the iteration: 8.7, step 3
    if spent == step.cycles:  # it was done, then: calls that yield look at no limit
        assert passed
        if at == len(steps) - 1:
            # The root had ended all the same. Bytes forget with what code.
            assert found.result == (0 if by_bytes else whole.result.exit_code, whole.cycles)
            return "ended"
        if step.io:
            # Pipes were not looked at: what happens now is not what happened in one go.
            assert found.result is None or found.result.exit_code == whole.result.exit_code
            return f"pipes skipped, {found.error or 'ended'}"
    assert (found.error, found.result and found.result.exit_code) == (
        whole.error, whole.result and whole.result.exit_code
    )  # fmt: skip
    expected = whole.cycles
    if passed and not by_bytes:
        expected += spent  # counted again: 8.10, defect f
    assert found.cycles == expected
    return "passed" if passed else "cut"


def without_cut(found: list[Event], whole: list[Event]) -> bool:
    """Whether *found* are the events *whole*, but for one run that is in two parts."""
    rest = list(found)
    for event in whole:
        part = rest.pop(0)
        if part != event:
            assert part.kind == event.kind == "ran"
            assert part.details["end"] in ("CyclesExceeded", "Pause")
            second = rest.pop(0)
            assert second.details["end"] == event.details["end"]
            assert part.details["cycles"] + second.details["cycles"] == event.details["cycles"]
    return not rest


SMALL = [("passing", ()), ("wake", ()), ("pingpong", ("1",))]


@pytest.mark.parametrize("corrected", [False, True], ids=["as-ckb", "corrected"])
@pytest.mark.parametrize(("name", "args"), SMALL, ids=[name for name, _ in SMALL])
def test_a_limit_near_an_event(name: str, args: tuple[str, ...], corrected: bool) -> None:
    limits = limits_near_events(name, args, 1)
    chosen = random.Random(1).sample(limits, 20)
    cases = [check_cut(name, args, limit, corrected=corrected) for limit in chosen]
    assert len(set(cases)) > 1 or corrected


@pytest.mark.slow
@pytest.mark.parametrize("corrected", [False, True], ids=["as-ckb", "corrected"])
@pytest.mark.parametrize(("name", "args"), SMALL, ids=[name for name, _ in SMALL])
def test_every_limit_near_every_event(name: str, args: tuple[str, ...], corrected: bool) -> None:
    limits = limits_near_events(name, args, 200)
    whole = whole_run(name, *args).cycles
    drawn = random.Random(2).choices(range(whole + 100), k=2000)
    for limit in sorted({*limits, *drawn}):
        check_cut(name, args, limit, corrected=corrected)


# In other processes.

ONE_ITERATION = """
import json, sys
from rvjit.errors import ScriptError
from rvjit.scheduler.scheduler import Scheduler
from rvjit.scheduler.suspended import FullSuspendedState
from tests.scheduler.scripts import data_of
name, path, engine = sys.argv[1:]
state = FullSuspendedState.load(path)
events, ended, error = [], None, None
scheduler = Scheduler.resume(data_of(name), state, engine=engine, observer=events.append)
try:
    ended = scheduler.iterate().terminated_status
except ScriptError as failure:
    error = failure.name
if (ended, error) == (None, None):
    scheduler.suspend().save(path)
lines = [event.as_json() for event in events]
print(json.dumps([lines, ended and ended.exit_code, error, scheduler.consumed_cycles]))
"""


@dataclass
class Elsewhere:
    """What became of a script whose iterations each ran in a process of its own."""

    events: list[dict[str, object]]
    exit_code: int | None = None
    error: str | None = None
    cycles: int = 0

    @property
    def order(self) -> list[dict[str, object]]:
        """The events without the time at which they were."""
        return [{key: event[key] for key in event if key != "at"} for event in self.events]


def in_processes(
    name: str, args: tuple[str, ...], folder: Path, engines: Iterable[str], *, corrected: bool
) -> Elsewhere:
    """Run as many iterations as there are *engines*, after a first one here."""
    events: list[Event] = []
    scheduler = make(name, *args, observer=events.append, corrected=corrected)
    assert scheduler.iterate().terminated_status is None
    path = folder / "state"
    scheduler.suspend().save(path)
    found = Elsewhere([json.loads(event.as_json()) for event in events])
    for engine in engines:
        done = subprocess.run(
            [sys.executable, "-c", ONE_ITERATION, name, str(path), engine],
            cwd=Path(__file__).parent.parent.parent,
            capture_output=True,
            text=True,
            check=True,
        )
        lines, found.exit_code, found.error, found.cycles = json.loads(done.stdout)
        found.events += map(json.loads, lines)
        if (found.exit_code, found.error) != (None, None):
            break
    return found


def test_iterations_in_processes_of_their_own(tmp_path: Path) -> None:
    engines = ["interp", "threaded", "interp"]
    found = in_processes("transfer", (), tmp_path, engines, corrected=True)
    whole = [json.loads(event.as_json()) for event in whole_run("transfer").events]
    assert len(found.events) > 5
    assert whole[: len(found.events)] == found.events


@pytest.mark.slow
@pytest.mark.parametrize("corrected", [False, True], ids=["as-ckb", "corrected"])
@pytest.mark.parametrize(("name", "args", "end"), CASES, ids=IDS)
def test_every_iteration_in_a_process_of_its_own(
    name: str, args: tuple[str, ...], end: int | str, corrected: bool, tmp_path: Path
) -> None:
    if name in ("pingpong", "ring"):
        args = ("1",)
    engines = cycle(("threaded", "interp", "tiered"))
    found = in_processes(name, args, tmp_path, engines, corrected=corrected)
    whole = whole_run(name, *args)
    events = [json.loads(event.as_json()) for event in whole.events]
    assert found.error == whole.error
    assert found.exit_code == (whole.result and whole.result.exit_code)
    if corrected:
        assert (found.events, found.cycles) == (events, whole.cycles)
    else:
        assert found.order == Elsewhere(events).order
        assert found.cycles == whole.cycles - sum(each.carried for each in iterations(name, args))

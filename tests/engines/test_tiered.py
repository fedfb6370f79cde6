"""Tiers: whatever is compiled whenever, the outcome is the reference's."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

import rvjit
from rvjit import VM, Stop
from rvjit.engines import tiered
from rvjit.engines.compare import first_difference

PROGRAMS = [(example.name, str(example.small_size)) for example in rvjit.examples.EXAMPLES]


def make(name: str, size: str, engine: str, *, cache: bool = True) -> VM:
    return VM.from_elf(rvjit.example(name), args=[size], engine=engine, name=name,
                       stdout=lambda data: None, cache=cache)  # fmt: skip


@pytest.fixture
def compiles_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every place that is counted is compiled at its first visit, before the guest goes on."""

    def submit(job: tiered.Job, done: Callable[[], Callable[[tiered.Job], None]]) -> None:
        job.build()
        done()(job)

    monkeypatch.setattr(tiered, "submit", submit)
    monkeypatch.setattr(tiered, "_ROUNDS", 1)
    monkeypatch.setattr(tiered, "_FIRST_VISITS", 1)


@pytest.mark.usefixtures("compiles_at_once")
@pytest.mark.parametrize(("name", "size"), PROGRAMS)
def test_every_stop_is_exact_when_all_is_compiled_at_once(name: str, size: str) -> None:
    chance = random.Random(name)
    hot, reference = make(name, size, "tiered"), make(name, size, "interp")
    limit = 0
    while hot.exit_code is None:
        limit += chance.choice((1, 7, 300, 5_000, 20_000))
        results = [vm.run(cycle_limit=limit, timeout=60) for vm in (hot, reference)]
        assert results[0] == results[1]
        assert first_difference(hot.machine, reference.machine) is None
    assert hot.engine.statistics.regions > 0 or name == "hello"


def test_results_do_not_depend_on_the_race() -> None:
    """Long enough for the compiler thread to publish in the middle of the run, wherever that is."""
    ends = set()
    for pause in (0.0, 0.003, 0.02):
        vm = make("coremix", "300", "tiered")
        result = vm.run(timeout=pause) if pause else vm.run(cycle_limit=1)
        time.sleep(pause)
        while result.stop is not Stop.EXIT:
            result = vm.run(timeout=60)
        ends.add((result.cycles, result.pc, tuple(vm.registers)))
    assert len(ends) == 1


def test_what_runs_once_is_not_compiled() -> None:
    vm = make("hello", "1", "tiered", cache=False)
    assert vm.run(timeout=60).exit_code == 0
    assert vm.engine.statistics.regions == 0

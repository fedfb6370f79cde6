"""Tiers: whatever is compiled whenever, the outcome is the reference's."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

import rvjit
from rvjit import VM, Stop
from rvjit.codegen import blocks
from rvjit.engines import tiered
from rvjit.engines.compare import first_difference
from rvjit.jit.engine import Job
from tests.engines.assemble import R, X, assemble, elf

Load = Callable[..., tuple[VM, bytearray]]

PROGRAMS = [(example.name, str(example.small_size)) for example in rvjit.examples.EXAMPLES]


def make(name: str, size: str, engine: str, *, cache: bool = True) -> VM:
    return VM.from_elf(rvjit.example(name), args=[size], engine=engine, name=name,
                       stdout=lambda data: None, cache=cache)  # fmt: skip


def build_at_once(job: Job, done: Callable[[], Callable[[Job], None]]) -> None:
    job.build()
    done()(job)


@pytest.fixture
def compiles_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every place that is counted is compiled at its first visit, before the guest goes on."""
    monkeypatch.setattr(tiered, "submit", build_at_once)
    monkeypatch.setattr(tiered, "_ROUNDS", 1)
    monkeypatch.setattr(tiered, "_FIRST_VISITS", 1)


def test_a_loop_that_is_longer_than_a_region_ends_up_compiled(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody calls or jumps back to where the first region ends; it is left there in each turn."""
    monkeypatch.setattr(tiered, "submit", build_at_once)
    monkeypatch.setattr(blocks, "HOT", blocks.Bounds(1000, 2, 1000, 2))
    block = "addi a1, a1, 1\n beq a1, zero, out\n"
    source = f"_start: li a0, 50000\n loop: {block * 7} addi a0, a0, -1\n bnez a0, loop\n"
    program = elf(assemble(source + "out: li a7, 93\n ecall"), R | X)
    vm, _ = load(program, engine="tiered", cache=False)
    result = vm.run()
    assert result.exit_code == 0
    statistics = vm.engine.statistics
    assert statistics.regions is not None
    assert statistics.regions >= 4
    assert statistics.threaded_cycles is not None
    assert statistics.threaded_cycles < result.cycles // 5


def test_places_in_regions_that_are_being_made_are_not_made_twice(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []
    monkeypatch.setattr(tiered, "submit", lambda job, done: jobs.append(job))
    source = """
        _start: li a0, 100000
        outer:  li a1, 3
        inner:  addi a1, a1, -1
                bnez a1, inner
                addi a0, a0, -1
                bnez a0, outer
                li a7, 93
                ecall
    """
    code = assemble(source)
    vm, _ = load(elf(code, R | X), engine="tiered", cache=False)
    assert vm.run().exit_code == 0
    assert [job.source.pc for job in jobs] == [code["inner"]]


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
    statistics = vm.engine.statistics
    assert (statistics.regions, statistics.compiled_cycles) == (0, 0)
    assert statistics.threaded_cycles == vm.cycles
    assert vm.engine.entries == []
    assert vm.engine._tier is None, "what runs compiled code was made to be asked what it did"

"""Code that is rewritten while it is hot, and while the compiler thread works on it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from rvjit import VM, Stop
from rvjit.engines import tiered, worker
from rvjit.jit.engine import Job
from tests.engines.assemble import Code, R, W, X, assemble, elf, word

Load = Callable[..., tuple[VM, bytearray]]

WAIT = 60  # seconds
TURNS = 3000  # calls of the function between two changes of it

# Calls f again and again; every so often adds 1 to the immediate of its first instruction.
SOURCE = """
    _start: li s1, {changes}
            la s2, f
    outer:  li s0, {turns}
    inner:  call f
            addi a1, a1, 1
            addi s0, s0, -1
            bnez s0, inner
            lw t0, 0(s2)
            add t0, t0, s3
            sw t0, 0(s2)
            addi s1, s1, -1
            bnez s1, outer
            mv a0, a2
            li a7, 93
            ecall
            .org 4096
    f:      addi a2, a2, 1
            xor a3, a3, a2
            ret
"""
ONE_MORE = word("addi a2, a2, 2") - word("addi a2, a2, 1")


def guest(changes: int, turns: int = TURNS) -> Code:
    return assemble(SOURCE.format(changes=changes, turns=turns))


def start(load: Load, engine: str, code: Code) -> VM:
    vm, _ = load(elf(code, R | W | X), engine=engine, memory_size=1 << 20)
    vm.registers["s3"] = ONE_MORE
    return vm


def check(vm: VM, changes: int, turns: int = TURNS) -> None:
    """Run to the end: each round added one more than the round before, *turns* times."""
    assert vm.run(timeout=WAIT).stop is Stop.EXIT
    assert vm.registers["a2"] == turns * changes * (changes + 1) // 2
    assert vm.registers["a1"] == turns * changes


def test_hot_code_that_changes(load: Load, engine: str) -> None:
    check(start(load, engine, guest(12, 300)), 12, 300)


class Held:
    """Jobs that were asked for and not built yet."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Job, Callable[[], Callable[[Job], None]]]] = []

    def submit(self, job: Job, done: Callable[[], Callable[[Job], None]]) -> None:
        self.jobs.append((job, done))

    def finish(self) -> list[Job]:
        """Build everything, whatever became stale, as a compiler that was too slow to know."""
        jobs, self.jobs = self.jobs, []
        for job, done in jobs:
            job.build()
            done()(job)
        return [job for job, _ in jobs]


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    found = Held()
    monkeypatch.setattr(tiered, "submit", found.submit)
    return found


def test_what_was_compiled_of_old_code_is_not_run(load: Load, held: Held) -> None:
    vm = start(load, "tiered", guest(4))
    vm.run(cycle_limit=7 * 1500)  # hot, in the first round
    assert held.jobs
    vm.run(cycle_limit=7 * (TURNS + 500))  # rewritten meanwhile
    assert any(job.stale for job, _ in held.jobs)
    stale = [job for job in held.finish() if job.stale]
    vm.run(cycle_limit=vm.cycles + 10)
    assert {job.source.pc for job in stale}.isdisjoint(vm.engine.entries)
    check(vm, 4)


def test_compiled_code_goes_when_its_page_is_written(load: Load, held: Held) -> None:
    vm = start(load, "tiered", guest(4))
    vm.run(cycle_limit=7 * 1500)
    held.finish()
    vm.run(cycle_limit=vm.cycles + 100)
    entries = vm.engine.entries
    assert entries
    assert vm.engine.statistics.compiled_cycles > 0
    vm.run(cycle_limit=7 * (TURNS + 20))
    assert vm.engine.statistics.dropped_regions > 0
    held.finish()
    check(vm, 4)


def test_a_page_is_written_while_the_compiler_is_at_it(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler's own thread stands still in the middle of a job until the code has changed."""
    begun, go_on = threading.Event(), threading.Event()
    build = worker.build_together

    def build_slowly(jobs: list[Job]) -> None:
        begun.set()
        assert go_on.wait(WAIT)
        build(jobs)

    monkeypatch.setattr(worker, "build_together", build_slowly)
    vm = start(load, "tiered", guest(6))
    try:
        vm.run(cycle_limit=7 * 1500)
        assert begun.wait(WAIT)
        vm.run(cycle_limit=7 * (TURNS + 200))
        assert vm.engine.statistics.regions == 0
    finally:
        go_on.set()
    check(vm, 6)


@pytest.mark.parametrize("changes", [40])
def test_the_race_does_not_matter(load: Load, changes: int) -> None:
    check(start(load, "tiered", guest(changes, 5000)), changes, 5000)


@pytest.mark.slow
def test_the_race_does_not_matter_often(load: Load) -> None:
    for turns in range(900, 20_000, 777):
        check(start(load, "tiered", guest(60, turns)), 60, turns)

"""Irreducible control flow: loops with several entries, and graphs without any structure."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rvjit import VM, Stop
from rvjit.engines import tiered
from tests.differential import rig
from tests.differential.test_limits import check_all_limits
from tests.engines.assemble import assemble, elf
from tests.engines.graphs import random_graph

Load = Callable[..., tuple[VM, bytearray]]
Seeds = Callable[[int], range]

TWO_ENTRIES = """
    _start: li s0, {turns}
            li a1, 0
            li a2, 0
            li a0, {enter}
            beqz a0, middle
    head:   addi a1, a1, 1
    middle: addi a2, a2, 1
            addi s0, s0, -1
            bnez s0, head
            li a7, 93
            ecall
"""


@pytest.fixture(params=["jit", "threaded", "tiered"])
def first(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put the engine under test into the rig; tiers compile at the first visit, on the spot."""

    def submit(job: tiered.Job, done: Callable[[], Callable[[tiered.Job], None]]) -> None:
        job.build()
        done()(job)

    monkeypatch.setattr(rig, "FIRST", request.param)
    monkeypatch.setattr(tiered, "submit", submit)
    monkeypatch.setattr(tiered, "_ROUNDS", 1)
    monkeypatch.setattr(tiered, "_FIRST_VISITS", 1)
    return request.param


@pytest.mark.parametrize("enter", [0, 1])
@pytest.mark.parametrize("turns", [1, 2, 10_000])
def test_a_loop_that_is_entered_in_its_middle(
    load: Load, engine: str, turns: int, enter: int
) -> None:
    vm, _ = load(elf(assemble(TWO_ENTRIES.format(turns=turns, enter=enter))), engine=engine)
    assert vm.run().stop is Stop.EXIT
    assert vm.registers["a1"] == turns - (1 - enter)
    assert vm.registers["a2"] == turns


@pytest.mark.usefixtures("first")
def test_random_graphs(seeds: Seeds) -> None:
    for seed in seeds(6):
        check_all_limits(random_graph(seed, 3 + seed % 9), dense=60, some=10, resumes=2)


@pytest.mark.slow
@pytest.mark.usefixtures("first")
def test_many_random_graphs(seeds: Seeds) -> None:
    for seed in seeds(150):
        check_all_limits(random_graph(seed, 2 + seed % 25, 200), dense=80, some=20)

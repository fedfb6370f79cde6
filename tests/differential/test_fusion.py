"""Fused sequences and CKB's other versions: every engine, stopped anywhere, does as the reference.

The programs are full of sequences that are fused, near misses, and jumps into the middle of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from rvjit.isa import Operation
from rvjit.machine.fetch import fetch_operation
from rvjit.machine.layout import NO_LIMIT
from rvjit.machine.rules import Rules
from rvjit.machine.stop import Stop
from tests.differential.programs import random_guest, self_modifying
from tests.differential.rig import FREE_FUSED, FUSED, FUSED_V1, V0, Guest, Rig
from tests.differential.test_limits import check_all_limits
from tests.differential.test_stops import stops_at, trace_of

Seeds = Callable[[int], range]

ALL = pytest.mark.parametrize(
    "rules", [FUSED, FUSED_V1, FREE_FUSED, V0], ids=["fused", "fused1", "free", "v0"]
)


def operations_of(guest: Guest) -> list[tuple[int, Operation]]:
    """Address and operation of everything that the guest runs, in order."""
    machine = Rig(guest, second_name="interp").machines[1]
    rules = machine.rules
    return [(pc, fetch_operation(machine.memory, rules.isa, pc)) for pc in trace_of(guest)]


@ALL
def test_programs_that_end(rules: Rules, seeds: Seeds) -> None:
    for seed in seeds(4):
        check_all_limits(random_guest(seed, rules=rules, size=50), dense=100, some=20)


def test_the_programs_run_most_fusions(first_engine: str, seeds: Seeds) -> None:
    """What the other tests here prove something about."""
    if first_engine != "threaded":
        pytest.skip("one engine is enough")
    met = set()
    for seed in seeds(12):
        for _, operation in operations_of(random_guest(seed, rules=FUSED, size=80)):
            met.add(getattr(getattr(operation, "fusion", None), "name", None))
    assert len(met) > 10, met


def test_code_across_a_page_end(seeds: Seeds) -> None:
    for seed in seeds(4):
        guest = random_guest(seed, rules=FUSED, size=50, straddle=True, wxorx=seed % 2 == 0)
        check_all_limits(guest, dense=100, some=20)


@ALL
def test_damaged_programs(rules: Rules, seeds: Seeds) -> None:
    for seed in seeds(12):
        guest = random_guest(
            seed, rules=rules, size=40, damage=1 + seed % 4, straddle=seed % 3 == 0
        )
        check_all_limits(guest, dense=40, some=8, resumes=1)


def test_stores_into_code(seeds: Seeds) -> None:
    for seed in seeds(6):
        guest = random_guest(
            seed,
            rules=FREE_FUSED,
            size=40,
            straddle=seed % 2 == 0,
            code_allows="rwx",
            pointers_to_code=True,
        )
        check_all_limits(guest, dense=30, some=8, resumes=1)


def self_modifying_run(seed: int) -> None:
    rig = Rig(self_modifying(seed, FREE_FUSED))
    limit = 0
    while limit < 20_000 and rig.run(limit := limit + 1 + seed % 97) is Stop.CYCLE_LIMIT:
        pass


def test_sequences_that_are_made_and_unmade(seeds: Seeds) -> None:
    for seed in seeds(4):
        self_modifying_run(seed)


# Stops at and in operations.


def test_steps_run_whole_operations(seeds: Seeds) -> None:
    for seed in seeds(3):
        guest = random_guest(seed, rules=FUSED, straddle=seed % 2 == 0)
        operations = operations_of(guest)
        rig = Rig(guest)
        for (pc, operation), (after, _) in pairwise(operations):
            assert rig.machines[0].pc == pc
            assert rig.step(1) is Stop.STEP
            inside = range(pc + 2, pc + operation.length)
            assert after == rig.machines[0].pc
            assert after not in inside or operation.steps[-1].spec.effects.ends_block


def test_a_breakpoint_inside_stops_only_what_jumps_there(seeds: Seeds) -> None:
    for seed in seeds(3):
        guest = random_guest(seed, rules=FUSED, size=25, straddle=seed % 2 == 0)
        trace = trace_of(guest)
        everywhere = range(min(trace), max(trace) + 1, 2)
        stops_at(guest, frozenset(everywhere), trace)


def test_single_breakpoints(seeds: Seeds) -> None:
    for seed in seeds(2):
        guest = random_guest(seed, rules=FUSED, size=20)
        trace = trace_of(guest)
        places = range(min(trace), max(trace) + 1, 2)
        for place in random.Random(seed).sample(places, min(len(places), 20)):
            stops_at(guest, frozenset({place}), trace)


@pytest.mark.slow
@ALL
def test_many_programs(rules: Rules, seeds: Seeds) -> None:
    for seed in seeds(40):
        guest = random_guest(
            seed, rules=rules, size=10 + seed % 100, straddle=seed % 3 == 0, damage=seed % 2
        )
        check_all_limits(guest, dense=400, some=40)


@pytest.mark.slow
def test_many_stores_into_code(seeds: Seeds) -> None:
    for seed in seeds(100):
        guest = random_guest(
            seed,
            rules=FREE_FUSED,
            size=10 + seed % 60,
            straddle=seed % 2 == 0,
            code_allows="rwx",
            pointers_to_code=True,
            damage=seed % 3,
        )
        check_all_limits(guest, dense=60, some=20)


@pytest.mark.slow
def test_many_sequences_that_are_made_and_unmade(seeds: Seeds) -> None:
    for seed in seeds(150):
        self_modifying_run(1000 + seed)


@pytest.mark.slow
def test_whole_runs(seeds: Seeds) -> None:
    for seed in seeds(300):
        rules = (FUSED, FUSED_V1)[seed % 2]
        Rig(random_guest(5000 + seed, rules=rules, size=200)).run(NO_LIMIT)

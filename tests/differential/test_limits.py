"""Every limit stops both engines in one state, and going on from any of them ends in one state."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from rvjit.machine.layout import NO_LIMIT
from rvjit.machine.stop import Stop
from tests.differential.programs import random_guest, self_modifying
from tests.differential.rig import CKB, LINUX, STRICT, Guest, Rig, limits

Seeds = Callable[[int], range]

# Cycles after which a damaged program that loops for ever is left alone.
FAR = 4000


def check_all_limits(guest: Guest, *, dense: int = 150, some: int = 30, resumes: int = 4) -> None:
    """From the start to each limit, and from a few of them on to the end in small steps."""
    rng = random.Random(guest.reproduce)
    rig = Rig(guest)
    end_stop = rig.run(FAR)
    total = rig.machines[1].cycles
    rig.reset()
    chosen = limits(rng, total, dense, some)
    for limit in chosen:
        rig.reset(0)  # the reference goes from limit to limit, the JIT starts each time
        if rig.machines[1].fault is None:
            reference_stop = rig.run_one(1, limit)
        stop = rig.run_one(0, limit)
        rig.compare(f"limit {limit}", (stop, reference_stop))
        assert rig.machines[1].cycles <= max(limit, 0)
        if stop is not Stop.CYCLE_LIMIT:
            break
    for _ in range(resumes):
        rig.reset()
        limit = 0
        stop = Stop.CYCLE_LIMIT
        while stop is Stop.CYCLE_LIMIT and limit < FAR:
            limit = min(limit + rng.choice((1, 2, 5, 30, 200, total + 1)), FAR)
            stop = rig.run(limit)
        assert stop is end_stop, rig.guest.reproduce
        assert rig.machines[0].cycles == total, rig.guest.reproduce


@pytest.mark.parametrize("rules", [LINUX, CKB, STRICT], ids=["linux", "ckb", "strict"])
def test_programs_that_end(rules, seeds: Seeds) -> None:
    for seed in seeds(8):
        check_all_limits(random_guest(seed, rules=rules, size=50))


def test_code_across_a_page_end(seeds: Seeds) -> None:
    for seed in seeds(8):
        check_all_limits(random_guest(seed, size=50, straddle=True))


def test_code_under_w_xor_x(seeds: Seeds) -> None:
    for seed in seeds(8):
        guest = random_guest(seed, rules=CKB, size=50, straddle=True, wxorx=True)
        check_all_limits(guest)


@pytest.mark.parametrize("rules", [LINUX, CKB, STRICT], ids=["linux", "ckb", "strict"])
def test_damaged_programs(rules, seeds: Seeds) -> None:
    """Faults of every kind at random places, jumps into instructions, endless loops."""
    for seed in seeds(60):
        guest = random_guest(
            seed, rules=rules, size=40, damage=1 + seed % 4, straddle=seed % 3 == 0
        )
        check_all_limits(guest, dense=60, some=12, resumes=2)


def test_stores_into_code(seeds: Seeds) -> None:
    """Random stores hit the program's own code, which becomes anything."""
    for seed in seeds(60):
        guest = random_guest(
            seed,
            size=40,
            straddle=seed % 2 == 0,
            code_allows="rwx",
            pointers_to_code=True,
            damage=seed % 2,
        )
        check_all_limits(guest, dense=30, some=8, resumes=2)


def test_self_modifying_loops(seeds: Seeds) -> None:
    for seed in seeds(8):
        rig = Rig(self_modifying(seed))
        end_stop = rig.run(NO_LIMIT)
        total = rig.machines[1].cycles
        rig = Rig(rig.guest)
        rng = random.Random(seed)
        for limit in sorted(rng.sample(range(total), min(total, 12))):
            rig.run(limit)
        assert rig.run(NO_LIMIT) is end_stop
        assert rig.machines[0].cycles == total


@pytest.mark.slow
@pytest.mark.parametrize("rules", [LINUX, CKB, STRICT], ids=["linux", "ckb", "strict"])
def test_many_programs(rules, seeds: Seeds) -> None:
    for seed in seeds(40):
        wxorx = rules is CKB and seed % 2 == 0
        guest = random_guest(
            seed, rules=rules, size=10 + seed % 100, straddle=seed % 3 == 0, wxorx=wxorx
        )
        check_all_limits(guest, dense=500, some=60)


@pytest.mark.slow
@pytest.mark.parametrize("rules", [LINUX, CKB, STRICT], ids=["linux", "ckb", "strict"])
def test_many_damaged_programs(rules, seeds: Seeds) -> None:
    for seed in seeds(60):
        guest = random_guest(
            seed, rules=rules, size=10 + seed % 80, damage=1 + seed % 6, straddle=seed % 2 == 0
        )
        check_all_limits(guest, dense=150, some=30)


@pytest.mark.slow
def test_many_stores_into_code(seeds: Seeds) -> None:
    for seed in seeds(60):
        guest = random_guest(
            seed,
            size=10 + seed % 60,
            straddle=seed % 2 == 0,
            code_allows="rwx",
            pointers_to_code=True,
            damage=seed % 3,
        )
        check_all_limits(guest, dense=60, some=20)


@pytest.mark.slow
def test_many_self_modifying_loops(seeds: Seeds) -> None:
    for seed in seeds(60):
        rig = Rig(self_modifying(seed))
        limit = 0
        # Some rewrite their own counter and never end.
        while limit < 100_000 and rig.run(limit := limit + 1 + seed % 97) is Stop.CYCLE_LIMIT:
            pass

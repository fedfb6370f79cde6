"""Steps, breakpoints and pauses: other ways to stop, the same states."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from rvjit.machine.machine import Machine
from rvjit.machine.stop import Stop
from tests.differential.programs import random_guest, self_modifying
from tests.differential.rig import CKB, LINUX, Guest, Rig

Seeds = Callable[[int], range]


def trace_of(guest: Guest, longest: int = 2000) -> list[int]:
    """The pc before each instruction, until the program ends."""
    rig = Rig(guest)
    pcs = []
    while len(pcs) < longest:
        pcs.append(rig.machines[1].pc)
        if rig.engines[1].step(1) is not Stop.STEP:
            break
    return pcs


@pytest.mark.parametrize("rules", [LINUX, CKB], ids=["linux", "ckb"])
def test_steps_of_every_size(rules, seeds: Seeds) -> None:
    for seed in seeds(6):
        rig = Rig(random_guest(seed, rules=rules, straddle=seed % 2 == 0, damage=seed % 3))
        rng = random.Random(seed)
        for _ in range(300):
            if rig.step(rng.choice((1, 1, 2, 3, 17))) is not Stop.STEP:
                break


def test_steps_between_runs(seeds: Seeds) -> None:
    """Steps go on from any state that compiled code leaves, and the reverse."""
    for seed in seeds(6):
        rig = Rig(random_guest(seed))
        rng = random.Random(seed)
        stop = Stop.STEP
        while stop in (Stop.STEP, Stop.CYCLE_LIMIT):
            if rng.random() < 0.5:
                stop = rig.step(rng.randint(1, 4))
            else:
                stop = rig.run(rig.machines[1].cycles + rng.randint(0, 9))


def stops_at(guest: Guest, places: frozenset[int], trace: list[int]) -> None:
    """Run with breakpoints at *places*; they must be met where *trace* says, on both engines."""
    rig = Rig(guest)
    for machine in rig.machines:
        machine.breakpoints = places
    for number, pc in enumerate(trace):
        if number and pc in places:
            assert rig.run() is Stop.BREAKPOINT, guest.reproduce
            assert rig.machines[0].pc == pc, guest.reproduce
    assert rig.run() is not Stop.BREAKPOINT, guest.reproduce


def test_a_breakpoint_at_every_instruction(seeds: Seeds) -> None:
    for seed in seeds(5):
        guest = random_guest(seed, size=25, straddle=seed % 2 == 0)
        trace = trace_of(guest)
        stops_at(guest, frozenset(trace), trace)


def test_single_breakpoints_everywhere(seeds: Seeds) -> None:
    for seed in seeds(3):
        guest = random_guest(seed, size=20)
        trace = trace_of(guest)
        for place in sorted(set(trace)):
            stops_at(guest, frozenset({place}), trace)


def test_changing_sets_of_breakpoints(seeds: Seeds) -> None:
    """Breakpoints are set and removed while the program is in the middle of compiled code."""
    for seed in seeds(6):
        guest = random_guest(seed, size=30)
        trace = trace_of(guest)
        rng = random.Random(seed)
        rig = Rig(guest)
        stop = Stop.BREAKPOINT
        while stop in (Stop.BREAKPOINT, Stop.CYCLE_LIMIT):
            places = frozenset(rng.sample(trace, min(len(trace), rng.randrange(4))))
            for machine in rig.machines:
                machine.breakpoints = places
            limit = rig.machines[1].cycles + rng.choice((1, 10, 50, 10_000))
            stop = rig.run(limit)


def test_breakpoints_in_code_that_changes(seeds: Seeds) -> None:
    for seed in seeds(3):
        guest = self_modifying(seed)
        rng = random.Random(seed)
        part = guest.parts[0]
        rig = Rig(guest)
        places = frozenset(part.address + 4 * rng.randrange(len(part.data) // 4) for _ in range(3))
        for machine in rig.machines:
            machine.breakpoints = places
        for _ in range(200):
            if rig.run() is not Stop.BREAKPOINT:
                break


def pause_after(machine: Machine, seconds: float) -> threading.Timer:
    timer = threading.Timer(seconds, machine.request, [Stop.PAUSE])
    timer.start()
    return timer


def check_pauses(guest: Guest, count: int, rng: random.Random, second: str = "jit") -> None:
    """Pause the JIT at any time; an engine run to the same limit must be in the same state.

    That limits are exact is what other tests show, so a second JIT can be it, which is quicker.
    """
    rig = Rig(guest, second_name=second)
    rig.run(2000)  # most of the code is compiled now
    for _ in range(count):
        timer = pause_after(rig.machines[0], rng.random() / 1000)
        assert rig.run_one(0) is Stop.PAUSE
        timer.join()
        assert rig.run_one(1, rig.machines[0].cycles) is Stop.CYCLE_LIMIT
        rig.compare("paused")
    rig.run(rig.machines[0].cycles + 1000)


def test_pauses_at_any_time(seeds: Seeds) -> None:
    for seed in seeds(4):
        check_pauses(random_guest(seed, endless=True), 50, random.Random(seed))


@pytest.mark.slow
def test_many_pauses(seeds: Seeds) -> None:
    for seed in seeds(40):
        check_pauses(random_guest(seed, size=60, endless=True), 5, random.Random(seed), "interp")


@pytest.mark.slow
def test_many_breakpoints(seeds: Seeds) -> None:
    for seed in seeds(60):
        guest = random_guest(seed, size=30, straddle=seed % 2 == 0)
        trace = trace_of(guest)
        stops_at(guest, frozenset(trace), trace)
        for place in random.Random(seed).sample(trace, min(len(trace), 10)):
            stops_at(guest, frozenset({place}), trace)

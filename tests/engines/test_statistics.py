"""What engines say of themselves: which tier ran how much, and what was compiled."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import rvjit
from rvjit import VM, Profile, Stop
from rvjit.engines import tiered
from rvjit.jit.engine import Jit
from rvjit.machine.statistics import Statistics
from tests.engines.assemble import assemble, elf

Load = Callable[..., tuple[VM, bytearray]]

TIERS = {
    "interp": ["interpreted"],
    "threaded": ["threaded", "interpreted"],
    "jit": ["compiled", "interpreted"],
    "tiered": ["compiled", "threaded", "interpreted"],
    "lockstep": ["compiled", "interpreted"],
}
EXAMPLE = rvjit.example("json")
LOOP = """
    _start: li a0, 0
            li a1, 1000000
    again:  addi a0, a0, 3
            xor a2, a0, a1
            addi a1, a1, -1
            bnez a1, again
            li a7, 93
            ecall
"""


@pytest.mark.parametrize("profile", ["linux", "ckb"])
def test_tiers_add_up_to_all_cycles_at_every_stop(load: Load, engine: str, profile: str) -> None:
    chosen = Profile(profile, isa="imcba", syscalls="linux")
    args = ["json", "2"] if profile == "ckb" else ["2"]
    vm, _ = load(EXAMPLE, engine=engine, profile=chosen, args=args)
    limit = 0
    while vm.exit_code is None:
        limit += 30_011
        vm.step(3)
        vm.run(cycle_limit=limit)
        found = vm.engine.statistics
        assert list(found.tiers) == TIERS[engine]
        assert found.cycles == vm.cycles
        assert all(cycles >= 0 for cycles in found.tiers.values())


def test_what_a_handler_charges_is_in_no_tier(load: Load, engine: str) -> None:
    vm, _ = load(elf(assemble("_start: li a7, 5000\n ecall\n li a7, 93\n ecall")), engine=engine)
    vm.syscall(5000)(lambda call: call.charge(1000))
    assert vm.run().cycles == 5 + 1000
    assert vm.engine.statistics.cycles == 5


def test_compiled_cycles_are_those_between_entry_and_exit(load: Load) -> None:
    """Counted here around every entry, by the engine as the rest."""
    vm, _ = load(EXAMPLE, engine="jit", args=["2"])
    engine = vm.engine
    assert isinstance(engine, Jit)
    counted, enter = [0], engine.enter

    def counting():
        before = vm.cycles
        reason = enter()
        counted[0] += vm.cycles - before
        return reason

    engine.enter = counting
    limit = 0
    while vm.exit_code is None:
        limit += 7919
        vm.run(cycle_limit=limit)
    found = engine.statistics
    assert found.compiled_cycles == counted[0]
    assert 0 < found.interpreted_cycles < found.compiled_cycles


def test_the_threaded_engine_counts_its_own(load: Load) -> None:
    vm, _ = load("wild", engine="threaded", args=["illegal32"])
    vm.step(100)
    assert vm.engine.statistics == Statistics(threaded_cycles=100, interpreted_cycles=0)
    vm.run()  # the fault is the reference's, and costs nothing
    assert vm.engine.statistics.tiers == {"threaded": vm.cycles, "interpreted": 0}


def test_a_hot_loop_runs_compiled_in_tiers(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    def submit(job: tiered.Job, done: Callable[[], Callable[[tiered.Job], None]]) -> None:
        job.build()
        done()(job)

    monkeypatch.setattr(tiered, "submit", submit)
    vm, _ = load(elf(assemble(LOOP)), engine="tiered")
    assert vm.run().stop is Stop.EXIT
    found = vm.engine.statistics
    assert found.cycles == vm.cycles
    assert found.regions == 1
    # 1024 visits make it hot, of 4 instructions each, one is the threaded engine's last.
    cold = found.threaded_cycles + found.interpreted_cycles
    assert 4 * 1000 < cold < 4 * 1100
    assert found.compiled_cycles / found.cycles > 0.99


def test_lockstep_says_how_much_it_compared(load: Load) -> None:
    vm, _ = load(EXAMPLE, engine="lockstep", args=["1"])
    vm.run()
    found = vm.engine.statistics
    assert found.reference_cycles == found.cycles == vm.cycles
    assert found.comparisons >= vm.cycles // 20_000
    assert found.regions > 0


def test_nothing_is_said_of_what_an_engine_does_not_have(load: Load) -> None:
    found = load("callee", engine="interp")[0].engine.statistics
    assert found == Statistics(interpreted_cycles=0)

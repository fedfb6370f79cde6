"""Batches of runs from a checkpoint: each is what restore, write and run make of its input."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from rvjit import (
    VM,
    ConfigError,
    Coverage,
    MachineBusy,
    OutOfBounds,
    PermissionDenied,
    Runs,
    SnapshotError,
    Stop,
    UnknownSymbol,
)
from rvjit.codegen.rounds import CLASSES
from tests.engines.assemble import R, W, X, assemble, elf
from tests.snapshot.conftest import state_of

# Sums its input and counts its bytes of eight kinds; then does what the first byte says.
GUEST = assemble("""
    _start: lui s0, 0x100       # input
            lui s1, 0x102       # counters
    begin:  li t0, 0
            li a0, 0
    next:   beq t0, a1, sum
            add t1, s0, t0
            lbu t2, 0(t1)
            add a0, a0, t2
            andi t2, t2, 7
            add t2, t2, s1
            lbu t3, 0(t2)
            addi t3, t3, 1
            sb t3, 0(t2)
            addi t0, t0, 1
            j next
    sum:    beqz a1, end
            lbu t0, 0(s0)
            li t1, 200
            bltu t0, t1, end
            beq t0, t1, fault
            addi t1, t1, 1
            beq t0, t1, spin
            addi t1, t1, 1
            beq t0, t1, print
            addi t1, t1, 1
            beq t0, t1, change
            addi t1, t1, 1
            beq t0, t1, there
    end:    li a7, 93
            ecall
    fault:  ld t0, 0(zero)
    spin:   addi t0, t0, 1
            j spin
    print:  li a7, 64
            mv a2, a1
            mv a1, s0
            li a0, 1
            ecall
            j end
    there:  nop
    away:   li a7, 94
            ecall
    change: auipc t0, 0
            li t1, 0x00700513   # li a0, 7
            sw t1, 20(t0)
            nop
            nop
            li a0, 5
            j end
""")
INPUT, COUNTERS = 0x100000, 0x102000


def load(engine: str, code: int = R | W | X, **options: Any) -> tuple[VM, list[bytes]]:
    """Return a guest at `begin` with a checkpoint, and what it writes."""
    written: list[bytes] = []
    data = ((INPUT, bytes(0x2000), R | W), (COUNTERS, bytes(0x1000), R | W))
    program = elf(GUEST, code, data)
    options = {"memory_size": 4 << 20, "stdout": written.append, **options}
    vm = VM.from_elf(program, engine=engine, **options)
    vm.run(until=GUEST["begin"])
    vm.checkpoint()
    return vm, written


def make_inputs(rng: random.Random, count: int) -> list[bytes]:
    found = []
    for _ in range(count):
        data = bytearray(rng.randbytes(rng.choice((0, 1, 7, 8, 30, 90))))
        if data and rng.random() < 0.4:
            data[0] = rng.randrange(200, 206)
        found.append(bytes(data))
    return found


LIMIT = 3000
UNTIL = GUEST["there"]


def one_by_one(vm: VM, inputs: list[bytes], counters: Coverage) -> tuple[list[object], list[int]]:
    """What `run_each` has to do, with what was there before."""
    results: list[object] = []
    fresh = []
    for number, data in enumerate(inputs):
        vm.restore()
        vm.memory[INPUT : INPUT + len(data)] = data
        vm.registers["a1"] = len(data)
        result = vm.run(cycle_limit=LIMIT, until=UNTIL)
        fault = (str(result.fault), result.fault and result.fault.pc)
        results.append((result.stop, result.cycles, result.pc, result.exit_code, fault))
        seen = [
            old | CLASSES[count]
            for old, count in zip(counters.seen, vm.memory[COUNTERS : COUNTERS + 8], strict=True)
        ]
        if seen != list(counters.seen):
            fresh.append(number)
            counters.seen[:] = bytes(seen)
    return results, fresh


def shown(runs: Runs) -> list[object]:
    found: list[object] = []
    for result in runs:
        fault = (str(result.fault), result.fault and result.fault.pc)
        found.append((result.stop, result.cycles, result.pc, result.exit_code, fault))
    return found


def test_a_batch_is_its_runs_one_by_one(engine: str, seeds: Callable[[int], range]) -> None:
    """Ends, faults, limits, system calls, breakpoints, changed code: all ways in and out."""
    for seed in seeds(1):
        inputs = make_inputs(random.Random(seed), 60)
        (vm, written), (other, wanted_output) = load(engine), load("threaded")
        counters, wanted_counters = (Coverage(COUNTERS, 8) for _ in range(2))
        for part in (inputs[:25], inputs[25:]):
            wanted, fresh = one_by_one(other, part, wanted_counters)
            runs = vm.run_each(
                part,
                at=INPUT,
                size_register="a1",
                cycle_limit=LIMIT,
                until=UNTIL,
                coverage=counters,
            )
            assert shown(runs) == wanted
            assert runs.fresh == fresh
            assert counters.seen == wanted_counters.seen
            assert written == wanted_output
            assert state_of(vm) == state_of(other)
            usual = (Stop.EXIT, Stop.BREAKPOINT)
            ends = [row[0] for row in wanted]  # type: ignore[index]
            assert runs.unusual == [n for n, stop in enumerate(ends) if stop not in usual]
        vm.restore()
        assert not vm.verify()


@pytest.mark.parametrize("engine", ["threaded", "jit", "tiered"])
def test_plain_runs_stay_in_native_code(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Apart from what an engine needs to begin with, Python sees none of them."""
    vm, _ = load(engine)
    inputs = [bytes([number % 100]) * 40 for number in range(2000)]
    vm.run_each(inputs, at=INPUT, size_register="a1")
    seen = []
    run = vm.engine.run
    monkeypatch.setattr(vm.engine, "run", lambda: (seen.append(vm.pc), run())[1])
    runs = vm.run_each(inputs, at=INPUT, size_register="a1")
    assert len(seen) < 20
    assert [run.exit_code for run in runs[:3]] == [0, 40, 80]
    assert runs[-1].exit_code == 99 * 40 & 0xFF
    assert list(runs.values[:3]) == [0, 40, 80]
    assert len(runs) == 2000
    before = vm.engine.statistics
    vm.run_each(inputs, at=INPUT, size_register="a1")
    after = vm.engine.statistics
    charged = sum(runs.cycles) - len(runs) * 2
    totals = [
        (each.compiled_cycles or 0) + (each.threaded_cycles or 0) + (each.interpreted_cycles or 0)
        for each in (before, after)
    ]
    assert totals[1] - totals[0] == charged


def test_levels_and_other_checkpoints_take_part(engine: str) -> None:
    vm, _ = load(engine)
    first = vm._checkpoint
    vm.registers["a0"] = 1
    vm.memory[COUNTERS + 7] = 15  # one more is of the next class
    vm.push()
    at = state_of(vm)
    runs = vm.run_each(
        [b"\1\2", b"\7"], at=INPUT, size_register="a1", coverage=Coverage(COUNTERS, 8)
    )
    assert [run.exit_code for run in runs] == [3, 7]
    assert runs.fresh == [0, 1]
    assert vm.memory[COUNTERS + 7] == 16
    vm.restore()
    assert state_of(vm) == at
    second = vm.checkpoint()
    assert [run.exit_code for run in vm.run_each([b"\5"], at=INPUT, size_register="a1")] == [5]
    second.restore()
    assert state_of(vm) == at
    assert first is not None
    first.restore(0)
    assert vm.memory[COUNTERS + 7] == 0


def test_handlers_of_the_caller_are_called(engine: str) -> None:
    vm, written = load(engine)
    seen = []

    @vm.syscall(93)
    def leave(call: Any) -> int:
        seen.append(call.args[0])
        call.machine.pc = GUEST["away"]
        return call.args[0] + 1

    @vm.host_function(GUEST["print"])
    def instead(call: Any) -> None:
        call.machine.x[1] = GUEST["end"]

    runs = vm.run_each([b"\1", b"\xca", b"\2\2"], at=INPUT, size_register="a1")
    assert seen == [1, 202, 4]
    assert [run.exit_code for run in runs] == [2, 203, 5]
    assert not written


def test_exit_codes_are_those_of_the_profile() -> None:
    vm, _ = load("threaded", R | X, profile="ckb")
    runs = vm.run_each([b"\x64" * 2, b"\x01"], at=INPUT, size_register="a1")
    assert [run.exit_code for run in runs] == [-56, 1]


def test_a_guest_that_has_ended_or_stands_at_an_end_is_run_as_run_does(engine: str) -> None:
    vm, _ = load(engine)
    runs = vm.run_each([b"\1", b"\2"], at=INPUT, size_register="a1", until=GUEST["begin"])
    assert [(run.stop, run.exit_code) for run in runs] == [(Stop.EXIT, 1), (Stop.EXIT, 2)]
    vm.checkpoint()
    runs = vm.run_each([b"\1", b"\5"], at=INPUT)
    assert [(run.stop, run.exit_code) for run in runs] == [(Stop.EXIT, 2)] * 2


def test_a_pause_ends_a_batch(engine: str) -> None:
    """The run that was interrupted can be gone on with, but does not count."""
    vm, _ = load(engine)
    inputs = [b"\1"] * 5 + [bytes([201])] + [b"\2"] * 5
    timer = threading.Timer(0.1, vm.pause)
    timer.start()
    runs = vm.run_each(inputs, at=INPUT, size_register="a1")
    timer.join()
    assert [run.exit_code for run in runs] == [1] * 5
    assert vm.exit_code is None
    assert vm.run(cycle_limit=vm.cycles + 50).stop is Stop.CYCLE_LIMIT
    vm.restore()
    assert not vm.verify()


def test_ctrl_c_is_heard(engine: str) -> None:
    vm, _ = load(engine)
    timer = threading.Timer(0.1, signal.raise_signal, (signal.SIGINT,))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        vm.run_each([bytes([201])], at=INPUT, size_register="a1")
    timer.join()
    assert vm.run_each([b"\3"], at=INPUT, size_register="a1")[0].exit_code == 3


def test_mistakes_are_told_and_change_nothing(engine: str) -> None:
    vm, _ = load(engine)
    bare = VM.from_elf(elf(GUEST, R | X), engine=engine, memory_size=4 << 20)
    with pytest.raises(SnapshotError, match="no checkpoint"):
        bare.run_each([b"x"], at=INPUT)
    before, end = state_of(vm), vm.memory.base + vm.memory.size
    for error, options in (
        (ConfigError, {"size_register": "a9"}),
        (ConfigError, {"size_register": "zero"}),
        (ConfigError, {"coverage": Coverage(COUNTERS + 4, 8)}),
        (ConfigError, {"cycle_limit": -1}),
        (OutOfBounds, {"at": end - 1}),
        (OutOfBounds, {"coverage": Coverage(end, 8)}),
        (UnknownSymbol, {"until": "nowhere"}),
        (UnknownSymbol, {"at": "nowhere"}),
    ):
        with pytest.raises(error):
            vm.run_each([b"xy"], **{"at": INPUT, **options})  # type: ignore[arg-type]
        assert state_of(vm) == before
    with pytest.raises(PermissionDenied):
        vm.run_each([b"xy"], at=0x200000)
    assert not vm.verify()
    with pytest.raises(ConfigError, match="12 counters"):
        Coverage(COUNTERS, 12)
    assert list(vm.run_each([], at=INPUT)) == []


def test_nobody_else_runs_the_guest_meanwhile() -> None:
    vm, _ = load("threaded")
    found: list[BaseException] = []

    @vm.syscall(93)
    def leave(call: object) -> None:
        for attempt in (vm.push, lambda: vm.run_each([b"\1"], at=INPUT)):
            with pytest.raises(SnapshotError, match="inside a handler"):
                attempt()

        def intrude() -> None:
            try:
                vm.run_each([b"\1"], at=INPUT)
            except MachineBusy as error:
                found.append(error)

        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join()
        vm.exit_code = 77

    assert vm.run_each([b"\1"], at=INPUT, size_register="a1")[0].exit_code == 77
    assert len(found) == 1

"""Stops from outside: pauses, Ctrl-C, sinks and handlers that raise; and what goes wrong."""

from __future__ import annotations

import signal
import threading

import pytest

from rvjit.errors import (
    ConfigError,
    CyclesExceeded,
    MachineBusy,
    ScriptError,
    ScriptPaused,
    SnapshotFormatError,
    SnapshotMismatch,
)
from rvjit.scheduler.runner import PauseSignal
from rvjit.scheduler.scheduler import PauseOrLimit, Scheduler
from rvjit.scheduler.suspended import FullSuspendedState
from tests.engines.assemble import R, X, assemble, elf
from tests.scheduler.scripts import data_of, make, program, run

WHOLE = run("cycles").result


def test_a_pause_that_was_asked_for_before_the_run() -> None:
    scheduler, wanted = make("cycles"), PauseSignal()
    wanted.interrupt()
    assert wanted.has_interrupted
    with pytest.raises(ScriptPaused):
        scheduler.run(PauseOrLimit(wanted))
    assert not wanted.has_interrupted
    assert scheduler.peek(0, lambda machine: machine.pc) == 0x10000  # nothing has run
    assert scheduler.run(PauseOrLimit(wanted)) == WHOLE


def test_a_pause_from_inside_and_one_that_is_taken_back() -> None:
    wanted = PauseSignal()
    scheduler = make("cycles", debug=lambda data: wanted.interrupt())
    with pytest.raises(ScriptPaused) as caught:
        scheduler.run(PauseOrLimit(wanted))
    assert caught.value.vm_id == 0
    wanted.interrupt()
    wanted.free()
    assert scheduler.run(PauseOrLimit(wanted)) == WHOLE


FOREVER = elf(assemble("_start: j _start"), R | X)


def test_a_pause_from_another_thread() -> None:
    scheduler, wanted = Scheduler(FOREVER, engine="threaded"), PauseSignal()
    timer = threading.Timer(0.05, wanted.interrupt)
    timer.start()
    with pytest.raises(ScriptPaused):
        scheduler.run(PauseOrLimit(wanted))
    timer.join()
    assert scheduler.consumed_cycles > 0


def test_ctrl_c_and_on() -> None:
    pressed = []

    def press(data: bytes) -> None:
        if not pressed:
            pressed.append(data)
            signal.raise_signal(signal.SIGINT)

    scheduler = make("cycles", debug=press)
    with pytest.raises(KeyboardInterrupt):
        scheduler.run()
    assert pressed == [b"0123456789abcdef"]
    assert scheduler.run() == WHOLE


def test_ctrl_c_for_a_handler_that_goes_on() -> None:
    heard = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        scheduler = make("cycles", debug=lambda data: signal.raise_signal(signal.SIGINT))
        assert scheduler.run() == WHOLE
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [signal.SIGINT]


def test_a_sink_that_raises_is_called_again() -> None:
    texts: list[bytes] = []

    def full(data: bytes) -> None:
        texts.append(data)
        if len(texts) == 1:
            raise OSError("full")

    scheduler = make("cycles", debug=full)
    with pytest.raises(OSError, match="full"):
        scheduler.run()
    assert scheduler.run() == WHOLE
    assert len(texts) == 2


def test_calls_of_ones_own() -> None:
    source = "_start: li a0, 20\n li a1, 22\n li a7, {number}\n ecall\n li a7, 93\n ecall"

    def script(number: int, handler):
        file = elf(assemble(source.format(number=number)), R | X)
        return Scheduler(file, engine="threaded", syscalls={number: handler}).run().exit_code

    assert script(5000, lambda call: call.args[0] + call.args[1]) == 42
    assert script(2603, lambda call: -3) == -3  # in place of CKB's
    assert script(5000, lambda call: None) == 20
    with pytest.raises(ConfigError, match="'text'"):
        script(5000, lambda call: "text")
    for number in (93, -1, "5000"):
        with pytest.raises(ConfigError):
            Scheduler(FOREVER, syscalls={number: lambda call: 0})


def test_one_thread_at_a_time() -> None:
    errors: list[Exception] = []

    def meanwhile(data: bytes) -> None:
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()

    def try_it() -> None:
        try:
            scheduler.run()
        except MachineBusy as error:
            errors.append(error)

    scheduler = make("cycles", debug=meanwhile)
    assert scheduler.run() == WHOLE
    assert len(errors) == 1


@pytest.mark.parametrize("version", [0, 1, 2])
def test_versions(version: int) -> None:
    """Each has its own calls; the argument count is found in all."""
    source = "_start: lw a0, 0(sp)\n li a7, 93\n ecall"
    file = elf(assemble(source), R | X)
    scheduler = Scheduler(file, version=version, args=[b"a", b"b"], engine="interp")
    assert scheduler.run().exit_code == 2
    asks = elf(assemble("_start: li a7, 2041\n ecall\n li a7, 93\n ecall"), R | X)
    if version:
        assert Scheduler(asks, version=version, engine="interp").run().exit_code == version
    else:
        with pytest.raises(ScriptError, match="InvalidEcall: 2041"):
            Scheduler(asks, version=0, engine="interp").run()


def test_mistakes_of_the_caller() -> None:
    scheduler = make("cycles")
    for limit in (-1, 1 << 64):
        with pytest.raises(ConfigError):
            scheduler.run(limit)
    with pytest.raises(ConfigError, match="not begun"):
        scheduler.suspend()
    with pytest.raises(ConfigError, match="no VM 5"):
        scheduler.peek(5, lambda machine: None)
    assert scheduler.state(5) is None
    with pytest.raises(ConfigError):
        Scheduler(FOREVER, version=3)
    broken = Scheduler(b"no program", engine="threaded")
    for _ in range(2):
        with pytest.raises(ScriptError, match="ElfParseError"):
            broken.run()
    scheduler.close()
    scheduler.close()
    for use in (scheduler.run, scheduler.iterate, scheduler.suspend):
        with pytest.raises(ConfigError, match="closed"):
            use()


# Suspended states that are not what they should be.


@pytest.fixture(scope="module")
def state() -> FullSuspendedState:
    scheduler = make("ring", "1", corrected=True)
    with pytest.raises(CyclesExceeded):
        scheduler.run(3_000_000)
    assert len(scheduler.vm_ids) > 4
    return scheduler.suspend()


def test_peek_at_a_vm_without_a_machine(state: FullSuspendedState) -> None:
    scheduler = Scheduler.resume(data_of("ring"), state, engine="threaded")
    for vm in state.vms:
        registers = scheduler.peek(vm.id, lambda machine: tuple(machine.x))
        assert registers == vm.snapshot.cpu.x
        assert scheduler.state(vm.id) == vm.state
    assert scheduler.suspend().to_bytes() == state.to_bytes()
    assert scheduler.run().exit_code == 0


def test_a_state_needs_its_data(state: FullSuspendedState) -> None:
    with pytest.raises(SnapshotMismatch, match="program"):
        Scheduler.resume(data_of("tree"), state, engine="threaded")
    with pytest.raises(ScriptError, match="SnapshotDataLoadError"):
        Scheduler.resume(program("ring"), state, engine="threaded")
    with pytest.raises(ConfigError, match="version"):
        Scheduler.resume(data_of("ring"), state, version=2)


def test_damaged_bytes_are_refused(state: FullSuspendedState) -> None:
    data = state.to_bytes()
    for at in range(0, len(data), 97):
        damaged = bytearray(data)
        damaged[at] ^= 0x40
        with pytest.raises(SnapshotFormatError):
            FullSuspendedState.from_bytes(bytes(damaged))
    for size in (0, 10, len(data) // 2, len(data) - 1):
        with pytest.raises(SnapshotFormatError):
            FullSuspendedState.from_bytes(data[:size])
    with pytest.raises(SnapshotFormatError):
        FullSuspendedState.from_bytes(state.vms[0].snapshot.to_bytes())


def test_a_state_is_small(state: FullSuspendedState) -> None:
    """What VMs share with their program is not in it."""
    written = 5 * 4096  # of each VM: a page or two of stack and data
    assert len(state.to_bytes()) < len(state.vms) * (written + 2000)

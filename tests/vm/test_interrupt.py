"""Ctrl-C: an exact stop, then Python's own handling of it; everything put back afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from rvjit import VM, CallStopped, Stop
from rvjit.vm.interrupts import Interruptible

Load = Callable[..., tuple[VM, bytearray]]


def listens(vm: VM) -> bool:
    """Whether a run of *vm* has put its handler in place, where it does that at all.

    Before, Python's own KeyboardInterrupt may come in a weak reference's callback, which drops it.
    """
    handler = signal.getsignal(signal.SIGINT)
    ours = isinstance(getattr(handler, "__self__", None), Interruptible)
    return vm._entry.depth > 0 and (ours or not callable(handler))


def interrupt_after(
    seconds: float, vm: VM | None = None, number: int = signal.SIGINT
) -> threading.Thread:
    """Send this process a signal, as the terminal does at Ctrl-C; not before *vm* runs."""

    def send() -> None:
        while vm is not None and not listens(vm):
            time.sleep(0)
        time.sleep(seconds)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGINT)
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor)
    yield
    assert signal.getsignal(signal.SIGINT) is handler
    assert signal.set_wakeup_fd(-1) == descriptor
    signal.set_wakeup_fd(descriptor)


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """A handler of the user's that only notes the signal."""
    seen: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    yield seen
    signal.signal(signal.SIGINT, previous)


def test_an_interrupt_raises_and_the_guest_can_go_on(load: Load, engine: str) -> None:
    vm, _ = load("forever", engine=engine, memory_size=1 << 20)
    for _ in range(3):
        timer = interrupt_after(0.03, vm)
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            vm.run(timeout=60)
        assert time.monotonic() - started < 10
        timer.join()
    limit = vm.cycles + 1001
    result = vm.run(cycle_limit=limit)
    assert (result.stop, result.cycles) == (Stop.CYCLE_LIMIT, limit)
    other, _ = load("forever", engine="jit", memory_size=1 << 20)
    other.run(cycle_limit=limit)
    assert (other.pc, tuple(other.registers)) == (vm.pc, tuple(vm.registers))


def test_one_signal_is_one_interrupt(load: Load) -> None:
    vm, _ = load("forever", engine="jit", memory_size=1 << 20)
    vm.run(cycle_limit=1000)
    for index in range(150):
        timer = interrupt_after((index % 10) * 0.0003, vm)
        with pytest.raises(KeyboardInterrupt):
            vm.run(timeout=60)
        # At once again: what is left of the signal must not stop this one.
        assert vm.run(cycle_limit=vm.cycles + 10_000).stop is Stop.CYCLE_LIMIT
        timer.join()


def test_interrupts_of_a_guest_that_makes_system_calls(load: Load) -> None:
    """The signal may come in Python code as well as in compiled code."""
    source = "_start: li a7, 5000\n again: ecall\n j again"
    from tests.engines.assemble import assemble, elf

    vm, _ = load(elf(assemble(source)), engine="jit", memory_size=1 << 20)
    calls = 0

    @vm.syscall(5000)
    def count(call):
        nonlocal calls
        calls += 1

    for index in range(100):
        timer = interrupt_after((index % 10) * 0.0003, vm)
        with pytest.raises(KeyboardInterrupt):
            vm.run(timeout=60)
        assert vm.run(cycle_limit=vm.cycles + 20).stop is Stop.CYCLE_LIMIT
        timer.join()
    assert vm.cycles - 1 in (2 * calls, 2 * calls - 1)


def test_a_handler_that_returns_lets_the_run_go_on(
    load: Load, engine: str, handled: list[int]
) -> None:
    vm, _ = load("forever", engine=engine, memory_size=1 << 20)

    def send_three() -> None:
        for index in range(3):
            while len(handled) < index:
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGINT)
        vm.pause()

    thread = threading.Thread(target=send_three)
    thread.start()
    stop = vm.run(timeout=60).stop
    thread.join()
    assert stop is Stop.PAUSE
    assert handled == [signal.SIGINT] * 3


def test_a_pause_beside_an_interrupt_is_not_lost(load: Load, handled: list[int]) -> None:
    vm, _ = load("forever", engine="jit", memory_size=1 << 20)
    for _ in range(20):
        vm.machine.request(Stop.INTERRUPT)  # as the watcher does
        vm.pause()
        assert vm.run(timeout=60).stop is Stop.PAUSE
    assert len(handled) == 20


def test_steps_go_on_where_a_handler_returns(load: Load, engine: str, handled: list[int]) -> None:
    vm, _ = load("forever", engine=engine, memory_size=1 << 20)
    vm.machine.request(Stop.INTERRUPT)
    assert vm.step(7).stop is Stop.STEP
    assert vm.cycles == 7
    vm.step(4)
    assert vm.cycles == 11


def test_a_handler_may_raise_anything(load: Load) -> None:
    class OwnError(Exception):
        pass

    def handler(number, frame):
        raise OwnError

    previous = signal.signal(signal.SIGINT, handler)
    try:
        vm, _ = load("forever", engine="jit", memory_size=1 << 20)
        timer = interrupt_after(0.02, vm)
        with pytest.raises(OwnError):
            vm.run(timeout=60)
        timer.join()
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, previous)


def test_an_ignored_signal_stays_ignored(load: Load) -> None:
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        vm, _ = load("forever", engine="jit", memory_size=1 << 20)
        timer = interrupt_after(0.02, vm)
        assert vm.run(timeout=0.2).stop is Stop.TIMEOUT
        timer.join()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, previous)


@contextlib.contextmanager
def own_descriptor() -> Iterator[socket.socket]:
    """A wake-up descriptor such as an event loop sets."""
    receiver, sender = socket.socketpair()
    receiver.setblocking(False)
    sender.setblocking(False)
    previous = signal.set_wakeup_fd(sender.fileno())
    try:
        yield receiver
        assert signal.set_wakeup_fd(-1) == sender.fileno()
    finally:
        signal.set_wakeup_fd(previous)
        receiver.close()
        sender.close()


def test_a_descriptor_that_was_there_gets_its_bytes(load: Load) -> None:
    vm, _ = load("forever", engine="jit", memory_size=1 << 20)
    with own_descriptor() as receiver:
        timer = interrupt_after(0.02, vm)
        with pytest.raises(KeyboardInterrupt):
            vm.run(timeout=60)
        timer.join()
        assert receiver.recv(100) == bytes([signal.SIGINT])


def test_other_signals_reach_the_descriptor_and_stop_nothing(load: Load) -> None:
    seen: list[int] = []
    previous = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    try:
        vm, _ = load("forever", engine="jit", memory_size=1 << 20)
        with own_descriptor() as receiver:
            timer = interrupt_after(0.02, vm, signal.SIGUSR1)
            assert vm.run(timeout=0.3).stop is Stop.TIMEOUT
            timer.join()
            assert receiver.recv(100) == bytes([signal.SIGUSR1])
        assert seen == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, previous)


def test_no_byte_is_lost_at_the_end_of_a_run(load: Load) -> None:
    """A signal just before a run ends still reaches the descriptor that was there."""
    previous = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    try:
        vm, _ = load("forever", engine="jit", memory_size=1 << 20)

        @vm.host_function("again")
        def send(call):
            os.kill(os.getpid(), signal.SIGUSR1)
            vm.pause()
            call.machine.x[1] = vm.address_of("again") + 2  # go on behind it

        with own_descriptor() as receiver:
            for _ in range(200):
                vm.pc = vm.address_of("again")
                vm.run(timeout=60)
                assert receiver.recv(100) == bytes([signal.SIGUSR1])
    finally:
        signal.signal(signal.SIGUSR1, previous)


def test_an_interrupt_reaches_a_guest_called_by_a_handler(load: Load, engine: str) -> None:
    vm, _ = load("callee", engine=engine, memory_size=1 << 20)
    stack = vm.registers["sp"]

    @vm.syscall(64)
    def write(call):
        # fact(2**63) recurses until the stack is full, again and again.
        while True:
            with contextlib.suppress(CallStopped):
                vm.call("fact", 1 << 63)

    timer = interrupt_after(0.05, vm)
    with pytest.raises(KeyboardInterrupt):
        vm.run(timeout=60)
    timer.join()
    assert vm.registers["sp"] <= stack


def test_an_endless_call_from_a_handler_can_be_interrupted(load: Load, engine: str) -> None:
    from tests.engines.assemble import assemble, elf

    code = assemble("_start: li a7, 5000\n ecall\n endless: addi a0, a0, 1\n j endless")
    vm, _ = load(elf(code), engine=engine, memory_size=1 << 20)

    @vm.syscall(5000)
    def call_back(call):
        return vm.call("endless")

    timer = interrupt_after(0.05, vm)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        vm.run(timeout=5)
    assert time.monotonic() - started < 4
    timer.join()
    with pytest.raises(CallStopped) as stopped:  # the system call is made again
        vm.run(cycle_limit=vm.cycles + 10)
    assert stopped.value.result.stop is Stop.CYCLE_LIMIT


def test_runs_on_other_threads_are_not_disturbed(load: Load) -> None:
    other, _ = load("forever", engine="jit", memory_size=1 << 20)
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(other.run(timeout=0.5)))
    thread.start()
    vm, _ = load("forever", engine="jit", memory_size=1 << 20)
    for _ in range(3):
        timer = interrupt_after(0.03, vm)
        with pytest.raises(KeyboardInterrupt):
            vm.run(timeout=60)
        timer.join()
    thread.join()
    assert [result.stop for result in results] == [Stop.TIMEOUT]


def test_ctrl_c_while_only_another_thread_runs_is_pythons(load: Load) -> None:
    vm, _ = load("forever", engine="jit", memory_size=1 << 20)
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(vm.run(timeout=0.3)))
    thread.start()
    timer = interrupt_after(0.05)
    with pytest.raises(KeyboardInterrupt):
        time.sleep(5)
    timer.join()
    thread.join()
    assert [result.stop for result in results] == [Stop.TIMEOUT]


def test_a_process_dies_of_ctrl_c_as_any_other_does(load: Load) -> None:
    # Not tiered: CPython forgets what it dies of where another thread is importing just then (any
    # exec() does it), as the compiler's thread may be.
    script = (
        "import rvjit, sys\n"
        "vm = rvjit.VM.from_elf(sys.argv[1], engine='jit')\n"
        "vm.run(cycle_limit=1000)\n"
        "print('ready', flush=True)\n"
        "vm.run()\n"
    )
    from tests.conftest import GUESTS

    child = subprocess.Popen(
        [sys.executable, "-c", script, str(GUESTS / "forever.elf")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=30)
    assert child.returncode == -signal.SIGINT
    assert errors.strip().endswith(b"KeyboardInterrupt")

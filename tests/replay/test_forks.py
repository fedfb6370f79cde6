"""Processes: none is left over, none gets in anybody's way, whatever happens to whom."""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rvjit import VM, CheckpointRing, SnapshotError, Stop, example
from rvjit.engines import worker
from rvjit.replay import forked
from tests.conftest import GUESTS
from tests.replay.test_ring import spin

pytestmark = pytest.mark.skipif(
    forked.unavailable() is not None, reason=f"no forked checkpoints: {forked.unavailable()}"
)

WAIT = 60  # seconds until a test gives up


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def children() -> list[int]:
    found = []
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):
            found += map(int, Path(f"/proc/self/task/{task}/children").read_text().split())
    return found


def alive(process: int) -> bool:
    """Whether a process runs; a zombie of somebody else does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


@pytest.fixture
def ring(tmp_path: Path) -> Any:
    with CheckpointRing(
        spin(engine="threaded"), tmp_path / "trace", every=100, keep=3, kind="fork"
    ) as made:
        yield made


def test_old_ones_end_and_are_reaped(ring: CheckpointRing) -> None:
    for count in (1, 2, 3, 3, 3):
        ring.checkpoint()
        assert len(ring.checkpoints) == count
    wait_for(lambda: sum(map(alive, children())) == 3)
    ring.close()
    assert children() == []


def test_a_replay_ends_all(ring: CheckpointRing) -> None:
    ring.run(cycle_limit=1000)
    assert ring.fail("now").reproduced is True
    assert children() == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_that_is_gone_is_no_crash(ring: CheckpointRing, number: int) -> None:
    ring.run(cycle_limit=250)
    for child in children():
        os.kill(child, number)
    with pytest.raises(SnapshotError, match="process"):
        ring.fail("now")
    assert children() == []
    ring.run(cycle_limit=500)
    assert ring.fail("again").reproduced is True


def test_somebody_elses_wait_may_take_them(ring: CheckpointRing) -> None:
    ring.run(cycle_limit=250)
    process = children()[0]
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    ring.run(cycle_limit=1250)
    ring.close()
    assert children() == []


def test_a_ring_that_is_forgotten_ends_its_processes(tmp_path: Path) -> None:
    made = CheckpointRing(spin(engine="threaded"), tmp_path / "trace", kind="fork")
    made.checkpoint()
    assert len(children()) == 1
    del made
    gc.collect()
    assert children() == []


def test_another_forks_child_leaves_them_alone(ring: CheckpointRing) -> None:
    ring.run(cycle_limit=250)
    process = os.fork()
    if not process:
        status = 1
        with contextlib.suppress(BaseException):
            with pytest.raises(SnapshotError, match="those of process"):
                ring.checkpoint()
            ring.close()
            status = 0
        os._exit(status)
    assert os.waitpid(process, 0)[1] == 0
    assert sum(map(alive, children())) == 3
    assert ring.fail("now").reproduced is True


def test_another_child_that_has_their_links_keeps_none(ring: CheckpointRing) -> None:
    """Then they do not see that the parent has let go of them."""
    ring.run(cycle_limit=250)
    forked = children()
    assert len(forked) == 3
    process = os.fork()
    if not process:
        time.sleep(600)
        os._exit(0)
    try:
        ring.run(cycle_limit=2050)
        wait_for(lambda: not any(map(alive, forked)))
        ring.close()
        assert children() == [process]
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def test_inherited_descriptors_are_let_go(ring: CheckpointRing) -> None:
    """Who waits for a pipe's end does not wait for sleeping processes."""
    receiver, sender = os.pipe()
    ring.checkpoint()
    os.close(sender)
    assert os.read(receiver, 1) == b""
    os.close(receiver)


def test_ctrl_c_does_not_reach_them(ring: CheckpointRing) -> None:
    ring.run(cycle_limit=250)
    for process in children():
        os.kill(process, signal.SIGINT)
    assert ring.fail("now").reproduced is True


def test_ctrl_c_during_the_fork_leaves_nothing(ring: CheckpointRing) -> None:
    ring.run(cycle_limit=250)
    keeper: Any = ring._keeper
    fork = keeper._fork

    def interrupted() -> int:
        assert fork() == 0
        raise KeyboardInterrupt

    keeper._fork = interrupted
    count = len(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyboardInterrupt):
        ring.checkpoint()
    assert len(os.listdir("/proc/self/fd")) == count
    keeper._fork = fork
    wait_for(lambda: sum(map(alive, children())) == 3)
    ring.checkpoint()
    assert ring.fail("now").reproduced is True
    assert children() == []


def test_a_ring_on_another_thread(tmp_path: Path) -> None:
    """Whose end does not matter to the processes, and which gets no signals."""
    ring = CheckpointRing(
        spin(engine="threaded"), tmp_path / "trace", every=100, keep=2, kind="fork"
    )
    thread = threading.Thread(target=ring.advance, kwargs={"cycle_limit": 450})
    thread.start()
    thread.join()
    with ring:
        assert ring.checkpoints == [300, 400]
        wait_for(lambda: sum(map(alive, children())) == 2)  # others are still dying
        assert ring.fail("now").reproduced is True


def test_signals_are_as_before(ring: CheckpointRing) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        ring.checkpoint()
        now = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        assert now == {*before, signal.SIGUSR1}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_no_handler_of_a_fork_runs(ring: CheckpointRing) -> None:
    """Neither Python's, which would enter what other threads may be in the middle of."""
    seen: list[int] = []
    os.register_at_fork(before=lambda: seen.append(1))
    ring.checkpoint()
    assert not seen
    process = os.fork()
    if not process:
        os._exit(0)
    os.waitpid(process, 0)
    assert seen


def advised_against_forks() -> int:
    """Return how many mappings a child would not have."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    return sum("dc" in line.split() for line in lines if line.startswith("VmFlags:"))


def test_memory_is_as_before(ring: CheckpointRing) -> None:
    """What is left out of a checkpoint's process is there for all others."""
    kept = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    kept.write(b"somebody else's" * 60_000)
    kept.madvise(mmap.MADV_DONTFORK)
    before = advised_against_forks()
    assert before >= 1
    ring.checkpoint()
    (process,) = children()
    there = Path(f"/proc/{process}/smaps").read_text()
    assert "[heap]" not in there
    ring.checkpoint()
    assert advised_against_forks() == before
    del kept


def test_the_bytes_are_bounded(tmp_path: Path) -> None:
    """What the processes hold alone counts as page faults say, and the oldest go."""
    vm = spin(memory_size=16 << 20)
    memory = vm.machine.memory
    with CheckpointRing(vm, tmp_path / "trace", keep=50, max_bytes=8 << 20, kind="fork") as ring:
        for number in range(12):
            ring.checkpoint()
            memory.zero(memory.base, 1 << 20)
            memory.initialise(memory.base + (4 << 20), bytes([number]) * (2 << 20))
        ring.checkpoint()
        assert 1 < len(ring.checkpoints) <= 6
        assert ring.size <= 9 << 20  # the last fork has cost some more


OUTPUT = """
import sys, os
from pathlib import Path
from rvjit import VM, CheckpointRing
print("kept in a buffer")  # standard output is a pipe, so nothing has been written yet
file = open(sys.argv[3], "w")
file.write("kept as well")
vm = VM.from_elf(sys.argv[1], args=["store-at", "0x8"], engine="threaded")
with CheckpointRing(vm, sys.argv[2], every=50, kind="fork") as ring:
    result = ring.run()
print(result.stop.value, ring.replay.reproduced)
"""


def test_output_is_neither_lost_nor_doubled(tmp_path: Path) -> None:
    file = tmp_path / "file"
    command = [sys.executable, "-c", OUTPUT, str(GUESTS / "wild.elf"), str(tmp_path / "t"), file]
    done = subprocess.run(command, capture_output=True, timeout=WAIT, check=True)
    lines = done.stdout.decode().splitlines()
    assert sorted(lines) == sorted(["kept in a buffer", "store-at", "fault True"])
    assert done.stderr == b""
    assert file.read_text() == "kept as well"


ORPHANS = """
import os, struct, sys, time
from rvjit import VM, CheckpointRing
from rvjit.codegen.sleeper import REQUEST
vm = VM.from_elf(sys.argv[1], engine="threaded")
ring = CheckpointRing(vm, sys.argv[2], every=1_000_000, keep=4, last=None, kind="fork")
ring.advance(cycle_limit=10_000_000)
children = open(f"/proc/self/task/{os.getpid()}/children").read()
if sys.argv[3] != "asked":
    print(children, flush=True)
if sys.argv[3] == "replaying":
    ring.fail("slowly")
if sys.argv[3] == "asked":  # for more than there is room for, and there will always be a reader
    if not os.fork():
        os.read(0, 1)
        os._exit(0)
    for child in ring._keeper._sleeping:
        os.write(child.link, struct.pack(REQUEST, vm.machine.memory.addresses[0], 4 << 20))
    print(children, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("state", ["sleeping", "asked", "replaying"])
def test_no_orphans_even_if_the_parent_is_killed(state: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", ORPHANS, GUESTS / "forever.elf", tmp_path / "trace", state]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
        contextlib.ExitStack() as stack,
    ):
        stack.callback(process.kill)
        assert process.stdout is not None
        found = [int(word) for word in process.stdout.readline().split()]
        assert len(found) >= 4  # some may be dying
        if state == "replaying":
            wait_for(lambda: any("tmp" in each.name for each in tmp_path.iterdir()))
        process.send_signal(signal.SIGKILL)
        wait_for(lambda: not any(map(alive, found)))


def test_forks_while_the_compiler_is_busy(tmp_path: Path) -> None:
    """The JIT compiles and publishes all the while; every replay and the run itself are right."""
    for rounds in range(2):
        output = bytearray()
        vm = VM.from_elf(
            example("bytecode"), args=["3"], stdout=output.extend, engine="tiered", cache=False
        )
        with CheckpointRing(vm, tmp_path / "trace", every=150_000, kind="fork", last=100) as ring:
            for stop in range(600_000, 2_000_000, 200_000):
                if ring.run(cycle_limit=stop + rounds).stop is Stop.EXIT:
                    break
                assert ring.fail("look").reproduced is True
            assert ring.run().exit_code == 0
        expected = bytearray()
        plain = VM.from_elf(
            example("bytecode"), args=["3"], stdout=expected.extend, engine="threaded"
        )
        assert plain.run().cycles == vm.cycles
        assert output == expected


def test_a_process_that_cannot_be_made(ring: CheckpointRing) -> None:
    ring.run(cycle_limit=250)
    count, descriptors = len(ring.checkpoints), len(os.listdir("/proc/self/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    first_free = os.dup(0)
    os.close(first_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (first_free + 1, hard))  # a socket pair is two
    try:
        with pytest.raises(OSError, match="checkpoint: Too many open files"):
            ring.run(cycle_limit=350)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert ring.replay is not None  # an error as any other
    assert ring.replay.reproduced is True
    ring.close()
    # A link for each checkpoint, and that of this process.
    assert len(os.listdir("/proc/self/fd")) == descriptors - count - 1


class SlowJob:
    """Something to compile that takes until it is released."""

    stale = False
    insn_count = 1
    origin = None

    def __init__(self) -> None:
        self.begun, self.released, self.over = (threading.Event() for _ in range(3))
        self.source = SimpleNamespace(pc=0)
        self.shelf = SimpleNamespace(made=self.made)

    def made(self, _origin: None) -> str:
        self.begun.set()
        self.released.wait(WAIT)
        self.over.set()
        return "somebody else's"

    def built(self, job: Any) -> None:
        pass


def test_a_plain_fork_waits_for_the_compiler_and_a_checkpoint_does_not(
    ring: CheckpointRing,
) -> None:
    job = SlowJob()
    worker.submit(job, weakref.WeakMethod(job.built))  # type: ignore[arg-type]
    assert job.begun.wait(WAIT)
    ring.checkpoint()
    assert not job.over.is_set()
    releaser = threading.Timer(0.05, job.released.set)
    releaser.start()
    process = os.fork()
    if not process:
        os._exit(0 if job.over.is_set() else 1)
    assert os.waitpid(process, 0)[1] == 0
    releaser.join()


def test_a_childs_compiled_code_and_its_parents_are_apart() -> None:
    """Both go on after a plain fork, compile, drop and place code; neither overwrites the other."""

    def finish(vm: VM, seen: bytearray) -> bool:
        others = [load("hello", "1"), load("fib", "8")]
        for other, _ in others:
            other.run()
        ended = vm.run()
        del others
        return ended.exit_code == 0 and bytes(seen) == bytes(expected)

    def load(name: str, argument: str, engine: str = "jit") -> tuple[VM, bytearray]:
        output = bytearray()
        vm = VM.from_elf(
            example(name), args=[argument], engine=engine, stdout=output.extend, cache=False
        )
        return vm, output

    plain, expected = load("fib", "15", "threaded")
    total = plain.run().cycles
    vm, output = load("fib", "15")
    vm.run(cycle_limit=total // 2)
    process = os.fork()
    if not process:
        status = 1
        with contextlib.suppress(BaseException):
            status = not finish(vm, output)
        os._exit(status)
    assert finish(vm, output)
    assert os.waitpid(process, 0)[1] == 0


@pytest.mark.slow
def test_ten_thousand_forks_leak_nothing(tmp_path: Path) -> None:
    def counts() -> tuple[int, int, int]:
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
        return len(os.listdir("/proc/self/fd")), len(children()), resident

    vm = spin(engine="threaded")
    with CheckpointRing(vm, tmp_path / "trace", every=1000, keep=3, kind="fork") as ring:
        ring.advance(cycle_limit=200_000)
        descriptors, processes, resident = counts()
        ring.advance(cycle_limit=10_200_000)
        wait_for(lambda: sum(map(alive, children())) <= 3)
        ring.checkpoint()  # reaps
        after = counts()
        assert after[0] == descriptors
        assert after[1] <= max(processes, 5)
        assert after[2] < resident + (2 << 20)
        assert ring.fail("at last").reproduced is True
    assert children() == []

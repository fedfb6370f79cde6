"""CheckpointRing: runs a VM with its newest checkpoints, to replay what led to a failure."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rvjit.errors import (
    ConfigError,
    EngineMismatch,
    MachineBusy,
    SnapshotError,
    UnknownSymbol,
)
from rvjit.machine.layout import NO_LIMIT, word_of
from rvjit.machine.stop import Stop
from rvjit.replay.recorder import Recorder
from rvjit.replay.replayer import Outcome, Plan
from rvjit.snapshot.checkpoint import Listeners
from rvjit.values import dataclass
from rvjit.vm.interrupts import Interruptible
from rvjit.vm.result import RunResult

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from rvjit.vm.vm import VM

KEEP = 2  # checkpoints
MAX_BYTES = 256 << 20
SECONDS = 1.0  # between checkpoints, where nothing is said
LAST = 100_000  # cycles of a trace

KINDS = ("auto", "memory", "fork")

# What counts as a failure unless the caller says otherwise, and what can.
FAILURES = ("fault", "exit", "timeout", "mismatch", "error")
ALL_FAILURES = (*FAILURES, "cycle_limit", "interrupt")

_CYCLES = word_of("cycles")


class _Keeper(Protocol):
    """Who keeps the checkpoints of a machine that is at rest whenever a method is called."""

    @property
    def size(self) -> int:
        """Bytes that they take."""

    def take(self) -> None:
        """Add a checkpoint: the state now."""

    def drop_oldest(self) -> None:
        """Forget the oldest checkpoint."""

    def replay(self, plan: Plan, path: Path) -> Outcome:
        """Replay from the oldest; there are none afterwards."""

    def close(self) -> None:
        """Forget all."""


@dataclass(frozen=True)
class Replay:
    """What was done about a failure: there is a trace at *path*.

    *reason* is one of the kinds of failure, or what was given to `fail`; *detail* says more. The
    replay began at cycle *checkpoint*, and *instructions* were traced, from cycle *traced_from* to
    *end*. *reproduced* is whether it came to the registers, cycle and fault of the run that failed;
    None where these were wrong, as lockstep found.
    """

    reason: str
    detail: str
    path: Path
    checkpoint: int
    traced_from: int
    end: int
    instructions: int
    reproduced: bool | None

    def __str__(self) -> str:
        """Say it to people."""
        text = f"replayed from cycle {self.checkpoint}: {self.path} has what the last "
        text += f"{self.instructions} instructions did, cycles {self.traced_from} to {self.end}"
        if self.reproduced is False:
            text += "; the replay came to another state than the run: please report this"
        return text


class CheckpointRing:
    """Runs *vm* and keeps its newest checkpoints; where a run fails, replays from the oldest.

    *on_failure* is where the trace goes: lines of JSON, the last *last* cycles before the failure
    (None for all since the checkpoint). A checkpoint is taken every *every* cycles or *seconds*
    (one of the two; by default a second), and the newest *keep* are kept, fewer where they would
    take more than *max_bytes*; never less than the newest.

    *kind* is ``memory`` (a copy of guest memory, and of each interval the pages that it wrote),
    ``fork`` (a sleeping process for each, on Linux), or ``auto``: ``memory`` where *max_bytes* has
    room for twice the guest's memory, else ``fork``.

    *failures* are the kinds of ends that count: ``fault``, ``exit`` (with another code than 0),
    ``timeout``, ``mismatch`` (of lockstep), ``error`` (an exception of a handler, a sink or
    *check*), ``cycle_limit``, ``interrupt`` (Ctrl-C); by default all but the last two. *check* is
    called with the VM before every checkpoint and where a run ends, and fails by raising.

    The guest must be run by the ring, or not at all, until `close`; what else is done to the VM in
    between is noted. Raises `ConfigError` for what is impossible. Use it as a context manager.
    """

    def __init__(
        self,
        vm: VM,
        on_failure: str | os.PathLike[str],
        *,
        every: int | None = None,
        seconds: float | None = None,
        keep: int = KEEP,
        max_bytes: int = MAX_BYTES,
        kind: str = "auto",
        last: int | None = LAST,
        failures: Iterable[str] = FAILURES,
        check: Callable[[VM], object] | None = None,
    ) -> None:
        self._vm = vm
        self._path = Path(on_failure)
        self._every, self._seconds = _interval(every, seconds)
        for name, value in (("keep", keep), ("last", last), ("max_bytes", max_bytes)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} {value}: must be at least 1")
        self._keep, self._max_bytes, self._last = keep, max_bytes, last
        self._failures = frozenset(failures)
        if unknown := self._failures - {*ALL_FAILURES}:
            shown = ", ".join(sorted(unknown))
            raise ConfigError(f"unknown failure {shown}: known are {', '.join(ALL_FAILURES)}")
        if not os.access(self._path.parent, os.W_OK):
            raise ConfigError(f"on_failure {self._path}: there is no such folder to write to")
        self._check = check
        self.kind = _chosen(kind, vm.machine.memory.size, max_bytes)
        self.replay: Replay | None = None  # the last one
        self.problem: Exception | None = None  # why there is none
        self._keeper: _Keeper | None = None
        self._marks: deque[tuple[int, int]] = deque()  # cycle and number of changes of each
        self._closed = False
        self._running = False
        self._delivered = False
        self._recorder = Recorder(vm.machine, vm.engine, self._may_stop)
        vm.engine = self._recorder
        Listeners.watchers_changed(vm.machine.memory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def checkpoints(self) -> list[int]:
        """The cycles of the checkpoints there are, oldest first."""
        return [cycle for cycle, _ in self._marks]

    @property
    def size(self) -> int:
        """Bytes that checkpoints and notes take, nearly; with ``fork`` at most."""
        return self._recorder.size + (self._keeper.size if self._keeper is not None else 0)

    def run(
        self,
        *,
        cycle_limit: int | None = None,
        timeout: float | None = None,
        until: str | int | Iterable[str | int] = (),
    ) -> RunResult:
        """As `VM.run`; where that is a failure, `replay` says afterwards what was done about it.

        The result and exceptions are those of `VM.run`. Where there could be no replay, `problem`
        is why.
        """
        with self.guarding():
            result = self.advance(cycle_limit=cycle_limit, timeout=timeout, until=until)
            if self._check is not None:
                self._check(self._vm)
        self.judge(result)
        return result

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """Replay where what is done in this context ends by an exception, which goes on."""
        try:
            yield
        except KeyboardInterrupt:
            self._fail_if("interrupt", "Ctrl-C")
            raise
        except EngineMismatch as mismatch:
            self._fail_if("mismatch", str(mismatch), mismatch)
            raise
        except (ConfigError, MachineBusy, UnknownSymbol):  # of the call, not of the guest
            raise
        except Exception as error:
            self._fail_if("error", f"{type(error).__name__}: {error}")
            raise

    def advance(
        self,
        *,
        cycle_limit: int | None = None,
        timeout: float | None = None,
        until: str | int | Iterable[str | int] = (),
    ) -> RunResult:
        """Run with checkpoints as `VM.run` does without, and do nothing about failures."""
        # Ctrl-C between two runs waits for the next one: where it is raised in the middle of a
        # fork, Python drops it.
        guard = Interruptible(self._vm.machine)
        with guard:
            result = self._advance(guard, cycle_limit, timeout, until)
        if guard.seen and not self._delivered:
            guard.deliver()
        return result

    def _advance(
        self,
        guard: Interruptible,
        cycle_limit: int | None,
        timeout: float | None,
        until: str | int | Iterable[str | int],
    ) -> RunResult:
        vm, started = self._vm, time.monotonic()
        taken = started
        limit = NO_LIMIT if cycle_limit is None else cycle_limit
        places = [until] if isinstance(until, str | int) else until
        until = frozenset(vm.address_of(place) for place in places)
        if not self._marks:
            self.checkpoint()
        due_at = self._marks[-1][0] + (self._every or 0)
        while True:
            now = time.monotonic()
            left = None if timeout is None else max(timeout - (now - started), 0)
            due = None if self._seconds is None else max(taken + self._seconds - now, 0)
            times = [each for each in (left, due) if each is not None]
            before = vm.cycles
            bound = min(limit, max(due_at, before + 1)) if self._every else limit
            self._running = True
            self._delivered = guard.seen  # by the run: the machine was asked to stop
            try:
                result = vm.run(
                    cycle_limit=bound, timeout=min(times) if times else None, until=until
                )
            finally:
                self._running = False
            if not self._is_due(result, bound < limit, left, due):
                return result
            if vm.cycles == before and not self._recorder.is_full:
                due_at += due_at - before  # one instruction costs more than an interval
                taken = time.monotonic()
                continue
            if self._check is not None:
                self._check(vm)
            self.checkpoint()
            due_at, taken = vm.cycles + (self._every or 0), time.monotonic()
            if vm.pc in until and vm.cycles > before:
                return RunResult(Stop.BREAKPOINT, vm.cycles, vm.pc)

    def checkpoint(self) -> None:
        """Take a checkpoint now. Raises `SnapshotError` inside a handler."""
        self._check_open()
        vm, recorder, marks = self._vm, self._recorder, self._marks
        with vm.exclusive("a checkpoint"):
            if self._keeper is None:
                self._keeper = self._make_keeper()
            recorder.begin()
            self._keeper.take()
            marks.append((vm.machine.words[_CYCLES], recorder.position))
            # The old ones go last: while a process ends, another's fork takes longer.
            while len(marks) > self._keep or (len(marks) > 1 and self.size > self._max_bytes):
                self._drop_oldest()
            recorder.room = recorder.size + self._max_bytes // 4

    def judge(self, result: RunResult) -> Replay | None:
        """Replay if *result*, of `advance`, counts as a failure."""
        match result.stop:
            case Stop.FAULT:
                return self._fail_if("fault", str(result.fault))
            case Stop.EXIT if result.exit_code:
                return self._fail_if("exit", f"exit code {result.exit_code}")
            case Stop.TIMEOUT:
                return self._fail_if("timeout", "the time was over")
            case Stop.CYCLE_LIMIT:
                return self._fail_if("cycle_limit", f"the limit was {result.cycles} cycles")
            case _:
                return None

    def fail(self, reason: str, detail: str = "") -> Replay:
        """Replay what led to where the guest stands, whatever it is that has failed.

        May be called by a handler as well; the trace then ends with its call. The VM is as before,
        the checkpoints are gone. Raises `SnapshotError` where there is none, or the replay fails.
        """
        return self._fail(reason, detail, None)

    def close(self) -> None:
        """Give up the checkpoints; the VM stays as it is."""
        if self._closed:
            return
        self._closed = True
        self._forget()
        self._recorder.detach()
        self._vm.engine = self._recorder.engine
        Listeners.watchers_changed(self._vm.machine.memory)

    # How it is done.

    def _is_due(
        self, result: RunResult, early: bool, left: float | None, due: float | None
    ) -> bool:
        """Whether a run, *early* if up to less than its cycle limit, ended for a checkpoint."""
        if result.stop is Stop.CYCLE_LIMIT:
            return early or self._recorder.is_full
        return result.stop is Stop.TIMEOUT and due is not None and (left is None or due < left)

    def _may_stop(self) -> bool:
        """Whether a run that stops early goes on here: no other, nor one inside a handler."""
        return self._running and self._vm._entry.depth == 1  # noqa: SLF001

    def _make_keeper(self) -> _Keeper:
        machine, native = self._vm.machine, self._recorder.engine.name != "interp"
        if self.kind == "fork":
            from rvjit.replay.forked import Forks

            return Forks(machine, native=native)
        from rvjit.replay.mirror import Mirror

        return Mirror(machine, native=native)

    def _drop_oldest(self) -> None:
        assert self._keeper is not None
        self._keeper.drop_oldest()
        self._marks.popleft()
        left = self._marks[0][1] if self._marks else self._recorder.position
        self._recorder.drop_before(left)

    def _fail_if(
        self, reason: str, detail: str, mismatch: EngineMismatch | None = None
    ) -> Replay | None:
        if reason not in self._failures or not self._marks:
            return None
        try:
            return self._fail(reason, detail, mismatch)
        except (OSError, SnapshotError) as problem:  # what failed first matters more
            self.problem = problem
            return None

    def _fail(self, reason: str, detail: str, mismatch: EngineMismatch | None) -> Replay:
        self._check_open()
        if not self._marks or self._keeper is None:
            raise SnapshotError("there is no checkpoint to replay from: run with `run` first")
        recorder = self._recorder
        stood = memoryview(recorder.stood).cast("Q")
        plan = Plan(
            reason,
            detail,
            recorder.changes_from(self._marks[0][1]),
            stood[_CYCLES] if mismatch is None else mismatch.cycles,
            recorder.stood if mismatch is None else None,
            recorder.fault,
            beyond=mismatch is not None,
            last=self._last,
        )
        try:
            outcome = self._keeper.replay(plan, self._path.absolute())
        finally:
            self._forget()
        self.replay = Replay(reason, detail, self._path, **vars(outcome))
        return self.replay

    def _forget(self) -> None:
        self._marks.clear()
        self._recorder.drop_before(self._recorder.position)
        self._recorder.room = None
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.close()

    def _check_open(self) -> None:
        if self._closed:
            raise SnapshotError("this ring was closed")


def _interval(every: int | None, seconds: float | None) -> tuple[int | None, float | None]:
    """Return the two, one of them None."""
    if every is not None and seconds is not None:
        raise ConfigError(f"every {every} cycles and every {seconds} seconds: give one of the two")
    if every is not None:
        if type(every) is not int or not 1 <= every <= NO_LIMIT:
            raise ConfigError(f"every {every}: must be a number of cycles, at least 1")
        return every, None
    seconds = SECONDS if seconds is None else seconds
    if not seconds > 0:
        raise ConfigError(f"seconds {seconds}: must be more than 0")
    return None, seconds


def _chosen(kind: str, memory_size: int, max_bytes: int) -> str:
    if kind not in KINDS:
        raise ConfigError(f"unknown kind of checkpoints {kind!r}: known are {', '.join(KINDS)}")
    if kind != "auto":
        return kind
    return "memory" if 2 * memory_size <= max_bytes else "fork"

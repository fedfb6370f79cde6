"""Checkpoints of a machine as forked processes that sleep until one is woken to replay.

The parent has for each one end of a socket pair; the child waits for a plan at the other, and for
the parent's end. It then replays on its copy of the machine and answers with the outcome.

What makes a fork of a process with threads and a JIT safe here:

* The child runs nothing that other threads may have been in the middle of: no LLVM, no import, no
  lock of ours, no compiled code of the guest, no host of the guest. `replayer.prepare` has made
  the parent import and compile all that a replay needs.
* Compiled code lies in memory that both share; `rvjit.codegen.arena` sees to it that a child
  never writes there, and what the child does run, the threaded engine's handlers, is never freed.
* It ends with `os._exit`: no buffer that it inherited is written out, no exit handler runs. All
  inherited descriptors are replaced by the null device at once, so a pipe's reader sees its end.
* Signals are blocked around the fork; the child forgets all handlers, and ignores Ctrl-C.
* It sleeps in `poll` on the socket and on a descriptor of the parent's process, so it is woken by
  the parent's death, however that comes; while it replays it looks whose child it is.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # typeshed has the documented module only
import _socket
import gc
import os
import pickle
import resource
import select
import signal
import struct
import sys
import time
import warnings
import weakref
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvjit.engines import worker
from rvjit.errors import ConfigError, SnapshotError
from rvjit.machine.pages import PAGE_SIZE
from rvjit.replay.replayer import Outcome, Plan, Replayer, prepare, temporary_of, write_trace

if TYPE_CHECKING:
    from typing import NoReturn

    from rvjit.machine.machine import Machine

_HEAD = struct.Struct("<Q")
_AWAKE = b"!"

# `signal.pthread_sigmask` turns numbers into enums, which is most of what a fork touches after it.
_mask = _signal.pthread_sigmask
_BLOCK, _UNBLOCK, _SET = (
    int(how) for how in (signal.SIG_BLOCK, signal.SIG_UNBLOCK, signal.SIG_SETMASK)
)
_ALL_SIGNALS = [int(number) for number in signal.valid_signals()]


_WARNED = sys.hexversion >= 0x30C0000  # about threads


def unavailable() -> str | None:
    """Say why there can be no forked checkpoints on this system; None where there can."""
    missing = [name for name in ("fork", "pidfd_open") if not hasattr(os, name)]
    if missing:
        return f"this system has no {' and no '.join(missing)}"
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return f"pidfd_open: {error.strerror}"
    return None


class _Child:
    """A sleeping process, as its parent sees it."""

    def __init__(self) -> None:
        ours, theirs = _socket.socketpair()  # `socket` makes more of them than numbers
        self.link = ours.detach()
        self.other_end = theirs.detach()  # the child's
        self.faults = _page_faults()  # of the parent
        self.process = 0


class Forks:
    """Checkpoints of *machine*, which is at rest whenever a method is called, as processes.

    Raises `ConfigError` where the system has none.
    """

    def __init__(self, machine: Machine, *, native: bool) -> None:
        reason = unavailable()
        if reason is not None:
            raise ConfigError(f"forked checkpoints: {reason}")
        self._machine = machine
        self._native = native
        self._owner = os.getpid()
        self._sleeping: deque[_Child] = deque()
        self._dying: list[int] = []
        self.wake_seconds: float | None = None  # of the last replay: until the child was awake
        machine.memory.use_huge_pages()
        prepare(machine, native=native)
        self._end = weakref.finalize(self, _end_all, self._owner, self._sleeping, self._dying)

    @property
    def size(self) -> int:
        """Bytes that the sleeping processes hold alone, at most.

        What a page fault copies is one page, in the process that wrote it first.
        """
        if not self._sleeping:
            return 0
        return (_page_faults() - self._sleeping[0].faults) * PAGE_SIZE

    def take(self) -> None:
        """Add a checkpoint: the state now."""
        self._check_owner()
        self._reap()
        child = _Child()
        self._sleeping.append(child)
        before = _mask(_BLOCK, _ALL_SIGNALS)
        worker.fork_at_once()
        # From here on every page that is written is copied first, Python's own above all, so as
        # little as possible is done.
        try:
            child.process = _fork()
        except OSError:
            _mask(_SET, before)
            os.close(child.other_end)
            os.close(self._sleeping.pop().link)
            raise
        if not child.process:
            self._be_child(child)
        _mask(_SET, before)
        os.close(child.other_end)

    def drop_oldest(self) -> None:
        """Forget the oldest checkpoint; its process is reaped some time later."""
        self._check_owner()
        child = self._sleeping.popleft()
        os.close(child.link)  # it sees that
        self._dying.append(child.process)

    def replay(self, plan: Plan, path: Path) -> Outcome:
        """Wake the oldest, kill the others, and wait until it has replayed; then there are none.

        Raises `SnapshotError` where it fails.
        """
        self._check_owner()
        oldest = self._sleeping.popleft()
        while self._sleeping:
            self.drop_oldest()
        try:
            return self._serve(oldest, plan, path)
        finally:
            os.close(oldest.link)
            self._dying.append(oldest.process)
            with suppress(OSError):
                temporary_of(path, oldest.process).unlink()
            self._reap(wait=True)

    def close(self) -> None:
        """End all processes and reap them."""
        self._end()

    # The parent's side.

    def _check_owner(self) -> None:
        if os.getpid() != self._owner:
            raise SnapshotError(f"these checkpoints are those of process {self._owner}")

    def _serve(self, child: _Child, plan: Plan, path: Path) -> Outcome:
        message = pickle.dumps((plan, path))
        started = time.perf_counter()
        try:
            _send(child.link, _AWAKE)
            awake = os.read(child.link, 1)
            self.wake_seconds = time.perf_counter() - started
            _send(child.link, _HEAD.pack(len(message)) + message)
            answer = _receive(child.link) if awake else b""
        except OSError as error:
            raise SnapshotError(f"the checkpoint's process cannot be reached: {error}") from error
        if not answer:
            raise SnapshotError("the checkpoint's process ended before its replay did")
        outcome: Outcome | str = pickle.loads(answer)
        if isinstance(outcome, str):
            raise SnapshotError(f"the replay failed: {outcome}")
        return outcome

    def _reap(self, *, wait: bool = False) -> None:
        self._dying[:] = [process for process in self._dying if not _reaped(process, wait=wait)]

    # The child's side.

    def _be_child(self, child: _Child) -> NoReturn:
        """Sleep, replay if asked to, and end; nothing that is above on the stack runs again."""
        try:
            gc.disable()
            _forget_signals()
            link = child.other_end
            parent = os.pidfd_open(self._owner)
            _forget_descriptors({link, parent})
            if os.getppid() == self._owner and _sleep(link, parent):
                self._replay_for_parent(link)
        except BaseException:  # noqa: BLE001 - whatever it is, this process ends here
            os._exit(1)
        finally:
            os._exit(0)

    def _replay_for_parent(self, link: int) -> None:
        _send(link, os.read(link, 1))
        message = _receive(link)
        if not message:
            return
        plan, path = pickle.loads(message)
        answer: Outcome | str
        try:
            replayer = Replayer(
                self._machine,
                native=self._native,
                is_wanted=lambda: os.getppid() == self._owner,
            )
            answer = write_trace(replayer, plan, path)
        except Exception as error:  # noqa: BLE001 - told to the parent
            answer = f"{type(error).__name__}: {error}"
        data = pickle.dumps(answer)
        _send(link, _HEAD.pack(len(data)) + data)


def _fork() -> int:
    if not _WARNED:
        return os.fork()
    with warnings.catch_warnings():
        # Python warns of what the module's docstring answers.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _send(link: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(link, view) :]


def _receive(link: int) -> bytes:
    """Read a message with its length before it; empty where the other side is gone."""
    head = _receive_exactly(link, _HEAD.size)
    return _receive_exactly(link, _HEAD.unpack(head)[0]) if head else b""


def _receive_exactly(link: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = os.read(link, min(size - len(data), 1 << 20))
        if not part:
            return b""
        data += part
    return bytes(data)


def _reaped(process: int, *, wait: bool) -> bool:
    """Whether *process* is gone; with *wait*, once it is. The end of its link is to be closed."""
    try:
        if os.waitpid(process, os.WNOHANG)[0]:
            return True
        # It ends by itself unless somebody else has the link, too: another child of this process.
        os.kill(process, signal.SIGKILL)
        return wait and os.waitpid(process, 0)[0] != 0
    except (ChildProcessError, ProcessLookupError):  # somebody else here has waited for it
        return True


def _end_all(owner: int, sleeping: deque[_Child], dying: list[int]) -> None:
    if os.getpid() != owner:
        return  # in a process that was forked for something else
    while sleeping:
        child = sleeping.pop()
        os.close(child.link)
        dying.append(child.process)
    while dying:
        _reaped(dying.pop(), wait=True)


def _forget_signals() -> None:
    """Let nothing of the parent's run in a handler; all were blocked when we were forked."""
    signal.set_wakeup_fd(-1)
    for number in _ALL_SIGNALS:
        with suppress(OSError, ValueError):
            handler: Any = signal.getsignal(number)
            if callable(handler):
                signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _mask(_UNBLOCK, _ALL_SIGNALS)


def _forget_descriptors(kept: set[int]) -> None:
    """Replace all descriptors but those *kept* by the null device.

    They stay taken, so objects that close theirs close nothing of ours.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number not in kept and number != null:
            with suppress(OSError):  # the one that listdir used
                os.fstat(number)
                os.dup2(null, number, inheritable=False)
    os.close(null)


def _sleep(link: int, parent: int) -> bool:
    """Wait; whether the parent has sent something."""
    poll = select.poll()
    poll.register(link, select.POLLIN)
    poll.register(parent, select.POLLIN)
    ready = dict(poll.poll())
    return parent not in ready and bool(ready.get(link, 0) & select.POLLIN)

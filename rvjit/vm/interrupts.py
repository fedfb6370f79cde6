"""Ctrl-C during a run: the guest stops exactly, then Python sees its KeyboardInterrupt.

Python runs signal handlers only between bytecodes of the main thread, and native code has none. So
one helper thread waits on the wake-up descriptor and lowers the running machine's limit. A wake-up
descriptor that somebody else set gets its bytes too, and is put back after the run.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

from rvjit.machine.machine import Machine
from rvjit.machine.stop import Stop

_Handler = Callable[[int, FrameType | None], object]


class _Watcher:
    """The helper thread and the machines that the main thread is running, innermost last."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.machines: list[Machine] = []
        self.chained: int = -1
        self._receiver, self.sender = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        threading.Thread(target=self._watch, name="rvjit-interrupts", daemon=True).start()

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._receiver, select.POLLIN)
        while True:
            poll.poll()
            with self.lock:
                self.drain()

    def drain(self) -> None:
        """Deal with all signals that have come; the caller holds the lock."""
        try:
            data = os.read(self._receiver, 4096)
        except BlockingIOError:
            return  # the other of the two threads that call this was quicker
        if signal.SIGINT in data and self.machines:
            self.machines[-1].request(Stop.INTERRUPT)
        if self.chained >= 0:
            with contextlib.suppress(OSError):
                os.write(self.chained, data)


_watcher: _Watcher | None = None


def _forget_watcher() -> None:
    """In a forked child the thread is gone; the next run starts a new one."""
    global _watcher  # noqa: PLW0603
    _watcher = None


os.register_at_fork(after_in_child=_forget_watcher)


class Interruptible:
    """Context of one run. After it, `seen` says whether Ctrl-C was pressed; see `deliver`.

    Does nothing outside the main thread, or where SIGINT is ignored or not handled by Python.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._previous: _Handler | None = None
        self._outer_descriptor = -1
        self.seen = False

    def __enter__(self) -> Interruptible:
        global _watcher  # noqa: PLW0603
        if threading.current_thread() is not threading.main_thread():
            return self
        handler = signal.getsignal(signal.SIGINT)
        if not callable(handler):
            return self
        if _watcher is None:
            _watcher = _Watcher()
        self._previous = handler
        signal.signal(signal.SIGINT, self._note)
        outer = signal.set_wakeup_fd(_watcher.sender, warn_on_full_buffer=False)
        with _watcher.lock:
            _watcher.machines.append(self._machine)
            self._outer_descriptor = outer
            if outer != _watcher.sender:
                _watcher.chained = outer
        if self.seen:  # before the watcher knew of this machine
            self._machine.request(Stop.INTERRUPT)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._previous is None or _watcher is None:
            return
        signal.set_wakeup_fd(self._outer_descriptor, warn_on_full_buffer=False)
        with _watcher.lock:
            # What the thread has not dealt with belongs to this run, not to the next one, and to
            # the descriptor that is chained now.
            _watcher.drain()
            _watcher.machines.pop()
            if not _watcher.machines:
                _watcher.chained = -1
        signal.signal(signal.SIGINT, self._previous)
        # The request may have come just after the run ended for another reason.
        self._machine.withdraw(Stop.INTERRUPT)

    def deliver(self) -> None:
        """Call the handler that was in place before the run; by default KeyboardInterrupt.

        In a run inside another, whose handler only notes the signal, that is the outer run's.
        """
        outer = getattr(self._previous, "__self__", None)
        if isinstance(outer, Interruptible):
            outer.deliver()
        elif self._previous is not None:
            self._previous(signal.SIGINT, None)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        # While the run is in Python, as in a handler, this comes before the helper thread.
        self.seen = True
        self._machine.request(Stop.INTERRUPT)

"""Ctrl-C during a run: the guest stops exactly, then Python sees its KeyboardInterrupt.

Python runs signal handlers only between bytecodes of the main thread, and native code has none. So
one helper thread waits on the wake-up descriptor and lowers the running machine's limit. A wake-up
descriptor that somebody else set gets its bytes too, and is put back after the run.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # typeshed has the documented module only
import _thread
import contextlib
import os
import select
import sys
from collections.abc import Callable
from types import FrameType, TracebackType

from rvjit.machine.stop import Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Stoppable(Protocol):
        """A machine, or whoever runs several."""

        def request(self, reason: Stop) -> None:
            """Stop soon for *reason*."""

        def withdraw(self, reason: Stop) -> None:
            """Forget a request that was not served."""


# The functions behind those of `signal`, which turn numbers and handlers into enums and back: that
# takes longer than everything else that a short run does here, and its import as long again.
_get_handler, _set_handler = _signal.getsignal, _signal.signal
_set_wakeup_fd = _signal.set_wakeup_fd
_SIGINT = _signal.SIGINT
_Handler = Callable[[int, FrameType | None], object]


class _Watcher:
    """The helper thread, and the machine that the main thread is running, of nested ones the last.

    The main thread changes `machine` without the lock, which it takes where a signal has come: the
    helper thread looks at it for signals only, and those the main thread knows of by then.
    """

    def __init__(self) -> None:
        self.lock = _thread.allocate_lock()
        self.machine: Stoppable | None = None
        self.chained: int = -1
        self._receiver, self.descriptor = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # Not `threading.Thread`, whose start waits for the thread: until that listens, what is
        # written for it stays where it is.
        _thread.start_new_thread(self._watch, ())

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
        machine = self.machine
        if _SIGINT in data and machine is not None:
            machine.request(Stop.INTERRUPT)
        if self.chained >= 0:
            with contextlib.suppress(OSError):
                os.write(self.chained, data)


def _find_main_thread() -> int | None:
    """Identify the thread that Python runs signal handlers in."""
    if sys.platform == "linux" and _thread.get_native_id() == os.getpid():
        return _thread.get_ident()  # without importing `threading`, half a millisecond
    from threading import main_thread

    return main_thread().ident


_watcher: _Watcher | None = None
_main_thread = _find_main_thread()


def _forget_watcher() -> None:
    """In a forked child the thread is gone; the next run starts a new one."""
    global _watcher, _main_thread  # noqa: PLW0603
    _watcher = None
    _main_thread = _thread.get_ident()  # whichever thread forked


os.register_at_fork(after_in_child=_forget_watcher)


class Interruptible:
    """Context of one run. After it, `seen` says whether Ctrl-C was pressed; see `deliver`.

    Does nothing outside the main thread, or where SIGINT is ignored or not handled by Python.
    """

    __slots__ = ("_machine", "_outer_descriptor", "_outer_machine", "_previous", "seen")

    def __init__(self, machine: Stoppable) -> None:
        self._machine = machine
        self._previous: _Handler | None = None
        self._outer_descriptor = -1
        self._outer_machine: Stoppable | None = None
        self.seen = False

    def __enter__(self) -> Interruptible:
        global _watcher  # noqa: PLW0603
        if _thread.get_ident() != _main_thread:
            return self
        handler = _get_handler(_SIGINT)
        if not callable(handler):
            return self
        watcher = _watcher
        if watcher is None:
            watcher = _watcher = _Watcher()
        self._previous = handler
        _set_handler(_SIGINT, self._note)
        outer = self._outer_descriptor = _set_wakeup_fd(
            watcher.descriptor, warn_on_full_buffer=False
        )
        if outer not in (-1, watcher.descriptor):
            with watcher.lock:
                # What earlier runs left, when nobody else listened, is not for this descriptor.
                _set_wakeup_fd(outer)
                watcher.drain()
                _set_wakeup_fd(watcher.descriptor, warn_on_full_buffer=False)
                watcher.chained = outer
        self._outer_machine = watcher.machine
        watcher.machine = self._machine
        if self.seen:  # before the watcher knew of this machine
            self._machine.request(Stop.INTERRUPT)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        watcher = _watcher
        if self._previous is None or watcher is None:
            return
        if self._outer_descriptor < 0:
            _set_wakeup_fd(-1)
        else:
            _set_wakeup_fd(self._outer_descriptor, warn_on_full_buffer=False)
        if self.seen or watcher.chained >= 0:
            with watcher.lock:
                # What the thread has not dealt with belongs to this run, not to the next one, and
                # to the descriptor that is chained now.
                watcher.drain()
                watcher.machine = self._outer_machine
                if watcher.machine is None:
                    watcher.chained = -1
        else:
            watcher.machine = self._outer_machine
        _set_handler(_SIGINT, self._previous)
        if self.seen:  # perhaps just after the run ended for another reason
            self._machine.withdraw(Stop.INTERRUPT)

    def deliver(self) -> None:
        """Call the handler that was in place before the run; by default KeyboardInterrupt.

        In a run inside another, whose handler only notes the signal, that is the outer run's.
        """
        outer = getattr(self._previous, "__self__", None)
        if isinstance(outer, Interruptible):
            outer.deliver()
        elif self._previous is not None:
            from signal import SIGINT

            self._previous(SIGINT, None)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        # While the run is in Python, as in a handler, this comes before the helper thread.
        self.seen = True
        self._machine.request(Stop.INTERRUPT)

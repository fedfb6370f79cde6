"""Deadline: ask a machine to stop when wall time is over."""

from __future__ import annotations

import _thread
from types import TracebackType

from rvjit.errors import ConfigError
from rvjit.machine.machine import Machine
from rvjit.machine.stop import Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from threading import Timer


class Deadline:
    """Context of one run that may take *seconds* of wall time; None for any time.

    *outer* is the deadline of the run that this one is inside of, as in a handler's call of the
    guest: where that is over the inner run stops as well, and then the outer one. Raises
    `ConfigError` for a negative time.
    """

    def __init__(
        self, machine: Machine, seconds: float | None, outer: Deadline | None = None
    ) -> None:
        if seconds is not None and not seconds >= 0:
            raise ConfigError(f"timeout {seconds}: must not be negative")
        self._machine = machine
        self._seconds = seconds
        self._outer = outer
        self._timer: Timer | None = None
        self._lock = _thread.allocate_lock()
        self._expired = False
        self._left = False

    def __enter__(self) -> Deadline:
        if self._seconds is not None:
            from threading import TIMEOUT_MAX, Timer

            self._timer = Timer(min(self._seconds, TIMEOUT_MAX), self._expire)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            with self._lock:
                self._left = True
        self._machine.withdraw(Stop.TIMEOUT)
        # There is one request for all deadlines, and this run may have served, or just now
        # withdrawn, that of an outer one.
        if self._outer is not None:
            self._outer.renew()

    def renew(self) -> None:
        """Ask again if this time, or that of a deadline around it, is over."""
        with self._lock:
            if self._expired:
                self._machine.request(Stop.TIMEOUT)
        if self._outer is not None:
            self._outer.renew()

    def _expire(self) -> None:
        with self._lock:
            if not self._left:
                self._expired = True
                self._machine.request(Stop.TIMEOUT)

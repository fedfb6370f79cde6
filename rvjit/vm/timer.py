"""Deadline: ask a machine to stop when wall time is over."""

from __future__ import annotations

import threading
from types import TracebackType

from rvjit.errors import ConfigError
from rvjit.machine.machine import Machine
from rvjit.machine.stop import Stop


class Deadline:
    """Context of one run that may take *seconds* of wall time; None for any time.

    Raises `ConfigError` for a negative time.
    """

    def __init__(self, machine: Machine, seconds: float | None) -> None:
        if seconds is not None and not seconds >= 0:
            raise ConfigError(f"timeout {seconds}: must not be negative")
        self._machine = machine
        self._seconds = seconds
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()
        self._over = False

    def __enter__(self) -> Deadline:
        if self._seconds is not None:
            self._timer = threading.Timer(min(self._seconds, threading.TIMEOUT_MAX), self._expire)
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
                self._over = True
            self._machine.withdraw(Stop.TIMEOUT)

    def _expire(self) -> None:
        with self._lock:
            if not self._over:
                self._machine.request(Stop.TIMEOUT)

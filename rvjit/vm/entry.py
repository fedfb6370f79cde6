"""Entry: one thread at a time is inside a VM, however often."""

from __future__ import annotations

import _thread
from types import TracebackType

from rvjit.errors import ConfigError, MachineBusy
from rvjit.machine.layout import word_of
from rvjit.machine.machine import Machine

_CYCLE_LIMIT = word_of("cycle_limit")


class Entry:
    """Context of everything that runs *machine*; on the way out its cycle limit is put back.

    The same thread may come in again (a handler that calls the guest); `depth` is how often it is
    inside. Raises `MachineBusy` where another thread is, `ConfigError` once `closed` is set.
    """

    __slots__ = ("_limits", "_lock", "_machine", "closed", "depth")

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._lock = _thread.RLock()
        self._limits: list[int] = []
        self.depth = 0
        self.closed = False

    def __enter__(self) -> None:
        if self.closed:
            raise ConfigError("this VM was closed")
        if not self._lock.acquire(blocking=False):
            raise MachineBusy("another thread is running this VM; use pause() first")
        self.depth += 1
        self._limits.append(self._machine.words[_CYCLE_LIMIT])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        limit = self._limits.pop()
        if self._machine.words[_CYCLE_LIMIT] != limit:
            self._machine.cycle_limit = limit
        self.depth -= 1
        self._lock.release()

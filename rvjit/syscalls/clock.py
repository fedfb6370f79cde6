"""The clock a guest sees: a function of its cycles, unless the caller asks for real time."""

from __future__ import annotations

import time
from collections.abc import Callable

SECOND = 1_000_000_000  # nanoseconds
EPOCH = 1_577_836_800 * SECOND  # 2020-01-01T00:00:00Z, where the virtual wall clock starts
SLICE = 0.02  # seconds between two looks at the requests to stop
FOREVER = (1 << 63) - 1  # nanoseconds; Linux cuts sleeps at this length too


class Clock:
    """Time in nanoseconds.

    The virtual clock runs one nanosecond a cycle and jumps over sleeps. With *real_time* it is the
    host's, and the guest's results depend on when it runs.
    """

    def __init__(self, *, real_time: bool = False) -> None:
        self.real_time = real_time
        self.slept = 0  # virtual nanoseconds
        self._interrupted: tuple[tuple[int, ...], int] | None = None

    def wall(self, cycles: int) -> int:
        """Nanoseconds since 1970."""
        return time.time_ns() if self.real_time else EPOCH + cycles + self.slept

    def monotonic(self, cycles: int) -> int:
        """Nanoseconds since some start; 0 is the start of the guest on the virtual clock."""
        return time.monotonic_ns() if self.real_time else cycles + self.slept

    def busy(self, cycles: int) -> int:
        """Nanoseconds spent computing."""
        return time.process_time_ns() if self.real_time else cycles

    def skip(self, duration: int) -> None:
        """Move the virtual clock on by *duration* nanoseconds."""
        self.slept = min(self.slept + duration, FOREVER)

    def restore(self, slept: int) -> None:
        """Go back to a moment at which *slept* was that, with no sleep interrupted."""
        self.slept = slept
        self._interrupted = None

    def sleep(self, duration: int, args: tuple[int, ...], pending: Callable[[], bool]) -> bool:
        """Let *duration* nanoseconds pass; on the virtual clock at once.

        Returns False where *pending* became true first. The same call with the same *args* then
        sleeps only for the rest.
        """
        if not self.real_time:
            self.skip(duration)
            return True
        deadline = time.monotonic_ns() + min(duration, FOREVER)
        if self._interrupted is not None and self._interrupted[0] == args:
            deadline = min(deadline, self._interrupted[1])
        self._interrupted = None
        while (left := deadline - time.monotonic_ns()) > 0:
            if pending():
                self._interrupted = (args, deadline)
                return False
            time.sleep(min(left / SECOND, SLICE))
        return True

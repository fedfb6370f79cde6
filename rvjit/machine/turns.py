"""A fair share of the interpreter lock for the threads that ask a running machine for something.

A runner that enters native code for microseconds at a time gives the lock up so briefly that a
waiting thread hardly ever gets it; and because it does give it up, CPython never makes it hand the
lock over, which it does to those who hold it for 5 ms on end. Under load a pause, a time-out or
Ctrl-C then waited for seconds.
"""

from __future__ import annotations

import time

# Long enough for a waiting thread to wake up; a thread that sleeps yields its core as well.
_NAP_SECONDS = 20e-6

# Short turns in a row before a nap: some milliseconds of Python, so the nap costs about 1 %.
_SHORT_TURNS = 256


def let_others_run() -> None:
    """Hand the interpreter lock to whoever waits for it."""
    time.sleep(_NAP_SECONDS)


class Turns:
    """Counts a runner's short stays in native code."""

    def __init__(self) -> None:
        self._left = _SHORT_TURNS

    def count(self) -> None:
        """Note one more; let others run every now and then."""
        self._left -= 1
        if not self._left:
            self._left = _SHORT_TURNS
            let_others_run()

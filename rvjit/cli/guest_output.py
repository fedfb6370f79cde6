"""GuestOutput: the guest's stdout or stderr on the process's own, unbuffered and in order."""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable

from rvjit.syscalls.clock import SLICE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import _Hash
    from typing import TextIO

_NEWLINE = 0x0A


def _never() -> bool:
    return False


def _nothing() -> None:
    pass


class GuestOutput:
    """A sink for what the guest writes to one descriptor; counts it and, if asked, digests it.

    Where the reader of a pipe or terminal stalls, `pending` is asked now and then; once it says
    that somebody wants the guest to stop, the write counts as done and its rest is kept for later
    writes or `finish`. When nobody reads any more, `close` is called, and bytes are dropped.
    """

    def __init__(self, stream: TextIO | None, *, digest: bool = False) -> None:
        self.size = 0
        self.at_line_start = True
        self.before: Callable[[], None] = _nothing
        self.pending: Callable[[], bool] = _never
        self.close: Callable[[], None] = _nothing
        self._digest: _Hash | None = None
        if digest:
            import hashlib

            self._digest = hashlib.sha256()
        self._stream = stream
        self._handle = _handle_of(stream)
        self._stalls = self._handle is not None and _may_stall(self._handle)
        self._rest = bytearray()
        self._closed = False
        self._poll: select.poll | None = None

    def __call__(self, data: bytes) -> None:
        """Write *data*. Raises `OSError` as the host gives it, but no `BrokenPipeError`."""
        self.before()
        if not self._closed:
            try:
                self._write(data)
            except BrokenPipeError:
                self._closed = True
                self._rest.clear()
                self.close()
        self.size += len(data)
        if data:
            self.at_line_start = data[-1] == _NEWLINE
        if self._digest is not None:
            self._digest.update(data)

    @property
    def hexdigest(self) -> str:
        """SHA-256 of everything so far; empty unless asked for at the start."""
        return self._digest.hexdigest() if self._digest is not None else ""

    def finish(self) -> int:
        """Write what is left without waiting for a reader; return the bytes that were dropped."""
        try:
            while self._rest and self._is_ready(0):
                self._write_some()
        except OSError:
            self._closed = True
        dropped = len(self._rest)
        self._rest.clear()
        return dropped

    def _write(self, data: bytes) -> None:
        if self._handle is None:
            if self._stream is None:
                return  # as if the shell had given us the null device
            self._stream.buffer.write(data)
            self._stream.flush()
        elif self._stalls:
            self._rest += data
            while self._rest:
                if self._is_ready(SLICE):
                    self._write_some()
                elif self.pending():
                    return
        else:
            view = memoryview(data)
            while view:
                view = view[os.write(self._handle, view) :]

    def _write_some(self) -> None:
        """Write a part that cannot block a pipe that is ready."""
        assert self._handle is not None
        del self._rest[: os.write(self._handle, self._rest[: select.PIPE_BUF])]

    def _is_ready(self, seconds: float) -> bool:
        assert self._handle is not None
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._handle, select.POLLOUT)
        return bool(self._poll.poll(seconds * 1000))


def _handle_of(stream: TextIO | None) -> int | None:
    """Return the descriptor under *stream*, flushed; None where there is none."""
    if stream is None:
        return None
    try:
        stream.flush()
        return stream.fileno()
    except (OSError, ValueError):
        return None


def _may_stall(handle: int) -> bool:
    mode = os.fstat(handle).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(handle)

"""The guest's standard streams: where its input comes from, where its output goes."""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Callable

from rvjit.syscalls.clock import SLICE
from rvjit.syscalls.descriptors import S_IFCHR, Description, FileStatus, Pending

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from typing import Any, Protocol, TypeAlias

CHUNK = 1 << 20  # bytes moved at once between guest and host

_NULL_DEVICE = 0x103  # major 1, minor 3
_TERMINAL = 0x8800  # major 136, minor 0


if TYPE_CHECKING:

    class Reader(Protocol):
        """What a binary file object has to have to be an input."""

        def read(self, size: int, /) -> bytes | None:
            """Return up to *size* bytes; empty at the end, None where there is nothing yet."""


Source: TypeAlias = "bytes | bytearray | memoryview | Reader | int | None"
Sink: TypeAlias = Callable[[bytes], object]


def discard(data: bytes) -> None:
    """Sink that throws everything away."""


def own_stdout(data: bytes) -> None:
    """Sink that is this process's standard output."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def own_stderr(data: bytes) -> None:
    """Sink that is this process's standard error."""
    sys.stderr.buffer.write(data)
    sys.stderr.buffer.flush()


def lines_to(sink: Sink) -> Sink:
    """Sink that hands on each piece as a line."""
    return lambda data: sink(data + b"\n")


class Stream(Description):
    """A character device; a terminal only if the caller wants the guest to think so."""

    def __init__(self, *, tty: bool = False) -> None:
        super().__init__()
        self.tty = tty

    def status(self) -> FileStatus:
        """Return the same for every stream and host."""
        special = _TERMINAL if self.tty else _NULL_DEVICE
        return FileStatus(mode=S_IFCHR | 0o620, size=0, inode=1, device=1, special=special)


class OutputStream(Stream):
    """Bytes for one of the caller's sinks."""

    writable = True

    def __init__(self, sink: Sink, *, tty: bool = False) -> None:
        super().__init__(tty=tty)
        self._sink = sink

    def write(self, data: bytes) -> int:
        """Hand *data* to the sink."""
        self._sink(data)
        return len(data)


class BytesInput(Stream):
    """Bytes that are all there from the start; the only input that makes runs repeatable."""

    readable = True

    def __init__(self, data: bytes | bytearray | memoryview, *, tty: bool = False) -> None:
        super().__init__(tty=tty)
        self.data = memoryview(data).cast("B")
        self.position = 0

    def peek(self, size: int) -> memoryview:
        """Return a view of the next bytes."""
        return self.data[self.position : self.position + size]

    def consume(self, size: int) -> None:
        """Move on."""
        self.position += size

    def get_state(self) -> object:
        """Return how much was read."""
        return {"position": self.position, "ahead": b""}

    def set_state(self, state: Any) -> None:
        """Go to that place of what must be the same bytes."""
        position, _ = _place(state)
        if position > len(self.data):
            raise ValueError(f"{position} bytes of input were read, there are {len(self.data)}")
        self.position = position


class BufferedInput(Stream):
    """Common part of inputs that may have to wait: what was taken from the host, not yet read.

    `keep` is for those who will go back: from then on everything taken is kept.
    """

    readable = True

    def __init__(self, *, tty: bool = False) -> None:
        super().__init__(tty=tty)
        self._buffer = b""
        self.position = 0  # of the guest
        self._kept: bytearray | None = None
        self._kept_from = 0
        self._keepers = 0

    def peek(self, size: int) -> bytes:
        """Return what `fill` got."""
        return self._buffer[:size]

    def consume(self, size: int) -> None:
        """Drop it."""
        self._buffer = self._buffer[size:]
        self.position += size

    def keep(self, *, on: bool) -> None:
        """Make it possible to go back to where the guest is now; *on* and off come in pairs."""
        self._keepers += 1 if on else -1
        if not self._keepers:
            self._kept = None
        elif self._kept is None:
            self._kept = bytearray(self._buffer)
            self._kept_from = self.position

    def get_state(self) -> object:
        """Return how much the guest has read, and what was taken and it has not."""
        return {"position": self.position, "ahead": self._buffer}

    def set_state(self, state: Any) -> None:
        """Go back in what was kept; without that the host is expected to go on behind *ahead*."""
        position, ahead = _place(state)
        at = position - self._kept_from
        kept = self._kept
        if kept is not None and 0 <= at <= len(kept) and kept[at : at + len(ahead)] == ahead:
            ahead = bytes(kept[at:])
        self._buffer, self.position = ahead, position

    def _took(self, data: bytes) -> None:
        """Note *data*, which came from the host."""
        self._buffer = data
        if self._kept is not None:
            self._kept += data


class ReaderInput(BufferedInput):
    """A binary file object. Its read may wait, and no request to stop is seen meanwhile."""

    def __init__(self, reader: Reader, *, tty: bool = False) -> None:
        super().__init__(tty=tty)
        # read1 returns what is there; read insists on the whole size.
        self._read: Callable[[int], bytes | None] = getattr(reader, "read1", reader.read)

    def fill(self, size: int, pending: Pending) -> bool:  # noqa: ARG002
        """Read once."""
        if not self._buffer:
            found = self._read(min(size, CHUNK))
            if found is None:
                raise BlockingIOError(errno.EAGAIN, "nothing to read yet")
            self._took(bytes(found))
        return True


class HandleInput(BufferedInput):
    """A descriptor of the host, waited for in short slices."""

    def __init__(self, handle: int, *, tty: bool = False) -> None:
        super().__init__(tty=tty)
        self._handle = handle
        self._poll: select.poll | None = None

    def fill(self, size: int, pending: Pending) -> bool:
        """Wait until the descriptor can be read, then read once."""
        if self._buffer:
            return True
        while not self._wait(0):
            if self.nonblocking:
                raise BlockingIOError(errno.EAGAIN, "nothing to read yet")
            if pending():
                return False
            self._wait(SLICE)
        self._took(os.read(self._handle, min(size, CHUNK)))
        return True

    def set_state(self, state: Any) -> None:
        """As others do; a regular file is wound to the place instead."""
        position, _ = _place(state)
        if not stat.S_ISREG(os.fstat(self._handle).st_mode):
            super().set_state(state)
            return
        start = os.lseek(self._handle, 0, os.SEEK_CUR) - len(self._buffer) - self.position
        os.lseek(self._handle, start + position, os.SEEK_SET)
        self._buffer, self.position = b"", position

    def is_ready(self) -> bool:
        """Whether the descriptor can be read, or is at its end."""
        return bool(self._buffer) or self._wait(0)

    def wait(self, seconds: float) -> None:
        """Wait on the descriptor."""
        self._wait(seconds)

    def _wait(self, seconds: float) -> bool:
        if self._poll is None:
            import select  # a shared library that few runs need

            self._poll = select.poll()
            self._poll.register(self._handle, select.POLLIN)
        return bool(self._poll.poll(seconds * 1000))


def _place(state: Any) -> tuple[int, bytes]:
    position, ahead = state["position"], state["ahead"]
    if type(position) is not int or position < 0 or not isinstance(ahead, bytes):
        raise ValueError(f"input at {position!r}, with {ahead!r} taken ahead")
    return position, ahead


def open_input(source: Source, *, tty: bool = False) -> BytesInput | BufferedInput:
    """Make an input of whatever the caller gave; None is an input at its end."""
    if source is None:
        return BytesInput(b"", tty=tty)
    if isinstance(source, int):
        return HandleInput(source, tty=tty)
    if isinstance(source, bytes | bytearray | memoryview):
        return BytesInput(source, tty=tty)
    return ReaderInput(source, tty=tty)


def wait_for(waiting: list[Description], seconds: float | None, pending: Pending) -> bool | None:
    """Wait until one of *waiting* is ready: True; None after *seconds*; False when *pending*."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while not any(each.is_ready() for each in waiting):
        if pending():
            return False
        left = SLICE if deadline is None else min(SLICE, deadline - time.monotonic())
        if left <= 0:
            return None
        waiting[0].wait(left)
    return True

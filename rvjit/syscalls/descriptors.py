"""File descriptors: the guest's numbers, and what every open thing behind them can do."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from rvjit.values import dataclass

FD_LIMIT = 1024  # numbers; also the guest's RLIMIT_NOFILE
PATH_MAX = 4096  # bytes of a guest path, with its NUL
MAX_FILES = 256  # open host files of one guest, however many numbers name them

# Status flags, Linux's generic numbers.
O_WRONLY = 0o1
O_RDWR = 0o2
O_APPEND = 0o2000
O_NONBLOCK = 0o4000

S_IFCHR = 0o020000

Pending = Callable[[], bool]


@dataclass(frozen=True)
class FileStatus:
    """What stat tells; *times* are access, change of contents and change of status, in ns."""

    mode: int
    size: int
    inode: int
    device: int
    special: int = 0  # st_rdev
    links: int = 1
    times: tuple[int, int, int] = (0, 0, 0)


class Description:
    """An open file description: what one or more descriptors refer to.

    Reading goes in three steps, so that a bad buffer loses nothing: `fill` waits until there is
    something, `peek` looks at it, `consume` takes it. Everything raises `OSError`.
    """

    readable = False
    writable = False
    is_directory = False

    def __init__(self) -> None:
        self.users = 0
        self.append = False
        self.nonblocking = False

    @property
    def flags(self) -> int:
        """The status flags that F_GETFL gives."""
        mode = O_RDWR if self.readable else O_WRONLY
        mode = mode if self.writable else 0
        return mode | O_APPEND * self.append | O_NONBLOCK * self.nonblocking

    def fill(self, size: int, pending: Pending) -> bool:  # noqa: ARG002
        """Wait for data, taking at most *size* bytes from the host.

        False where *pending* became true first.
        """
        return True

    def peek(self, size: int) -> bytes | memoryview:  # noqa: ARG002
        """Return up to *size* bytes without waiting; empty at the end."""
        raise OSError(errno.EBADF, "not open for reading")

    def consume(self, size: int) -> None:
        """Take *size* bytes that `peek` returned."""

    def write(self, data: bytes) -> int:  # noqa: ARG002
        """Write *data* and return how many bytes were written."""
        raise OSError(errno.EBADF, "not open for writing")

    def at(self, position: int) -> Description:  # noqa: ARG002
        """Return a view for pread and pwrite, which leaves the position of this one alone."""
        raise OSError(errno.ESPIPE, "no positions")

    def seek(self, offset: int, whence: int) -> int:  # noqa: ARG002
        """Move the position as lseek does and return it."""
        raise OSError(errno.ESPIPE, "no positions")

    def truncate(self, size: int) -> None:  # noqa: ARG002
        """Set the size."""
        raise OSError(errno.EINVAL, "not a file")

    def sync(self) -> None:
        """Put what was written on the host's disk."""
        raise OSError(errno.EINVAL, "not a file")

    def status(self) -> FileStatus:
        """Return what fstat tells."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether reading would not wait."""
        return True

    def wait(self, seconds: float) -> None:
        """Wait until `is_ready` or *seconds* have passed."""

    def close(self) -> None:
        """Give back what the host lent; called when the last descriptor is gone."""


class Descriptors:
    """The table from numbers to descriptions. Raises `OSError` with EBADF, EMFILE or ENFILE."""

    def __init__(self, *first: Description) -> None:
        self._open: dict[int, Description] = {}
        self._close_on_exec: set[int] = set()
        self.changes = 0  # how often the table was changed
        for description in first:
            self.add(description)

    def __len__(self) -> int:
        return len(self._open)

    def get(self, fd: int) -> Description:
        """Return what *fd* refers to."""
        found = self._open.get(fd)
        if found is None:
            raise OSError(errno.EBADF, "not open")
        return found

    def check_room(self) -> None:
        """Raise EMFILE or ENFILE where no further host file may be opened."""
        if len(self._open) >= FD_LIMIT:
            raise OSError(errno.EMFILE, "too many descriptors")
        if len({id(each) for each in self._open.values()}) >= MAX_FILES:
            raise OSError(errno.ENFILE, "too many open files")

    def add(self, description: Description, lowest: int = 0, *, cloexec: bool = False) -> int:
        """Give *description* the lowest free number that is at least *lowest*."""
        fd = next((fd for fd in range(lowest, FD_LIMIT) if fd not in self._open), None)
        if fd is None:
            raise OSError(errno.EMFILE, "too many descriptors")
        self._put(fd, description, cloexec=cloexec)
        return fd

    def replace(self, fd: int, description: Description, *, cloexec: bool = False) -> None:
        """Make *fd* refer to *description*, closing what it referred to."""
        if not 0 <= fd < FD_LIMIT:
            raise OSError(errno.EBADF, "no such number")
        description.users += 1  # it may be what fd refers to already
        if fd in self._open:
            self.close(fd)
        self._put(fd, description, cloexec=cloexec)
        description.users -= 1

    def close(self, fd: int) -> None:
        """Forget *fd*; the last number of a description closes it."""
        description = self.get(fd)
        self.changes += 1
        del self._open[fd]
        self._close_on_exec.discard(fd)
        description.users -= 1
        if not description.users:
            description.close()

    def close_all(self) -> None:
        """Close every descriptor."""
        for fd in list(self._open):
            self.close(fd)

    def reset(self, *first: Description) -> None:
        """Close everything and start over with *first* as the lowest numbers."""
        for description in first:
            description.append = description.nonblocking = False
        self.assign([(fd, description, False) for fd, description in enumerate(first)])

    def entries(self) -> list[tuple[int, Description, bool]]:
        """Return number, description and FD_CLOEXEC of everything open, in order of numbers."""
        return [(fd, self._open[fd], fd in self._close_on_exec) for fd in sorted(self._open)]

    def assign(self, entries: Sequence[tuple[int, Description, bool]]) -> None:
        """Make *entries* the whole table, closing what is not in it."""
        for _, description, _ in entries:
            description.users += 1  # keeps it from being closed
        self.close_all()
        for fd, description, cloexec in entries:
            self._put(fd, description, cloexec=cloexec)
            description.users -= 1

    def closes_on_exec(self, fd: int) -> bool:
        """Whether FD_CLOEXEC is set; nothing else is done with it."""
        self.get(fd)
        return fd in self._close_on_exec

    def set_close_on_exec(self, fd: int, *, on: bool) -> None:
        """Set or clear FD_CLOEXEC."""
        self.get(fd)
        self.changes += 1
        if on:
            self._close_on_exec.add(fd)
        else:
            self._close_on_exec.discard(fd)

    def _put(self, fd: int, description: Description, *, cloexec: bool) -> None:
        self._open[fd] = description
        description.users += 1
        self.set_close_on_exec(fd, on=cloexec)

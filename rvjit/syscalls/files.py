"""Open files and directories of the host, as a guest sees them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from rvjit.syscalls.descriptors import Description, FileStatus

_MAX_POSITION = (1 << 63) - 1
_PAGE = 4096
_SEEK_SET, _SEEK_CUR, _SEEK_END = 0, 1, 2
_DT_UNKNOWN, _DT_DIR, _DT_REG, _DT_LNK = 0, 4, 8, 10


def inode_of(path: bytes) -> int:
    """Return a number for a guest path that is the same on every host."""
    from hashlib import blake2b  # many guests open no file

    return int.from_bytes(blake2b(path, digest_size=8).digest(), "little") >> 1 | 1


def status_of(found: os.stat_result, path: bytes, device: int, writable: bool) -> FileStatus:
    """Return a host file's status without what differs from host to host, times apart."""
    kind = stat.S_IFMT(found.st_mode)
    directory = stat.S_ISDIR(kind)
    mode = 0o644 | (0o111 if directory or found.st_mode & stat.S_IXUSR else 0)
    return FileStatus(
        mode=kind | (mode if writable else mode & ~0o222),
        size=_PAGE if directory else found.st_size,
        inode=inode_of(path),
        device=device,
        times=(found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns),
    )


class HostObject(Description):
    """Something of the host's file system, with its handle and guest path."""

    def __init__(self, handle: int, path: bytes, device: int, writable_mount: bool) -> None:
        super().__init__()
        self.handle = handle
        self.path = path
        self.device = device
        self.position = 0
        self.writable_mount = writable_mount

    def status(self) -> FileStatus:
        """Return what fstat tells."""
        return status_of(os.fstat(self.handle), self.path, self.device, self.writable_mount)

    def sync(self) -> None:
        """Put what was written on the host's disk."""
        os.fsync(self.handle)

    def close(self) -> None:
        """Close the host's descriptor."""
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1

    def __del__(self) -> None:
        self.close()


class OpenFile(HostObject):
    """A regular file. The position is ours, the host's is never used."""

    def peek(self, size: int) -> bytes:
        """Read at the position."""
        return os.pread(self.handle, size, self.position)

    def consume(self, size: int) -> None:
        """Move the position."""
        self.position += size

    def write(self, data: bytes) -> int:
        """Write at the position, or at the end where O_APPEND is set."""
        if self.append:
            self.position = os.fstat(self.handle).st_size
        if self.position + len(data) > _MAX_POSITION:
            raise OSError(errno.EFBIG, "behind the largest position")
        written = os.pwrite(self.handle, data, self.position)
        self.position += written
        return written

    def at(self, position: int) -> Description:
        """Return a view with its own position."""
        if not 0 <= position <= _MAX_POSITION:
            raise OSError(errno.EINVAL, "not a position")
        return _View(self, position)

    def seek(self, offset: int, whence: int) -> int:
        """Move the position as lseek does."""
        if whence == _SEEK_SET:
            start = 0
        elif whence == _SEEK_CUR:
            start = self.position
        elif whence == _SEEK_END:
            start = os.fstat(self.handle).st_size
        else:
            raise OSError(errno.EINVAL, "no such origin")
        if not 0 <= start + offset <= _MAX_POSITION:
            raise OSError(errno.EINVAL, "not a position")
        self.position = start + offset
        return self.position

    def truncate(self, size: int) -> None:
        """Set the size."""
        if not self.writable or not 0 <= size <= _MAX_POSITION:
            raise OSError(errno.EINVAL, "not writable, or not a size")
        os.ftruncate(self.handle, size)


class _View(OpenFile):
    """An open file at another position; it does not own the handle."""

    def __init__(self, file: OpenFile, position: int) -> None:
        super().__init__(file.handle, file.path, file.device, file.writable_mount)
        self.readable = file.readable
        self.writable = file.writable
        self.append = file.append  # as on Linux, pwrite of an O_APPEND file appends
        self.position = position

    def close(self) -> None:
        """Leave the handle to its owner."""


class OpenDirectory(HostObject):
    """A directory. Its listing is taken at the first read, sorted by name."""

    readable = True
    is_directory = True

    def __init__(self, handle: int, path: bytes, device: int, writable_mount: bool) -> None:
        super().__init__(handle, path, device, writable_mount)
        self.listing: list[tuple[bytes, int]] | None = None

    def peek(self, size: int) -> bytes:  # noqa: ARG002
        """Refuse."""
        raise OSError(errno.EISDIR, "a directory")

    def seek(self, offset: int, whence: int) -> int:
        """Go to the entry with number *offset*; the listing is taken anew at 0."""
        if whence == _SEEK_CUR:
            offset += self.position
        elif whence != _SEEK_SET:
            raise OSError(errno.EINVAL, "no such origin")
        if not 0 <= offset <= _MAX_POSITION:
            raise OSError(errno.EINVAL, "not a position")
        if offset == 0:
            self.listing = None
        self.position = offset
        return offset

    def entries(self) -> Iterator[tuple[bytes, int, int]]:
        """Yield name, inode number and DT_* type of the entries from `position` on."""
        if self.listing is None:
            with os.scandir(self.handle) as found:
                names = sorted((os.fsencode(each.name), _type_of(each)) for each in found)
            self.listing = [(b".", _DT_DIR), (b"..", _DT_DIR), *names]
        for name, kind in self.listing[self.position :]:
            yield name, inode_of(self._path_of(name)), kind

    def _path_of(self, name: bytes) -> bytes:
        if name == b".":
            return self.path
        if name == b"..":
            return self.path[: self.path.rindex(b"/")] or b"/"
        return self.path.rstrip(b"/") + b"/" + name


def _type_of(entry: os.DirEntry[str]) -> int:
    if entry.is_symlink():
        return _DT_LNK
    if entry.is_dir(follow_symlinks=False):
        return _DT_DIR
    return _DT_REG if entry.is_file(follow_symlinks=False) else _DT_UNKNOWN

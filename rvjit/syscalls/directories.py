"""The directories of the host that the caller lets a guest see, and nothing else.

A guest path is made absolute and freed of ``.`` and ``..`` as text, so it cannot climb; then each
component is opened relative to the one before without following links, so it cannot be led away. A
symbolic link is replaced by its target, read as a guest path. Only regular files and directories
can be opened. Whatever is outside of all allowed directories is refused with EACCES, whether it
exists or not.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rvjit.errors import ConfigError
from rvjit.syscalls.descriptors import O_APPEND, PATH_MAX, FileStatus
from rvjit.syscalls.files import OpenDirectory, OpenFile, status_of
from rvjit.values import dataclass

_MAX_LINKS = 40

# Flags of open, Linux's generic numbers.
O_ACCMODE = 0o3
O_CREAT = 0o100
O_EXCL = 0o200
O_TRUNC = 0o1000
O_DIRECTORY = 0o200000
O_NOFOLLOW = 0o400000
O_CLOEXEC = 0o2000000
O_TMPFILE = 0o20000000

_HOST_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Neither wait for the other end of a pipe nor become the owner of a terminal.
_HOST_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


@dataclass(frozen=True)
class Mount:
    """One allowed directory."""

    guest: bytes  # normalised path without a slash at the end; empty for the root
    handle: int  # the host's directory
    writable: bool
    device: int  # the guest's number for it


@dataclass(frozen=True)
class Place:
    """A name in an open directory of the host, and the guest's path of it."""

    mount: Mount
    directory: int
    name: bytes  # b"." for the allowed directory itself
    path: bytes


def normalise(path: bytes) -> bytes:
    """Return an absolute guest path without ``.``, ``..`` and double slashes; b"/" for the root."""
    parts: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/" + b"/".join(parts)


class Directories:
    """The allowed directories: (host path, guest path, writable) each.

    Raises `ConfigError` where a directory cannot be opened or two have one guest path. The methods
    take absolute guest paths and raise `OSError`.
    """

    def __init__(self, allowed: Iterable[tuple[str | os.PathLike[str], str, bool]] = ()) -> None:
        self._mounts: list[Mount] = []
        for host, guest, writable in allowed:
            where = normalise(os.fsencode(guest)).rstrip(b"/")
            if any(where == mount.guest for mount in self._mounts):
                self.close()
                raise ConfigError(f"two directories for the guest path {guest!r}")
            try:
                handle = os.open(host, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError as error:
                self.close()
                raise ConfigError(f"directory {os.fspath(host)!r}: {error.strerror}") from error
            self._mounts.append(Mount(where, handle, bool(writable), 2 + len(self._mounts)))

    def close(self) -> None:
        """Close the directories; afterwards nothing is allowed."""
        for mount in self._mounts:
            os.close(mount.handle)
        self._mounts.clear()

    def __del__(self) -> None:
        self.close()

    def open(self, path: bytes, flags: int, mode: int) -> OpenFile | OpenDirectory:
        """Open as openat does; *flags* are the guest's."""
        if flags & O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no unnamed files")
        if flags & O_CREAT and flags & O_DIRECTORY:
            raise OSError(errno.EINVAL, "cannot create a directory")
        access = flags & O_ACCMODE
        readable, writable = access != 1, access in (1, 2)
        changes = writable or bool(flags & O_TRUNC)
        exclusive = bool(flags & O_CREAT and flags & O_EXCL)
        follow = not (flags & O_NOFOLLOW or exclusive)
        with self._walk(path, follow=follow) as place:
            kind = _kind(place)
            if kind is None:
                if not flags & O_CREAT:
                    raise OSError(errno.ENOENT, "no such file")
                _check_writable(place)
            elif exclusive:
                raise OSError(errno.EEXIST, "exists")
            elif stat.S_ISDIR(kind):
                if changes or flags & O_CREAT:
                    raise OSError(errno.EISDIR, "a directory")
                handle = os.open(place.name, _HOST_DIRECTORY, dir_fd=place.directory)
                return OpenDirectory(handle, place.path, place.mount.device, place.mount.writable)
            elif flags & O_DIRECTORY or path.endswith(b"/"):
                raise OSError(errno.ENOTDIR, "not a directory")
            elif not stat.S_ISREG(kind):
                raise OSError(errno.ELOOP if stat.S_ISLNK(kind) else errno.EACCES, "not a file")
            elif changes:
                _check_writable(place)
            if path.endswith(b"/"):
                raise OSError(errno.EISDIR, "a directory's name")
            host = (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR)[access] | _HOST_FILE
            if flags & O_CREAT:
                host |= os.O_CREAT | (os.O_EXCL if exclusive else 0)
            if flags & O_TRUNC:
                host |= os.O_TRUNC
            handle = os.open(place.name, host, mode & 0o777, dir_fd=place.directory)
            if not stat.S_ISREG(os.fstat(handle).st_mode):  # changed since we looked
                os.close(handle)
                raise OSError(errno.EACCES, "not a file")
            opened = OpenFile(handle, place.path, place.mount.device, place.mount.writable)
            opened.readable, opened.writable = readable, writable
            opened.append = bool(flags & O_APPEND)
            return opened

    def status(self, path: bytes, *, follow: bool = True) -> FileStatus:
        """Return what stat, or without *follow* lstat, tells."""
        with self._walk(path, follow=follow or path.endswith(b"/")) as place:
            found = os.stat(place.name, dir_fd=place.directory, follow_symlinks=False)
            if path.endswith(b"/") and not stat.S_ISDIR(found.st_mode):
                raise OSError(errno.ENOTDIR, "not a directory")
            return status_of(found, place.path, place.mount.device, place.mount.writable)

    def check_access(self, path: bytes, *, write: bool, execute: bool) -> None:
        """Raise the error that access finds."""
        with self._walk(path, follow=True) as place:
            found = os.stat(place.name, dir_fd=place.directory, follow_symlinks=False)
            if write:
                _check_writable(place)
            if execute and not found.st_mode & stat.S_IXUSR:
                raise OSError(errno.EACCES, "not executable")

    def read_link(self, path: bytes) -> bytes:
        """Return the target of a symbolic link, as it is written."""
        with self._walk(path, follow=False) as place:
            return os.readlink(place.name, dir_fd=place.directory)

    def make_directory(self, path: bytes, mode: int) -> None:
        """Make a directory."""
        with self._walk(path, follow=False) as place:
            if _kind(place) is not None:
                raise OSError(errno.EEXIST, "exists")
            _check_writable(place)
            os.mkdir(place.name, mode & 0o777, dir_fd=place.directory)

    def remove(self, path: bytes, *, directory: bool) -> None:
        """Remove a name, or with *directory* an empty directory."""
        with self._walk(path, follow=False) as place:
            if _kind(place) is None:
                raise OSError(errno.ENOENT, "no such file")
            _check_writable(place)
            if directory:
                os.rmdir(place.name, dir_fd=place.directory)
            else:
                os.unlink(place.name, dir_fd=place.directory)

    def rename(self, old: bytes, new: bytes) -> None:
        """Rename, replacing what has the new name."""
        with self._walk(old, follow=False) as source, self._walk(new, follow=False) as target:
            if _kind(source) is None:
                raise OSError(errno.ENOENT, "no such file")
            _check_writable(source)
            _check_writable(target)
            os.replace(
                source.name, target.name, src_dir_fd=source.directory, dst_dir_fd=target.directory
            )

    def _locate(self, path: bytes) -> tuple[Mount, list[bytes]]:
        """Return the innermost allowed directory above a normalised path, and the rest of it."""
        inside = [
            mount
            for mount in self._mounts
            if path == mount.guest or path.startswith(mount.guest + b"/")
        ]
        if not inside:
            raise OSError(errno.EACCES, "outside the allowed directories")
        mount = max(inside, key=lambda each: len(each.guest))
        return mount, [part for part in path[len(mount.guest) :].split(b"/") if part]

    @contextmanager
    def _walk(self, path: bytes, *, follow: bool) -> Iterator[Place]:
        """Open the directory that holds the last component of *path*.

        With *follow* the name that comes out is no symbolic link (unless the host just made one).
        """
        for _ in range(_MAX_LINKS + 1):
            if len(path) >= PATH_MAX:
                raise OSError(errno.ENAMETOOLONG, "path too long")
            path = normalise(path)
            mount, parts = self._locate(path)
            handle, link = _descend(mount, parts[:-1])
            try:
                name = parts[-1] if parts else b"."
                if link is None and follow:
                    link = _link_at(handle, name, len(parts))
                if link is None:
                    yield Place(mount, handle, name, path)
                    return
            finally:
                os.close(handle)
            depth, target = link
            above = b"/".join((mount.guest, *parts[: depth - 1]))
            path = b"/".join((b"" if target.startswith(b"/") else above, target, *parts[depth:]))
        raise OSError(errno.ELOOP, "too many symbolic links")


def _descend(mount: Mount, parts: list[bytes]) -> tuple[int, tuple[int, bytes] | None]:
    """Open the directory *parts* lead to.

    Also returns, where a component is a symbolic link, its depth from 1 and its target; the handle
    is then of the directory that holds it.
    """
    handle = os.dup(mount.handle)
    try:
        for depth, part in enumerate(parts, 1):
            try:
                below = os.open(part, _HOST_DIRECTORY, dir_fd=handle)
            except OSError:
                link = _link_at(handle, part, depth)
                if link is None:
                    raise
                return handle, link
            os.close(handle)
            handle = below
    except OSError:
        os.close(handle)
        raise
    return handle, None


def _link_at(directory: int, name: bytes, depth: int) -> tuple[int, bytes] | None:
    """Return *depth* and the target where a name is a symbolic link."""
    try:
        return depth, os.readlink(name, dir_fd=directory)
    except OSError:
        return None


def _kind(place: Place) -> int | None:
    """Return the mode of what stands at *place*, or None where nothing does."""
    try:
        return os.stat(place.name, dir_fd=place.directory, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None


def _check_writable(place: Place) -> None:
    if not place.mount.writable:
        raise OSError(errno.EROFS, "allowed for reading only")

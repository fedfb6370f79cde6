"""A folder of files that nobody else can have written.

What is kept here will run as native code, so nothing is read from a file or folder that belongs to
another user or that another user may write, and no link is followed. Files are never changed: a new
one is written beside it and takes its place, so readers see the old one or the new one, whole.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_PRIVATE_FOLDER = 0o700
_PRIVATE_FILE = 0o600
_TEMPORARY = ".new"
_LOCK = "lock"
_PROBE = "probe"
_PROBE_BYTES = 4096
_NOT_KEPT = (_TEMPORARY, _LOCK)

# Attempts to get the lock, and seconds between them. Whoever holds it needs milliseconds, unless it
# was stopped, which must not stop us.
_ATTEMPTS = 20
_PATIENCE = 0.01

# A file that is used keeps its place in the order of age; once a day is often enough.
_REFRESHED_SECONDS = 24 * 3600

_ABANDONED_SECONDS = 3600  # a temporary file of a process that was killed


class UnsafeError(OSError):
    """A file or folder that another user could have written."""


class Folder:
    """The files in *path*, a folder inside *root*; both are made when something is written.

    All methods raise `OSError` for what the host refuses, `UnsafeError` for what others may write.
    """

    def __init__(self, root: str, name: str) -> None:
        self.root = root
        self.name = name
        self.path = os.path.join(root, name)

    def holds(self, path: str) -> bool:
        """Whether *path*, as `kept_files` gives it, is in this folder."""
        return os.path.dirname(path) == self.path

    def open(self, name: str) -> int | None:
        """Open a file to be read and return its descriptor; None where there is none."""
        try:
            with self._descriptor() as folder:
                flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
                file = os.open(name, flags, dir_fd=folder)
        except FileNotFoundError:
            return None
        try:
            facts = os.fstat(file)
            _check(facts, stat.S_ISREG(facts.st_mode), os.path.join(self.path, name))
            if time.time() - facts.st_mtime > _REFRESHED_SECONDS:
                with suppress(OSError):
                    os.utime(file)
        except BaseException:
            os.close(file)
            raise
        return file

    def replace(self, name: str, data: bytes) -> None:
        """Make *data* the contents of the file *name*."""
        with self._descriptor() as folder:
            temporary = f"{name}.{os.getpid()}{_TEMPORARY}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            file = os.open(temporary, flags, _PRIVATE_FILE, dir_fd=folder)
            try:
                try:
                    _write(file, data)
                finally:
                    os.close(file)
                os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise

    def probe(self) -> None:
        """Write and remove a file, to see whether that can be done."""
        with self.locked(), self._descriptor() as folder:
            self.replace(_PROBE, bytes(_PROBE_BYTES))
            os.unlink(_PROBE, dir_fd=folder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other process change the folder's files; makes the folder where it is missing."""
        import fcntl

        for path in (self.root, self.path):
            with suppress(FileExistsError):
                os.makedirs(path, _PRIVATE_FOLDER)
        with self._descriptor() as folder:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            lock = os.open(_LOCK, flags, _PRIVATE_FILE, dir_fd=folder)
        try:
            for attempt in range(_ATTEMPTS):
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if attempt == _ATTEMPTS - 1:
                        raise
                    time.sleep(_PATIENCE)
            yield
        finally:
            os.close(lock)

    @contextmanager
    def _descriptor(self) -> Iterator[int]:
        """Open the folder for the time of one operation, after a look at who may write it."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
        outer = os.open(self.root, flags)
        try:
            _check(os.fstat(outer), True, self.root)
            inner = os.open(self.name, flags | os.O_NOFOLLOW, dir_fd=outer)
        finally:
            os.close(outer)
        try:
            _check(os.fstat(inner), True, self.path)
            yield inner
        finally:
            os.close(inner)


def kept_files(root: str) -> list[tuple[float, int, str]]:
    """Time of last use in seconds, size in bytes and path of all that is kept under *root*.

    Oldest first; nothing where there is no such folder.
    """
    found = []
    for path in _files(root):
        if not path.endswith(_NOT_KEPT):
            with suppress(OSError):
                facts = os.lstat(path)
                found.append((facts.st_mtime, facts.st_size, path))
    return sorted(found)


def shrink(root: str, most: int) -> None:
    """Remove the oldest files under *root* until the others have at most *most* bytes."""
    files = kept_files(root)
    total = sum(size for _, size, _ in files)
    for _, size, path in files:
        if total <= most:
            break
        with suppress(OSError):
            os.unlink(path)
            total -= size
    now = time.time()
    for path in _files(root):
        if path.endswith(_TEMPORARY):
            with suppress(OSError):
                if now - os.lstat(path).st_mtime > _ABANDONED_SECONDS:
                    os.unlink(path)


def clear(root: str) -> tuple[int, int]:
    """Remove everything that is kept under *root*; return how many files and bytes went."""
    count = size = 0
    for _, each, path in kept_files(root):
        os.unlink(path)
        count += 1
        size += each
    for path in _files(root):
        os.unlink(path)
    for name in _folders(root):
        os.rmdir(os.path.join(root, name))
    return count, size


def _folders(root: str) -> list[str]:
    """Names of the folders in *root* that are ours, by the form of their names."""
    try:
        with os.scandir(root) as entries:
            return sorted(
                each.name
                for each in entries
                if each.is_dir(follow_symlinks=False) and _is_name(each.name)
            )
    except FileNotFoundError:
        return []


def _is_name(name: str) -> bool:
    return len(name) == 32 and not set(name) - set("0123456789abcdef")


def _files(root: str) -> list[str]:
    found = []
    for name in _folders(root):
        folder = os.path.join(root, name)
        with suppress(FileNotFoundError):
            found += [os.path.join(folder, each) for each in sorted(os.listdir(folder))]
    return found


def _check(facts: os.stat_result, right_kind: bool, path: str) -> None:
    if not right_kind:
        raise UnsafeError(errno.EINVAL, "is not a plain file", path)
    if facts.st_uid != os.geteuid():
        raise UnsafeError(errno.EPERM, f"belongs to user {facts.st_uid}, not to us", path)
    if facts.st_mode & _OTHERS_WRITE:
        raise UnsafeError(errno.EPERM, "other users may write it", path)


def _write(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]

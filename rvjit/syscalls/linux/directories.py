"""Calls that take a path.

A guest sees only what the caller allowed (`rvjit.syscalls.directories`); everything else is
refused with EACCES. Owners, modes and times of files cannot be changed.
"""

from __future__ import annotations

import errno
import stat

from rvjit.syscalls.directories import O_CLOEXEC, normalise
from rvjit.syscalls.errnos import EINVAL, ENOTDIR, ERANGE
from rvjit.syscalls.files import OpenDirectory
from rvjit.syscalls.linux.abi import pack_stat, read_path
from rvjit.syscalls.table import Call, Entry, Outcome, syscall

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EACCESS = 0x200
AT_REMOVEDIR = 0x200
AT_EMPTY_PATH = 0x1000

_SELF = b"/proc/self/exe"
_W_OK, _X_OK = 2, 1


def _path(call: Call, fd: int, index: int, *, may_be_empty: bool = False) -> bytes:
    """Return the absolute guest path that argument *index*, relative to *fd*, names."""
    path = read_path(call, call.args[index])
    if path.startswith(b"/"):
        return path
    if not path and not may_be_empty:
        raise OSError(errno.ENOENT, "an empty path")
    if fd == AT_FDCWD:
        above = call.host.directory
    else:
        directory = call.host.descriptors.get(fd)
        if not isinstance(directory, OpenDirectory):
            raise OSError(errno.ENOTDIR, "not a directory")
        above = directory.path
    return above + b"/" + path if path else above


def _open(call: Call, path: bytes, flags: int, mode: int) -> Outcome:
    call.host.descriptors.check_room()
    opened = call.host.directories.open(path, flags, mode)
    return call.host.descriptors.add(opened, cloexec=bool(flags & O_CLOEXEC))


@syscall(56, "openat")
def openat(call: Call) -> Outcome:
    """Open a file or directory."""
    return _open(call, _path(call, call.int32(0), 1), call.uint32(2), call.uint32(3))


@syscall(1024, "open")
def open_(call: Call) -> Outcome:
    """Open, as newlib's libgloss calls it."""
    return _open(call, _path(call, AT_FDCWD, 0), call.uint32(1), call.uint32(2))


def _stat(call: Call, path: bytes, address: int, *, follow: bool) -> Outcome:
    status = call.host.directories.status(path, follow=follow)
    call.memory.write(address, pack_stat(status, real_time=call.host.clock.real_time))
    return 0


@syscall(79, "newfstatat")
def newfstatat(call: Call) -> Outcome:
    """Tell about a path, or with AT_EMPTY_PATH about a descriptor."""
    flags = call.uint32(3)
    fd = call.int32(0)
    if flags & AT_EMPTY_PATH and fd != AT_FDCWD and not read_path(call, call.args[1]):
        status = call.host.descriptors.get(fd).status()
        call.memory.write(call.args[2], pack_stat(status, real_time=call.host.clock.real_time))
        return 0
    path = _path(call, fd, 1, may_be_empty=bool(flags & AT_EMPTY_PATH))
    return _stat(call, path, call.args[2], follow=not flags & AT_SYMLINK_NOFOLLOW)


@syscall(1038, "stat")
def stat_(call: Call) -> Outcome:
    """Tell about a path, as newlib's libgloss calls it."""
    return _stat(call, _path(call, AT_FDCWD, 0), call.args[1], follow=True)


@syscall(1039, "lstat")
def lstat(call: Call) -> Outcome:
    """Tell about a path without following a link, as newlib's libgloss calls it."""
    return _stat(call, _path(call, AT_FDCWD, 0), call.args[1], follow=False)


def _access(call: Call, path: bytes, mode: int) -> Outcome:
    if mode & ~7:
        return -EINVAL
    call.host.directories.check_access(path, write=bool(mode & _W_OK), execute=bool(mode & _X_OK))
    return 0


@syscall(48, "faccessat")
def faccessat(call: Call) -> Outcome:
    """Say whether a path can be read, written or executed."""
    return _access(call, _path(call, call.int32(0), 1), call.uint32(2))


@syscall(439, "faccessat2")
def faccessat2(call: Call) -> Outcome:
    """Do as faccessat; the flags make no difference here."""
    if call.uint32(3) & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW):
        return -EINVAL
    return _access(call, _path(call, call.int32(0), 1), call.uint32(2))


@syscall(1033, "access")
def access(call: Call) -> Outcome:
    """Do as faccessat, as newlib's libgloss calls it."""
    return _access(call, _path(call, AT_FDCWD, 0), call.uint32(1))


@syscall(78, "readlinkat")
def readlinkat(call: Call) -> Outcome:
    """Read a symbolic link; /proc/self/exe names the program."""
    size = call.int32(3)
    if size <= 0:
        return -EINVAL
    path = _path(call, call.int32(0), 1)
    own = normalise(path) == _SELF
    target = call.host.exe if own else call.host.directories.read_link(path)
    call.memory.write(call.args[2], target[:size])
    return min(len(target), size)


@syscall(34, "mkdirat")
def mkdirat(call: Call) -> Outcome:
    """Make a directory."""
    call.host.directories.make_directory(_path(call, call.int32(0), 1), call.uint32(2))
    return 0


@syscall(1030, "mkdir")
def mkdir(call: Call) -> Outcome:
    """Make a directory, as newlib's libgloss calls it."""
    call.host.directories.make_directory(_path(call, AT_FDCWD, 0), call.uint32(1))
    return 0


@syscall(35, "unlinkat")
def unlinkat(call: Call) -> Outcome:
    """Remove a name, or with AT_REMOVEDIR an empty directory."""
    flags = call.uint32(2)
    if flags & ~AT_REMOVEDIR:
        return -EINVAL
    call.host.directories.remove(
        _path(call, call.int32(0), 1), directory=bool(flags & AT_REMOVEDIR)
    )
    return 0


@syscall(1026, "unlink")
def unlink(call: Call) -> Outcome:
    """Remove a name, as newlib's libgloss calls it."""
    call.host.directories.remove(_path(call, AT_FDCWD, 0), directory=False)
    return 0


@syscall(276, "renameat2")
def renameat2(call: Call) -> Outcome:
    """Rename; none of the flags is known."""
    if call.uint32(4):
        return -EINVAL
    old, new = _path(call, call.int32(0), 1), _path(call, call.int32(2), 3)
    call.host.directories.rename(old, new)
    return 0


@syscall(17, "getcwd")
def getcwd(call: Call) -> Outcome:
    """Return the working directory, "/" at first, and its length with the NUL."""
    text = call.host.directory + b"\0"
    if call.args[1] < len(text):
        return -ERANGE
    call.memory.write(call.args[0], text)
    return len(text)


@syscall(49, "chdir")
def chdir(call: Call) -> Outcome:
    """Change the working directory to an allowed one."""
    path = normalise(_path(call, AT_FDCWD, 0))
    if not stat.S_ISDIR(call.host.directories.status(path).mode):
        return -ENOTDIR
    call.host.directory = path
    return 0


@syscall(50, "fchdir")
def fchdir(call: Call) -> Outcome:
    """Change the working directory to an open one."""
    directory = call.host.descriptors.get(call.int32(0))
    if not isinstance(directory, OpenDirectory):
        return -ENOTDIR
    call.host.directory = directory.path
    return 0


ENTRIES: tuple[Entry, ...] = (
    getcwd,
    mkdirat,
    unlinkat,
    faccessat,
    chdir,
    fchdir,
    openat,
    readlinkat,
    newfstatat,
    renameat2,
    faccessat2,
    open_,
    unlink,
    mkdir,
    access,
    stat_,
    lstat,
)

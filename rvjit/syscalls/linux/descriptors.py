"""Calls on descriptors other than reading, writing and waiting."""

from __future__ import annotations

import struct

from rvjit.syscalls.descriptors import FD_LIMIT, O_APPEND, O_NONBLOCK, Description
from rvjit.syscalls.directories import O_CLOEXEC
from rvjit.syscalls.errnos import EINVAL, ENOTDIR, ENOTTY
from rvjit.syscalls.files import OpenDirectory
from rvjit.syscalls.linux.abi import pack_stat
from rvjit.syscalls.streams import Stream
from rvjit.syscalls.table import Call, Entry, Outcome, syscall

_F_DUPFD, _F_GETFD, _F_SETFD, _F_GETFL, _F_SETFL = range(5)
_F_SETLK, _F_SETLKW = 6, 7
_F_DUPFD_CLOEXEC = 1030
_FD_CLOEXEC = 1

_TCGETS, _TCSETS, _TCSETSF, _TIOCGWINSZ = 0x5401, 0x5402, 0x5404, 0x5413
_FIONCLEX, _FIOCLEX, _FIONBIO = 0x5450, 0x5451, 0x5421
# A terminal as Linux sets one up: translating, echoing, by lines, 38400 baud, 8 bits.
_TERMIOS = struct.pack(
    "<IIIIB19s",
    0x500,
    0x5,
    0xBF,
    0x8A3B,
    0,
    bytes([3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0]),
)
_WINDOW = struct.pack("<HHHH", 24, 80, 0, 0)

_DIRENT = struct.Struct("<QqHB")


def _description(call: Call) -> Description:
    return call.host.descriptors.get(call.int32(0))


@syscall(57, "close")
def close(call: Call) -> Outcome:
    """Close a descriptor."""
    call.host.descriptors.close(call.int32(0))
    return 0


@syscall(23, "dup")
def dup(call: Call) -> Outcome:
    """Give a description its lowest free number."""
    return call.host.descriptors.add(_description(call))


@syscall(24, "dup3")
def dup3(call: Call) -> Outcome:
    """Give a description a certain number."""
    old, new, flags = call.int32(0), call.int32(1), call.uint32(2)
    if flags & ~O_CLOEXEC or old == new:
        return -EINVAL
    call.host.descriptors.replace(new, _description(call), cloexec=bool(flags))
    return new


@syscall(25, "fcntl")
def fcntl(call: Call) -> Outcome:
    """Duplicate, read and set flags; locks are always granted."""
    descriptors = call.host.descriptors
    fd, command, value = call.int32(0), call.int32(1), call.args[2]
    description = descriptors.get(fd)
    if command in (_F_DUPFD, _F_DUPFD_CLOEXEC):
        if value >= FD_LIMIT:
            return -EINVAL
        return descriptors.add(description, value, cloexec=command == _F_DUPFD_CLOEXEC)
    if command == _F_GETFD:
        return _FD_CLOEXEC * descriptors.closes_on_exec(fd)
    if command == _F_SETFD:
        descriptors.set_close_on_exec(fd, on=bool(value & _FD_CLOEXEC))
        return 0
    if command == _F_GETFL:
        return description.flags
    if command == _F_SETFL:
        description.append = bool(value & O_APPEND)
        description.nonblocking = bool(value & O_NONBLOCK)
        descriptors.changes += 1
        return 0
    return 0 if command in (_F_SETLK, _F_SETLKW) else -EINVAL


@syscall(29, "ioctl")
def ioctl(call: Call) -> Outcome:
    """Answer for terminals, where the caller wants streams to be terminals, else ENOTTY."""
    request, address = call.uint32(1), call.args[2]
    description = _description(call)
    if request in (_FIOCLEX, _FIONCLEX):
        call.host.descriptors.set_close_on_exec(call.int32(0), on=request == _FIOCLEX)
        return 0
    if request == _FIONBIO:
        description.nonblocking = bool(call.memory.read_int(address, 4))
        call.host.descriptors.changes += 1
        return 0
    if not isinstance(description, Stream) or not description.tty:
        return -ENOTTY
    if request == _TCGETS:
        call.memory.write(address, _TERMIOS)
        return 0
    if request == _TIOCGWINSZ:
        call.memory.write(address, _WINDOW)
        return 0
    return 0 if _TCSETS <= request <= _TCSETSF else -ENOTTY


@syscall(62, "lseek")
def lseek(call: Call) -> Outcome:
    """Move a file's position."""
    return _description(call).seek(call.signed(1), call.int32(2))


@syscall(80, "fstat")
def fstat(call: Call) -> Outcome:
    """Tell about a descriptor; streams are character devices."""
    status = _description(call).status()
    call.memory.write(call.args[1], pack_stat(status, real_time=call.host.clock.real_time))
    return 0


@syscall(46, "ftruncate")
def ftruncate(call: Call) -> Outcome:
    """Set a file's size."""
    _description(call).truncate(call.signed(1))
    return 0


@syscall(82, "fsync")
def fsync(call: Call) -> Outcome:
    """Put a file on the disk."""
    _description(call).sync()
    return 0


@syscall(83, "fdatasync")
def fdatasync(call: Call) -> Outcome:
    """Put a file on the disk."""
    _description(call).sync()
    return 0


@syscall(61, "getdents64")
def getdents64(call: Call) -> Outcome:
    """List a directory, sorted by name."""
    directory = _description(call)
    if not isinstance(directory, OpenDirectory):
        return -ENOTDIR
    room = min(call.uint32(2), 1 << 20)
    packed = bytearray()
    position = directory.position
    for name, inode, kind in directory.entries():
        size = (_DIRENT.size + len(name) + 1 + 7) & ~7
        if len(packed) + size > room:
            if not packed:
                return -EINVAL
            break
        position += 1
        entry = _DIRENT.pack(inode, position, size, kind) + name
        packed += entry.ljust(size, b"\0")
    call.memory.write(call.args[1], packed)
    directory.position = position
    return len(packed)


ENTRIES: tuple[Entry, ...] = (
    dup,
    dup3,
    fcntl,
    ioctl,
    ftruncate,
    close,
    getdents64,
    lseek,
    fstat,
    fsync,
    fdatasync,
)

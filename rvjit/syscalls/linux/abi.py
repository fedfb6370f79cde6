"""Structures of the generic 64-bit Linux ABI, and guest strings, as bytes."""

from __future__ import annotations

import errno
import struct

from rvjit.errors import OutOfBounds
from rvjit.syscalls.clock import SECOND
from rvjit.syscalls.descriptors import PATH_MAX, FileStatus
from rvjit.syscalls.table import Call

TASK_SIZE = 1 << 47  # first address that no Linux process can have (Sv48)
USER = 1000  # every user and group id
PID = 1  # also the only thread id

IOVEC = struct.Struct("<QQ")
POLLFD = struct.Struct("<iHH")
WORDS = struct.Struct("<QQ")  # timespec, timeval and rlimit: two 64-bit words

_STAT = struct.Struct("<QQIIIIQQqiiqqQqQqQII")
_BLOCK = 4096
_NANOSECOND_LIMIT = 1_000_000_000


def pack_stat(status: FileStatus, *, real_time: bool) -> bytes:
    """Return a struct stat, 128 bytes; its times are 0 unless *real_time*."""
    times: list[int] = []
    for moment in status.times:
        times += divmod(moment if real_time else 0, SECOND)
    return _STAT.pack(
        status.device,
        status.inode,
        status.mode,
        status.links,
        USER,
        USER,
        status.special,
        0,
        status.size,
        _BLOCK,
        0,
        (status.size + 511) // 512,
        *times,
        0,
        0,
    )


def pack_timespec(nanoseconds: int) -> bytes:
    """Return a struct timespec."""
    return WORDS.pack(*divmod(nanoseconds, SECOND))


def pack_timeval(nanoseconds: int) -> bytes:
    """Return a struct timeval."""
    seconds, rest = divmod(nanoseconds, SECOND)
    return WORDS.pack(seconds, rest // 1000)


def read_timespec(call: Call, address: int) -> int:
    """Return the nanoseconds of a struct timespec; EINVAL where it is no duration."""
    seconds, rest = WORDS.unpack(call.memory.read(address, WORDS.size))
    if seconds >> 63 or rest >= _NANOSECOND_LIMIT:
        raise OSError(errno.EINVAL, "not a duration")
    return int(seconds) * SECOND + int(rest)


def read_path(call: Call, address: int) -> bytes:
    """Return the path at *address*; ENAMETOOLONG where it has no NUL within `PATH_MAX`."""
    try:
        return call.memory.read_string(address, PATH_MAX)
    except OutOfBounds:
        call.memory.offset(address, PATH_MAX, "load")
    raise OSError(errno.ENAMETOOLONG, "path too long")


def read_array(call: Call, address: int, size: int) -> bytes:
    """Return *size* bytes at *address*, which may be anything where there is nothing to read."""
    return call.memory.read(address, size) if size else b""


def check_user_range(address: int, size: int) -> None:
    """Raise EFAULT for a range that Linux refuses without looking at it."""
    if size > TASK_SIZE or address > TASK_SIZE - size:
        raise OSError(errno.EFAULT, "not an address of a process")

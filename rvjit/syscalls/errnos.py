"""Error numbers as a riscv64 Linux guest sees them, and how a host's error becomes one.

The numbers are those of Linux's generic ABI. Code that works for the guest on the host raises
`OSError` with the host's own number; `guest_errno` translates by name, so a host with other
numbers gives the guest the right ones.
"""

from __future__ import annotations

import errno

EPERM = 1
ENOENT = 2
ESRCH = 3
EINTR = 4
EIO = 5
EBADF = 9
EAGAIN = 11
ENOMEM = 12
EACCES = 13
EFAULT = 14
EEXIST = 17
ENODEV = 19
ENOTDIR = 20
EISDIR = 21
EINVAL = 22
EMFILE = 24
ENOTTY = 25
ESPIPE = 29
EROFS = 30
ERANGE = 34
ENAMETOOLONG = 36
ENOSYS = 38
ELOOP = 40
EOPNOTSUPP = 95
ETIMEDOUT = 110

# Names a host operation may meet, with the guest's numbers; anything else is EIO.
_BY_NAME = {
    "EPERM": EPERM,
    "ENOENT": ENOENT,
    "ESRCH": ESRCH,
    "EINTR": EINTR,
    "EIO": EIO,
    "ENXIO": 6,
    "EBADF": EBADF,
    "EAGAIN": EAGAIN,
    "EWOULDBLOCK": EAGAIN,
    "ENOMEM": ENOMEM,
    "EACCES": EACCES,
    "EFAULT": EFAULT,
    "EBUSY": 16,
    "EEXIST": EEXIST,
    "EXDEV": 18,
    "ENODEV": ENODEV,
    "ENOTDIR": ENOTDIR,
    "EISDIR": EISDIR,
    "EINVAL": EINVAL,
    "ENFILE": 23,
    "EMFILE": EMFILE,
    "ENOTTY": ENOTTY,
    "ETXTBSY": 26,
    "EFBIG": 27,
    "ENOSPC": 28,
    "ESPIPE": ESPIPE,
    "EROFS": EROFS,
    "EMLINK": 31,
    "EPIPE": 32,
    "ERANGE": ERANGE,
    "ENAMETOOLONG": ENAMETOOLONG,
    "ENOSYS": ENOSYS,
    "ENOTEMPTY": 39,
    "ELOOP": ELOOP,
    "EOVERFLOW": 75,
    "EOPNOTSUPP": EOPNOTSUPP,
    "ENOTSUP": EOPNOTSUPP,
    "ETIMEDOUT": ETIMEDOUT,
    "ESTALE": 116,
    "EDQUOT": 122,
}


def guest_errno(error: OSError) -> int:
    """Return the guest's number, positive, for *error*."""
    name = errno.errorcode.get(error.errno or 0, "")
    return _BY_NAME.get(name, EIO)

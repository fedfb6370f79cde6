"""What a guest may ask of its host: system-call tables, and the host they act on.

`table` knows them all. Whoever runs a guest builds a `Host` and a `Call` and looks at the
`Outcome` of `SyscallTable.dispatch`.
"""

from __future__ import annotations

from rvjit.syscalls.host import Directory, Host, ProcessImage, make_host
from rvjit.syscalls.table import (
    RESTART,
    Call,
    Entry,
    Exit,
    Outcome,
    Raise,
    Restart,
    SyscallTable,
    syscall,
)

# Where the tables are, by name.
_TABLES = {"ckb": ("rvjit.syscalls.ckb", "CKB"), "linux": ("rvjit.syscalls.linux", "LINUX")}


def table(name: str) -> SyscallTable:
    """Return the table called *name*, of ``ckb`` and ``linux``; what is in it is imported now."""
    module, variable = _TABLES[name]
    found: SyscallTable = getattr(__import__(module, fromlist=[variable]), variable)
    return found


__all__ = [
    "RESTART",
    "Call",
    "Directory",
    "Entry",
    "Exit",
    "Host",
    "Outcome",
    "ProcessImage",
    "Raise",
    "Restart",
    "SyscallTable",
    "make_host",
    "syscall",
    "table",
]

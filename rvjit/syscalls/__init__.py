"""What a guest may ask of its host: system-call tables, and the host they act on.

`TABLES` is the only list. Whoever runs a guest builds a `Host` and a `Call` and looks at the
`Outcome` of `SyscallTable.dispatch`.
"""

from __future__ import annotations

from rvjit.syscalls.ckb import CKB
from rvjit.syscalls.host import Host, HostState, ProcessImage
from rvjit.syscalls.linux import LINUX
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

TABLES = {table.name: table for table in (CKB, LINUX)}

__all__ = [
    "CKB",
    "LINUX",
    "RESTART",
    "TABLES",
    "Call",
    "Entry",
    "Exit",
    "Host",
    "HostState",
    "Outcome",
    "ProcessImage",
    "Raise",
    "Restart",
    "SyscallTable",
    "syscall",
]

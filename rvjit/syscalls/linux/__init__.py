"""The system calls that static riscv64 Linux programs need, in Linux's generic numbering.

A guest is one process with one thread. Calls that nothing here lists answer -ENOSYS, which C
libraries expect and have fallbacks for (statx, rseq, riscv_hwprobe, membarrier, clone, …).
"""

from __future__ import annotations

from rvjit.syscalls.linux import (
    clocks,
    descriptors,
    directories,
    memory,
    process,
    signals,
    system,
    transfers,
    waiting,
)
from rvjit.syscalls.table import SyscallTable

LINUX = SyscallTable(
    "linux",
    (
        *directories.ENTRIES,
        *descriptors.ENTRIES,
        *transfers.ENTRIES,
        *waiting.ENTRIES,
        *process.ENTRIES,
        *signals.ENTRIES,
        *system.ENTRIES,
        *clocks.ENTRIES,
        *memory.ENTRIES,
    ),
    unknown="enosys",
    bad_pointer="efault",
)

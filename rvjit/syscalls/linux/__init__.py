"""The system calls that static riscv64 Linux programs need, in Linux's generic numbering.

A guest is one process with one thread. Calls that nothing here lists answer -ENOSYS, which C
libraries expect and have fallbacks for (statx, rseq, riscv_hwprobe, membarrier, clone, …).
"""

from __future__ import annotations

from rvjit.syscalls.linux import process
from rvjit.syscalls.table import SyscallTable

# Every guest ends, so `process` is there from the start; of the others, first what most guests use.
_MODULES = (
    "transfers",
    "memory",
    "descriptors",
    "signals",
    "clocks",
    "system",
    "directories",
    "waiting",
)

LINUX = SyscallTable(
    "linux",
    process.ENTRIES,
    unknown="enosys",
    bad_pointer="efault",
    modules=tuple(f"{__name__}.{module}" for module in _MODULES),
)

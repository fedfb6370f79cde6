"""Calls about the machine, which is the same on every host, and its random numbers."""

from __future__ import annotations

import struct

from rvjit.syscalls.clock import SECOND
from rvjit.syscalls.errnos import EINVAL
from rvjit.syscalls.streams import CHUNK
from rvjit.syscalls.table import Call, Entry, Outcome, syscall

_UTSNAME = struct.Struct("<65s65s65s65s65s65s")
_SYSINFO = struct.Struct("<Q3Q6QHH4xQQI4x")
_NAMES = (b"Linux", b"rvjit", b"6.1.0-rvjit", b"#1", b"riscv64", b"(none)")

_GRND_RANDOM, _GRND_INSECURE = 2, 4
_GRND_ALL = 7
_RANDOM_MAX = (1 << 25) - 1  # bytes of one call, Linux's limit


@syscall(160, "uname")
def uname(call: Call) -> Outcome:
    """Name the system."""
    call.memory.write(call.args[0], _UTSNAME.pack(*_NAMES))
    return 0


@syscall(179, "sysinfo")
def sysinfo(call: Call) -> Outcome:
    """Describe a machine that has the window as its memory, all of it free."""
    size = call.memory.size
    uptime = call.host.clock.monotonic(call.machine.cycles) // SECOND
    packed = _SYSINFO.pack(uptime, 0, 0, 0, size, size, 0, 0, 0, 0, 1, 0, 0, 0, 1)
    call.memory.write(call.args[0], packed)
    return 0


@syscall(278, "getrandom")
def getrandom(call: Call) -> Outcome:
    """Return bytes of the seeded stream."""
    address, flags = call.args[0], call.uint32(2)
    if flags & ~_GRND_ALL or (flags & _GRND_RANDOM and flags & _GRND_INSECURE):
        return -EINVAL
    size = min(call.args[1], _RANDOM_MAX)
    if size:
        call.memory.offset(address, size, "store")
    start = call.host.entropy.position
    try:
        for at in range(0, size, CHUNK):
            part = min(CHUNK, size - at)
            call.memory.write(address + at, call.host.entropy.take(part))
    except BaseException:
        call.host.entropy.position = start
        raise
    return size


@syscall(259, "riscv_flush_icache")
def riscv_flush_icache(call: Call) -> Outcome:  # noqa: ARG001
    """Do nothing: a store is visible to the next instruction fetched."""
    return 0


ENTRIES: tuple[Entry, ...] = (uname, sysinfo, riscv_flush_icache, getrandom)

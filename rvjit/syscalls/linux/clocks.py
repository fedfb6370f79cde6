"""Calls that tell the time: cycles since the start, unless the caller asked for real time."""

from __future__ import annotations

import struct

from rvjit.syscalls.clock import SECOND
from rvjit.syscalls.errnos import EINVAL
from rvjit.syscalls.linux.abi import WORDS, pack_timespec, pack_timeval
from rvjit.syscalls.table import Call, Entry, Outcome, syscall

_WALL = frozenset({0, 5, 8, 11})  # REALTIME, REALTIME_COARSE, REALTIME_ALARM, TAI
_MONOTONIC = frozenset({1, 4, 6, 7, 9})  # MONOTONIC, its RAW and COARSE, BOOTTIME, its ALARM
_BUSY = frozenset({2, 3})  # PROCESS_CPUTIME_ID, THREAD_CPUTIME_ID
_TICK = SECOND // 100
_RUSAGE_SELF, _RUSAGE_CHILDREN, _RUSAGE_THREAD = 0, -1, 1


def _now(call: Call, clock: int) -> int | None:
    """Return the nanoseconds of a clock, or None where there is no such clock."""
    source, cycles = call.host.clock, call.machine.cycles
    if clock in _WALL:
        return source.wall(cycles)
    if clock in _MONOTONIC:
        return source.monotonic(cycles)
    return source.busy(cycles) if clock in _BUSY else None


@syscall(113, "clock_gettime")
def clock_gettime(call: Call) -> Outcome:
    """Read a clock."""
    now = _now(call, call.int32(0))
    if now is None:
        return -EINVAL
    call.memory.write(call.args[1], pack_timespec(now))
    return 0


@syscall(114, "clock_getres")
def clock_getres(call: Call) -> Outcome:
    """Return the resolution of a clock: a nanosecond."""
    if _now(call, call.int32(0)) is None:
        return -EINVAL
    if call.args[1]:
        call.memory.write(call.args[1], pack_timespec(1))
    return 0


@syscall(169, "gettimeofday")
def gettimeofday(call: Call) -> Outcome:
    """Read the wall clock; the time zone is UTC."""
    if call.args[0]:
        now = call.host.clock.wall(call.machine.cycles)
        call.memory.write(call.args[0], pack_timeval(now))
    if call.args[1]:
        call.memory.write(call.args[1], bytes(8))
    return 0


@syscall(1062, "time")
def time(call: Call) -> Outcome:
    """Read the wall clock in seconds, as newlib's libgloss calls it."""
    now = call.host.clock.wall(call.machine.cycles) // SECOND
    if call.args[0]:
        call.memory.write_int(call.args[0], now, 8)
    return now


@syscall(153, "times")
def times(call: Call) -> Outcome:
    """Return the ticks, 100 a second, of the process and of the monotonic clock."""
    clock, cycles = call.host.clock, call.machine.cycles
    if call.args[0]:
        call.memory.write(call.args[0], struct.pack("<4Q", clock.busy(cycles) // _TICK, 0, 0, 0))
    return clock.monotonic(cycles) // _TICK


@syscall(165, "getrusage")
def getrusage(call: Call) -> Outcome:
    """Return the time spent computing, as user time; everything else is 0."""
    who = call.int32(0)
    if who not in (_RUSAGE_SELF, _RUSAGE_CHILDREN, _RUSAGE_THREAD):
        return -EINVAL
    busy = 0 if who == _RUSAGE_CHILDREN else call.host.clock.busy(call.machine.cycles)
    call.memory.write(call.args[1], pack_timeval(busy).ljust(9 * WORDS.size, b"\0"))
    return 0


ENTRIES: tuple[Entry, ...] = (
    clock_gettime,
    clock_getres,
    times,
    getrusage,
    gettimeofday,
    time,
)

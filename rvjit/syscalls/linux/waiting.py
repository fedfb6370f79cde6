"""Calls that wait: for time to pass, for input, for another thread that does not exist.

On the virtual clock time passes at once. Where a wait can never end, the run ends instead.
"""

from __future__ import annotations

from rvjit.errors import BadSyscall
from rvjit.syscalls.clock import SECOND
from rvjit.syscalls.descriptors import FD_LIMIT, Description
from rvjit.syscalls.errnos import EAGAIN, EINVAL, ENOSYS, EOPNOTSUPP, ETIMEDOUT
from rvjit.syscalls.linux.abi import POLLFD, read_array, read_timespec
from rvjit.syscalls.streams import wait_for
from rvjit.syscalls.table import RESTART, Call, Entry, Outcome, Raise, syscall

_CLOCK_REALTIME, _CLOCK_MONOTONIC, _CLOCK_BOOTTIME, _CLOCK_TAI = 0, 1, 7, 11
_TIMER_ABSTIME = 1

_POLLIN, _POLLOUT, _POLLNVAL = 0x1, 0x4, 0x20
_POLLRDNORM, _POLLWRNORM = 0x40, 0x100

_FUTEX_COMMAND = 0x7F
_FUTEX_WAIT, _FUTEX_WAKE, _FUTEX_WAIT_BITSET, _FUTEX_WAKE_BITSET = 0, 1, 9, 10
_FUTEX_CLOCK_REALTIME = 0x100


def let_pass(call: Call, duration: int, result: int = 0) -> Outcome:
    """Answer *result* when *duration* nanoseconds have passed."""
    done = call.host.clock.sleep(duration, call.args, call.machine.pending)
    return result if done else RESTART


def _until(call: Call, moment: int, *, wall: bool) -> int:
    """Return the nanoseconds from now to *moment*."""
    clock, cycles = call.host.clock, call.machine.cycles
    now = clock.wall(cycles) if wall else clock.monotonic(cycles)
    return max(moment - now, 0)


@syscall(101, "nanosleep")
def nanosleep(call: Call) -> Outcome:
    """Sleep."""
    return let_pass(call, read_timespec(call, call.args[0]))


@syscall(115, "clock_nanosleep")
def clock_nanosleep(call: Call) -> Outcome:
    """Sleep for a time or until a moment."""
    clock = call.int32(0)
    if clock not in (_CLOCK_REALTIME, _CLOCK_MONOTONIC, _CLOCK_BOOTTIME, _CLOCK_TAI):
        return -EINVAL if clock not in range(2, 12) else -EOPNOTSUPP
    duration = read_timespec(call, call.args[2])
    if call.uint32(1) & _TIMER_ABSTIME:
        duration = _until(call, duration, wall=clock in (_CLOCK_REALTIME, _CLOCK_TAI))
    return let_pass(call, duration)


def _ready(description: Description, wanted: int) -> int:
    found = 0
    if description.readable and wanted & (_POLLIN | _POLLRDNORM) and description.is_ready():
        found |= _POLLIN | _POLLRDNORM
    if description.writable:
        found |= _POLLOUT | _POLLWRNORM
    return found & wanted


@syscall(73, "ppoll")
def ppoll(call: Call) -> Outcome:
    """Wait until a descriptor can be read or written; only input can make a guest wait."""
    address, count = call.args[0], call.args[1]
    if count > FD_LIMIT:
        return -EINVAL
    timeout = read_timespec(call, call.args[2]) if call.args[2] else None
    rows = list(POLLFD.iter_unpack(read_array(call, address, count * POLLFD.size)))

    def look() -> tuple[int, bytes, list[Description]]:
        ready, packed, inputs = 0, b"", []
        for fd, wanted, _ in rows:
            found = 0
            if fd >= 0:
                try:
                    description = call.host.descriptors.get(fd)
                except OSError:
                    found = _POLLNVAL
                else:
                    found = _ready(description, wanted)
                    if description.readable and wanted & _POLLIN:
                        inputs.append(description)
            ready += bool(found)
            packed += POLLFD.pack(fd, wanted, found)
        return ready, packed, inputs

    ready, packed, inputs = look()
    outcome: Outcome = ready
    if not ready and timeout != 0:
        if inputs:
            seconds = None if timeout is None else timeout / SECOND
            came = wait_for(inputs, seconds, call.machine.pending)
            if came is False:
                return RESTART
            if came is None:
                call.host.clock.skip(timeout or 0)
            outcome, packed, _ = look()
        elif timeout is None:
            reason = "waits for what cannot happen: no input and no time-out"
            return Raise(BadSyscall(call.number, reason, call.pc))
        else:
            outcome = let_pass(call, timeout)
    if packed and outcome is not RESTART:
        call.memory.write(address, packed)
    return outcome


@syscall(98, "futex")
def futex(call: Call) -> Outcome:
    """Wake nobody; wait only until the time-out, since no other thread could wake us."""
    address, operation, value, timeout = call.args[0], call.uint32(1), call.uint32(2), call.args[3]
    command = operation & _FUTEX_COMMAND
    if address % 4:
        return -EINVAL
    if command in (_FUTEX_WAKE, _FUTEX_WAKE_BITSET):
        return 0
    if command not in (_FUTEX_WAIT, _FUTEX_WAIT_BITSET):
        return -ENOSYS
    if call.memory.read_int(address, 4) != value or not timeout:
        return -EAGAIN
    duration = read_timespec(call, timeout)
    if command == _FUTEX_WAIT_BITSET:
        duration = _until(call, duration, wall=bool(operation & _FUTEX_CLOCK_REALTIME))
    return let_pass(call, duration, -ETIMEDOUT)


ENTRIES: tuple[Entry, ...] = (ppoll, futex, nanosleep, clock_nanosleep)

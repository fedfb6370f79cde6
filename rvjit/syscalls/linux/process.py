"""Calls about the process itself: it is alone, has one thread, and belongs to an ordinary user."""

from __future__ import annotations

from rvjit.syscalls.errnos import EINVAL, EPERM, ESRCH
from rvjit.syscalls.host import UNLIMITED
from rvjit.syscalls.linux.abi import PID, USER, WORDS
from rvjit.syscalls.table import Call, Entry, Exit, Handler, Outcome, syscall

_ROBUST_LIST_SIZE = 24
_LIMITS = 16
_MASK_SIZE = 8


def _constant(value: int) -> Handler:
    def handler(call: Call) -> Outcome:  # noqa: ARG001
        return value

    return handler


def _exit(call: Call) -> Outcome:
    return Exit(call.args[0] & 0xFF)


@syscall(96, "set_tid_address")
def set_tid_address(call: Call) -> Outcome:  # noqa: ARG001
    """Return the thread id; nobody waits for the thread's end."""
    return PID


@syscall(99, "set_robust_list")
def set_robust_list(call: Call) -> Outcome:
    """Do nothing: there is no other thread to free locks for."""
    return 0 if call.args[1] == _ROBUST_LIST_SIZE else -EINVAL


@syscall(123, "sched_getaffinity")
def sched_getaffinity(call: Call) -> Outcome:
    """Return the mask of one CPU."""
    size = call.uint32(1)
    if call.int32(0) not in (0, PID):
        return -ESRCH
    if size < _MASK_SIZE or size % _MASK_SIZE:
        return -EINVAL
    call.memory.write_int(call.args[2], 1, _MASK_SIZE)
    return _MASK_SIZE


@syscall(168, "getcpu")
def getcpu(call: Call) -> Outcome:
    """Return CPU 0 of node 0."""
    for address in call.args[:2]:
        if address:
            call.memory.write_int(address, 0, 4)
    return 0


def _limit(call: Call, resource: int, new: int, old: int) -> Outcome:
    if resource >= _LIMITS:
        return -EINVAL
    limits = call.host.limits
    before = limits.get(resource, (UNLIMITED, UNLIMITED))
    if new:
        soft, hard = WORDS.unpack(call.memory.read(new, WORDS.size))
        if soft > hard:
            return -EINVAL
        if hard > before[1]:
            return -EPERM
    if old:
        call.memory.write(old, WORDS.pack(*before))
    if new:
        limits[resource] = soft, hard
    return 0


@syscall(261, "prlimit64")
def prlimit64(call: Call) -> Outcome:
    """Read and set limits. A new limit is remembered, not enforced."""
    if call.int32(0) not in (0, PID):
        return -ESRCH
    return _limit(call, call.uint32(1), call.args[2], call.args[3])


@syscall(163, "getrlimit")
def getrlimit(call: Call) -> Outcome:
    """Read a limit."""
    return _limit(call, call.uint32(0), 0, call.args[1])


@syscall(164, "setrlimit")
def setrlimit(call: Call) -> Outcome:
    """Set a limit."""
    return _limit(call, call.uint32(0), call.args[1], 0)


def _same_process(call: Call) -> Outcome:
    return PID if call.int32(0) in (0, PID) else -ESRCH


_CONSTANTS: tuple[tuple[int, str, int], ...] = (
    (124, "sched_yield", 0),
    (166, "umask", 0o022),
    (172, "getpid", PID),
    (173, "getppid", 0),
    (174, "getuid", USER),
    (175, "geteuid", USER),
    (176, "getgid", USER),
    (177, "getegid", USER),
    (178, "gettid", PID),
)

ENTRIES: tuple[Entry, ...] = (
    Entry(93, "exit", _exit, ends=True),
    Entry(94, "exit_group", _exit, ends=True),
    set_tid_address,
    set_robust_list,
    sched_getaffinity,
    Entry(155, "getpgid", _same_process),
    Entry(156, "getsid", _same_process),
    getrlimit,
    setrlimit,
    getcpu,
    prlimit64,
    *(Entry(number, name, _constant(value)) for number, name, value in _CONSTANTS),
)

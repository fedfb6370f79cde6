"""Signals: a guest can only send them to itself, and no handler is ever run.

A signal whose action is the default one, and which ends a process by default, ends the run
(`Aborted`), at once or when it is unblocked; every other signal has no effect. That is what abort()
and raise() need. Stopping signals are ignored: nobody could continue the guest.
"""

from __future__ import annotations

import struct

from rvjit.errors import Aborted, BadSyscall
from rvjit.syscalls.errnos import EAGAIN, EINVAL, ENOMEM, ESRCH
from rvjit.syscalls.linux.abi import PID, read_timespec
from rvjit.syscalls.linux.waiting import let_pass
from rvjit.syscalls.table import Call, Entry, Outcome, Raise, syscall

_SIGNALS = 64
_MASK_SIZE = 8
_ACTION_SIZE = 24
_SIG_DFL = 0
_SIGKILL, _SIGSTOP = 9, 19
_UNBLOCKABLE = 1 << _SIGKILL - 1 | 1 << _SIGSTOP - 1
_HARMLESS = frozenset({17, 18, 19, 20, 21, 22, 23, 28})  # CHLD CONT STOP TSTP TTIN TTOU URG WINCH

_SIG_BLOCK, _SIG_UNBLOCK, _SIG_SETMASK = range(3)

_STACK = struct.Struct("<QiiQ")
_SS_DISABLE = 2
_SS_AUTODISARM = 1 << 31
_MINSIGSTKSZ = 2048


def _is_fatal(call: Call, signal: int) -> bool:
    if signal == _SIGKILL:
        return True
    action = call.host.signals.actions.get(signal, bytes(8))
    return int.from_bytes(action[:8], "little") == _SIG_DFL and signal not in _HARMLESS


def _send(call: Call, signal: int) -> Outcome:
    """Send *signal* to the guest itself."""
    if not 0 <= signal <= _SIGNALS:
        return -EINVAL
    if signal == 0:
        return 0
    call.host.signals.pending |= 1 << signal - 1
    return _deliver(call)


def _deliver(call: Call) -> Outcome:
    """Let every signal happen that is pending and not blocked; the lowest fatal one counts."""
    signals = call.host.signals
    ready = signals.pending & ~signals.blocked
    signals.pending &= ~ready
    for signal in range(1, _SIGNALS + 1):
        if ready >> signal - 1 & 1 and _is_fatal(call, signal):
            return Raise(Aborted(signal, call.pc))
    return 0


@syscall(129, "kill")
def kill(call: Call) -> Outcome:
    """Send a signal to the process or its group."""
    return _send(call, call.int32(1)) if call.int32(0) in (0, PID) else -ESRCH


@syscall(130, "tkill")
def tkill(call: Call) -> Outcome:
    """Send a signal to the thread."""
    if call.int32(0) <= 0:
        return -EINVAL
    return _send(call, call.int32(1)) if call.int32(0) == PID else -ESRCH


@syscall(131, "tgkill")
def tgkill(call: Call) -> Outcome:
    """Send a signal to the thread of the process."""
    if call.int32(0) <= 0 or call.int32(1) <= 0:
        return -EINVAL
    same = call.int32(0) == call.int32(1) == PID
    return _send(call, call.int32(2)) if same else -ESRCH


@syscall(132, "sigaltstack")
def sigaltstack(call: Call) -> Outcome:
    """Remember a stack for handlers and return the one before."""
    new, old = call.args[0], call.args[1]
    signals = call.host.signals
    before = signals.alternate_stack or _STACK.pack(0, _SS_DISABLE, 0, 0)
    after = before
    if new:
        address, flags, _, size = _STACK.unpack(call.memory.read(new, _STACK.size))
        flags &= 0xFFFF_FFFF & ~_SS_AUTODISARM
        if flags not in (0, 1, _SS_DISABLE):
            return -EINVAL
        if flags == _SS_DISABLE:
            after = b""
        elif size < _MINSIGSTKSZ:
            return -ENOMEM
        else:
            after = _STACK.pack(address, 0, 0, size)
    if old:
        call.memory.write(old, before)
    if new:
        signals.alternate_stack = after
    return 0


@syscall(134, "rt_sigaction")
def rt_sigaction(call: Call) -> Outcome:
    """Remember what to do at a signal and return what was to be done before."""
    signal, new, old = call.int32(0), call.args[1], call.args[2]
    if call.args[3] != _MASK_SIZE or not 1 <= signal <= _SIGNALS:
        return -EINVAL
    if new and signal in (_SIGKILL, _SIGSTOP):
        return -EINVAL
    actions = call.host.signals.actions
    before = actions.get(signal, bytes(_ACTION_SIZE))
    after = call.memory.read(new, _ACTION_SIZE) if new else before
    if old:
        call.memory.write(old, before)
    if new:
        actions[signal] = after
    return 0


@syscall(135, "rt_sigprocmask")
def rt_sigprocmask(call: Call) -> Outcome:
    """Block and unblock signals; a fatal one that was waiting happens now."""
    how, new, old = call.int32(0), call.args[1], call.args[2]
    if call.args[3] != _MASK_SIZE:
        return -EINVAL
    signals = call.host.signals
    before = after = signals.blocked
    if new:
        given = call.memory.read_int(new, _MASK_SIZE)
        if how == _SIG_BLOCK:
            after = before | given
        elif how == _SIG_UNBLOCK:
            after = before & ~given
        elif how == _SIG_SETMASK:
            after = given
        else:
            return -EINVAL
    if old:
        call.memory.write_int(old, before, _MASK_SIZE)
    signals.blocked = after & ~_UNBLOCKABLE
    return _deliver(call)


@syscall(136, "rt_sigpending")
def rt_sigpending(call: Call) -> Outcome:
    """Return the signals that wait to be unblocked."""
    if call.args[1] > _MASK_SIZE:
        return -EINVAL
    call.memory.write_int(call.args[0], call.host.signals.pending, _MASK_SIZE)
    return 0


@syscall(133, "rt_sigsuspend")
def rt_sigsuspend(call: Call) -> Outcome:
    """End the run: no signal can come."""
    return Raise(BadSyscall(call.number, "waits for a signal, and nobody sends one", call.pc))


@syscall(137, "rt_sigtimedwait")
def rt_sigtimedwait(call: Call) -> Outcome:
    """Take a pending signal, or let the time-out pass."""
    if call.args[3] != _MASK_SIZE:
        return -EINVAL
    signals = call.host.signals
    ready = signals.pending & call.memory.read_int(call.args[0], _MASK_SIZE)
    if ready:
        signal = (ready & -ready).bit_length()
        if call.args[1]:
            call.memory.write(call.args[1], struct.pack("<iii", signal, 0, 0).ljust(128, b"\0"))
        signals.pending &= ~(1 << signal - 1)
        return signal
    if not call.args[2]:
        return rt_sigsuspend.handler(call)
    return let_pass(call, read_timespec(call, call.args[2]), -EAGAIN)


ENTRIES: tuple[Entry, ...] = (
    kill,
    tkill,
    tgkill,
    sigaltstack,
    rt_sigsuspend,
    rt_sigaction,
    rt_sigprocmask,
    rt_sigpending,
    rt_sigtimedwait,
)

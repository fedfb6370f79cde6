"""The system calls of CKB that need neither a transaction nor a scheduler.

Exactly as CKB has them: an unknown number and a bad pointer end the run.
"""

from __future__ import annotations

from rvjit.bits import MASK64
from rvjit.errors import BadSyscall, OutOfBounds
from rvjit.syscalls.table import Call, Exit, Outcome, Raise, SyscallTable, syscall

_BYTES_PER_CYCLE = 4


@syscall(93, "exit", ends=True)
def leave(call: Call) -> Outcome:
    """End the guest with the low byte of a0."""
    return Exit(call.args[0] & 0xFF)


@syscall(2041, "vm_version", since=1)
def vm_version(call: Call) -> Outcome:
    """Return the VM version."""
    return call.host.vm_version


@syscall(2042, "current_cycles", since=1)
def current_cycles(call: Call) -> Outcome:
    """Return the cycles so far, this call's ecall included; costs nothing."""
    cycles = call.host.earlier_cycles + call.machine.cycles
    if cycles > MASK64:
        return Raise(BadSyscall(call.number, "cycles pass 2**64", call.pc))
    return cycles


@syscall(2177, "debug")
def debug(call: Call) -> Outcome:
    """Print the text at a0 up to its NUL; costs a cycle for each four bytes, rounded up."""
    memory = call.memory
    address = call.args[0]
    memory.offset(address, 1, "load")
    end = memory.base + memory.size
    try:
        text = memory.read_string(address, end - address)
    except OutOfBounds:
        # CKB reads byte by byte: the access that fails is the one behind the end.
        return Raise(OutOfBounds(end, 1, "load", call.pc))
    call.charge(-(-len(text) // _BYTES_PER_CYCLE))
    try:
        text.decode()
    except UnicodeDecodeError as error:
        reason = f"String from buffer: invalid UTF-8 at byte {error.start}"
        return Raise(BadSyscall(call.number, reason, call.pc))
    call.host.debug(text)
    return None


CKB = SyscallTable(
    "ckb",
    (leave, vm_version, current_cycles, debug),
    unknown="fault",
    bad_pointer="fault",
)

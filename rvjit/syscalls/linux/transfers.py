"""Reading and writing through descriptors.

Nothing is lost or half done by a bad buffer: what is to be written is checked first, and input is
taken only after it has reached the guest. A vector stops short at its first bad buffer and
says how much was done before, as Linux does.
"""

from __future__ import annotations

from collections.abc import Iterator

from rvjit.errors import MemoryFault
from rvjit.syscalls.descriptors import Description
from rvjit.syscalls.errnos import EBADF, EINVAL, EISDIR
from rvjit.syscalls.linux.abi import IOVEC, check_user_range, read_array
from rvjit.syscalls.streams import CHUNK
from rvjit.syscalls.table import RESTART, Call, Entry, Outcome, syscall

MAX_TRANSFER = 0x7FFF_F000  # bytes of one call, Linux's MAX_RW_COUNT
IOV_MAX = 1024

Buffer = tuple[int, int]  # guest address, size


@syscall(63, "read")
def read(call: Call) -> Outcome:
    """Read into one buffer."""
    source = call.host.descriptors.get(call.int32(0))
    return _receive(call, source, [(call.args[1], call.args[2])])


@syscall(64, "write")
def write(call: Call) -> Outcome:
    """Write one buffer; a bad one writes nothing."""
    target = call.host.descriptors.get(call.int32(0))
    return _send(call, target, [(call.args[1], call.args[2])])


@syscall(65, "readv")
def readv(call: Call) -> Outcome:
    """Read into several buffers."""
    source = call.host.descriptors.get(call.int32(0))
    buffers = _vector(call)
    return buffers if isinstance(buffers, int) else _receive(call, source, buffers)


@syscall(66, "writev")
def writev(call: Call) -> Outcome:
    """Write several buffers."""
    target = call.host.descriptors.get(call.int32(0))
    buffers = _vector(call)
    return buffers if isinstance(buffers, int) else _send(call, target, buffers)


@syscall(67, "pread64")
def pread64(call: Call) -> Outcome:
    """Read from a position, leaving the file's own alone."""
    position = call.signed(3)
    if position < 0:
        return -EINVAL
    source = call.host.descriptors.get(call.int32(0)).at(position)
    return _receive(call, source, [(call.args[1], call.args[2])])


@syscall(68, "pwrite64")
def pwrite64(call: Call) -> Outcome:
    """Write at a position, leaving the file's own alone."""
    position = call.signed(3)
    if position < 0:
        return -EINVAL
    target = call.host.descriptors.get(call.int32(0)).at(position)
    return _send(call, target, [(call.args[1], call.args[2])])


def _vector(call: Call) -> list[Buffer] | int:
    """Read the iovecs that a1 and a2 describe, or return an error number."""
    count = call.args[2]
    if count > IOV_MAX:
        return -EINVAL
    packed = read_array(call, call.args[1], count * IOVEC.size)
    buffers: list[Buffer] = [(address, size) for address, size in IOVEC.iter_unpack(packed)]
    return -EINVAL if any(size >> 63 for _, size in buffers) else buffers


def _usable(call: Call, buffers: list[Buffer], access: str) -> Iterator[Buffer]:
    """Yield the buffers that lie in the window, up to `MAX_TRANSFER` bytes in all.

    Raises at the first that does not.
    """
    for address, size in buffers:
        check_user_range(address, size)
    left = MAX_TRANSFER
    for address, wanted in buffers:
        size = min(wanted, left)
        if size:
            call.memory.offset(address, size, access)
            left -= size
            yield address, size


def _room(call: Call, buffers: list[Buffer]) -> list[Buffer]:
    """Return the buffers up to where the first leaves the window, without empty ones."""
    for address, size in buffers:
        check_user_range(address, size)
    end = call.memory.base + call.memory.size
    room: list[Buffer] = []
    for address, size in buffers:
        if address + size > end:
            room.append((address, max(end - address, 1)))
            break
        if size:
            room.append((address, size))
    return room


def _send(call: Call, target: Description, buffers: list[Buffer]) -> int:
    if not target.writable:
        return -EBADF
    written = 0
    data = bytearray()

    def flush() -> bool:
        nonlocal written
        size = len(data)
        done = target.write(bytes(data)) if data else 0
        written += done
        data.clear()
        return done == size

    try:
        for address, size in _usable(call, buffers, "load"):
            at = 0
            while at < size:
                part = min(size - at, CHUNK - len(data))
                data += call.memory.read(address + at, part)
                at += part
                if len(data) == CHUNK and not flush():
                    return written
        flush()
    except MemoryFault:
        flush()
        if not written:
            raise
    except OSError:
        if not written:
            raise
    return written


def _receive(call: Call, source: Description, buffers: list[Buffer]) -> Outcome:
    if source.is_directory:
        return -EISDIR
    if not source.readable:
        return -EBADF
    room = _room(call, buffers)
    if not room:
        return 0
    call.memory.offset(*room[0], "store")
    if not source.fill(min(sum(size for _, size in room), MAX_TRANSFER), call.machine.pending):
        return RESTART
    done = 0
    try:
        for address, size in _usable(call, room, "store"):
            at = 0
            while at < size:
                part = source.peek(min(CHUNK, size - at))
                if not part:
                    return done
                call.memory.write(address + at, part)
                source.consume(len(part))
                at += len(part)
                done += len(part)
    except (MemoryFault, OSError):
        if not done:
            raise
    return done


ENTRIES: tuple[Entry, ...] = (read, write, readv, writev, pread64, pwrite64)

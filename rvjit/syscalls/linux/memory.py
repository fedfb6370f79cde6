"""Calls that map memory. See `AddressSpace` for where things go.

Address hints are ignored unless MAP_FIXED. A mapped file is a private copy, taken when it is
mapped; a shared one that could be written is refused with ENODEV. Under W^X (CKB's memory)
nothing can be mapped: brk does not move, everything else gives ENOMEM.
"""

from __future__ import annotations

import errno

from rvjit.machine.pages import PAGE_MASK, round_up
from rvjit.syscalls.descriptors import Description
from rvjit.syscalls.errnos import EACCES, EINVAL, ENODEV, ENOMEM
from rvjit.syscalls.files import OpenFile
from rvjit.syscalls.linux.abi import TASK_SIZE
from rvjit.syscalls.linux.transfers import MAX_TRANSFER
from rvjit.syscalls.space import READ_WRITE, AddressSpace, Protection
from rvjit.syscalls.streams import CHUNK
from rvjit.syscalls.table import Call, Entry, Outcome, syscall

_PROT_READ, _PROT_WRITE, _PROT_EXEC = 1, 2, 4
_PROT_ALL = 0xF | 0x0300_0000  # with PROT_SEM, GROWSDOWN and GROWSUP, which mean nothing here

_MAP_TYPE = 0xF
_MAP_SHARED, _MAP_PRIVATE, _MAP_SHARED_VALIDATE = 1, 2, 3
_MAP_FIXED = 0x10
_MAP_ANONYMOUS = 0x20
_MAP_HUGETLB = 0x40000
_MAP_FIXED_NOREPLACE = 0x100000

_MREMAP_MAYMOVE, _MREMAP_FIXED = 1, 2

_MADV_DONTNEED = 4
_ADVICE = frozenset({0, 1, 2, 3, 4, 8, *range(10, 24)})


def _space(call: Call) -> AddressSpace:
    if call.host.space is None:
        raise OSError(errno.ENOMEM, "no address space")
    return call.host.space


def _protection(bits: int) -> Protection:
    """Return what PROT_* asks for; as on RISC-V, what can be written can be read."""
    return Protection(
        read=bool(bits & (_PROT_READ | _PROT_WRITE)),
        write=bool(bits & _PROT_WRITE),
        execute=bool(bits & _PROT_EXEC),
    )


@syscall(214, "brk")
def brk(call: Call) -> Outcome:
    """Move the end of the heap; where that is impossible it stays. Returns where it is."""
    space = call.host.space
    return 0 if space is None else space.set_brk(call.args[0])


@syscall(222, "mmap")
def mmap(call: Call) -> Outcome:
    """Map zeros, or a copy of a file."""
    address, size, flags, offset = call.args[0], call.args[1], call.uint32(3), call.args[5]
    protection = _protection(call.uint32(2))
    if offset & PAGE_MASK:
        return -EINVAL
    kind = flags & _MAP_TYPE
    file: Description | None = None
    if not flags & _MAP_ANONYMOUS:
        file = call.host.descriptors.get(call.int32(4))
    if not size or kind not in (_MAP_SHARED, _MAP_PRIVATE, _MAP_SHARED_VALIDATE):
        return -EINVAL
    if size > TASK_SIZE or flags & _MAP_HUGETLB:
        return -ENOMEM
    if file is not None:
        error = _cannot_map(file, size, offset, shared=kind != _MAP_PRIVATE, wanted=protection)
        if error:
            return -error
    space = _space(call)
    first = protection if file is None else READ_WRITE
    if flags & (_MAP_FIXED | _MAP_FIXED_NOREPLACE):
        space.map_at(address, size, first, replace=not flags & _MAP_FIXED_NOREPLACE)
    else:
        address = space.map(size, first)
    if file is not None:
        try:
            _copy(call, file.at(offset), address, size)
        except OSError:
            space.unmap(address, size)
            raise
        space.protect(address, size, protection)
    return address


def _cannot_map(
    file: Description, size: int, offset: int, *, shared: bool, wanted: Protection
) -> int:
    """Return the error number for a file that cannot be mapped, or 0."""
    if not isinstance(file, OpenFile):
        return ENODEV
    if not file.readable:
        return EACCES
    if shared and (wanted.write or file.writable):
        return ENODEV
    if offset >> 63:
        return EINVAL
    return ENOMEM if min(size, max(file.status().size - offset, 0)) > MAX_TRANSFER else 0


def _copy(call: Call, file: Description, address: int, size: int) -> None:
    at = 0
    while at < size and (part := file.peek(min(CHUNK, size - at))):
        call.memory.write(address + at, part)
        file.consume(len(part))
        at += len(part)


@syscall(215, "munmap")
def munmap(call: Call) -> Outcome:
    """Unmap pages, whatever they were mapped for."""
    address, size = call.args[0], call.args[1]
    if not size or size > TASK_SIZE or address > TASK_SIZE - size:
        return -EINVAL
    _space(call).unmap(address, size)
    return 0


@syscall(216, "mremap")
def mremap(call: Call) -> Outcome:
    """Resize a mapping, moving it where that is allowed."""
    address, size, new_size, flags, target = call.args[:5]
    if flags & ~(_MREMAP_MAYMOVE | _MREMAP_FIXED) or max(size, new_size) > TASK_SIZE:
        return -EINVAL
    may_move = bool(flags & _MREMAP_MAYMOVE)
    fixed = bool(flags & _MREMAP_FIXED)
    if fixed and not may_move:
        return -EINVAL
    return _space(call).move(
        address, size, new_size, may_move=may_move, target=target if fixed else None
    )


@syscall(226, "mprotect")
def mprotect(call: Call) -> Outcome:
    """Set what pages allow; to allow both writing and executing is possible."""
    address, size, bits = call.args[0], call.args[1], call.args[2]
    if address & PAGE_MASK or bits & ~_PROT_ALL:
        return -EINVAL
    if not size:
        return 0
    if size > TASK_SIZE:
        return -ENOMEM
    _space(call).protect(address, size, _protection(bits))
    return 0


@syscall(233, "madvise")
def madvise(call: Call) -> Outcome:
    """Zero what is no longer needed (MADV_DONTNEED); other advice does nothing."""
    address, size, advice = call.args[0], call.args[1], call.int32(2)
    if address & PAGE_MASK or advice not in _ADVICE or size > TASK_SIZE:
        return -EINVAL
    if not size:
        return 0
    if advice == _MADV_DONTNEED:
        _space(call).discard(address, size)
    else:
        _space(call).check_mapped(address, size)
    return 0


def _nothing(call: Call) -> Outcome:
    """Check the range only: there is no disk behind memory, and no swap."""
    address, size = call.args[0], call.args[1]
    if address & PAGE_MASK or size > TASK_SIZE:
        return -EINVAL
    _space(call).check_mapped(address, round_up(size))
    return 0


ENTRIES: tuple[Entry, ...] = (
    brk,
    munmap,
    mremap,
    mmap,
    mprotect,
    Entry(227, "msync", _nothing),
    Entry(228, "mlock", _nothing),
    Entry(229, "munlock", _nothing),
    madvise,
)

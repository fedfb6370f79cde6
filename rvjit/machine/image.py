"""Image: what a memory held and allowed at one moment, where other memories can begin with it.

It is a file in memory. A memory that begins with it maps it privately: the kernel copies a page
when it is written first, and until then there is one of it, however many memories there are.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from collections.abc import Iterable

from rvjit.errors import SnapshotError
from rvjit.machine.memory import Memory
from rvjit.machine.pages import PAGE_SHIFT, round_up, runs_of

_MAP_FIXED = 0x10  # Linux
_MAP_NORESERVE = 0x4000
_FAILED = (1 << 64) - 1

_mmap = ctypes.CDLL(None, use_errno=True).mmap
_mmap.restype = ctypes.c_size_t
_mmap.argtypes = (
    ctypes.c_size_t,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)


def _map(address: int, size: int, access: int, kind: int, file: int, offset: int) -> None:
    if _mmap(address, size, access, kind | _MAP_FIXED, file, offset) == _FAILED:
        raise SnapshotError(f"cannot map {size} bytes: {os.strerror(ctypes.get_errno())}")


def map_zeros(address: int, size: int) -> None:
    """Put pages of zeros that cost nothing where pages of a memory are mapped."""
    kind = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    _map(address, size, mmap.PROT_READ | mmap.PROT_WRITE, kind, -1, 0)


class Image:
    """The bytes *buffer*, all zero outside of *pages* (ascending), and the *flags* of all pages.

    Raises `SnapshotError` where the host has no such files.
    """

    def __init__(self, buffer: memoryview, flags: bytes, pages: Iterable[int]) -> None:
        self._size = len(buffer)
        self._flags_size = round_up(len(flags))
        try:
            self._file = os.memfd_create("rvjit-image")
        except (AttributeError, OSError) as error:
            raise SnapshotError(f"no memory file for an image: {error}") from error
        weakref.finalize(self, os.close, self._file)
        os.ftruncate(self._file, self._size + self._flags_size)
        for first, stop in runs_of(pages):
            self._write(buffer[first << PAGE_SHIFT : stop << PAGE_SHIFT], first << PAGE_SHIFT)
        self._write(memoryview(flags), self._size)

    def begin(self, memory: Memory) -> None:
        """Give bytes and flags to *memory*, which is of the same shape and is not used yet."""
        buffer, flags, _ = memory.addresses
        access = mmap.PROT_READ | mmap.PROT_WRITE
        private = mmap.MAP_PRIVATE | _MAP_NORESERVE
        self._map(buffer, self._size, 0, access, private)
        self._map(flags, self._flags_size, self._size, access, private)
        memory.shares_pages = True

    def show(self, address: int) -> None:
        """Let the bytes be read at *address*, in place of what is mapped there."""
        self._map(address, self._size, 0, mmap.PROT_READ, mmap.MAP_SHARED)

    def _map(self, address: int, size: int, offset: int, access: int, kind: int) -> None:
        _map(address, size, access, kind, self._file, offset)

    def _write(self, data: memoryview, offset: int) -> None:
        while data:
            written = os.pwrite(self._file, data, offset)
            data, offset = data[written:], offset + written

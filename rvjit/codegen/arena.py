"""Executable memory: one file in memory, mapped once writable and once executable.

No page is ever writable and executable through the same mapping. Freed ranges are used again.

A forked child shares these pages with its parent. It never writes to them: what it places goes to
memory of its own. Its parent may free and use again what the child still knows of, so the child
forgets compiled regions (`rvjit.jit.engine`); code that is never freed stays where it is.
"""

from __future__ import annotations

import _thread
import ctypes
import mmap
import os
import weakref
from collections import deque
from collections.abc import Callable

from rvjit.errors import EngineUnavailable

_ALIGN = 64
_CHUNK = 16 << 20
_MREMAP_MAYMOVE = 1  # with an old size of 0: a second mapping of the same pages


_anonymous = False


def use_anonymous_memory() -> None:
    """Take memory from now on that belongs to no file, as far as `perf` can see.

    perf looks code up in a file's symbols where there is a file, and in its maps only elsewhere.
    """
    global _anonymous  # noqa: PLW0603
    _anonymous = True


class _Chunk:
    """One pair of mappings and its free ranges, sorted, never adjacent."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.free: list[tuple[int, int]] = [(0, size)]
        if _anonymous:
            self.writable = mmap.mmap(-1, size)  # shared
            self.address = _map_again(self.writable, size)
        else:
            self._map_file(size)

    def _map_file(self, size: int) -> None:
        try:
            file = os.memfd_create("rvjit-code")
        except (AttributeError, OSError) as error:
            raise EngineUnavailable(f"jit: no memory file for compiled code: {error}") from error
        try:
            os.ftruncate(file, size)
            self.writable = mmap.mmap(file, size)
            executable = mmap.mmap(file, size, prot=mmap.PROT_READ | mmap.PROT_EXEC)
        except OSError as error:
            raise EngineUnavailable(f"jit: no executable memory: {error}") from error
        finally:
            os.close(file)
        self._executable = executable
        self.address = _address_of_readonly(executable)

    def take(self, size: int) -> int | None:
        for index, (offset, room) in enumerate(self.free):
            if room >= size:
                if room == size:
                    del self.free[index]
                else:
                    self.free[index] = offset + size, room - size
                return offset
        return None

    def give(self, offset: int, size: int) -> None:
        from bisect import insort

        insort(self.free, (offset, size))
        merged: list[tuple[int, int]] = []
        for start, room in self.free:
            if merged and merged[-1][0] + merged[-1][1] == start:
                merged[-1] = merged[-1][0], merged[-1][1] + room
            else:
                merged.append((start, room))
        self.free = merged


class Arena:
    """Places position-independent code where it can run; for any number of threads."""

    def __init__(self) -> None:
        self._chunks: list[_Chunk] = []
        self._lock = _thread.allocate_lock()
        self._freed: deque[tuple[int, int]] = deque()
        self._inherited: list[_Chunk] = []  # of the process that forked this one
        _arenas.add(self)

    def inherit(self) -> None:
        """In a forked child: leave what there is to the parent."""
        self._lock = _thread.allocate_lock()  # some thread that is gone may have had it
        self._inherited += self._chunks  # mapped still: there is code in it
        self._chunks = []

    def place(self, code: bytes) -> int:
        """Copy *code* to executable memory and return its address.

        Raises `EngineUnavailable` where the host gives no executable memory.
        """
        size = _rounded(len(code))
        with self._lock:
            self._take_back()
            for chunk in self._chunks:
                offset = chunk.take(size)
                if offset is not None:
                    break
            else:
                chunk = _Chunk(max(_CHUNK, size))
                self._chunks.append(chunk)
                offset = chunk.take(size)
                assert offset is not None
        chunk.writable[offset : offset + len(code)] = code
        return chunk.address + offset

    def free(self, address: int, size: int) -> None:
        """Give back what `place` returned for *size* bytes of code. Nothing may run in it.

        Takes no lock: finalizers call it, in whatever thread and wherever that thread is.
        """
        self._freed.append((address, size))

    def _take_back(self) -> None:
        while self._freed:
            address, size = self._freed.popleft()
            for chunk in self._chunks:
                if chunk.address <= address < chunk.address + chunk.size:
                    chunk.give(address - chunk.address, _rounded(size))
                    break

    @property
    def used(self) -> int:
        """Bytes in use."""
        with self._lock:
            self._take_back()
            total = sum(chunk.size for chunk in self._chunks)
            return total - sum(room for chunk in self._chunks for _, room in chunk.free)


_arenas: weakref.WeakSet[Arena] = weakref.WeakSet()


def _inherit() -> None:
    for arena in _arenas:
        arena.inherit()


os.register_at_fork(after_in_child=_inherit)


def address_of(function: Callable[..., object]) -> int:
    """Return the address of a native function that ctypes knows."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]


def _rounded(size: int) -> int:
    return (size + _ALIGN - 1) // _ALIGN * _ALIGN


def _map_again(mapping: mmap.mmap, size: int) -> int:
    """Map shared memory a second time, executable and not writable; return the address.

    That mapping stays as long as the process.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mremap.restype = ctypes.c_void_p
    libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    first = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
    found = int(libc.mremap(first, 0, size, _MREMAP_MAYMOVE) or 0)
    failed = found == ctypes.c_void_p(-1).value
    if failed or libc.mprotect(found, size, mmap.PROT_READ | mmap.PROT_EXEC):
        reason = os.strerror(ctypes.get_errno())
        raise EngineUnavailable(f"jit: no executable memory without a file: {reason}")
    return found


def _address_of_readonly(mapping: mmap.mmap) -> int:
    """Address of a mapping that ctypes' own from_buffer refuses because it is read-only."""
    view = ctypes.py_object(mapping)
    buffer = _PyBuffer()
    api = ctypes.pythonapi
    if api.PyObject_GetBuffer(view, ctypes.byref(buffer), 0):
        raise EngineUnavailable("jit: cannot find the address of executable memory")
    address = int(buffer.buf or 0)
    api.PyBuffer_Release(ctypes.byref(buffer))
    return address


class _PyBuffer(ctypes.Structure):
    """CPython's Py_buffer."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )

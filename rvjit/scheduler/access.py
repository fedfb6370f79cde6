"""Guest memory as system calls of CKB use it: quick, and with CKB's order of checks.

All raise `MemoryFault`, which ends the script; a store that raises has changed nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator
from struct import Struct

from rvjit.bits import MASK64
from rvjit.errors import OutOfBounds
from rvjit.machine.memory import Memory
from rvjit.machine.pages import PAGE_SHIFT, PAGE_SIZE, STORE_FAST

_U64 = Struct("<Q")
_WORD = 8
_LAST_IN_PAGE = PAGE_SIZE - _WORD
_IN_PAGE = PAGE_SIZE - 1
_FEW_WORDS = 16  # that a list is expected to have
_MANY_WORDS = 4096  # that are read at once


def load64(memory: Memory, address: int) -> int:
    """Return the 64-bit word at *address*."""
    if address > memory.size - _WORD:
        raise OutOfBounds(address, _WORD, "load")
    word: int = _U64.unpack_from(memory.buffer, address)[0]
    return word


def store64(memory: Memory, address: int, value: int) -> None:
    """Store a 64-bit word."""
    if (
        address <= memory.size - _WORD
        and address & _IN_PAGE <= _LAST_IN_PAGE
        and memory.flags[address >> PAGE_SHIFT] & STORE_FAST
        and not memory.watchers
    ):
        _U64.pack_into(memory.buffer, address, value)  # what `write` would do in the end
    else:
        memory.write(address, _U64.pack(value))


def load_bytes(memory: Memory, address: int, size: int) -> bytes | memoryview:
    """Return *size* bytes, which may be a view of memory; none of them are anywhere."""
    end = address + size
    if not size:
        return b""
    if end > memory.size:
        raise OutOfBounds(address, size, "load")
    return memory.buffer[address:end]


def store_bytes(memory: Memory, address: int, data: bytes | memoryview) -> None:
    """Store *data*; nothing may go anywhere."""
    end = address + len(data)
    if (
        end <= memory.size
        and address >> PAGE_SHIFT == (end - 1) >> PAGE_SHIFT
        and memory.flags[address >> PAGE_SHIFT] & STORE_FAST
        and not memory.watchers
    ):
        memory.buffer[address:end] = data  # what `write` would do in the end
    elif len(data):
        memory.write(address, data)


def load_string(memory: Memory, address: int) -> bytes:
    """Return the bytes up to the NUL at or behind *address*."""
    return memory.read_string(address, memory.size)


def load_until_zero(memory: Memory, address: int) -> array[int]:
    """Return the words from *address* on, up to the first that is 0."""
    found = array("Q")
    size = _FEW_WORDS
    while True:
        left = (memory.size - address) // _WORD
        if left <= 0:
            raise OutOfBounds(address, _WORD, "load")
        count = min(size, left)
        words = array("Q", memory.buffer[address : address + count * _WORD].tobytes())
        try:
            found.extend(words[: words.index(0)])
        except ValueError:
            found.extend(words)
        else:
            return found
        address += count * _WORD
        size *= 2


class Arguments(Collection[bytes]):
    """The arguments of a program that another VM starts, read from its memory one by one.

    What cannot be read raises when its turn comes, as CKB has it.
    """

    def __init__(self, memory: Memory, argc: int, argv: int) -> None:
        self._memory = memory
        self._argc = argc
        self._argv = argv

    def __len__(self) -> int:
        # Python has no larger length. Memory ends long before so many pointers.
        return min(self._argc, MASK64 >> 2)

    def __contains__(self, arg: object) -> bool:
        return any(each == arg for each in self)

    def __iter__(self) -> Iterator[bytes]:
        memory, at, left = self._memory, self._argv, self._argc
        while left:
            count = min(left, (memory.size - at) // _WORD, _MANY_WORDS)
            if count <= 0:
                raise OutOfBounds(at, _WORD, "load")
            words = memory.buffer[at : at + count * _WORD].tobytes()
            for pointer in array("Q", words):
                yield load_string(memory, pointer)
            at += count * _WORD
            left -= count

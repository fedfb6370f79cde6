"""Copies: what checkpoints keep of registers, pages and flags. Two ways with the same results.

`PlainCopies` is Python; `NativeCopies` does the same with the functions of `rvjit.codegen.levels`,
for machines whose engine is native as well. Both work on the pages in the machine's dirty list.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from rvjit.codegen.arena import Arena
from rvjit.codegen.blob import Blob
from rvjit.codegen.builtin import Builtin
from rvjit.codegen.cache import NO_CACHE, CodeCache, code_cache
from rvjit.codegen.levels import FUNCTIONS, SAVED_WORDS, TRACKER, level_at
from rvjit.codegen.rounds import CHECKPOINTS_IR
from rvjit.machine.image import Image
from rvjit.machine.machine import Machine
from rvjit.machine.memory import Memory, reserve
from rvjit.machine.pages import PAGE_SHIFT, PAGE_SIZE, SAVED_FLAGS

_CHUNK = 64 << 20  # of an arena; reserved, not filled
_SAVED = bytes(flags & SAVED_FLAGS for flags in range(256))


@dataclass(frozen=True)
class Native:
    """What those need who do without a detour.

    *push* and *restore* answer other than 0 where they have done nothing, or not all. *rounds*
    takes a round (`rvjit.codegen.rounds`), which needs *tracker*; None where nothing is native.
    """

    tracker: int
    push: Callable[[], int]
    restore: Callable[[], int]
    rounds: Callable[[int], int] | None = None


class Copies(Protocol):
    """The saved states of one checkpoint: the root and the levels above it.

    One is made when the dirty list is empty. Later every page that differs from the newest level
    is in that list when a method is called.
    """

    saved_flags: memoryview  # by page, of the newest level; only SAVED_FLAGS
    root_size: int  # pages
    native: Native

    def push(self) -> None:
        """Save the state as a new level and empty the dirty list."""

    def restore(self) -> None:
        """Bring the newest level's registers and listed pages back and empty the dirty list."""

    def unwind(self) -> None:
        """Forget the newest level, which is not the root, and list its pages."""

    def words(self) -> list[int]:
        """Return the newest level's state words, those of SAVED_WORDS."""

    def page(self, page: int) -> bytes | memoryview:
        """Return what *page* held at the newest level."""

    def is_root(self, page: int) -> bool:
        """Whether no level has a copy of *page* that is newer than the root's."""

    def root_equals(self, pages: range) -> bool:
        """Whether the root's bytes of *pages* are those in memory."""

    def image(self) -> Image:
        """Return the root as other memories can begin with it."""

    def newer(self) -> Iterable[int]:
        """Return the pages of which levels have copies that are newer than the root's."""


class _Root:
    """Contents of the pages in use at the checkpoint, in the places they have in memory."""

    def __init__(self, machine: Machine) -> None:
        memory = machine.memory
        self._machine = machine
        self.map = reserve(memory.size)
        self.buffer = memoryview(self.map)
        self.pages = memory.pages_in_use()
        for page in self.pages:
            start = page << PAGE_SHIFT
            self.buffer[start : start + PAGE_SIZE] = memory.buffer[start : start + PAGE_SIZE]
        self._flags_map = reserve(max(memory.page_count, PAGE_SIZE))
        self.flags = memoryview(self._flags_map)[: memory.page_count]
        self._first_flags = memory.flags.tobytes().translate(_SAVED)
        self.flags[:] = self._first_flags

    @cached_property
    def image(self) -> Image:
        made = Image(self.buffer, self._first_flags, self.pages)
        made.show(_address(self.map))  # one copy is enough
        return made

    def page(self, page: int) -> memoryview:
        start = page << PAGE_SHIFT
        return self.buffer[start : start + PAGE_SIZE]

    def equals(self, pages: range) -> bool:
        at = pages.start << PAGE_SHIFT
        memory, root = self._machine.memory.addresses[0] + at, _address(self.map) + at
        return not _memcmp(memory, root, len(pages) << PAGE_SHIFT)


_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


def _take_back(memory: Memory, page: int, saved: int) -> None:
    """Set the flags of a listed page to what was saved, dropping code where that matters."""
    memory.drop_code(page)
    memory.assign_flags(range(page, page + 1), saved)


@dataclass
class _PlainLevel:
    words: list[int]
    pages: dict[int, tuple[bytes | None, int]]  # the newest copy and the flags before this level


class PlainCopies:
    """Copies in Python."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._root = _Root(machine)
        self.saved_flags = self._root.flags
        self.root_size = len(self._root.pages)
        self._newest: dict[int, bytes] = {}
        self._levels = [_PlainLevel(self._state(), {})]
        self.native = Native(0, _refuse, _refuse)

    def push(self) -> None:
        """Save the state as a new level and empty the dirty list."""
        memory = self._machine.memory
        level = _PlainLevel(self._state(), {})
        for page in memory.dirty_pages:
            level.pages[page] = self._newest.get(page), self.saved_flags[page]
            start = page << PAGE_SHIFT
            self._newest[page] = bytes(memory.buffer[start : start + PAGE_SIZE])
            self.saved_flags[page] = memory.flags[page] & SAVED_FLAGS
        memory.arm_tracking()
        self._levels.append(level)

    def restore(self) -> None:
        """Bring the newest level's registers and listed pages back and empty the dirty list."""
        memory = self._machine.memory
        for page in memory.dirty_pages:
            _take_back(memory, page, self.saved_flags[page])
            start = page << PAGE_SHIFT
            memory.buffer[start : start + PAGE_SIZE] = self.page(page)
        memory.arm_tracking()
        words = self._machine.words
        for word, value in zip(SAVED_WORDS, self._levels[-1].words, strict=True):
            words[word] = value

    def unwind(self) -> None:
        """Forget the newest level, which is not the root, and list its pages."""
        for page, (copy, saved) in self._levels.pop().pages.items():
            if copy is None:
                del self._newest[page]
            else:
                self._newest[page] = copy
            self.saved_flags[page] = saved
            self._machine.memory.list_page(page)

    def words(self) -> list[int]:
        """Return the newest level's state words, those of SAVED_WORDS."""
        return self._levels[-1].words

    def page(self, page: int) -> bytes | memoryview:
        """Return what *page* held at the newest level."""
        return self._newest.get(page) or self._root.page(page)

    def is_root(self, page: int) -> bool:
        """Whether no level has a copy of *page* that is newer than the root's."""
        return page not in self._newest

    def root_equals(self, pages: range) -> bool:
        """Whether the root's bytes of *pages* are those in memory."""
        return self._root.equals(pages)

    def image(self) -> Image:
        """Return the root as other memories can begin with it."""
        return self._root.image

    def newer(self) -> Iterable[int]:
        """Return the pages of which levels have copies that are newer than the root's."""
        return self._newest

    def _state(self) -> list[int]:
        words = self._machine.words
        return [words[word] for word in SAVED_WORDS]


def _refuse() -> int:
    """Stand in for a native function where there is none: it has done nothing."""
    return 1


@dataclass(frozen=True)
class _Functions:
    levels: tuple[Builtin, ...]  # FUNCTIONS
    rounds: Callable[[int], int]


_arena = Arena()
_functions: _Functions | None = None


def _load_functions(cache: CodeCache) -> _Functions:
    """Return the native functions, loaded once for the process."""
    global _functions  # noqa: PLW0603
    if _functions is None:
        blob = cache.blob(CHECKPOINTS_IR, _compile_functions)
        address = _arena.place(blob.code)
        # Built-in functions keep the interpreter lock: a call is shorter than giving it away.
        levels = tuple(Builtin(name, address + blob.symbols[f"{name}_call"]) for name in FUNCTIONS)
        # This one runs the guest: other threads may work meanwhile.
        long = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)
        _functions = _Functions(levels, long(address + blob.symbols["rounds"]))
    return _functions


def _compile_functions() -> Blob:
    from rvjit.codegen.llvm import compiler

    return compiler().compile_plain(CHECKPOINTS_IR)


_REGISTERS = TRACKER.index("registers")
_NEWEST = TRACKER.index("newest")
_CURSOR = TRACKER.index("cursor")
_LIMIT = TRACKER.index("limit")


class NativeCopies:
    """Copies in native code. Raises `EngineUnavailable` where there can be none."""

    def __init__(self, machine: Machine) -> None:
        functions = _load_functions(code_cache() if machine.keeps_code else NO_CACHE)
        self._machine = machine
        self._root = _Root(machine)
        self.saved_flags = self._root.flags
        self.root_size = len(self._root.pages)
        memory = machine.memory
        self._newest_map = reserve(max(8 * memory.page_count, PAGE_SIZE))
        self._newest = memoryview(self._newest_map).cast("Q")
        chunk = reserve(_CHUNK)
        start = _address(chunk)
        self._chunks = [(start, chunk)]
        state = ctypes.addressof(machine.state)
        bytes_, flags, listed = memory.addresses
        root, newest = _address(self._root.map), _address(self._newest_map)
        saved = _address(self.saved_flags)
        self._words = (ctypes.c_uint64 * len(TRACKER))(
            state, bytes_, flags, listed, root, newest, saved, 0, start, start + _CHUNK, 0
        )
        tracker = ctypes.addressof(self._words)
        self._push, self._restore, self._unwind = (each.bound(tracker) for each in functions.levels)
        self.native = Native(tracker, self._push, self._restore, functions.rounds)
        self.push()  # a level without pages: the root's contents are in `_root`

    def push(self) -> None:
        """Save the state as a new level and empty the dirty list."""
        needed = self._push()
        if needed:
            self.grow(needed)
            self._push()

    def grow(self, needed: int) -> None:
        """Make room for a level of *needed* bytes."""
        size = max(_CHUNK, needed + PAGE_SIZE)
        chunk = reserve(size)
        start = _address(chunk)
        self._chunks.append((start, chunk))
        self._words[_CURSOR] = start
        self._words[_LIMIT] = start + size

    def restore(self) -> None:
        """Bring the newest level's registers and listed pages back and empty the dirty list."""
        while page := self._restore():
            _take_back(self._machine.memory, page - 1, self.saved_flags[page - 1])

    def unwind(self) -> None:
        """Forget the newest level, which is not the root, and list its pages."""
        self._unwind()
        cursor = self._words[_CURSOR]
        start, chunk = self._chunks[-1]
        while not start <= cursor < start + len(chunk):
            self._chunks.pop()
            start, chunk = self._chunks[-1]
            self._words[_LIMIT] = start + len(chunk)

    def words(self) -> list[int]:
        """Return the newest level's state words, those of SAVED_WORDS."""
        return list((ctypes.c_uint64 * len(SAVED_WORDS)).from_address(self._words[_REGISTERS]))

    def page(self, page: int) -> bytes | memoryview:
        """Return what *page* held at the newest level."""
        copy = self._newest[page]
        return ctypes.string_at(copy, PAGE_SIZE) if copy else self._root.page(page)

    def is_root(self, page: int) -> bool:
        """Whether no level has a copy of *page* that is newer than the root's."""
        return not self._newest[page]

    def root_equals(self, pages: range) -> bool:
        """Whether the root's bytes of *pages* are those in memory."""
        return self._root.equals(pages)

    def image(self) -> Image:
        """Return the root as other memories can begin with it."""
        return self._root.image

    def newer(self) -> Iterable[int]:
        """Return the pages of which levels have copies that are newer than the root's."""
        found: set[int] = set()
        registers = self._words[_REGISTERS]
        while registers:
            count, registers, pages = level_at(registers)
            found.update((ctypes.c_uint32 * count).from_address(pages))
        return found


def _address(mapping: object) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(mapping))  # type: ignore[arg-type]

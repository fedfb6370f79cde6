"""Pristine: what a machine was like right after loading, and the way back there.

Nothing is copied ahead but the flags of pages: what a page held is asked for when it has to be put
back, and kept from then on.
"""

from __future__ import annotations

from collections.abc import Callable

from rvjit.machine.layout import NO_LIMIT, NO_RESERVATION, word_of
from rvjit.machine.machine import Machine
from rvjit.machine.pages import (
    DIRTY,
    EXECUTABLE,
    HOLDS_CODE,
    LISTED,
    PAGE_SHIFT,
    PAGE_SIZE,
    STORE_FAST,
)

_PC = word_of("pc")
_CYCLES = word_of("cycles")
_RESERVATION = word_of("reservation")
_RESERVATION_SIZE = word_of("reservation_size")
_CHUNK = 512  # pages whose flags are kept together, if any of them has one
_MOST_RANGES = 1024  # of changed flags that are kept apart
_NOTHING = bytes(_CHUNK)
_OF_THE_LIST = LISTED | STORE_FAST

Content = Callable[[int], bytes]


class Pristine:
    """The state of *machine* now; *content* says what a page, given by index, holds now.

    `restore` touches the pages that were written since and those whose flags were changed, and no
    others. Code made from pages that still hold what they held is kept.
    """

    def __init__(self, machine: Machine, content: Content) -> None:
        memory = machine.memory
        self._machine = machine
        self._memory = memory
        self._content = content
        self._words = memoryview(machine.words[: _PC + 1].tobytes()).cast("Q")
        self._listed = memoryview(memory.listed).cast("I")
        self._initial = frozenset(self._listed)
        self._clean = frozenset(memory.clean_pages)
        self._armed = memory.times_armed
        self._flags = _sparse(memory.flags)
        self._known: dict[int, tuple[bytes, int]] = {}  # bytes and flags of pages put back before
        self._changed: set[range] = set()
        memory.watchers.append(self)

    def twin(self, machine: Machine) -> Pristine:
        """Return the same for *machine*, which is as this one's now, its dirty list apart."""
        twin = Pristine.__new__(Pristine)
        vars(twin).update(
            vars(self),
            _machine=machine,
            _memory=machine.memory,
            _armed=-1,  # nobody knows what was written but the flags
            _changed=self._changed.copy(),
        )
        machine.memory.watchers.append(twin)
        return twin

    # What the memory reports.

    def host_wrote(self, offset: int, size: int) -> None:
        """Do nothing: such pages are in the dirty list."""

    def flags_changed(self, pages: range) -> None:
        """Remember that what *pages* allow may differ now."""
        self._changed.add(pages)
        if len(self._changed) > _MOST_RANGES:
            self._changed = {range(self._memory.page_count)}

    # The way back.

    def restore(self) -> None:
        """Put registers, memory, flags and the dirty list back; requests to stop stay open."""
        machine = self._machine
        words = machine.words
        words[: len(self._words)] = self._words
        words[_CYCLES] = 0
        words[_RESERVATION] = NO_RESERVATION
        words[_RESERVATION_SIZE] = 0
        if machine.cycle_limit != NO_LIMIT:
            machine.cycle_limit = NO_LIMIT
        machine.fault = None
        self._restore_pages()
        if self._changed:
            changed, self._changed = self._changed, set()
            for pages in changed:
                self._restore_flags(pages)
            self._changed.clear()  # of what our own calls reported

    def _restore_pages(self) -> None:
        memory = self._memory
        flags, buffer, known = memory.flags, memory.buffer, self._known
        others = len(memory.watchers) > 1
        shared = memory.lists_everything  # the dirty list is not ours alone: it has to stay true
        for page in self._written():
            content, wanted = known.get(page) or self._look_up(page)
            start = page << PAGE_SHIFT
            found = flags[page]
            if found & HOLDS_CODE and buffer[start : start + PAGE_SIZE].tobytes() != content:
                memory.drop_code(page)
                found = flags[page]
            buffer[start : start + PAGE_SIZE] = content
            if (found ^ wanted) & EXECUTABLE:
                self._drop_code_around(range(page, page + 1))
                found = flags[page]
            flags[page] = self._merged(wanted, found)
            if shared:
                memory.list_page(page)
            if others:
                self._report(page)
        if shared:
            return
        memory.list_only(self._listed)
        if len(memory.clean_pages) != len(self._clean):
            memory.clean_pages = set(self._clean)

    def _written(self) -> list[int]:
        """Every page that may hold something else than it did, and those that are listed now."""
        memory = self._memory
        if (
            memory.times_armed != self._armed or memory.lists_everything
        ):  # somebody else emptied the list meanwhile
            self._armed = memory.times_armed
            dirty = memory.pages_with(range(memory.page_count), DIRTY)
            return sorted({*dirty, *memory.clean_pages, *self._initial})
        written = memory.dirty_pages
        if memory.wxorx:
            # Loading lists the whole program. Of that, what was written has got STORE_FAST, and
            # loses it only where the page's flags are changed, which is reported.
            changed = {page for pages in self._changed for page in pages}
            written = [
                page
                for page in written
                if page not in self._initial
                or page in changed
                or memory.flags[page] & (STORE_FAST | HOLDS_CODE)
            ]
        if len(memory.clean_pages) != len(self._clean):
            written = [*written, *sorted(memory.clean_pages - self._clean - {*written})]
        return written

    def _look_up(self, page: int) -> tuple[bytes, int]:
        found = self._known[page] = self._content(page), self._flags_of(range(page, page + 1))[0]
        return found

    def _restore_flags(self, pages: range) -> None:
        memory = self._memory
        wanted = self._flags_of(pages)
        current = memory.flags[pages.start : pages.stop]
        near = range(max(pages.start - 1, 0), pages.stop)
        if memory.lists_everything or memory.pages_with(near, HOLDS_CODE):
            self._restore_flags_one_by_one(pages, wanted)
        else:
            current[:] = wanted
        for watcher in memory.watchers:
            if watcher is not self:
                watcher.flags_changed(pages)

    def _restore_flags_one_by_one(self, pages: range, wanted: bytes) -> None:
        flags = self._memory.flags
        for page, value in zip(pages, wanted, strict=True):
            if (flags[page] ^ value) & EXECUTABLE:
                self._drop_code_around(range(page, page + 1))
            flags[page] = self._merged(value, flags[page])

    def _merged(self, wanted: int, found: int) -> int:
        """Return the flags of a page that has *found* and had *wanted*."""
        if self._memory.lists_everything:
            return wanted & ~_OF_THE_LIST | found & (HOLDS_CODE | LISTED)
        return wanted | found & HOLDS_CODE

    def _drop_code_around(self, pages: range) -> None:
        """Drop the code of *pages* and of the one before, which may reach into them."""
        for page in range(max(pages.start - 1, 0), pages.stop):
            self._memory.drop_code(page)

    def _report(self, page: int) -> None:
        for watcher in self._memory.watchers:
            watcher.host_wrote(page << PAGE_SHIFT, PAGE_SIZE)
            watcher.flags_changed(range(page, page + 1))

    def _flags_of(self, pages: range) -> bytes:
        first, last = pages.start // _CHUNK, (pages.stop - 1) // _CHUNK
        parts = (self._flags.get(index, _NOTHING) for index in range(first, last + 1))
        start = pages.start - first * _CHUNK
        return b"".join(parts)[start : start + len(pages)]


def _sparse(flags: memoryview) -> dict[int, bytes]:
    found = {}
    for index in range(0, len(flags), _CHUNK):
        chunk = flags[index : index + _CHUNK].tobytes()
        if chunk.strip(b"\0"):
            found[index // _CHUNK] = chunk.ljust(_CHUNK, b"\0")
    return found

"""Guest memory as the host sees it: read, write, map, protect.

Addresses are the guest's; the guest sees the window ``[base, base + size)``. Engines use offsets
(address - base) into `buffer` and the page index (offset >> 12) into `flags`.
"""

from __future__ import annotations

import ctypes
import mmap
from contextlib import suppress
from functools import cached_property, lru_cache

from rvjit.errors import ConfigError, OutOfBounds, PermissionDenied
from rvjit.machine.pages import (
    DIRTY,
    EXECUTABLE,
    HOLDS_CODE,
    LISTED,
    PAGE_SHIFT,
    PAGE_SIZE,
    PUBLIC,
    READABLE,
    STORE_FAST,
    WRITABLE,
    pages_touched,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

MAX_SIZE = 64 << 30
_MAP_NORESERVE = 0x4000  # Linux; the mmap module does not name it in Python 3.11
_ADDRESS_SPACE = 1 << 64
_HUGE = 2 << 20
_BIG_ZERO = 64 * PAGE_SIZE  # from here on giving pages back beats writing zeros


if TYPE_CHECKING:

    class CodeCache(Protocol):
        """What an engine keeps of decoded or compiled code, as memory sees it."""

        def drop_page(self, page: int) -> None:
            """Forget everything made from bytes of page *page*."""


if TYPE_CHECKING:

    class WriteWatcher(Protocol):
        """Somebody who must hear of writes that do not come from an engine's guest code."""

        def host_wrote(self, offset: int, size: int) -> None:
            """Bytes ``[offset, offset + size)`` changed."""

        def flags_changed(self, pages: range) -> None:
            """Flag bytes of *pages* changed."""


def reserve(size: int) -> mmap.mmap:
    """Reserve *size* bytes of zeros that cost nothing until they are touched.

    Raises `ConfigError` where the host has no room for them.
    """
    try:
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE)
    except OSError as error:
        raise ConfigError(f"the host gives no {size} bytes of memory: {error.strerror}") from error


class Memory:
    """The bytes, page flags and dirty list of one guest.

    *size* is a multiple of 4096 between 1 page and 64 GiB, *base* a multiple of 4096; the window
    may not reach past 2**64. With *wxorx* (CKB) every page is mapped, readable, and exactly one of
    writable and executable; without it pages start unmapped. Raises `ConfigError`.
    """

    def __init__(self, size: int, base: int = 0, *, wxorx: bool = False) -> None:
        self.check(size, base)
        self.base = base
        self.size = size
        self.page_count = size >> PAGE_SHIFT
        self.wxorx = wxorx
        self._map = reserve(size)
        self._flags_map = reserve(max(self.page_count, PAGE_SIZE))
        self._list_map = reserve(max(4 * self.page_count, PAGE_SIZE))
        self.buffer = memoryview(self._map)
        self.flags = memoryview(self._flags_map)[: self.page_count]
        self._listed = memoryview(self._list_map).cast("I")
        self.clean_pages: set[int] = set()  # pages that may hold something but are not DIRTY
        self.shares_pages = False  # began with an `Image`
        self.executable = range(0)  # outside of these pages none ever was executable
        self.times_armed = 0  # how often `arm_tracking` emptied the dirty list
        self.code_caches: list[CodeCache] = []
        self.watchers: list[WriteWatcher] = []
        # Whether the dirty list gets pages that `initialise` leaves clean, too, and everybody who
        # empties it tells `watchers`: there are checkpoints.
        self.lists_everything = False
        self._count = ctypes.c_uint64(0)
        if wxorx:
            self.flags[:] = bytes([READABLE | WRITABLE]) * self.page_count

    @staticmethod
    def check(size: int, base: int) -> None:
        """Raise `ConfigError` where there can be no memory of this *size* and *base*."""
        if type(size) is not int or type(base) is not int:
            raise ConfigError(f"memory size {size!r} and base {base!r}: must be ints")
        if size % PAGE_SIZE or not PAGE_SIZE <= size <= MAX_SIZE:
            raise ConfigError(
                f"memory size {size:#x}: must be a multiple of {PAGE_SIZE}, at most {MAX_SIZE:#x}"
            )
        if base % PAGE_SIZE or not 0 <= base <= _ADDRESS_SPACE - size:
            raise ConfigError(f"memory base {base:#x}: unaligned, or the window passes 2**64")

    def share_dirty_count(self, word: ctypes.c_uint64) -> None:
        """Keep the length of the dirty list in *word* from now on (compiled code writes it)."""
        word.value = self._count.value
        self._count = word

    @cached_property
    def addresses(self) -> tuple[int, int, int]:
        """Host addresses of the bytes, the flags and the dirty list."""
        maps = (self._map, self._flags_map, self._list_map)
        found = [ctypes.addressof(ctypes.c_char.from_buffer(each)) for each in maps]
        return found[0], found[1], found[2]

    def use_huge_pages(self) -> None:
        """Ask the host for pages of 2 MiB from now on, which fork copies quickly."""
        advice = getattr(mmap, "MADV_HUGEPAGE", None)
        if advice is not None and self.size >= _HUGE:
            with suppress(OSError):  # a kernel without them
                self._map.madvise(advice)

    # Access from Python.

    def offset(self, address: int, size: int, access: str) -> int:
        """Offset of ``[address, address + size)``; raises `OutOfBounds` where it is not inside."""
        offset = address - self.base
        if offset < 0 or size < 0 or offset + size > self.size:
            raise OutOfBounds(address, size, access)
        return offset

    def read(self, address: int, size: int) -> bytes:
        """Return *size* bytes at *address*. Raises `OutOfBounds`."""
        offset = self.offset(address, size, "load")
        return bytes(self.buffer[offset : offset + size])

    def read_int(self, address: int, size: int) -> int:
        """Return the unsigned little-endian number of *size* bytes at *address*."""
        return int.from_bytes(self.read(address, size), "little")

    def read_string(self, address: int, limit: int = 1 << 20) -> bytes:
        """Return the bytes up to the NUL at or after *address*, at most *limit*.

        Raises `OutOfBounds` where memory ends first, or where no NUL is within *limit*.
        """
        start = self.offset(address, 1, "load")
        end = self._map.find(b"\0", start, min(start + limit, self.size))
        if end < 0:
            raise OutOfBounds(address, min(limit, self.size - start) + 1, "load")
        return bytes(self.buffer[start:end])

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Write *data* at *address* as a store of the guest would: permission, DIRTY, code dropped.

        Raises `OutOfBounds` or `PermissionDenied`, and then nothing is written.
        """
        size = len(data)
        offset = self.offset(address, size, "store")
        self.prepare_store(offset, size)
        self.buffer[offset : offset + size] = data
        for watcher in self.watchers:
            watcher.host_wrote(offset, size)

    def write_int(self, address: int, value: int, size: int) -> None:
        """Write the low *size* bytes of *value*, little-endian, as `write` does."""
        self.write(address, (value & ((1 << 8 * size) - 1)).to_bytes(size, "little"))

    def initialise(self, address: int, data: bytes | memoryview, *, dirty: bool = True) -> None:
        """Write *data* whatever the pages allow (loading); drops code and, if asked, sets DIRTY."""
        offset = self.offset(address, len(data), "store")
        for page in pages_touched(offset, len(data)):
            self.drop_code(page)
            if dirty:
                self._mark_dirty(page)
            else:
                self.clean_pages.add(page)
                if self.lists_everything:
                    self.list_page(page)
        self.buffer[offset : offset + len(data)] = data
        for watcher in self.watchers:
            watcher.host_wrote(offset, len(data))

    def zero(self, address: int, size: int) -> None:
        """Set a range to zero whatever the pages allow, giving whole pages back to the host.

        Pages that may have held something count as written now; others were zero already.
        """
        offset = self.offset(address, size, "store")
        pages = pages_touched(offset, size)
        for page in self.pages_with(pages, HOLDS_CODE):
            self.drop_code(page)
        clean = [page for page in self.clean_pages if page in pages]
        for page in (*self.pages_with(pages, DIRTY), *clean):
            self._mark_dirty(page)
        end = offset + size
        if size >= _BIG_ZERO:
            first = (offset + PAGE_SIZE - 1) & -PAGE_SIZE
            last = end & -PAGE_SIZE
            self._give_back(first, last - first)
            self.buffer[offset:first] = bytes(first - offset)
            self.buffer[last:end] = bytes(end - last)
        else:
            self.buffer[offset:end] = bytes(size)
        for watcher in self.watchers:
            watcher.host_wrote(offset, size)

    def _give_back(self, offset: int, size: int) -> None:
        if not self.shares_pages:
            self._map.madvise(mmap.MADV_DONTNEED, offset, size)
        elif size:  # what was given back would be the image's again
            from rvjit.machine.image import map_zeros

            map_zeros(self.addresses[0] + offset, size)

    # The slow path of stores.

    def prepare_store(self, offset: int, size: int) -> None:
        """Make ``[offset, offset + size)`` ready to be written by the guest or a system call.

        Checks the permission of every page before anything changes (`PermissionDenied`), then sets
        DIRTY, lists the page, drops its translated code and sets STORE_FAST.
        """
        flags = self.flags
        pages = pages_touched(offset, size)
        for page in pages:
            if not flags[page] & WRITABLE:
                raise PermissionDenied(self.base + offset, size, "store")
        for page in pages:
            if not flags[page] & STORE_FAST:
                self.drop_code(page)
                self._mark_dirty(page)
                flags[page] |= STORE_FAST

    def drop_code(self, page: int) -> None:
        """Make every engine forget what it made from page *page*."""
        if self.flags[page] & HOLDS_CODE:
            self.flags[page] &= ~HOLDS_CODE
            for cache in self.code_caches:
                cache.drop_page(page)

    def hold_code(self, page: int) -> None:
        """Note that an engine made something from page *page*; stores to it take the slow path."""
        self.flags[page] = self.flags[page] & ~STORE_FAST | HOLDS_CODE

    def _mark_dirty(self, page: int) -> None:
        self.list_page(page)
        self.flags[page] |= DIRTY

    def list_page(self, page: int) -> None:
        """Put *page* into the dirty list if it is not there; DIRTY is not touched."""
        if not self.flags[page] & LISTED:
            self._listed[self._count.value] = page
            self._count.value += 1
            self.flags[page] |= LISTED

    @property
    def dirty_pages(self) -> list[int]:
        """Page indices written since tracking was armed, in order of the first write."""
        return self._listed[: self._count.value].tolist()

    def pages_in_use(self) -> list[int]:
        """Page indices, ascending, outside of which every byte is zero."""
        return sorted({*self.pages_with(range(self.page_count), DIRTY), *self.clean_pages})

    def arm_tracking(self) -> None:
        """Empty the dirty list, so that the next store to each page is listed again.

        DIRTY is not touched: it keeps CKB's meaning.
        """
        for page in self.dirty_pages:
            self.flags[page] &= ~(STORE_FAST | LISTED)
        self._count.value = 0
        self.times_armed += 1

    @property
    def listed(self) -> bytes:
        """The dirty list as u32 in the host's byte order."""
        return self._listed[: self._count.value].tobytes()

    def list_only(self, pages: memoryview) -> None:
        """Make *pages* (u32) the dirty list; the caller sees to LISTED, on these and all others."""
        self._listed[: len(pages)] = pages
        self._count.value = len(pages)

    # Flags and permissions.

    def protect(self, address: int, size: int, *, read: bool, write: bool, execute: bool) -> None:
        """Set what the pages touched by a range allow. Code is dropped where that matters.

        With *wxorx*, exactly one of *write* and *execute* holds, else `ConfigError`.
        """
        if self.wxorx and write == execute:
            raise ConfigError("under W^X a page is either writable or executable")
        offset = self.offset(address, size, "store")
        wanted = READABLE * read | WRITABLE * write | EXECUTABLE * execute
        self._update(pages_touched(offset, size), READABLE | WRITABLE | EXECUTABLE, wanted)

    def public_flags(self, page: int) -> int:
        """FREEZED, EXECUTABLE and DIRTY of one page. Raises `OutOfBounds`."""
        self._check_page(page)
        return self.flags[page] & PUBLIC

    def set_flag(self, page: int, flag: int) -> None:
        """OR public bits into one page's flags, as CKB-VM's set_flag."""
        self._check_page(page)
        self._update(range(page, page + 1), 0, flag & PUBLIC)

    def clear_flag(self, page: int, flag: int) -> None:
        """Clear public bits of one page's flags, as CKB-VM's clear_flag."""
        self._check_page(page)
        self._update(range(page, page + 1), flag & PUBLIC, 0)
        if flag & DIRTY:
            self.clean_pages.add(page)

    def copy_flags(self, page: int, flags: int) -> None:
        """Make what the flags of *page* promise equal to *flags* (public, READABLE, WRITABLE)."""
        self.assign_flags(range(page, page + 1), flags)

    def assign_flags(self, pages: range, flags: int) -> None:
        """As `copy_flags`, for a range of pages of this memory."""
        self._update(pages, PUBLIC | READABLE | WRITABLE, flags)

    def copy_page(self, source: Memory, page: int) -> None:
        """Make bytes and flags of *page* equal to those of another memory of the same shape."""
        start = page << PAGE_SHIFT
        self.drop_code(page)
        data = source.buffer[start : start + PAGE_SIZE]
        if data != self.buffer[start : start + PAGE_SIZE]:
            self.buffer[start : start + PAGE_SIZE] = data
        self.copy_flags(page, source.flags[page] & (PUBLIC | READABLE | WRITABLE))

    def _update(self, pages: range, clear: int, add: int) -> None:
        if not pages:
            return
        if add & EXECUTABLE:
            known = self.executable or pages
            self.executable = range(min(known.start, pages.start), max(known.stop, pages.stop))
        if (clear | add) & EXECUTABLE:
            # An instruction that starts in the page before may reach into the first of these.
            for page in self.pages_with(range(max(pages.start - 1, 0), pages.stop), HOLDS_CODE):
                self.drop_code(page)
        part = self.flags[pages.start : pages.stop]
        part[:] = part.tobytes().translate(_flag_change(clear, add, self.wxorx))
        for watcher in self.watchers:
            watcher.flags_changed(pages)

    def pages_with(self, pages: range, bit: int) -> list[int]:
        """Those of *pages* whose flags have *bit*; quick however many there are."""
        marks = self.flags[pages.start : pages.stop].tobytes().translate(_has_bit(bit))
        found = []
        at = marks.find(b"\x01")
        while at >= 0:
            found.append(pages.start + at)
            at = marks.find(b"\x01", at + 1)
        return found

    def _check_page(self, page: int) -> None:
        if not 0 <= page < self.page_count:
            raise OutOfBounds(self.base + page * PAGE_SIZE, PAGE_SIZE, "load")


@lru_cache(maxsize=64)
def _flag_change(clear: int, add: int, wxorx: bool) -> bytes:
    """Table from old to new flags bytes, keeping what the bits promise each other."""
    table = bytearray()
    for old in range(256):
        new = old & ~clear | add
        if wxorx:
            new = new & ~WRITABLE if new & EXECUTABLE else new | WRITABLE
        if not new & WRITABLE or not new & DIRTY:
            new &= ~STORE_FAST
        table.append(new & 0xFF)
    return bytes(table)


@lru_cache(maxsize=8)
def _has_bit(bit: int) -> bytes:
    return bytes(1 if flags & bit else 0 for flags in range(256))

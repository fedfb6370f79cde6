"""Guest memory: bounds, permissions, flags, the dirty list, and who hears of changes."""

from __future__ import annotations

import random

import pytest

from rvjit.errors import ConfigError, MemoryFault, OutOfBounds, PermissionDenied
from rvjit.machine.memory import MAX_SIZE, Memory
from rvjit.machine.pages import (
    DIRTY,
    EXECUTABLE,
    FREEZED,
    HOLDS_CODE,
    LISTED,
    PAGE_SIZE,
    READABLE,
    STORE_FAST,
    WRITABLE,
    page_of,
    pages_touched,
    round_down,
    round_up,
)

BASE = 0x10000
PAGES = 8
SIZE = PAGES * PAGE_SIZE
END = BASE + SIZE


class Cache:
    """A code cache that writes down what it is told."""

    def __init__(self) -> None:
        self.dropped: list[int] = []

    def drop_page(self, page: int) -> None:
        self.dropped.append(page)


class Watcher:
    """A watcher that writes down what it is told."""

    def __init__(self) -> None:
        self.writes: list[tuple[int, int]] = []
        self.flags: list[range] = []

    def host_wrote(self, offset: int, size: int) -> None:
        self.writes.append((offset, size))

    def flags_changed(self, pages: range) -> None:
        self.flags.append(pages)


@pytest.fixture
def memory() -> Memory:
    """Eight pages that may be read and written."""
    made = Memory(SIZE, BASE)
    made.protect(BASE, SIZE, read=True, write=True, execute=False)
    return made


@pytest.fixture
def cache(memory: Memory) -> Cache:
    made = Cache()
    memory.code_caches.append(made)
    return made


def address(page: int) -> int:
    return BASE + page * PAGE_SIZE


# Pages.


def test_page_arithmetic() -> None:
    assert (page_of(0xFFF), page_of(0x1000)) == (0, 1)
    assert (round_up(0), round_up(1), round_up(0x1000)) == (0, 0x1000, 0x1000)
    assert (round_down(0xFFF), round_down(0x1001)) == (0, 0x1000)
    assert pages_touched(0xFFF, 1) == range(1)
    assert pages_touched(0xFFF, 2) == range(2)
    assert pages_touched(0x1000, 0x1000) == range(1, 2)
    assert not pages_touched(5, 0)


def test_the_flags_have_ckb_vms_values() -> None:
    assert (FREEZED, EXECUTABLE, DIRTY) == (1, 2, 4)
    internal = (READABLE, WRITABLE, HOLDS_CODE, STORE_FAST, LISTED)
    assert sum(internal) == 0xF8


# Shape.


@pytest.mark.parametrize("size", [0, 1, PAGE_SIZE - 1, PAGE_SIZE + 1, -PAGE_SIZE, MAX_SIZE + 4096])
def test_sizes_that_are_refused(size: int) -> None:
    with pytest.raises(ConfigError, match="memory size"):
        Memory(size)


@pytest.mark.parametrize("base", [1, 0x800, -PAGE_SIZE, 1 << 64, (1 << 64) - PAGE_SIZE])
def test_bases_that_are_refused(base: int) -> None:
    with pytest.raises(ConfigError, match="memory base"):
        Memory(2 * PAGE_SIZE, base)


def test_a_window_may_end_at_the_end_of_the_address_space() -> None:
    memory = Memory(PAGE_SIZE, (1 << 64) - PAGE_SIZE)
    memory.protect(memory.base, PAGE_SIZE, read=True, write=True, execute=False)
    memory.write_int((1 << 64) - 8, 5, 8)
    assert memory.read_int((1 << 64) - 8, 8) == 5
    with pytest.raises(OutOfBounds):
        memory.read((1 << 64) - 4, 8)
    with pytest.raises(OutOfBounds):
        memory.read(1 << 64, 1)


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * PAGE_SIZE


def test_a_large_memory_costs_what_is_touched() -> None:
    before = resident()
    memory = Memory(MAX_SIZE, BASE)
    memory.protect(BASE, PAGE_SIZE, read=True, write=True, execute=False)
    last = BASE + MAX_SIZE - PAGE_SIZE
    memory.protect(last, PAGE_SIZE, read=True, write=True, execute=False)
    memory.write(BASE, b"first")
    memory.write(last, b"last")
    assert (memory.read(BASE, 5), memory.read(last, 4)) == (b"first", b"last")
    assert memory.dirty_pages == [0, MAX_SIZE // PAGE_SIZE - 1]
    assert resident() - before < 4 << 20


# Bounds.


@pytest.mark.parametrize(
    ("start", "size"),
    [
        (BASE - 1, 1), (BASE - 1, 2), (END, 1), (END - 1, 2), (0, 1), (END - 8, 9),
        (BASE, SIZE + 1), ((1 << 64) - 4, 8), (-1, 1), (BASE, -1), (END + 1, 0),
    ],
)  # fmt: skip
def test_accesses_outside_the_window_are_refused(memory: Memory, start: int, size: int) -> None:
    with pytest.raises(OutOfBounds) as caught:
        memory.read(start, size)
    assert (caught.value.address, caught.value.size, caught.value.access) == (start, size, "load")
    assert caught.value.pc is None
    if size >= 0:
        for write in (memory.write, memory.initialise):
            with pytest.raises(OutOfBounds) as caught:
                write(start, bytes(size))
            assert caught.value.access == "store"
        with pytest.raises(OutOfBounds):
            memory.zero(start, size)
        with pytest.raises(OutOfBounds):
            memory.protect(start, size, read=True, write=True, execute=True)
    assert memory.dirty_pages == []


def test_the_ends_of_the_window_are_inside(memory: Memory) -> None:
    memory.write(BASE, bytes(range(256)) * (SIZE // 256))
    assert memory.read(BASE, SIZE) == bytes(range(256)) * (SIZE // 256)
    assert memory.read(END, 0) == b""
    memory.write(END, b"")
    assert memory.read_int(END - 2, 2) == 0xFFFE


def test_numbers_are_little_endian_and_cut(memory: Memory) -> None:
    memory.write_int(BASE + 3, -2, 4)
    assert memory.read(BASE + 2, 6) == b"\0\xfe\xff\xff\xff\0"
    memory.write_int(BASE, 0x1_0203, 2)
    assert memory.read_int(BASE, 2) == 0x0203


def test_strings_end_at_nul(memory: Memory) -> None:
    memory.write(BASE + 4090, b"across pages\0rest")
    assert memory.read_string(BASE + 4090) == b"across pages"
    assert memory.read_string(BASE + 4090, 13) == b"across pages"
    with pytest.raises(OutOfBounds):
        memory.read_string(BASE + 4090, 12)
    assert memory.read_string(BASE + 100) == b""
    memory.write(END - 3, b"abc")
    with pytest.raises(OutOfBounds):
        memory.read_string(END - 3)
    with pytest.raises(OutOfBounds):
        memory.read_string(END)


# Permissions.


def test_pages_start_unmapped_and_refuse_writes() -> None:
    memory = Memory(SIZE, BASE)
    assert bytes(memory.flags) == bytes(PAGES)
    assert memory.read(BASE, 8) == bytes(8)
    with pytest.raises(PermissionDenied) as caught:
        memory.write(BASE + 8, b"x")
    assert (caught.value.address, caught.value.size, caught.value.access) == (BASE + 8, 1, "store")


def test_a_write_that_one_page_refuses_changes_nothing(memory: Memory) -> None:
    memory.protect(address(2), PAGE_SIZE, read=True, write=False, execute=False)
    before = bytes(memory.flags)
    with pytest.raises(PermissionDenied):
        memory.write(address(2) - 4, b"\xff" * 8)
    assert memory.read(address(2) - 4, 8) == bytes(8)
    assert (memory.dirty_pages, bytes(memory.flags)) == ([], before)


def test_protect_reaches_every_page_touched(memory: Memory) -> None:
    memory.protect(address(3) - 1, 2, read=True, write=False, execute=True)
    executable = [bool(flags & EXECUTABLE) for flags in memory.flags]
    assert executable == [False, False, True, True, False, False, False, False]
    memory.protect(address(3), 0, read=False, write=False, execute=False)
    assert memory.flags[3] == READABLE | EXECUTABLE


def test_protect_keeps_what_is_not_a_permission(memory: Memory) -> None:
    memory.set_flag(1, FREEZED)
    memory.write(address(1), b"x")
    memory.protect(address(1), 1, read=True, write=False, execute=True)
    assert memory.public_flags(1) == FREEZED | EXECUTABLE | DIRTY
    assert memory.flags[1] & LISTED


def test_initialise_writes_whatever_the_pages_allow(memory: Memory) -> None:
    memory.protect(BASE, SIZE, read=False, write=False, execute=False)
    memory.initialise(address(1) - 2, b"data")
    assert memory.read(address(1) - 2, 4) == b"data"
    assert memory.dirty_pages == [0, 1]
    memory.initialise(address(4), b"data", dirty=False)
    assert memory.dirty_pages == [0, 1]
    assert not memory.public_flags(4) & DIRTY


# W^X, as CKB-VM has it.


@pytest.fixture
def wxorx() -> Memory:
    return Memory(SIZE, wxorx=True)


def test_under_wxorx_everything_is_mapped_and_writable(wxorx: Memory) -> None:
    assert bytes(wxorx.flags) == bytes([READABLE | WRITABLE]) * PAGES
    assert wxorx.public_flags(0) == 0
    wxorx.write(SIZE - 1, b"x")
    assert wxorx.public_flags(PAGES - 1) == DIRTY


def test_under_wxorx_the_executable_flag_takes_the_right_to_write(wxorx: Memory) -> None:
    wxorx.write(0, b"x")
    wxorx.set_flag(0, EXECUTABLE)
    assert wxorx.public_flags(0) == EXECUTABLE | DIRTY
    with pytest.raises(PermissionDenied):
        wxorx.write(0, b"y")
    wxorx.clear_flag(0, EXECUTABLE)
    wxorx.write(0, b"y")
    assert wxorx.read(0, 1) == b"y"


@pytest.mark.parametrize(("write", "execute"), [(False, False), (True, True)])
def test_under_wxorx_a_page_has_exactly_one(wxorx: Memory, write: bool, execute: bool) -> None:
    with pytest.raises(ConfigError, match="W\\^X"):
        wxorx.protect(0, PAGE_SIZE, read=True, write=write, execute=execute)


def test_a_frozen_page_may_be_stored_to(wxorx: Memory) -> None:
    wxorx.set_flag(2, FREEZED)
    wxorx.write(2 * PAGE_SIZE, b"x")
    assert wxorx.public_flags(2) == FREEZED | DIRTY


# Public flags.


def test_public_flags_are_set_cleared_and_nothing_else(memory: Memory) -> None:
    memory.set_flag(3, 0xFF)
    assert memory.public_flags(3) == FREEZED | EXECUTABLE | DIRTY
    assert memory.flags[3] & ~7 == READABLE | WRITABLE
    memory.clear_flag(3, FREEZED | 0xF8)
    assert memory.public_flags(3) == EXECUTABLE | DIRTY
    assert memory.flags[3] & ~7 == READABLE | WRITABLE


@pytest.mark.parametrize("page", [-1, PAGES, 1 << 40])
def test_there_is_no_flag_of_a_page_outside(memory: Memory, page: int) -> None:
    for ask in (
        lambda: memory.public_flags(page),
        lambda: memory.set_flag(page, DIRTY),
        lambda: memory.clear_flag(page, DIRTY),
    ):
        with pytest.raises(OutOfBounds):
            ask()


# The dirty list.


def test_pages_are_listed_once_in_order_of_the_first_write(memory: Memory) -> None:
    for page in (5, 2, 5, 7, 2):
        memory.write(address(page), b"x")
    memory.write(address(1) - 1, b"xx")
    assert memory.dirty_pages == [5, 2, 7, 0, 1]
    assert all(memory.public_flags(page) & DIRTY for page in memory.dirty_pages)


def test_a_store_of_nothing_marks_nothing(memory: Memory) -> None:
    memory.write(address(3), b"")
    memory.zero(address(3), 0)
    memory.initialise(address(3), b"")
    assert memory.dirty_pages == []


def test_arming_lists_again_and_leaves_dirty_alone(memory: Memory) -> None:
    memory.write(address(4), b"x")
    memory.write(address(6), b"x")
    memory.arm_tracking()
    assert memory.dirty_pages == []
    assert memory.public_flags(4) == memory.public_flags(6) == DIRTY
    assert not memory.flags[4] & (STORE_FAST | LISTED)
    memory.write(address(6), b"y")
    assert memory.dirty_pages == [6]


def test_a_cleared_dirty_flag_comes_back_with_the_next_store(memory: Memory) -> None:
    memory.write(address(4), b"x")
    memory.clear_flag(4, DIRTY)
    assert not memory.flags[4] & STORE_FAST
    memory.write(address(4), b"y")
    assert memory.public_flags(4) == DIRTY
    assert memory.dirty_pages == [4]


def test_the_list_holds_every_page() -> None:
    memory = Memory(2048 * PAGE_SIZE)
    memory.protect(0, memory.size, read=True, write=True, execute=False)
    for page in reversed(range(2048)):
        memory.write_int(page * PAGE_SIZE, 1, 1)
    assert memory.dirty_pages == list(reversed(range(2048)))


# STORE_FAST: the promise that compiled stores rely on.


def check_promise(memory: Memory) -> None:
    for page, flags in enumerate(memory.flags):
        if flags & STORE_FAST:
            assert flags & WRITABLE, page
            assert flags & DIRTY, page
            assert flags & LISTED, page
            assert not flags & HOLDS_CODE, page
    listed = [page for page, flags in enumerate(memory.flags) if flags & LISTED]
    assert sorted(memory.dirty_pages) == listed


@pytest.mark.parametrize("wx", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_fast_stores_stay_safe(seed: int, wx: bool) -> None:
    rng = random.Random(seed)
    memory = Memory(SIZE, BASE, wxorx=wx)
    cache = Cache()
    memory.code_caches.append(cache)
    held: set[int] = set()
    for _ in range(300):
        page = rng.randrange(PAGES)
        at = address(page) + rng.choice((0, 100, 4090))
        size = min(rng.choice((0, 1, 8, 5000)), END - at)
        kind = rng.randrange(9)
        if kind == 0:
            write = rng.random() < 0.6
            execute = not write if wx else rng.random() < 0.4
            memory.protect(at, size, read=True, write=write, execute=execute)
        elif kind == 1:
            memory.set_flag(page, rng.randrange(8))
        elif kind == 2:
            memory.clear_flag(page, rng.randrange(8))
        elif kind == 3:
            memory.arm_tracking()
        elif kind == 4:
            memory.hold_code(page)
            held.add(page)
        elif kind == 5:
            memory.initialise(at, rng.randbytes(size), dirty=rng.random() < 0.5)
        elif kind == 6:
            memory.zero(at, size)
        else:
            before = memory.read(BASE, SIZE), bytes(memory.flags)
            try:
                memory.write(at, rng.randbytes(size))
            except MemoryFault:
                assert (memory.read(BASE, SIZE), bytes(memory.flags)) == before
        held -= set(cache.dropped)
        cache.dropped.clear()
        check_promise(memory)
        # A cache knows of code exactly where the flag says so.
        assert {page for page, flags in enumerate(memory.flags) if flags & HOLDS_CODE} == held


# Code.


def test_a_write_drops_the_code_of_its_pages(memory: Memory, cache: Cache) -> None:
    memory.write(address(2), b"x")
    assert memory.flags[2] & STORE_FAST
    for page in (1, 2, 5):
        memory.hold_code(page)
    assert not memory.flags[2] & STORE_FAST
    memory.write(address(2) - 1, b"xx")
    assert cache.dropped == [1, 2]
    memory.write(address(2), b"x")
    assert cache.dropped == [1, 2]
    assert memory.flags[5] & HOLDS_CODE


def test_every_cache_is_told_once(memory: Memory, cache: Cache) -> None:
    other = Cache()
    memory.code_caches.append(other)
    memory.hold_code(3)
    memory.initialise(address(3), b"x")
    memory.zero(address(3), 8)
    assert cache.dropped == other.dropped == [3]


def test_zero_and_flags_drop_code_too(memory: Memory, cache: Cache) -> None:
    for page in range(PAGES):
        memory.hold_code(page)
    memory.zero(address(1), 1)
    assert cache.dropped == [1]
    memory.set_flag(4, EXECUTABLE)  # and what may reach into page 4 from the one before
    assert cache.dropped == [1, 3, 4]
    memory.protect(address(7), 1, read=True, write=True, execute=True)
    assert cache.dropped == [1, 3, 4, 6, 7]
    memory.set_flag(0, DIRTY | FREEZED)  # changes nothing for code
    assert cache.dropped == [1, 3, 4, 6, 7]


def test_a_write_refused_drops_no_code(memory: Memory, cache: Cache) -> None:
    memory.protect(address(2), PAGE_SIZE, read=True, write=False, execute=True)
    memory.hold_code(1)
    memory.hold_code(2)
    with pytest.raises(PermissionDenied):
        memory.write(address(2) - 1, b"xx")
    assert cache.dropped == []


# Zero.


@pytest.mark.parametrize(
    ("pages", "start", "size"),
    [(8, 0, 8), (8, 4090, 12), (200, 10, 150 * PAGE_SIZE), (200, 4096, 64 * PAGE_SIZE)],
)
def test_zero_clears_exactly_its_range(pages: int, start: int, size: int) -> None:
    memory = Memory(pages * PAGE_SIZE, BASE)
    memory.protect(BASE, memory.size, read=True, write=True, execute=False)
    memory.write(BASE, b"\xaa" * memory.size)
    memory.protect(BASE, memory.size, read=True, write=False, execute=False)
    memory.zero(BASE + start, size)
    expected = b"\xaa" * start + bytes(size) + b"\xaa" * (memory.size - start - size)
    assert memory.read(BASE, memory.size) == expected


def test_zero_gives_memory_back() -> None:
    memory = Memory(64 << 20)
    memory.protect(0, memory.size, read=True, write=True, execute=False)
    memory.write(0, b"\x55" * memory.size)
    before = resident()
    memory.zero(0, memory.size)
    assert before - resident() > 60 << 20


def test_zero_lists_what_was_written_and_only_that(memory: Memory) -> None:
    memory.write(address(2), b"x")
    memory.write(address(5), b"x")
    memory.arm_tracking()
    memory.zero(BASE, SIZE)
    assert memory.dirty_pages == [2, 5]


# Watchers.


def test_watchers_hear_of_writes_and_flags(memory: Memory) -> None:
    watcher = Watcher()
    memory.watchers.append(watcher)
    memory.write(BASE + 5, b"abc")
    memory.initialise(BASE + 9, b"de")
    memory.zero(BASE + 1, 2)
    assert watcher.writes == [(5, 3), (9, 2), (1, 2)]
    memory.protect(address(1), PAGE_SIZE + 1, read=True, write=True, execute=False)
    memory.set_flag(4, FREEZED)
    memory.clear_flag(4, FREEZED)
    assert watcher.flags == [range(1, 3), range(4, 5), range(4, 5)]


def test_watchers_do_not_hear_of_what_was_refused(memory: Memory) -> None:
    watcher = Watcher()
    memory.protect(BASE, SIZE, read=True, write=False, execute=False)
    memory.watchers.append(watcher)
    with pytest.raises(PermissionDenied):
        memory.write(BASE, b"x")
    assert watcher.writes == []


# Copies.


def test_a_copied_page_has_the_same_bytes_and_promises(memory: Memory, cache: Cache) -> None:
    other = Memory(SIZE, BASE)
    memory.write(address(3), b"data")
    memory.set_flag(3, EXECUTABLE | FREEZED)
    other.copy_page(memory, 3)
    assert other.read(address(3), PAGE_SIZE) == memory.read(address(3), PAGE_SIZE)
    shared = FREEZED | EXECUTABLE | DIRTY | READABLE | WRITABLE
    assert other.flags[3] & shared == memory.flags[3] & shared
    check_promise(other)
    memory.hold_code(3)
    memory.copy_page(other, 3)
    assert cache.dropped == [3]


def test_zeroing_lists_pages_that_were_loaded_without_counting_as_written() -> None:
    memory = Memory(16 * 4096, base=0x10000)
    memory.protect(0x10000, 3 * 4096, read=True, write=True, execute=False)
    memory.initialise(0x11000, b"program", dirty=False)
    assert memory.dirty_pages == []
    memory.zero(0x10000, 3 * 4096)
    assert memory.dirty_pages == [1]
    assert memory.public_flags(1) & 4

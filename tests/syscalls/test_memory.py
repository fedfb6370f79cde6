"""brk, mmap and their family: rules one by one, then against a naive model."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvjit.machine.pages import EXECUTABLE, READABLE, WRITABLE
from rvjit.syscalls import space as space_module

from .conftest import BASE, END, IMAGE_END, PAGE, SIZE, STACK, Guest

R, W, X = 1, 2, 4
PRIVATE, FIXED, ANONYMOUS, NOREPLACE = 2, 0x10, 0x20, 0x100000
TOP = END - STACK - PAGE
ENOMEM, EFAULT, EEXIST, EINVAL = -12, -14, -17, -22
HUGE = [1 << 46, 1 << 47, 1 << 63, (1 << 64) - 1, (1 << 64) - PAGE]


def mmap(guest, size, prot=R | W, flags=PRIVATE | ANONYMOUS, address=0, fd=-1, offset=0):
    return guest("mmap", address, size, prot, flags, fd, offset)


def allows(guest, address):
    flags = guest.memory.flags[(address - BASE) // PAGE]
    return R * bool(flags & READABLE) | W * bool(flags & WRITABLE) | X * bool(flags & EXECUTABLE)


def test_brk_starts_behind_the_image_and_moves_bytewise(guest):
    assert guest("brk", 0) == IMAGE_END
    assert allows(guest, IMAGE_END) == 0
    assert guest("brk", IMAGE_END + 10) == IMAGE_END + 10
    assert allows(guest, IMAGE_END) == R | W
    assert allows(guest, IMAGE_END + PAGE) == 0
    assert guest("brk", IMAGE_END + 3 * PAGE) == IMAGE_END + 3 * PAGE
    assert guest("brk", IMAGE_END - 1) == IMAGE_END + 3 * PAGE


def test_memory_given_back_by_brk_comes_again_as_zeros(guest):
    guest("brk", IMAGE_END + 2 * PAGE)
    guest.put(b"x" * 2 * PAGE, IMAGE_END)
    guest("brk", IMAGE_END + 5)
    assert guest.get(PAGE, IMAGE_END) == b"x" * PAGE  # the rest of a page in use stays
    assert allows(guest, IMAGE_END + PAGE) == 0
    guest("brk", IMAGE_END + 2 * PAGE)
    assert guest.get(PAGE, IMAGE_END + PAGE) == bytes(PAGE)


@pytest.mark.parametrize("wanted", [TOP + 1, END, *HUGE])
def test_brk_that_is_impossible_changes_nothing(guest, wanted):
    assert guest("brk", wanted) == IMAGE_END
    assert allows(guest, IMAGE_END) == 0


def test_brk_stops_below_the_lowest_mapping(guest):
    assert guest("brk", TOP) == TOP
    guest("brk", IMAGE_END)
    mapping = mmap(guest, PAGE)
    assert guest("brk", mapping + 1) == IMAGE_END
    assert guest("brk", mapping) == mapping
    assert mmap(guest, PAGE) == ENOMEM


def test_mappings_go_downwards_and_fill_the_highest_gap(guest):
    first, second, third = (mmap(guest, 2 * PAGE) for _ in range(3))
    assert (first, second, third) == (TOP - 2 * PAGE, TOP - 4 * PAGE, TOP - 6 * PAGE)
    assert guest("munmap", second, 2 * PAGE) == 0
    assert mmap(guest, 3 * PAGE) == TOP - 9 * PAGE
    assert mmap(guest, PAGE) == second + PAGE
    assert mmap(guest, 1, address=BASE + PAGE) == second  # a hint is only a hint


@pytest.mark.parametrize("prot", range(8))
def test_a_mapping_allows_what_it_was_asked_for(guest, prot):
    address = mmap(guest, PAGE, prot)
    assert allows(guest, address) == prot | (R if prot & W else 0)
    assert guest("mprotect", address, 1, R | W) == 0
    assert allows(guest, address) == R | W
    assert guest("mprotect", address, PAGE, prot) == 0
    assert allows(guest, address) == prot | (R if prot & W else 0)


@pytest.mark.parametrize(
    ("size", "flags", "offset", "expected"),
    [
        (0, PRIVATE | ANONYMOUS, 0, EINVAL),
        (PAGE, ANONYMOUS, 0, EINVAL),
        (PAGE, PRIVATE | ANONYMOUS, 1, EINVAL),
        (PAGE, PRIVATE, 0, -9),
        (SIZE, PRIVATE | ANONYMOUS, 0, ENOMEM),
        *((size, PRIVATE | ANONYMOUS, 0, ENOMEM) for size in HUGE),
        (PAGE, PRIVATE | ANONYMOUS | 0x40000, 0, ENOMEM),
    ],
)
def test_mmap_refuses(guest, size, flags, offset, expected):
    assert mmap(guest, size, flags=flags, offset=offset) == expected
    assert mmap(guest, PAGE) == TOP - PAGE  # nothing was taken


def test_a_fixed_mapping_replaces_what_is_there(guest):
    guest.put(b"data", BASE + 2 * PAGE)
    fixed = PRIVATE | ANONYMOUS | FIXED
    assert mmap(guest, PAGE, R, fixed, BASE + 2 * PAGE) == BASE + 2 * PAGE
    assert guest.get(4, BASE + 2 * PAGE) == bytes(4)
    assert allows(guest, BASE + 2 * PAGE) == R
    assert mmap(guest, PAGE, R, fixed, BASE + 1) == EINVAL
    for address in (0, BASE - PAGE, END, END - PAGE * 0 - PAGE + PAGE, *(h & -PAGE for h in HUGE)):
        assert mmap(guest, PAGE, R, fixed, address) == ENOMEM
    assert mmap(guest, 2 * PAGE, R, fixed, END - PAGE) == ENOMEM


def test_noreplace_refuses_to_replace(guest):
    flags = PRIVATE | ANONYMOUS | NOREPLACE
    assert mmap(guest, PAGE, R, flags, BASE) == EEXIST
    assert mmap(guest, PAGE, R, flags, IMAGE_END + PAGE) == IMAGE_END + PAGE
    assert mmap(guest, 3 * PAGE, R, flags, IMAGE_END) == EEXIST


def test_unmapping_splits_and_zeroes(guest):
    address = mmap(guest, 5 * PAGE)
    guest.put(b"y" * 5 * PAGE, address)
    assert guest("munmap", address + PAGE, PAGE + 1) == 0
    assert [allows(guest, address + i * PAGE) for i in range(5)] == [3, 0, 0, 3, 3]
    assert guest.get(5 * PAGE, address) == (b"y" * PAGE + bytes(2 * PAGE) + b"y" * 2 * PAGE)
    assert guest("mprotect", address, 5 * PAGE, R) == ENOMEM
    assert allows(guest, address) == 3
    assert mmap(guest, 2 * PAGE) == address + PAGE


def test_munmap_looks_at_its_arguments(guest):
    assert guest("munmap", IMAGE_END + 1, PAGE) == EINVAL
    assert guest("munmap", IMAGE_END, 0) == EINVAL
    for size in HUGE[1:]:
        assert guest("munmap", IMAGE_END, size) == EINVAL
    assert guest("munmap", 0, 1 << 40) == 0  # all of the window
    assert list(guest.host.space.mapped) == []
    assert guest("read", 0, guest.stack, 1) == 0
    assert guest("uname", guest.stack) == EFAULT


def test_mprotect_works_on_image_heap_and_stack(guest):
    guest("brk", IMAGE_END + PAGE)
    assert guest("mprotect", BASE, 5 * PAGE, R | W | X) == 0
    assert guest("mprotect", guest.stack, PAGE, R) == 0
    assert guest("mprotect", guest.stack - PAGE, PAGE, R) == ENOMEM  # the guard page
    assert guest("mprotect", BASE, 6 * PAGE, R) == ENOMEM
    assert guest("mprotect", BASE + 1, PAGE, R) == EINVAL
    assert guest("mprotect", BASE, PAGE, 64) == EINVAL
    assert guest("mprotect", BASE, 0, 0) == 0
    for size in HUGE:
        assert guest("mprotect", BASE, size, R) == ENOMEM


def test_mprotect_drops_code(guest):
    dropped = []

    class Cache:
        def drop_page(self, page):
            dropped.append(page)

    guest.memory.code_caches.append(Cache())
    guest.memory.hold_code(1)
    guest("mprotect", BASE + PAGE, PAGE, R)
    assert dropped == [1]


def test_pages_that_allow_nothing_are_still_mapped(guest):
    address = mmap(guest, 2 * PAGE, 0)
    assert guest("mprotect", address, 2 * PAGE, R | W) == 0
    guest("mprotect", BASE, PAGE, 0)
    assert guest("mprotect", BASE, PAGE, R) == 0


def test_mremap_grows_in_place_moves_and_shrinks(guest):
    low = mmap(guest, PAGE)
    guest.put(b"low", low)
    assert guest("mremap", low, PAGE, 2 * PAGE, 0) == ENOMEM  # the guard page is no room
    moved = guest("mremap", low, PAGE, 3 * PAGE, 1)
    assert moved == low - 3 * PAGE
    assert guest.get(3, moved) == b"low"
    assert guest.get(3, low) == bytes(3)
    assert allows(guest, low) == 0
    assert guest("mremap", moved, 3 * PAGE, 4 * PAGE, 0) == moved
    assert allows(guest, low) == R | W
    assert guest("mremap", moved, 4 * PAGE, PAGE, 0) == moved
    assert allows(guest, moved + PAGE) == 0
    assert guest("mremap", moved, PAGE, PAGE, 0) == moved


def test_mremap_to_a_fixed_address_keeps_what_pages_allow(guest):
    source = mmap(guest, 2 * PAGE)
    guest.put(b"data", source + PAGE)
    guest("mprotect", source, 2 * PAGE, R)
    target = IMAGE_END + 8 * PAGE
    assert guest("mremap", source, 2 * PAGE, 4 * PAGE, 3, target) == target
    assert guest.get(4, target + PAGE) == b"data"
    assert [allows(guest, target + i * PAGE) for i in range(5)] == [R, R, R, R, 0]
    assert guest("mremap", target, 4 * PAGE, 4 * PAGE, 3, target + PAGE) == EINVAL


def test_mremap_looks_at_its_arguments(guest):
    address = mmap(guest, 2 * PAGE)
    assert guest("mremap", address + 1, PAGE, PAGE, 1) == EINVAL
    assert guest("mremap", address, PAGE, 0, 1) == EINVAL
    assert guest("mremap", address, 0, PAGE, 1) == EINVAL
    assert guest("mremap", address, PAGE, PAGE, 2) == EINVAL
    assert guest("mremap", address, PAGE, PAGE, 8) == EINVAL
    assert guest("mremap", address - PAGE, 2 * PAGE, PAGE, 1) == EFAULT
    assert guest("mremap", address, PAGE, SIZE, 1) == ENOMEM
    for size in HUGE[1:]:
        assert guest("mremap", address, PAGE, size, 1) in (EINVAL, ENOMEM)
        assert guest("mremap", address, size, PAGE, 1) in (EINVAL, EFAULT)
    guest("mprotect", address, PAGE, R)
    assert guest("mremap", address, 2 * PAGE, 4 * PAGE, 1) == EFAULT


def test_madvise_dontneed_zeroes_mappings_but_not_the_image(guest):
    address = mmap(guest, 2 * PAGE)
    guest.put(b"z" * 2 * PAGE, address)
    guest.put(b"image", BASE + 2 * PAGE)
    assert guest("madvise", address, PAGE, 4) == 0
    assert guest.get(2, address) == bytes(2)
    assert guest.get(2, address + PAGE) == b"zz"
    assert guest("madvise", BASE + 2 * PAGE, PAGE, 4) == 0
    assert guest.get(5, BASE + 2 * PAGE) == b"image"
    assert guest("madvise", address, 2 * PAGE, 8) == 0
    assert guest.get(2, address + PAGE) == b"zz"
    assert guest("madvise", address, 3 * PAGE, 4) == ENOMEM
    assert guest("madvise", address, PAGE, 99) == EINVAL


def test_msync_and_mlock_only_look_at_the_range(guest):
    address = mmap(guest, PAGE)
    for name in ("msync", "mlock", "munlock"):
        assert guest(name, address, 1, 4) == 0
        assert guest(name, address, 2 * PAGE, 4) == ENOMEM
        assert guest(name, address + 1, 1, 4) == EINVAL


def test_a_file_is_mapped_as_a_private_copy(make_guest, tmp_path):
    (tmp_path / "data").write_bytes(b"a" * PAGE + b"tail")
    guest = make_guest(directories=[(tmp_path, "/", True)])
    fd = guest("openat", -100, guest.path("data"), 2, 0)
    address = mmap(guest, 3 * PAGE, R, PRIVATE, fd=fd)
    assert allows(guest, address) == R
    assert guest.get(3 * PAGE, address) == (b"a" * PAGE + b"tail").ljust(3 * PAGE, b"\0")
    address = mmap(guest, PAGE, R | W, PRIVATE, fd=fd, offset=PAGE)
    assert guest.get(4, address) == b"tail"
    guest.put(b"HEAD", address)
    assert (tmp_path / "data").read_bytes().endswith(b"tail")
    assert mmap(guest, PAGE, R | W, PRIVATE, fd=fd, offset=8 * PAGE) > 0
    assert mmap(guest, PAGE, R | W, 1, fd=fd) == -19
    assert mmap(guest, PAGE, R, PRIVATE, fd=0) == -19
    assert mmap(guest, PAGE, R, PRIVATE, fd=fd, offset=1 << 63) == EINVAL
    assert mmap(guest, PAGE, R, PRIVATE | FIXED, address=BASE, fd=fd) == BASE


def test_the_number_of_ranges_is_bounded(guest, monkeypatch):
    monkeypatch.setattr(space_module, "MAX_RANGES", 20)
    address = mmap(guest, 100 * PAGE)
    results = [guest("munmap", address + i * PAGE, PAGE) for i in range(0, 100, 2)]
    assert set(results) == {0, ENOMEM}
    assert len(guest.host.space.mapped) == 20
    assert mmap(guest, PAGE) == ENOMEM
    assert guest("brk", IMAGE_END + PAGE) == IMAGE_END


def test_a_fragmented_window_stays_quick():
    guest = Guest(size=64 << 20)
    pages = (guest.host.space.mmap_top - IMAGE_END) // PAGE
    address = mmap(guest, pages * PAGE)
    started = time.perf_counter()
    for index in range(0, pages, 2):
        guest("munmap", address + index * PAGE, PAGE)
    for _ in range(100):
        assert mmap(guest, 2 * PAGE) == ENOMEM
    assert time.perf_counter() - started < 10
    guest.host.close()


def test_a_captured_space_comes_back(guest):
    guest("brk", IMAGE_END + 3 * PAGE)
    address = mmap(guest, PAGE)
    state = guest.capture()
    guest("munmap", address, PAGE)
    guest("brk", IMAGE_END)
    guest.restore(state)
    assert guest("brk", 0) == IMAGE_END + 3 * PAGE
    assert mmap(guest, PAGE) == address - PAGE
    assert guest.capture()["space"] != state["space"]


# Against a model: a byte and a permission for every page, or None where nothing is mapped.

PAGES = 24
STEP = st.tuples(
    st.sampled_from(["brk", "mmap", "fixed", "munmap", "mprotect", "mremap", "write", "dontneed"]),
    st.integers(0, PAGES + 2),
    st.integers(0, 6),
    st.integers(0, 7),
)


class Model:
    """What brk and mmap should do, page by page and without any cleverness."""

    def __init__(self, first, top):
        self.pages = {}
        self.first, self.top, self.brk = first, top, first

    def run(self, low, high):
        return range(low, high)

    def is_free(self, low, high):
        return not any(page in self.pages for page in range(low, high))

    def find(self, size):
        for low in range(self.top - size, self.brk - 1, -1):
            if self.is_free(low, low + size):
                return low
        return None

    def is_mapped(self, low, high):
        return all(page in self.pages for page in range(low, high))


def readable(prot):
    return prot | (R if prot & W else 0)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=25))
def test_the_address_space_agrees_with_a_naive_model(steps):
    size = (4 + PAGES + 17) * PAGE
    guest = Guest(size=size)
    first, top = 4, 4 + PAGES
    assert guest.host.space.mmap_top == BASE + top * PAGE
    model = Model(first, top)

    def at(page):
        return BASE + page * PAGE

    for mark, (what, page, count, prot) in enumerate(steps, 1):
        low, high = page + first, page + first + count
        fits = high <= top  # the model knows nothing of guard and stack
        if what == "brk":
            expected = at(model.brk)
            if model.brk < low <= top and model.is_free(model.brk, low):
                model.pages |= {p: [0, R | W] for p in range(model.brk, low)}
                model.brk, expected = low, at(low)
            elif first <= low <= model.brk:
                for p in range(low, model.brk):
                    model.pages.pop(p, None)
                model.brk, expected = low, at(low)
            assert guest("brk", at(low)) == expected
        elif what == "mmap":
            found = model.find(count) if count else None
            answer = mmap(guest, count * PAGE, prot)
            if found is None:
                assert answer == (ENOMEM if count else EINVAL)
            else:
                assert answer == at(found)
                model.pages |= {p: [0, readable(prot)] for p in range(found, found + count)}
        elif what == "fixed" and fits and count:
            flags = PRIVATE | ANONYMOUS | FIXED
            assert mmap(guest, count * PAGE, prot, flags, at(low)) == at(low)
            model.pages |= {p: [0, readable(prot)] for p in range(low, high)}
        elif what == "munmap" and fits and count:
            assert guest("munmap", at(low), count * PAGE) == 0
            for p in range(low, high):
                model.pages.pop(p, None)
        elif what == "mprotect" and fits and count:
            mapped = model.is_mapped(low, high)
            answer = guest("mprotect", at(low), count * PAGE, prot)
            assert answer == (0 if mapped else ENOMEM)
            for p in range(low, high) if mapped else ():
                model.pages[p][1] = readable(prot)
        elif what == "mremap" and fits and count:
            new = prot + 1
            answer = guest("mremap", at(low), count * PAGE, new * PAGE, 1)
            kinds = {model.pages[p][1] for p in range(low, high) if p in model.pages}
            if not model.is_mapped(low, high) or len(kinds) > 1:
                assert answer == EFAULT
                continue
            kind = kinds.pop()
            old = [model.pages[p][0] for p in range(low, high)]
            if new <= count or (low + new <= top and model.is_free(high, low + new)):
                target = low
            else:
                target = model.find(new)
            if target is None:
                assert answer == ENOMEM
                continue
            assert answer == at(target)
            for p in range(low, high):
                del model.pages[p]
            marks = (old + [0] * new)[:new]
            model.pages |= {target + i: [marks[i], kind] for i in range(new)}
        elif what == "write" and model.pages.get(low, [0, 0])[1] & W:
            guest.put(bytes([mark]), at(low))
            model.pages[low][0] = mark
        elif what == "dontneed" and fits and count and model.is_mapped(low, high):
            assert guest("madvise", at(low), count * PAGE, 4) == 0
            for p in range(low, high):
                model.pages[p][0] = 0
    for page in range(first, top):
        mark, allowed = model.pages.get(page, (0, 0))
        assert guest.get(1, at(page)) == bytes([mark]), page
        assert allows(guest, at(page)) == allowed, page
    guest.host.close()


@pytest.mark.parametrize("seed", range(3))
def test_random_addresses_never_break_anything(seed):
    rng = random.Random(seed)
    guest = Guest(size=1 << 20)
    names = ["brk", "mmap", "munmap", "mremap", "mprotect", "madvise"]
    for _ in range(1500):
        args = [
            rng.choice([0, 1, BASE, rng.getrandbits(64), rng.randrange(BASE, BASE + (1 << 21))])
            & rng.choice([-1, -PAGE])
            for _ in range(6)
        ]
        args[1] = rng.choice([args[1], rng.randrange(1 << 16), 1 << rng.randrange(64)])
        args[3] = rng.choice([args[3], 0x22, 0x32, 1])
        outcome = guest(rng.choice(names), *args)
        assert isinstance(outcome, int)
    guest.host.close()

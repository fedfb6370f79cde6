"""Files made to hurt: whatever the bytes, an `ElfError` or a program, soon and in little memory."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvjit.errors import ElfError
from rvjit.loader.ckb import CkbElfError, load_actions, load_ckb
from rvjit.loader.elf import load_linux
from rvjit.loader.install import install_linux
from rvjit.loader.install_ckb import install_ckb
from rvjit.loader.symbols import SymbolTable
from rvjit.machine.memory import Memory

BASE, SIZE = 0x10000, 8 << 20
MIB4 = 4 << 20
R, W, X = 4, 2, 1
NOP = b"\x13\0\0\0"
HUGE = (1 << 64) - 1
SECONDS = 1.0

ROOT = Path(__file__).parents[2]
REAL = sorted([*ROOT.glob("rvjit/examples/*.elf"), *ROOT.glob("tests/guests/*.elf")])
INTERESTING = [0, 1, 2, 3, 0x7F, 0xFF, 0x1000, 0xFFFF, 1 << 31, 1 << 60, 1 << 63, HUGE - 4095, HUGE]
ELF_HEADER_AND_TABLES = 64 + 8 * 56


@contextmanager
def quickly():
    started = time.process_time()  # other processes must not fail a test
    yield
    assert time.process_time() - started < SECONDS


def try_everything(file):
    """Load *file* both ways and use what comes out; True if the linux loader took it."""
    taken = True
    with quickly():
        try:
            program = load_linux(file, window_base=BASE, window_size=SIZE)
            install_linux(program, Memory(SIZE, BASE), [b"a"], [], bytes(16))
        except ElfError:
            taken = False
            program = None
    if program is not None:
        with quickly():
            list(program.symbols.functions())
            program.symbols.find(program.entry)
    for version in (0, 1, 2):
        with quickly():
            try:
                install_ckb(file, Memory(MIB4, wxorx=True), [b"a"], version)
            except CkbElfError as error:
                assert error.ckb_error  # noqa: PT017 - most mutations still load
    with quickly():
        list(SymbolTable(file).functions())
    return taken


@pytest.fixture(scope="session")
def originals(make_elf, make_segment):
    """Files to break: generated ones of every shape, and the real ones that are there."""
    text = make_segment(0x11000, NOP * 8, R | X)
    symbols = [(f"f{at}", 0x11000 + 4 * at, 4, 0x12, 1) for at in range(8)]
    dynamic = make_segment(0x13000, struct.pack("<4Q", 5, 1, 0, 0), R, p_type=2)
    headers = make_segment(0, bytes(300), R, p_offset=0, p_filesz=300, p_memsz=300)
    moved = make_segment(0x1000, NOP * 8, R | X)
    generated = [
        make_elf([text, make_segment(0x12000, b"d", R | W, p_memsz=9000)], e_entry=0x11000),
        make_elf([text, dynamic], e_entry=0x11000, symbols=symbols),
        make_elf([headers, moved, dynamic], e_entry=0x1000, e_type=3, symbols=symbols),
    ]
    return generated + [path.read_bytes() for path in REAL]


def test_the_originals_load(originals):
    for file in originals:
        assert try_everything(file)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_mutated_files_load_or_are_refused(originals, data):
    file = bytearray(data.draw(st.sampled_from(originals), label="original"))
    where = st.one_of(st.integers(0, ELF_HEADER_AND_TABLES), st.integers(0, len(file) - 1))
    for _ in range(data.draw(st.integers(1, 6), label="changes")):
        at = data.draw(where, label="at")
        width = data.draw(st.sampled_from([1, 2, 4, 8]), label="width")
        value = data.draw(
            st.one_of(st.sampled_from(INTERESTING), st.integers(0, HUGE)), label="value"
        )
        patch = (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")
        file[at : at + width] = patch
    if data.draw(st.booleans(), label="cut"):
        del file[data.draw(where, label="length") :]
    try_everything(bytes(file))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", b"\x7fELF\x02\x01\x01\0", b"\x7fELF"]))
def test_random_bytes_load_or_are_refused(noise, start):
    try_everything(start + noise)


def test_every_truncation_of_small_files_loads_or_is_refused(originals):
    for file in originals[:3]:
        for length in range(0, len(file), 7):
            try_everything(file[:length])


def test_every_field_of_the_headers_takes_every_interesting_value(originals):
    chooser = random.Random(1)
    for file in originals[:3]:
        for at in range(4, ELF_HEADER_AND_TABLES, 4):
            for value in chooser.sample(INTERESTING, 4):
                broken = bytearray(file)
                broken[at : at + 8] = value.to_bytes(8, "little")
                try_everything(bytes(broken))


@contextmanager
def within(limit):
    """The body allocates at most *limit* bytes of Python memory at a time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("memsz", [1 << 60, HUGE, (1 << 63) - 1, 1 << 40])
def test_huge_segments_cost_nothing(make_elf, make_segment, memsz):
    file = make_elf([make_segment(0x11000, NOP, R | X, p_memsz=memsz)], e_entry=0x11000)
    with quickly(), within(1 << 20), pytest.raises(ElfError, match="p_memsz"):
        load_linux(file, window_base=BASE, window_size=SIZE)


def test_a_segment_as_large_as_memory_allocates_nothing(make_elf, make_segment):
    size = 32 << 30
    bss = make_segment(0x12000, b"", R | W, p_memsz=size - (32 << 20))
    file = make_elf([make_segment(0x11000, NOP, R | X), bss], e_entry=0x11000)
    with quickly(), within(64 << 20):
        program = load_linux(file, window_base=BASE, window_size=size)
        install_linux(program, Memory(size, BASE), [], [], bytes(16))


def test_many_headers_over_the_same_bytes_take_no_more_than_memory(make_elf, make_segment):
    body = bytes(1 << 20)
    one = make_segment(0x20000, b"", R | W, p_offset=1 << 17, p_filesz=1 << 20, p_memsz=1 << 20)
    segments = [make_segment(0x11000, NOP, R | X), *[one] * 1100]
    file = make_elf(segments, e_entry=0x11000, tail=bytes(1 << 17) + body)
    with quickly(), within(8 << 20), pytest.raises(ElfError, match="overlaps"):
        load_linux(file, window_base=BASE, window_size=SIZE)


def test_the_most_headers_and_dynamic_entries_are_quick(make_elf, make_segment):
    entries = struct.pack("<2Q", 5, 1) * 4095 + bytes(16)
    dynamic = make_segment(0, entries, R, p_type=2)
    segments = [make_segment(0x11000 + 16 * at, NOP, R | X) for at in range(1169)]
    file = make_elf([dynamic, *segments], e_entry=0x11000)
    with quickly():
        program = load_linux(file, window_base=BASE, window_size=SIZE)
        install_linux(program, Memory(SIZE, BASE), [], [], bytes(16))
    assert len(program.segments) == 1169


@pytest.mark.parametrize("flags", [R, R | W, R | X])
@pytest.mark.parametrize("version", [0, 1])
def test_65535_ckb_headers_over_all_of_memory(make_elf, make_segment, flags, version):
    body = bytes(range(256)) * 16384
    at = 64 + 56 * 65535
    header = struct.pack("<IIQQQQQQ", 1, flags, at, 0, 0, MIB4, MIB4, 0)
    file = make_elf([], e_phnum=65535) + header * 65535 + body
    memory = Memory(MIB4, wxorx=True)
    started = time.process_time()
    with within(64 << 20):
        try:
            load_actions(memory, load_ckb(file, version))
            assert (flags, version) == (R | W, 1)
        except CkbElfError as error:
            assert error.ckb_error == "MemWriteOnFreezedPage"  # noqa: PT017 - one case succeeds
    assert time.process_time() - started < 4 * SECONDS  # tracing allocations slows it
    assert memory.read(0, MIB4) == body


def symbol_file(make_elf, count, names):
    """A file with *count* functions, and *names* as its string table."""
    base = make_elf(e_shoff=1 << 12, e_shnum=4).ljust(1 << 12, b"\0")
    symbols_at = (1 << 12) + 256
    strings_at = symbols_at + 24 * count
    layout = "<IIQQQQIIQQ"
    sections = bytes(64)
    sections += struct.pack(layout, 0, 1, 6, 0x11000, 0, 1 << 40, 0, 0, 4, 0)
    sections += struct.pack(layout, 0, 2, 0, 0, symbols_at, 24 * count, 3, 0, 8, 24)
    sections += struct.pack(layout, 0, 3, 0, 0, strings_at, len(names), 0, 0, 1, 0)
    entries = b"".join(
        struct.pack("<IBBHQQ", 1 + at % len(names), 0x12, 0, 1, 0x11000 + at, count - at)
        for at in range(count)
    )
    return base + sections + entries + names


@pytest.mark.parametrize("names", [b"\0" + b"a" * (1 << 20), (b"\0" + b"n" * 4000) * 250, b"\0a"])
def test_large_symbol_tables_are_bounded(make_elf, names):
    table = SymbolTable(symbol_file(make_elf, 1 << 19, names))
    started = time.process_time()
    list(table.functions())
    assert time.process_time() - started < 2 * SECONDS
    traced = SymbolTable(symbol_file(make_elf, 20_000, names))
    with within(128 << 20):
        list(traced.functions())


@pytest.mark.parametrize("count", [4096, 4097, 0xFFFF])
def test_many_sections_are_bounded(make_elf, count):
    file = make_elf(e_shoff=1 << 12, e_shnum=count).ljust((1 << 12) + 64 * count, b"\0")
    with quickly():
        assert list(SymbolTable(file).functions()) == []

"""CKB-VM's ELF rules: the tables and examples of its behaviour, case by case."""

from __future__ import annotations

import pytest

from rvjit.errors import ConfigError
from rvjit.loader.ckb import CkbElfError, init_pages, load_actions, load_ckb
from rvjit.machine.memory import Memory
from rvjit.machine.pages import DIRTY, EXECUTABLE, FREEZED

R, W, X = 4, 2, 1
MIB4 = 4 << 20
HUGE = (1 << 64) - 1
PAGE = 4096


def fresh(size=MIB4):
    return Memory(size, wxorx=True)


def load(file, version=1):
    memory = fresh()
    elf = load_ckb(file, version)
    load_actions(memory, elf)
    return memory, elf


def refusal(file, version=1):
    with pytest.raises(CkbElfError) as caught:
        load(file, version)
    return caught.value


@pytest.mark.parametrize(
    ("file", "error", "field"),
    [
        (b"", "ElfParseError", "file size"),
        (b"\x7fELF\x02\x01\x01".ljust(15, b"\0"), "ElfParseError", "file size"),
        (b"\x7fELG\x02\x01\x01".ljust(64, b"\0"), "ElfParseError", "e_ident[EI_MAG]"),
        (b"\x7fELF\x00\x01\x01".ljust(64, b"\0"), "ElfParseError", "e_ident[EI_CLASS]"),
        (b"\x7fELF\x03\x01\x01".ljust(64, b"\0"), "ElfParseError", "e_ident[EI_CLASS]"),
        (b"\x7fELF\x02\x00\x01".ljust(64, b"\0"), "ElfParseError", "e_ident[EI_DATA]"),
        (b"\x7fELF\x02\x03\x01".ljust(64, b"\0"), "ElfParseError", "e_ident[EI_DATA]"),
        (b"\x7fELF\x02\x01\x01".ljust(63, b"\0"), "ElfParseError", "file size"),
        (b"\x7fELF\x01\x01\x01".ljust(51, b"\0"), "ElfParseError", "file size"),
        (b"\x7fELF\x01\x01\x01".ljust(52, b"\0"), "ElfBits", "e_ident[EI_CLASS]"),
        (b"\x7fELF\x01\x02\x01".ljust(52, b"\0"), "ElfBits", "e_ident[EI_CLASS]"),
    ],
)
def test_header_refusals(file, error, field):
    caught = refusal(file)
    assert (caught.ckb_error, caught.field) == (error, field)
    assert error in str(caught)


@pytest.mark.parametrize(
    "changes",
    [
        {"e_machine": 62},
        {"e_type": 1},
        {"e_type": 0xFFFF},
        {"e_version": 7},
        {"e_flags": 0xFFFFFFFF},
        {"e_ehsize": 0},
        {"e_phentsize": 1},
        {"e_entry": 0x11001},
        {"e_entry": HUGE},
        {"e_shoff": HUGE, "e_shnum": 0xFFFF},
        {"ident": b"\x7fELF\x02\x01\xff\xff\xff"},
    ],
)
def test_odd_headers_are_accepted(make_elf, changes):
    memory, elf = load(make_elf(**{"e_entry": 0x11000, **changes, "segments": None}))
    assert elf.entry == changes.get("e_entry", 0x11000)
    assert memory.read(0x11000, 4) == b"\x13\0\0\0"


def test_big_endian_headers_load_the_same_bytes(make_elf, make_segment):
    segments = [make_segment(0x11000, b"\x13\0\0\0", R | X), make_segment(0x12004, b"abc", R | W)]
    little, elf = load(make_elf(segments, e_entry=0x11000))
    big, other = load(make_elf(segments, e_entry=0x11000, order=">"))
    assert other.entry == elf.entry == 0x11000
    assert little.read(0, MIB4) == big.read(0, MIB4)


@pytest.mark.parametrize("phoff", [0, 64, 10**6, HUGE])
def test_no_program_headers_load_nothing(make_elf, phoff):
    memory, elf = load(make_elf([], e_phoff=phoff, e_entry=3))
    assert (elf.actions, elf.file_bytes_loaded, elf.entry) == ((), 0, 3)
    assert not any(memory.flags[page] & DIRTY for page in range(memory.page_count))


@pytest.mark.parametrize("changes", [{"e_phnum": 2}, {"e_phoff": HUGE}, {"e_phoff": 137}])
def test_program_headers_outside_the_file(make_elf, changes):
    error = refusal(make_elf(**{"e_entry": 0x11000, **changes, "segments": None}))
    assert (error.ckb_error, error.field) == ("ElfParseError", "e_phoff")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"p_offset": HUGE}, "ElfSegmentAddrOrSizeError"),
        ({"p_filesz": HUGE}, "ElfSegmentAddrOrSizeError"),
        ({"p_filesz": 9}, "ElfSegmentAddrOrSizeError"),
        ({"p_flags": 0}, "ElfSegmentUnreadable"),
        ({"p_flags": X}, "ElfSegmentUnreadable"),
        ({"p_flags": W | X}, "ElfSegmentUnreadable"),
        ({"p_flags": R | W | X}, "ElfSegmentWritableAndExecutable"),
        ({"p_flags": 0, "p_offset": HUGE}, "ElfSegmentAddrOrSizeError"),
        ({"p_vaddr": MIB4}, "MemOutOfBound"),
        ({"p_vaddr": HUGE - 4095}, "MemOutOfBound"),
        ({"p_vaddr": MIB4 - PAGE, "p_memsz": PAGE + 1}, "MemOutOfBound"),
        ({"p_memsz": 1 << 60}, "MemOutOfBound"),
        ({"p_vaddr": 0x11001, "p_memsz": HUGE}, "MemOutOfBound"),
    ],
)
def test_segment_refusals(make_elf, make_segment, changes, error):
    each = make_segment(0x11000, b"12345678") | changes
    assert refusal(make_elf([each])).ckb_error == error


def test_a_segment_is_checked_whole_before_the_next_and_all_before_loading(make_elf, make_segment):
    unreadable = make_segment(0x11000, b"x", 0)
    cut_off = make_segment(0x11000, b"x", R, p_offset=HUGE)
    outside = make_segment(MIB4, b"x", R)
    assert refusal(make_elf([unreadable, cut_off])).ckb_error == "ElfSegmentUnreadable"
    assert refusal(make_elf([outside, unreadable])).ckb_error == "ElfSegmentUnreadable"


def test_other_segment_types_are_not_looked_at(make_elf, make_segment):
    odd = make_segment(HUGE, b"", W | X, p_type=3, p_offset=HUGE, p_filesz=HUGE)
    assert load(make_elf([odd]))[1].actions == ()


@pytest.mark.parametrize(
    ("flags", "version", "public"),
    [
        (R | X, 0, FREEZED | EXECUTABLE | DIRTY),
        (R | X, 1, FREEZED | EXECUTABLE | DIRTY),
        (R, 0, FREEZED | DIRTY),
        (R, 2, FREEZED | DIRTY),
        (R | W, 0, FREEZED | DIRTY),
        (R | W, 1, DIRTY),
        (R | W, 2, DIRTY),
    ],
)
def test_page_flags_right_after_loading(make_elf, make_segment, flags, version, public):
    memory, _ = load(make_elf([make_segment(0x11000, b"x", flags, p_memsz=PAGE + 1)]), version)
    assert [memory.public_flags(page) for page in range(0x10, 0x14)] == [0, public, public, 0]


def test_filling_zeros_head_and_tail_of_the_pages(make_elf, make_segment):
    memory = fresh()
    memory.initialise(0x10000, b"\xff" * 0x4000, dirty=False)
    elf = load_ckb(make_elf([make_segment(0x11010, b"abc", R | W, p_memsz=PAGE)]), 1)
    load_actions(memory, elf)
    expected = bytes(0x10) + b"abc" + bytes(2 * PAGE - 0x13)
    assert memory.read(0x11000, 2 * PAGE) == expected
    assert memory.read(0x10FFF, 1) == memory.read(0x13000, 1) == b"\xff"


def test_bytes_beyond_memsz_are_loaded_up_to_the_end_of_the_page(make_elf, make_segment):
    data = bytes(range(256)) * 32
    memory, elf = load(make_elf([make_segment(0x11100, data, R | W, p_memsz=1)]))
    assert memory.read(0x11100, 0xF00) == data[:0xF00]
    assert memory.read(0x12000, PAGE) == bytes(PAGE)
    assert elf.file_bytes_loaded == len(data)


@pytest.mark.parametrize("memsz", [0, HUGE, HUGE - 4094])
def test_sizes_that_wrap_to_zero_load_nothing_but_count(make_elf, make_segment, memsz):
    memory, elf = load(make_elf([make_segment(0x11000, b"abcd", R | X, p_memsz=memsz)]))
    assert elf.file_bytes_loaded == 4
    assert memory.read(0, MIB4) == bytes(MIB4)
    assert memory.public_flags(0x11) == 0


@pytest.mark.parametrize("first", [R, R | X])
@pytest.mark.parametrize("second", [R, R | W, R | X])
@pytest.mark.parametrize("version", [0, 1, 2])
def test_nothing_loads_over_a_frozen_page(make_elf, make_segment, first, second, version):
    file = make_elf([make_segment(0x11000, b"a", first), make_segment(0x11800, b"b", second)])
    error = refusal(file, version)
    assert error.ckb_error == "MemWriteOnFreezedPage"
    assert "0x11000" in str(error)


def test_a_writable_segment_is_frozen_in_version_0_only(make_elf, make_segment):
    file = make_elf([make_segment(0x11000, b"a", R | W), make_segment(0x11800, b"b", R)])
    assert refusal(file, 0).ckb_error == "MemWriteOnFreezedPage"
    memory, _ = load(file, 1)
    assert memory.read(0x11000, PAGE) == bytes(0x800) + b"b" + bytes(0x7FF)
    assert memory.public_flags(0x11) == FREEZED | DIRTY


def test_the_last_of_overlapping_writable_segments_wins_page_by_page(make_elf, make_segment):
    segments = [
        make_segment(0x11000, b"a" * (4 * PAGE), R | W),
        make_segment(0x12FFF, b"b" * 2, R | W),
        make_segment(0x10000, b"c" * 0x1001, R | W),
    ]
    memory, _ = load(make_elf(segments))
    pages = [memory.read(address, PAGE) for address in range(0x10000, 0x16000, PAGE)]
    assert pages == [
        b"c" * PAGE,
        b"c" + bytes(PAGE - 1),
        bytes(PAGE - 1) + b"b",
        b"b" + bytes(PAGE - 1),
        b"a" * PAGE,
        bytes(PAGE),
    ]


def test_version_0_refuses_executable_segments_off_page_boundaries(make_elf, make_segment):
    file = make_elf([make_segment(0x11004, b"a", R | X)])
    error = refusal(file, 0)
    assert (error.ckb_error, error.value) == ("MemWriteOnExecutablePage", 0x11004)
    assert load(file, 1)[0].read(0x11004, 1) == b"a"
    assert load(make_elf([make_segment(0x11000, b"a", R | X)]), 0)[0].read(0x11000, 1) == b"a"
    assert load(make_elf([make_segment(0x11004, b"a", R | W)]), 0)[0].read(0x11004, 1) == b"a"


def test_what_was_loaded_before_the_failing_segment_stays(make_elf, make_segment):
    segments = [
        make_segment(0x13000, b"a", R | X),
        make_segment(0x11000, b"b" * (3 * PAGE), R),
        make_segment(0x20000, b"c", R),
    ]
    memory = fresh()
    with pytest.raises(CkbElfError, match="MemWriteOnFreezedPage"):
        load_actions(memory, load_ckb(make_elf(segments), 1))
    assert memory.read(0x13000, 1) == b"a"
    # Pages before the frozen one got their flags, but no bytes.
    assert [memory.public_flags(page) for page in (0x11, 0x12, 0x13, 0x20)] == [
        FREEZED,
        FREEZED,
        FREEZED | EXECUTABLE | DIRTY,
        0,
    ]
    assert memory.read(0x11000, 2 * PAGE) == bytes(2 * PAGE)
    assert memory.read(0x20000, 1) == b"\0"


@pytest.mark.parametrize(
    ("address", "size", "offset", "error"),
    [
        (1, PAGE, 0, "MemPageUnalignedAccess"),
        (0, PAGE - 1, 0, "MemPageUnalignedAccess"),
        (MIB4 + 1, HUGE, HUGE, "MemPageUnalignedAccess"),
        (MIB4 + PAGE, 0, 0, "MemOutOfBound"),
        (0, MIB4 + PAGE, 0, "MemOutOfBound"),
        (MIB4, PAGE, 0, "MemOutOfBound"),
        (0, PAGE, PAGE + 1, "MemOutOfBound"),
        (0, 0, 1, "MemOutOfBound"),
        (0, PAGE, 0, "MemWriteOnFreezedPage"),
    ],
)
def test_init_pages_checks_in_order(address, size, offset, error):
    memory = fresh()
    memory.set_flag(0, FREEZED)
    with pytest.raises(CkbElfError) as caught:
        init_pages(memory, address, size, FREEZED, b"", offset)
    assert caught.value.ckb_error == error


def test_init_pages_of_nothing_is_fine_anywhere_in_memory():
    memory = fresh()
    memory.set_flag(0, FREEZED)
    init_pages(memory, 0, 0, FREEZED | EXECUTABLE, b"abc")
    init_pages(memory, MIB4, 0, FREEZED | EXECUTABLE, b"abc")
    assert memory.public_flags(0) == FREEZED


def test_init_pages_ors_flags_and_takes_what_fits():
    memory = fresh()
    memory.initialise(0x2000, b"\xee" * 0x2000)
    init_pages(memory, 0x2000, 0x1000, EXECUTABLE, b"z" * 0x2000, 0x1000)
    assert memory.read(0x2000, 0x1001) == bytes(0x1000) + b"\xee"
    init_pages(memory, 0x2000, 0x1000, FREEZED, memoryview(b"z" * 0x2000), 1)
    assert memory.read(0x2000, 0x1001) == b"\0" + b"z" * 0xFFF + b"\xee"
    assert memory.public_flags(2) == FREEZED | EXECUTABLE | DIRTY


def test_other_versions_and_bases_are_config_errors(make_elf):
    with pytest.raises(ConfigError, match="version 3"):
        load_ckb(make_elf(), 3)
    with pytest.raises(ConfigError, match="base"):
        load_actions(Memory(MIB4, 0x10000, wxorx=True), load_ckb(make_elf(), 1))

"""Programs put into memory: bytes, permissions, DIRTY, and how they start."""

from __future__ import annotations

import pytest

from rvjit.errors import ConfigError, PermissionDenied
from rvjit.loader.ckb import CkbElfError
from rvjit.loader.elf import load_linux
from rvjit.loader.install import install_linux
from rvjit.loader.install_ckb import install_ckb
from rvjit.machine.memory import Memory
from rvjit.machine.pages import DIRTY, EXECUTABLE, READABLE, WRITABLE

BASE, SIZE = 0x10000, 1 << 20
R, W, X = 4, 2, 1
NOP = b"\x13\0\0\0"
RANDOM = bytes(16)


def allowed(memory, address):
    flags = memory.flags[(address - memory.base) >> 12]
    bits = ((READABLE, "r"), (WRITABLE, "w"), (EXECUTABLE, "x"))
    return "".join(letter for bit, letter in bits if flags & bit)


def linux(file, args=(b"guest",), **options):
    program = load_linux(file, window_base=BASE, window_size=SIZE)
    memory = Memory(SIZE, BASE)
    return memory, install_linux(program, memory, args, [], RANDOM, **options)


def test_a_linux_image_says_how_the_program_starts(make_elf, make_segment):
    segments = [
        make_segment(0x11000, NOP, R | X),
        make_segment(0x13008, b"data", R | W, p_memsz=0x1800),
        make_segment(0x12000, b"const", R),
    ]
    memory, image = linux(make_elf(segments, e_entry=0x11000))
    assert image.pc == image.program.entry == 0x11000
    assert image.brk == 0x15000
    assert image.stack_low == BASE + SIZE - SIZE // 4
    assert image.mmap_top == image.stack_low - 4096
    assert image.stack_low < image.sp < BASE + SIZE
    assert image.loaded_bytes == 4 + 4 + 5 + BASE + SIZE - image.sp
    assert memory.read(0x13000, 16) == bytes(8) + b"data" + bytes(4)
    places = (0x10000, 0x11000, 0x12000, 0x13000, 0x14000, 0x15000, image.mmap_top)
    assert [allowed(memory, place) for place in places] == ["", "rx", "r", "rw", "rw", "", ""]
    assert [allowed(memory, place) for place in (image.stack_low, image.sp)] == ["rw", "rw"]
    with pytest.raises(PermissionDenied):
        memory.write(image.stack_low - 8, bytes(8))


def test_only_the_pages_of_the_arguments_are_dirty(make_elf):
    memory, image = linux(make_elf())
    dirty = [page for page in range(memory.page_count) if memory.flags[page] & DIRTY]
    assert dirty == memory.dirty_pages == [(image.sp - BASE) >> 12]


@pytest.mark.parametrize(
    ("wanted", "given"), [(1, 0x1000), (0x8000, 0x8000), (0x8001, 0x9000), (0xFE000, 0xFE000)]
)
def test_a_stack_of_the_callers_size(make_elf, make_segment, wanted, given):
    file = make_elf([make_segment(BASE, NOP, R | X)], e_entry=BASE)
    program = load_linux(file, window_base=BASE, window_size=SIZE, stack_size=wanted)
    memory = Memory(SIZE, BASE)
    image = install_linux(program, memory, (b"guest",), [], RANDOM, stack_size=wanted)
    end = BASE + SIZE
    assert (image.stack_low, image.mmap_top) == (end - given, end - given - 4096)
    assert [allowed(memory, place) for place in (image.mmap_top, image.stack_low, end - 1)] == [
        *("", "rw", "rw"),
    ]


@pytest.mark.parametrize("wanted", [0, -1, SIZE - 8191, SIZE, 1 << 70])
def test_an_impossible_stack(make_elf, wanted):
    with pytest.raises(ConfigError, match="stack of"):
        load_linux(make_elf(), window_base=BASE, window_size=SIZE, stack_size=wanted)


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([(0x11000, 8, R | X), (0x11010, 8, R | W)], ["rwx", ""]),
        ([(0x11000, 0x1010, R | X), (0x12010, 8, R)], ["rx", "rx"]),
        ([(0x11000, 0x1010, R | X), (0x12010, 0x1000, R | W)], ["rx", "rwx", "rw"]),
        ([(0x11000, 8, X), (0x11010, 8, R), (0x11020, 0x1000, W)], ["rwx", "rw"]),
        ([(0x11000, 8, X), (0x11010, 0x1000, 0), (0x12010, 8, 0)], ["x", "", ""]),
        ([(0x11000, 8, R | W | X)], ["rwx", ""]),
    ],
)
def test_segments_that_share_a_page_share_its_permissions(
    make_elf, make_segment, segments, expected
):
    made = [make_segment(at, b"d" * size, flags) for at, size, flags in segments]
    memory, _ = linux(make_elf([*made, make_segment(0x20000, NOP, X)], e_entry=0x20000))
    assert [allowed(memory, 0x11000 + 4096 * page) for page in range(len(expected))] == expected
    for at, size, _ in segments:
        assert memory.read(at, size) == b"d" * size


def test_a_program_can_be_installed_many_times(make_elf):
    program = load_linux(make_elf(), window_base=BASE, window_size=SIZE)
    memories = [Memory(SIZE, BASE) for _ in range(3)]
    images = [install_linux(program, memory, [b"a"], [b"B=c"], RANDOM) for memory in memories]
    assert images[0] == images[1] == images[2]
    assert len({memory.read(BASE, SIZE) for memory in memories}) == 1


def test_installing_into_the_wrong_memory_is_a_config_error(make_elf):
    program = load_linux(make_elf(), window_base=BASE, window_size=SIZE)
    with pytest.raises(ConfigError, match="another window"):
        install_linux(program, Memory(SIZE, 0x80000), [], [], RANDOM)
    with pytest.raises(ConfigError, match=r"W\^X"):
        install_linux(program, Memory(SIZE, BASE, wxorx=True), [], [], RANDOM)
    with pytest.raises(ConfigError, match="room for 131072"):
        linux(make_elf(), [b"a" * 140_000])


@pytest.mark.parametrize("version", [0, 1, 2])
def test_a_ckb_image_counts_what_ckb_charges(make_elf, make_segment, version):
    file = make_elf(
        [make_segment(0x11000, NOP * 4, R | X), make_segment(0x12008, b"data", R | W)],
        e_entry=0x11000,
        symbols=[("main", 0x11000, 16, 0x12, 1)],
    )
    memory = Memory(4 << 20, wxorx=True)
    image = install_ckb(file, memory, [b"ab"], version, name="cell")
    stack = 32 if version else 19
    assert (image.pc, image.sp) == (0x11000, (4 << 20) - stack)
    assert image.loaded_bytes == 20 + stack
    assert image.stack_low == 3 << 20
    assert (image.brk, image.mmap_top) == (0, 0)
    program = image.program
    assert (program.entry, program.name, program.file_bytes_loaded) == (0x11000, "cell", 20)
    found = [(s.address, s.data, s.end, s.writable, s.executable) for s in program.segments]
    assert found == [
        (0x11000, NOP * 4, 0x12000, False, True),
        (0x12008, b"data", 0x13000, True, False),
    ]
    assert program.symbols.find(0x11004) == ("main", 4)


def test_ckb_segments_are_what_remained(make_elf, make_segment):
    segments = [
        make_segment(0x11000, b"a" * 0x3000, R | W),
        make_segment(0x12004, b"b" * 4, R | W),
    ]
    memory = Memory(4 << 20, wxorx=True)
    program = install_ckb(make_elf(segments), memory, [], 1).program
    found = [(s.address, len(s.data), s.size) for s in program.segments]
    assert found == [(0x11000, 0x1000, 0x1000), (0x12004, 4, 0xFFC), (0x13000, 0x1000, 0x1000)]
    for segment in program.segments:
        assert memory.read(segment.address, len(segment.data)) == segment.data


def test_ckb_arguments_that_do_not_fit(make_elf):
    with pytest.raises(CkbElfError) as caught:
        install_ckb(make_elf(), Memory(4 << 20, wxorx=True), [b"a" * (1 << 20)], 1)
    assert caught.value.ckb_error == "MemOutOfStack"

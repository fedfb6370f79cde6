"""The linux loader: what it accepts, and a precise refusal for everything else."""

from __future__ import annotations

import struct
import subprocess
import sys

import pytest

from rvjit.errors import ConfigError, ElfError
from rvjit.loader.elf import load_linux
from rvjit.loader.window import LinuxWindow

BASE, SIZE = 0x10000, 64 << 20
R, W, X = 4, 2, 1
NOP = b"\x13\0\0\0"


def load(file, size=SIZE):
    return load_linux(file, window_base=BASE, window_size=size, name="guest")


def refusal(file, size=SIZE):
    with pytest.raises(ElfError) as caught:
        load(file, size)
    return caught.value


def test_a_plain_executable_becomes_a_program(make_elf, make_segment):
    file = make_elf(
        [
            make_segment(0x12000, b"data", R | W, p_memsz=100),
            make_segment(0x11000, NOP * 4, R | X),
            make_segment(0, p_memsz=0),
            make_segment(0, b"", R, p_type=0x6474E551, p_align=16),
            make_segment(0x12000, p_type=7, p_memsz=8),
        ],
        e_entry=0x11004,
    )
    program = load(file)
    assert program.entry == 0x11004
    assert [(s.address, s.data, s.size) for s in program.segments] == [
        (0x11000, NOP * 4, 16),
        (0x12000, b"data", 100),
    ]
    text, data = program.segments
    assert (text.readable, text.writable, text.executable) == (True, False, True)
    assert (data.readable, data.writable, data.executable) == (True, True, False)
    assert program.phdr_address == 0  # no segment holds the program headers
    assert (program.phentsize, program.phnum) == (56, 5)
    assert program.file_bytes_loaded == 20
    assert (program.is_pie, program.load_bias, program.name) == (False, 0, "guest")
    assert len(program.digest) == 64
    assert program.end == 0x12064
    assert load(file) == program
    assert hash(load(file)) == hash(program)


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"ident": b"MZ\0\0"}, "e_ident[EI_MAG]", b"MZ\0\0"),
        ({"ident": b"\x7fELF\x01\x01\x01"}, "e_ident[EI_CLASS]", 1),
        ({"ident": b"\x7fELF\x02\x02\x01"}, "e_ident[EI_DATA]", 2),
        ({"ident": b"\x7fELF\x02\x01\x00"}, "e_ident[EI_VERSION]", 0),
        ({"e_machine": 62}, "e_machine", 62),
        ({"e_type": 1}, "e_type", 1),
        ({"e_type": 4}, "e_type", 4),
        ({"e_version": 2}, "e_version", 2),
        ({"e_flags": 0x2}, "e_flags", 2),
        ({"e_flags": 0x5}, "e_flags", 5),
        ({"e_flags": 0x6}, "e_flags", 6),
        ({"e_flags": 0x8}, "e_flags", 8),
        ({"e_phentsize": 32}, "e_phentsize", 32),
        ({"e_phentsize": 0}, "e_phentsize", 0),
        ({"e_phnum": 0}, "e_phnum", 0),
        ({"e_phnum": 2000}, "e_phnum", 2000),
        ({"e_phnum": 0xFFFF}, "e_phnum", 0xFFFF),
        ({"e_phnum": 3}, "e_phoff", 64),
        ({"e_phoff": (1 << 64) - 1}, "e_phoff", (1 << 64) - 1),
        ({"e_entry": 0}, "e_entry", 0),
        ({"e_entry": 0x11001}, "e_entry", 0x11001),
        ({"e_entry": 0x11010}, "e_entry", 0x11010),
        ({"e_entry": 0x10FFE}, "e_entry", 0x10FFE),
    ],
)
def test_header_refusals_name_field_and_value(make_elf, changes, field, value):
    error = refusal(make_elf(**{"e_entry": 0x11000, **changes, "segments": None}))
    assert (error.field, error.value) == (field, value)
    assert field in str(error)


def test_refusing_a_float_abi_says_how_to_build(make_elf):
    message = str(refusal(make_elf(e_flags=0x5)))
    assert "e_flags = 0x5" in message
    assert "double-precision" in message
    assert "lp64" in message


@pytest.mark.parametrize("flags", [0, 1, 0x10, 0x11])
def test_harmless_flags_are_accepted(make_elf, flags):
    assert load(make_elf(e_flags=flags)).entry == 0x11000


@pytest.mark.parametrize("size", [0, 3, 4, 5, 6, 7, 16, 63])
def test_every_truncated_header_is_refused(make_elf, size):
    error = refusal(make_elf()[:size])
    assert error.field in {"e_ident[EI_MAG]", "file size"}


HUGE = (1 << 64) - 1


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"p_offset": HUGE}, "p_offset", HUGE),
        ({"p_offset": 0x1000}, "p_offset", 0x1000),
        ({"p_memsz": 3}, "p_filesz", 16),
        ({"p_filesz": HUGE, "p_memsz": HUGE}, "p_offset", 120),
        ({"p_memsz": 1 << 60}, "p_memsz", 1 << 60),
        ({"p_memsz": HUGE}, "p_memsz", HUGE),
        ({"p_vaddr": 0xF000}, "p_vaddr", 0xF000),
        ({"p_vaddr": BASE + SIZE}, "p_vaddr", BASE + SIZE),
        ({"p_vaddr": HUGE - 7}, "p_memsz", 16),
        ({"p_memsz": SIZE}, "p_memsz", SIZE),
        ({"p_type": 6}, "e_phnum", 1),
        ({"p_memsz": 0, "p_filesz": 0}, "p_memsz", 0),
        ({"p_flags": R | W}, "e_entry", 0x11000),
        ({"p_flags": R, "p_type": 2, "p_offset": HUGE}, "p_offset", HUGE),
    ],
)
def test_segment_refusals_name_field_and_value(make_elf, make_segment, changes, field, value):
    each = make_segment(0x11000, NOP * 4, R | X) | changes
    error = refusal(make_elf([each], e_entry=0x11000))
    assert (error.field, error.value) == (field, value)


def test_program_and_stack_do_not_meet(make_elf, make_segment):
    window = LinuxWindow(BASE, SIZE)
    room = window.mmap_top - 0x12000
    text = make_segment(0x11000, NOP, R | X)
    for extra, accepted in ((0, True), (1, False)):
        bss = make_segment(0x12000, b"", R | W, p_memsz=room + extra)
        file = make_elf([text, bss], e_entry=0x11000)
        if accepted:
            assert load(file).end == window.mmap_top
        else:
            assert refusal(file).field == "p_memsz"


def test_overlapping_segments_are_refused_and_touching_ones_are_not(make_elf, make_segment):
    text = make_segment(0x11000, NOP * 4, R | X)
    file = make_elf([make_segment(0x1100F, b"x", R), text], e_entry=0x11000)
    error = refusal(file)
    assert (error.field, error.value) == ("p_vaddr", 0x1100F)
    assert "0x11000" in str(error)
    touching = make_elf([make_segment(0x11010, b"x", R), text], e_entry=0x11000)
    assert len(load(touching).segments) == 2


def test_interpreters_and_needed_libraries_mean_dynamically_linked(make_elf, make_segment):
    text = make_segment(0x11000, NOP * 4, R | X)
    path = b"/lib/ld-musl-riscv64.so.1\0"
    interp = make_segment(0x12000, path, R, p_type=3)
    error = refusal(make_elf([text, interp], e_entry=0x11000))
    assert (error.field, error.value) == ("PT_INTERP", path[:-1])
    assert "dynamically linked" in str(error)

    def dynamic(*entries):
        data = b"".join(struct.pack("<QQ", *each) for each in entries)
        each = make_segment(0x12000, data, R, p_type=2)
        return make_elf([text, each], e_entry=0x11000, e_type=3)

    error = refusal(dynamic((5, 0), (1, 77), (0, 0)))
    assert (error.field, error.value) == ("DT_NEEDED", 77)
    assert "dynamically linked" in str(error)
    assert load(dynamic((5, 0), (0, 0), (1, 77))).is_pie
    assert load(dynamic((0x6FFFFFFB, 0), (0xDEADBEEF, 1))).is_pie
    assert refusal(dynamic(*[(5, 0)] * 5000)).field == "p_filesz"


def test_two_dynamic_sections_are_refused(make_elf, make_segment):
    text = make_segment(0x11000, NOP, R | X)
    dynamic = make_segment(0, bytes(16), R, p_type=2)
    assert refusal(make_elf([text, dynamic, dynamic], e_entry=0x11000)).field == "e_phnum"


def test_a_static_pie_is_moved_into_the_window(make_elf, make_segment):
    file = make_elf(
        [
            make_segment(0, bytes(200) + NOP, R | X, p_offset=0, p_filesz=204, p_memsz=204),
            make_segment(0x3000, b"xyz", R | W),
        ],
        e_type=3,
        e_entry=200,
        symbols=[("_start", 200, 4, 0x12, 1), ("fixed", 0x1234, 0, 0x10, 0xFFF1)],
        text=(200, 4),
    )
    program = load(file)
    assert program.is_pie
    assert program.load_bias == BASE + 0x10000
    assert program.entry == program.load_bias + 200
    assert program.phdr_address == program.load_bias + 64
    assert [s.address - program.load_bias for s in program.segments] == [0, 0x3000]
    assert program.symbols.address("_start") == program.entry
    assert program.symbols.address("fixed") == 0x1234


@pytest.mark.parametrize("vaddr", [0, 0x1000, 0x12345 & ~0xFFF, (1 << 64) - 0x10000])
@pytest.mark.parametrize("align", [0, 1, 3, 4096, 0x10000, 0x200000, (1 << 64) - 1])
def test_a_static_pie_keeps_its_alignment(make_elf, make_segment, vaddr, align):
    text = make_segment(vaddr, NOP, R | X, p_align=align)
    program = load(make_elf([text], e_type=3, e_entry=vaddr or 2))
    start = program.segments[0].address
    assert BASE <= start < BASE + SIZE
    if align.bit_count() == 1:
        assert (start - vaddr) % max(align, 4096) == 0
    assert program.entry == start + ((vaddr or 2) - vaddr)


def test_a_static_pie_that_fits_only_at_the_start_goes_there(make_elf, make_segment):
    window = LinuxWindow(BASE, 0x100000)
    bss = make_segment(0x1000, b"", R | W, p_memsz=window.mmap_top - BASE - 0x1000)
    file = make_elf([make_segment(0, NOP, R | X), bss], e_type=3, e_entry=2)
    assert load(file, 0x100000).load_bias == BASE
    bss["p_memsz"] += 1
    file = make_elf([make_segment(0, NOP, R | X), bss], e_type=3, e_entry=2)
    assert refusal(file, 0x100000).field == "p_memsz"


def test_a_static_pie_that_cannot_be_aligned_is_refused(make_elf, make_segment):
    text = make_segment(0, NOP, R | X, p_align=1 << 40)
    error = refusal(make_elf([text], e_type=3, e_entry=2))
    assert (error.field, error.value) == ("p_align", 1 << 40)


@pytest.mark.parametrize(("base", "size"), [(BASE, 0x3000), (BASE + 1, SIZE), (BASE, SIZE + 1)])
def test_an_impossible_window_is_a_config_error(make_elf, base, size):
    with pytest.raises(ConfigError, match="window"):
        load_linux(make_elf(), window_base=base, window_size=size)


def test_the_window_is_divided_as_documented():
    window = LinuxWindow(BASE, SIZE)
    assert (window.end, window.stack_size) == (BASE + SIZE, 8 << 20)
    assert window.stack_low == window.end - (8 << 20)
    assert window.mmap_top == window.stack_low - 4096
    assert LinuxWindow(0, 0x9000).stack_size == 0x2000


def test_importing_the_loader_does_not_import_pyelftools():
    code = "import sys, rvjit.loader; sys.exit(any(m.startswith('elftools') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

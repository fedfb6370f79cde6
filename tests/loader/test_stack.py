"""Initial stacks, byte by byte."""

from __future__ import annotations

import struct

import pytest

from rvjit.errors import ConfigError
from rvjit.loader.ckb import CkbElfError
from rvjit.loader.elf import load_linux
from rvjit.loader.stack import build_ckb_stack, build_linux_stack
from rvjit.loader.window import LinuxWindow
from rvjit.machine.memory import Memory
from rvjit.machine.pages import DIRTY, EXECUTABLE

BASE, SIZE = 0x10000, 1 << 20
MIB4 = 4 << 20
RANDOM = bytes(range(16))


def words(memory, address, count):
    return struct.unpack(f"<{count}Q", memory.read(address, 8 * count))


def linux(make_elf, args, env, **options):
    program = load_linux(make_elf(), window_base=BASE, window_size=SIZE)
    memory = Memory(SIZE, BASE)
    window = LinuxWindow(BASE, SIZE)
    memory.protect(window.stack_low, window.stack_size, read=True, write=True, execute=False)
    sp = build_linux_stack(memory, program, window.end, args, env, RANDOM, **options)
    return memory, sp


@pytest.mark.parametrize("count", range(8))
@pytest.mark.parametrize("length", [0, 1, 7, 15, 16])
def test_a_linux_stack_holds_arguments_environment_and_auxiliary_vector(make_elf, count, length):
    args = [b"a" * length] * count
    env = [b"PATH=/", b"X=" + b"y" * length][: count % 3]
    memory, sp = linux(make_elf, args, env)
    assert sp % 16 == 0
    assert words(memory, sp, 1) == (count,)
    at = sp + 8
    for texts in (args, env):
        pointers = words(memory, at, len(texts) + 1)
        assert [memory.read_string(pointer) for pointer in pointers[:-1]] == texts
        assert pointers[-1] == 0
        at += 8 * (len(texts) + 1)
    auxiliary = {}
    while True:
        kind, value = words(memory, at, 2)
        at += 16
        if kind == 0:
            break
        auxiliary[kind] = value
    random_at, execfn_at = auxiliary.pop(25), auxiliary.pop(31)
    assert memory.read(random_at, 16) == RANDOM
    assert memory.read_string(execfn_at) == (args[0] if args else b"")
    assert auxiliary == {
        3: 0,
        4: 56,
        5: 0,
        6: 4096,
        7: 0,
        8: 0,
        9: 0x11000,
        11: 1000,
        12: 1000,
        13: 1000,
        14: 1000,
        16: 0x1105,
        17: 100,
        23: 0,
    }
    assert at <= random_at
    assert memory.public_flags((sp - BASE) >> 12) == DIRTY


def test_program_headers_in_memory_are_announced(make_elf, make_segment):
    text = make_segment(0x11000, bytes(200), 5, p_offset=0, p_filesz=200, p_memsz=200)
    file = make_elf([text], e_entry=0x11000 + 120)
    program = load_linux(file, window_base=BASE, window_size=SIZE)
    memory = Memory(SIZE, BASE)
    sp = build_linux_stack(memory, program, BASE + SIZE, [], [], RANDOM)
    vector = words(memory, sp + 24, 34)
    auxiliary = dict(zip(vector[::2], vector[1::2], strict=True))
    assert auxiliary[3] == 0x11000 + 64
    assert (auxiliary[4], auxiliary[5]) == (56, 1)
    assert memory.read(auxiliary[3], 4) == bytes(4)  # building a stack loads nothing


def test_execfn_can_differ_from_the_first_argument(make_elf):
    memory, _ = linux(make_elf, [b"x"], [], execfn=b"/bin/guest")
    assert memory.read(BASE + SIZE - 11, 11) == b"/bin/guest\0"


def test_bad_linux_arguments_are_config_errors(make_elf):
    with pytest.raises(ConfigError, match="NUL"):
        linux(make_elf, [b"a\0b"], [])
    with pytest.raises(ConfigError, match=r"1 arguments .* 1000\d{3} bytes .* room for 1000$"):
        linux(make_elf, [b"a" * 10**6], [], execfn=b"", limit=1000)
    with pytest.raises(ConfigError, match="room for"):
        linux(make_elf, [b"a" * SIZE], [])
    program = load_linux(make_elf(), window_base=BASE, window_size=SIZE)
    with pytest.raises(ConfigError, match="16 bytes, not 8"):
        build_linux_stack(Memory(SIZE, BASE), program, BASE + SIZE, [], [], bytes(8))


@pytest.mark.parametrize(
    ("version", "args", "sp", "size"),
    [
        (0, [], 0x3FFFF8, 8),
        (1, [], 0x3FFFF0, 16),
        (2, [], 0x3FFFF0, 16),
        (0, [b"ab"], 0x3FFFED, 19),
        (1, [b"ab"], 0x3FFFE0, 32),
        (0, [b"ab", b"cde"], 0x3FFFE1, 31),
        (1, [b"ab", b"cde"], 0x3FFFD0, 48),
        (2, [b"ab", b"cde"], 0x3FFFD0, 48),
    ],
)
def test_examples_of_ckb_stacks(version, args, sp, size):
    memory = Memory(MIB4, wxorx=True)
    assert build_ckb_stack(memory, args, version) == (sp, size)
    pointers = []
    at = MIB4
    for arg in args:
        at -= len(arg) + 1
        assert memory.read(at, len(arg) + 1) == arg + b"\0"
        pointers.append(at)
    slots = len(args) + 1
    assert words(memory, sp, slots) == (len(args), *pointers)
    if version and args:
        assert words(memory, sp + 8 * slots, 1) == (0,)
    written = bool(args) or version == 0
    assert memory.public_flags(1023) == (DIRTY if written else 0)


def test_version_0_keeps_the_upper_halves_of_slots():
    memory = Memory(MIB4, wxorx=True)
    memory.initialise(MIB4 - 64, b"\xff" * 64)
    sp, _ = build_ckb_stack(memory, [b"ab"], 0)
    assert memory.read(sp, 19) == b"\x01\0\0\0\xff\xff\xff\xff\xfd\xff\x3f\0\xff\xff\xff\xffab\0"
    memory.initialise(MIB4 - 64, b"\xff" * 64)
    build_ckb_stack(memory, [], 1)
    assert memory.read(MIB4 - 64, 64) == b"\xff" * 64


@pytest.mark.parametrize("version", [0, 1])
def test_nul_bytes_in_ckb_arguments_are_kept(version):
    memory = Memory(MIB4, wxorx=True)
    build_ckb_stack(memory, [b"a\0b"], version)
    assert memory.read(MIB4 - 4, 4) == b"a\0b\0"


@pytest.mark.parametrize(
    ("version", "length", "fits"),
    [
        (1, (1 << 20) - 25, True),
        (1, (1 << 20) - 24, False),
        (0, (1 << 20) - 17, True),
        (0, (1 << 20) - 16, False),
    ],
)
def test_ckb_arguments_fill_a_quarter_of_memory(version, length, fits):
    memory = Memory(MIB4, wxorx=True)
    if fits:
        assert build_ckb_stack(memory, [b"a" * length], version) == (3 << 20, 1 << 20)
        return
    with pytest.raises(CkbElfError) as caught:
        build_ckb_stack(memory, [b"a" * length], version)
    assert caught.value.ckb_error == "MemOutOfStack"
    assert memory.read(MIB4 - 2, 2) == b"a\0"  # the check comes last


def test_a_failing_ckb_store_wins_over_the_stack_check():
    memory = Memory(MIB4, wxorx=True)
    memory.set_flag(700, EXECUTABLE)
    with pytest.raises(CkbElfError) as caught:
        build_ckb_stack(memory, [b"a" * (3 << 20)], 1)
    assert caught.value.ckb_error == "MemWriteOnExecutablePage"
    with pytest.raises(CkbElfError) as caught:
        build_ckb_stack(memory, [b"a" * (5 << 20)], 1)
    assert caught.value.ckb_error == "MemOutOfBound"


def test_a_ckb_stack_may_be_elsewhere():
    memory = Memory(MIB4, wxorx=True)
    where = {"stack_start": 0x1000, "stack_size": 0x1000}
    assert build_ckb_stack(memory, [b"ab"], 1, **where) == (0x1FE0, 32)
    assert memory.read(0x1FFD, 3) == b"ab\0"

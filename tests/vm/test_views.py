"""Registers and memory as Python sees them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rvjit import VM, ConfigError, OutOfBounds, PermissionDenied, Stop
from rvjit.machine.pages import DIRTY
from tests.engines.assemble import R, W, X, assemble, elf

Load = Callable[..., tuple[VM, bytearray]]


@pytest.fixture
def vm(load: Load) -> VM:
    return load("callee", engine="interp", memory_size=1 << 20)[0]


def test_registers_by_name_number_and_order(vm: VM) -> None:
    registers = vm.registers
    registers["a0"] = 7
    registers["x11"] = -1
    registers[12] = 1 << 64 | 5
    registers["fp"] = 9
    assert (registers[10], registers["a1"], registers["a2"], registers["s0"]) == (
        7, (1 << 64) - 1, 5, 9,
    )  # fmt: skip
    assert list(registers)[10:13] == [7, (1 << 64) - 1, 5]
    assert len(registers) == 32
    assert "a0=0x7 a1=0xffffffffffffffff" in repr(registers)
    registers["zero"] = 3
    registers[0] = 3
    assert registers["x0"] == 0


@pytest.mark.parametrize("register", ["a8", "x32", "", "pc", 32, -1])
def test_unknown_registers(vm: VM, register: str | int) -> None:
    with pytest.raises(ConfigError, match="unknown register"):
        vm.registers[register]
    with pytest.raises(ConfigError, match="unknown register"):
        vm.registers[register] = 1


def test_pc_is_taken_modulo(vm: VM) -> None:
    vm.pc = -4
    assert vm.pc == (1 << 64) - 4


def stack(vm: VM) -> int:
    return vm.registers["sp"] - 0x100


def test_memory_slices_bytes_and_numbers(vm: VM) -> None:
    memory, at = vm.memory, stack(vm)
    memory[at : at + 4] = b"abcd"
    assert memory[at : at + 4] == b"abcd"
    assert memory[at] == ord("a")
    memory[at + 1] = 0xFF
    assert memory.read(at, 4) == b"a\xffcd"
    memory.write(at, bytearray(b"xyz\0"))
    assert memory.read_string(at) == b"xyz"
    memory.write_int(at, -2, 4)
    assert (memory.read_int(at, 4), memory.read_int(at, 2)) == (0xFFFF_FFFE, 0xFFFE)
    assert memory[at:at] == b""
    assert (memory.base, memory.size) == (0x10000, 1 << 20)


def test_views_are_live_and_read_only(vm: VM) -> None:
    at = stack(vm)
    view = vm.memory.view(at, 8)
    vm.memory.write(at, b"12345678")
    assert bytes(view) == b"12345678"
    with pytest.raises(TypeError):
        view[0] = 1


def test_accesses_outside_change_nothing(vm: VM) -> None:
    memory = vm.memory
    end = memory.base + memory.size
    for address, size in ((0, 1), (memory.base - 1, 2), (end - 1, 2), (end, 1), (1 << 64, 1)):
        with pytest.raises(OutOfBounds) as caught:
            memory.read(address, size)
        assert (caught.value.address, caught.value.access) == (address, "load")
        assert caught.value.pc is None
        with pytest.raises(OutOfBounds):
            memory.write(address, bytes(size))
        with pytest.raises(OutOfBounds):
            memory.view(address, size)
    with pytest.raises(OutOfBounds):
        memory[end]
    with pytest.raises(OutOfBounds):
        memory[-1]


def test_writes_obey_permissions(vm: VM) -> None:
    code = vm.address_of("main")
    before = vm.memory.read(code, 4)
    with pytest.raises(PermissionDenied, match="store"):
        vm.memory[code : code + 4] = b"\0\0\0\0"
    assert vm.memory.read(code, 4) == before


@pytest.mark.parametrize(
    "bad",
    [
        slice(None, 5), slice(5, None), slice(0x10000, 0x10010, 2),
    ],
)  # fmt: skip
def test_slices_need_both_ends(vm: VM, bad: slice) -> None:
    with pytest.raises(ConfigError, match="slice"):
        vm.memory[bad]


def test_what_is_assigned_must_fit(vm: VM) -> None:
    at = stack(vm)
    for data in (b"abc", b"abcde", 5, "abcd"):
        with pytest.raises(ConfigError, match="4 bytes"):
            vm.memory[at : at + 4] = data
    with pytest.raises(ConfigError, match="needs an int"):
        vm.memory[at] = b"a"


def test_dirty_pages_are_those_written(load: Load, engine: str) -> None:
    code = assemble("""
        _start: li t0, 0x30000
                sd t0, 0(t0)
                li t1, 0x20ffd
                sw t0, 0(t1)
                li a7, 93
                ecall
    """)
    data = tuple((address, bytes(0x2000), R | W) for address in (0x20000, 0x30000))
    vm, _ = load(elf(code, R | X, data), engine=engine, memory_size=1 << 20)
    before = vm.memory.dirty_pages
    assert vm.run().stop is Stop.EXIT
    assert vm.memory.dirty_pages == sorted([*before, 0x30000, 0x20000, 0x21000])
    memory = vm.machine.memory
    for address, dirty in ((0x20000, True), (0x31000, False), (0x30000, True)):
        flags = memory.public_flags((address - memory.base) >> 12)
        assert bool(flags & DIRTY) is dirty

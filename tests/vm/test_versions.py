"""What VM versions of CKB change about the machine; every engine does the same.

The expected outcomes are written down from CKB-VM's rules, not computed from the definitions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rvjit import VM, ConfigError, OutOfBounds, Profile, Stop
from rvjit.isa import Isa
from tests.engines.assemble import R, W, assemble, elf

Load = Callable[..., tuple[VM, bytearray]]

V0 = Isa.parse("imc", strict_fences=True, version=0)
V1 = Isa.parse("imc", strict_fences=True)
END = 4 << 20
EXIT = "li a7, 93\n ecall"


# Few different rules: the threaded engine is compiled anew for each.
def ckb(version: int) -> Profile:
    return Profile("ckb", vm_version=version, isa="all" if version else "imca")


# HINTs.


def refused_by_version_0(word: int) -> bool:
    """Whether a compressed word that later versions take is a HINT that version 0 refuses."""
    quadrant, funct3 = word & 3, word >> 13
    rd, low = word >> 7 & 31, word >> 2 & 31
    bit12 = word >> 12 & 1
    zero = not low and not bit12  # the immediate or shift amount
    match quadrant, funct3:
        case 1, 0:
            return (rd == 0) != zero
        case (1, 2) | (1, 3):
            return rd == 0
        case 2, 0:
            return rd == 0 or zero
        case 2, 4:
            return rd == 0 and low != 0  # c.mv, c.add
    return False


def test_version_0_refuses_hints_and_nothing_else() -> None:
    refused = 0
    for word in range(1 << 16):
        if word & 3 == 3:
            continue
        later, first = V1.decoder.decode(word), V0.decoder.decode(word)
        if later is not None and refused_by_version_0(word):
            refused += 1
            assert first is None, hex(word)
            assert later.rd == 0 or later.imm == 0, hex(word)
        else:
            assert (first is None) == (later is None), hex(word)
    # c.addi by 0 31, c.nop 63, c.li 64, c.lui 63, c.slli 64 + 31, c.mv 31, c.add 31.
    assert refused == 31 + 63 + 64 + 63 + 64 + 31 + 31 + 31


def test_srli_and_srai_by_zero_are_instructions_in_version_0() -> None:
    for word in (0x8001, 0x8401, 0x0001):
        assert V0.decoder.decode(word) is not None


def test_a_hint_is_an_illegal_instruction_of_version_0(load: Load, engine: str) -> None:
    code = assemble(f"_start: li a0, 7\n .half 0x4001\n {EXIT}")  # c.li zero, 0
    for version in (1, 2):
        vm, _ = load(elf(code), profile=ckb(version), engine=engine)
        assert vm.run().exit_code == 7
    vm, _ = load(elf(code), profile=ckb(0), engine=engine)
    result = vm.run()
    assert (result.stop, result.ckb_error, result.cycles) == (Stop.FAULT, "InvalidInstruction", 1)
    assert result.ckb_pc == result.pc == code.base + 4


# Jumps that link.

# In version 0 the target is the link plus the offset: a0 collects which instructions ran.
JUMPS = {
    "jalr t0, 8(t0)": "addi a0, a0, 1\n addi a0, a0, 2\n addi a0, a0, 4\n addi a0, a0, 8",
    "c.jalr ra": "addi a0, a0, 1\n addi a0, a0, 2\n addi a0, a0, 4\n addi a0, a0, 8",
    "jalr t0, 9(ra)": "addi a0, a0, 1\n addi a0, a0, 2\n addi a0, a0, 4\n addi a0, a0, 8",
}
# Otherwise it is the third addi behind the jump (t0 and ra are made so).
RUN = {
    "jalr t0, 8(t0)": {0: 4 + 8, 1: 8},
    "c.jalr ra": {0: 1 + 2 + 4 + 8, 1: 8},
    "jalr t0, 9(ra)": {0: 4 + 8, 1: 4 + 8},
}


@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize("version", [0, 1])
def test_version_0_links_before_it_reads_the_target(
    load: Load, engine: str, jump: str, version: int
) -> None:
    target = {
        "jalr t0, 8(t0)": ("t0", 12 - 8),
        "c.jalr ra": ("ra", 12),
        "jalr t0, 9(ra)": ("ra", 0),
    }
    register, offset = target[jump]
    source = f"""
        _start: la t1, after
                addi {register}, t1, {offset}
                li a0, 0
                {jump}
        after:  {JUMPS[jump]}
                {EXIT}
    """
    vm, _ = load(elf(assemble(source)), profile=ckb(version), engine=engine)
    assert vm.run().exit_code == RUN[jump][version]


def test_a_loop_of_version_0_calls_through_its_link_register(load: Load, engine: str) -> None:
    source = f"""
        _start: li a1, 300
                li a0, 0
        loop:   la t0, loop             # not where version 0 goes
                jalr t0, 8(t0)          # but over the next two
                li a0, 99
                j out
                addi a0, a0, 1
                andi a0, a0, 63
                addi a1, a1, -1
                bnez a1, loop
        out:    {EXIT}
    """
    code = assemble(source)
    vm, _ = load(elf(code), profile=ckb(0), engine=engine)
    assert vm.run().exit_code == 300 % 64
    assert vm.registers["t0"] == code["out"] - 6 * 4


# Loads at the end of memory.

LOADS = {"lb": 1, "lbu": 1, "lh": 2, "lhu": 2, "lw": 4, "lwu": 4, "ld": 8}


@pytest.mark.parametrize("load_name", LOADS)
def test_version_0_cannot_load_up_to_the_end_of_memory(
    load: Load, engine: str, load_name: str
) -> None:
    width = LOADS[load_name]
    for version, away, faults in ((0, 0, True), (0, 1, False), (1, 0, False), (1, -1, True)):
        address = END - width - away
        code = assemble(f"_start: li t0, {address}\n {load_name} a0, 0(t0)\n {EXIT}")
        vm, _ = load(elf(code), profile=ckb(version), engine=engine)
        result = vm.run()
        assert (result.stop is Stop.FAULT) == faults, (version, away)
        if faults:
            assert isinstance(result.fault, OutOfBounds)
            assert (result.fault.address, result.fault.size) == (address, width)
            assert result.ckb_error == "MemOutOfBound"
        else:
            assert result.exit_code == 0


def test_version_0_loads_in_a_group_and_a_loop(load: Load, engine: str) -> None:
    """Checks that several accesses share, and loops that prove many turns, keep the last byte."""
    source = f"""
        _start: li t0, {END - 4096}
                li t1, {END}
                li a0, 0
        loop:   ld a1, 0(t0)
                sd a1, 0(t0)
                lw a2, 0(t0)
                addi t0, t0, 8
                addi a0, a0, 1
                bne t0, t1, loop
                andi a0, a0, 127
                {EXIT}
    """
    code = assemble(source)
    vm, _ = load(elf(code), profile=ckb(1), engine=engine)
    assert vm.run().exit_code == 512 % 128
    vm, _ = load(elf(code), profile=ckb(0), engine=engine)
    result = vm.run()
    assert isinstance(result.fault, OutOfBounds)
    assert (result.fault.address, vm.registers["a0"]) == (END - 8, 511)


@pytest.mark.parametrize("name", ["lr.w", "amoadd.w"])
def test_atomics_and_stores_of_version_0_reach_the_end(load: Load, engine: str, name: str) -> None:
    atomic = f"{name} a0, (t0)" if name == "lr.w" else f"{name} a0, zero, (t0)"
    code = assemble(f"_start: li t0, {END - 4}\n sw zero, 0(t0)\n {atomic}\n {EXIT}")
    vm, _ = load(elf(code), profile=ckb(0), engine=engine)
    assert vm.run().exit_code == 0


# What a program finds.


def test_defaults_of_the_versions() -> None:
    assert str(Profile("ckb", vm_version=0).isa) == "rv64imc"
    for version in (1, 2):
        assert "zba" in str(Profile("ckb", vm_version=version).isa)


def test_writable_segments_are_frozen_in_version_0_only(load: Load, engine: str) -> None:
    code = assemble(f"_start: li t0, 0x20000\n lw a0, 0(t0)\n sw zero, 0(t0)\n {EXIT}")
    for version, flags in ((0, 5), (1, 4)):
        program = elf(code, more=((0x20000, b"\x07\0\0\0", R | W),))
        vm, _ = load(program, profile=ckb(version), engine=engine)
        assert vm.machine.memory.public_flags(0x20) == flags
        assert vm.run().exit_code == 7


@pytest.mark.parametrize(
    ("version", "args", "sp", "at_sp"),
    [
        (0, [], 0x3FFFF8, bytes(8)),
        (0, ["ab"], 0x3FFFED, b"\x01\0\0\0\0\0\0\0\xfd\xff\x3f\0\0\0\0\0ab\0"),
        (1, [], 0x3FFFF0, bytes(16)),
        (
            2,
            ["ab"],
            0x3FFFE0,
            b"\x01\0\0\0\0\0\0\0\xfd\xff\x3f\0\0\0\0\0" + bytes(13) + b"ab\0",
        ),
    ],
)
def test_the_stack_of_each_version(
    load: Load, version: int, args: list[str], sp: int, at_sp: bytes
) -> None:
    vm, _ = load(elf(assemble(f"_start: {EXIT}")), args=args, profile=ckb(version), engine="interp")
    assert vm.registers["sp"] == sp
    assert bytes(vm.memory[sp:END]) == at_sp
    assert [value for number, value in enumerate(vm.machine.x) if number != 2] == [0] * 31


def test_system_calls_of_version_0(load: Load, engine: str) -> None:
    for number, known in ((2041, False), (2042, False), (2177, True)):
        code = assemble(f"_start: li a7, {number}\n ecall\n li a0, 3\n {EXIT}")
        for version in (0, 1):
            vm, _ = load(elf(code), profile=ckb(version), engine=engine)
            result = vm.run()
            wanted: tuple[Any, ...] = (3, None) if known or version else (None, "InvalidEcall")
            assert (result.exit_code, result.ckb_error) == wanted


@pytest.mark.parametrize("version", [-1, 3, "0", None])
def test_other_versions_are_refused(version: Any) -> None:
    with pytest.raises(ConfigError, match="CKB has 0, 1 and 2"):
        Profile("ckb", vm_version=version)

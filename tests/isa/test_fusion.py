"""Which sequences are one operation, by hand: registers, immediates, what is behind the head."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest

from rvjit.errors import ConfigError, DefinitionError
from rvjit.isa import CKB_PRICES, Cost, Isa, disassemble
from rvjit.isa.expr import Op, Val
from rvjit.isa.ext import m, rv64i
from rvjit.isa.ext.mop import MOP
from rvjit.isa.fusion import Fused, Fusions, immediate_of
from rvjit.isa.isa import LONGEST_FUSED
from rvjit.machine.fetch import fetch_operation
from rvjit.machine.memory import Memory
from rvjit.machine.pages import PAGE_SIZE
from tests.engines.assemble import assemble

BASE = 0x10000
ISAS = {version: Isa.parse("imcb_mop", version=version) for version in (1, 2)}
M64 = (1 << 64) - 1


def decode(source: str, version: int, *, pc: int = BASE, pages: int = 4) -> object:
    """What is at *pc* where *source* stands there, in executable memory."""
    base = pc & -PAGE_SIZE
    memory = Memory(pages * PAGE_SIZE, base)
    memory.protect(base, memory.size, read=True, write=False, execute=True)
    memory.initialise(pc, assemble(source, pc).data)
    return fetch_operation(memory, ISAS[version], pc)


def fused(source: str, version: int, *, pc: int = BASE) -> Fused | None:
    found = decode(source, version, pc=pc)
    return found if isinstance(found, Fused) else None


def target_of(source: str, version: int, pc: int = BASE) -> tuple[str, int, int, int] | None:
    """Name, target, length and link register of a far jump."""
    found = fused(source, version, pc=pc)
    if found is None:
        return None
    (step,) = found.steps
    assert (step.spec, step.rs1, found.cost) == (rv64i.jalr, 0, Cost.JUMP)
    return found.fusion.name, step.imm & M64 & ~1, found.length, step.rd


@pytest.mark.parametrize(
    ("source", "first", "second"),
    [
        ("lui ra, 0x12345\n jalr ra, 0x678(ra)", 0x12345678, 0x12345678),
        ("lui t0, 0x12345\n jalr ra, 0x678(t0)", 0x12345678, None),
        ("lui t0, 0x12345\n jalr t0, 0x678(t0)", None, None),
        ("lui ra, 0x12345\n jalr zero, 0x678(ra)", None, None),
        ("lui ra, 0x12345\n jalr ra, 0x678(t0)", None, None),
        ("lui zero, 0x12345\n jalr ra, 0x678(zero)", 0x12345678, None),
        ("lui ra, 0x12345\n jalr ra, -1(ra)", 0x12344FFE, 0x12344FFE),
        # 32 bits wrap, then the sign is extended.
        ("lui ra, 0x80000\n jalr ra, -2(ra)", 0x7FFFFFFE, 0x7FFFFFFE),
        ("lui ra, 0x7ffff\n jalr ra, 2047(ra)", 0x7FFFF7FE, 0x7FFFF7FE),
        ("lui ra, 0xfffff\n jalr ra, 0(ra)", M64 - 0xFFF, M64 - 0xFFF),
    ],
)
def test_absolute_jumps(source: str, first: int | None, second: int | None) -> None:
    for version, target in ((1, first), (2, second)):
        wanted = None if target is None else ("far_jump_abs", target, 8, 1)
        assert target_of(source, version) == wanted


@pytest.mark.parametrize(
    ("source", "first", "second"),
    [
        ("auipc ra, 1\n jalr ra, 8(ra)", BASE + 0x1008, BASE + 0x1008),
        ("auipc t0, 1\n jalr ra, 8(t0)", BASE + 0x1008, None),
        ("auipc zero, 1\n jalr ra, 8(zero)", BASE + 0x1008, None),
        ("auipc ra, 0xfffff\n jalr ra, -3(ra)", BASE - 0x1004, BASE - 0x1004),
        # Version 1 wraps the distance; version 2 does not fuse then.
        ("auipc ra, 0x80000\n jalr ra, -2(ra)", BASE + 0x7FFFFFFE, None),
        ("auipc ra, 0x80000\n jalr ra, 0(ra)", BASE - (1 << 31) & M64, BASE - (1 << 31) & M64),
        ("auipc ra, 0x7ffff\n jalr ra, 2047(ra)", BASE + 0x7FFFF7FE, BASE + 0x7FFFF7FE),
    ],
)
def test_relative_jumps(source: str, first: int | None, second: int | None) -> None:
    for version, target in ((1, first), (2, second)):
        wanted = None if target is None else ("far_jump_rel", target, 8, 1)
        assert target_of(source, version) == wanted


def test_compressed_members_of_jumps() -> None:
    for source, length in (
        ("c.lui ra, 0x3000\n c.jalr ra", 4),
        ("c.lui ra, 0x3000\n jalr ra, 0(ra)", 6),
        ("lui ra, 0x3\n c.jalr ra", 6),
    ):
        assert target_of(source, 2) == ("far_jump_abs", 0x3000, length, 1)
    assert target_of("auipc ra, 0x3\n c.jalr ra", 2) == ("far_jump_rel", BASE + 0x3000, 6, 1)
    assert target_of("lui ra, 0x3\n c.jr ra", 1) is None


def constant_of(source: str, version: int, pc: int = BASE) -> tuple[int, int, int] | None:
    """Register, value and length of a constant."""
    found = fused(source, version, pc=pc)
    if found is None:
        return None
    (step,) = found.steps
    assert (found.fusion.name, found.cost, step.spec) == ("load_imm", Cost.ALU, rv64i.lui)
    return step.rd, step.imm & M64, found.length


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("lui a0, 0x12345\n addiw a0, a0, 0x678", (10, 0x12345678, 8)),
        ("lui a0, 0x80000\n addiw a0, a0, -1", (10, 0x7FFFFFFF, 8)),
        ("lui a0, 0xfffff\n c.addiw a0, -1", (10, M64 - 0x1000, 6)),
        ("c.lui a0, -4096\n c.addiw a0, 1", (10, M64 - 0xFFE, 4)),
        ("lui zero, 0x1\n addiw zero, zero, 1", (0, 0x1001, 8)),
        ("c.lui zero, 4096\n addiw zero, zero, 1", None),  # a HINT is a nop
        ("lui a0, 1\n addiw a1, a0, 1", None),
        ("lui a0, 1\n addiw a0, a1, 1", None),
        ("lui a0, 1\n addi a0, a0, 1", None),
    ],
)
def test_constants(source: str, wanted: tuple[int, int, int] | None) -> None:
    for version in (1, 2):
        assert constant_of(source, version) == wanted


@pytest.mark.parametrize(
    ("source", "pc", "wanted"),
    [
        ("auipc a0, 1\n addi a0, a0, -8", BASE, (10, BASE + 0xFF8, 8)),
        ("auipc a0, 1\n c.addi a0, -8", BASE, (10, BASE + 0xFF8, 6)),
        ("auipc a0, 1\n c.addi a0, 0", BASE, None),  # a HINT is a nop, on x0
        ("auipc zero, 1\n c.addi a0, 0", BASE, (0, BASE + 0x1000, 6)),
        ("auipc zero, 1\n c.li zero, 9", BASE, (0, BASE + 0x1000, 6)),
        ("auipc zero, 1\n c.slli zero, 9", BASE, (0, BASE + 0x1000, 6)),
        ("auipc zero, 1\n c.srai s0, 0", BASE, (0, BASE + 0x1000, 6)),
        ("auipc a0, 0xfffff\n addi a0, a0, -2048", 0, (10, M64 - 0x17FF, 8)),
        ("auipc a0, 0x7ffff\n addi a0, a0, 2047", 0x1000, None),  # pc and sum pass 2**31
        ("auipc a0, 0x7fffe\n addi a0, a0, 2047", 0x800, (10, 0x7FFFEFFF, 8)),
        ("auipc a0, 0x80000\n addi a0, a0, -1", 0x1000, None),  # the sum passes -2**31
        ("auipc a0, 0\n addi a0, a0, -4", 0x7FFFFFF0, (10, 0x7FFFFFEC, 8)),
        ("auipc a0, 0\n addi a0, a0, -4", 0x80000000, None),  # pc is no 32-bit number
        ("auipc a0, 1\n addiw a0, a0, 1", BASE, None),
    ],
)
def test_addresses(source: str, pc: int, wanted: tuple[int, int, int] | None) -> None:
    assert constant_of(source, 2, pc) == wanted
    assert constant_of(source, 1, pc) is None


def test_prices() -> None:
    prices = {fusion.name: CKB_PRICES[fusion.cost] for fusion in MOP.fusions}
    assert prices == {
        "far_jump_abs": 3, "far_jump_rel": 3, "load_imm": 1,
        "wide_mul": 5, "wide_mulu": 5, "wide_mulsu": 5, "wide_div": 32, "wide_divu": 32,
        "adc": 1, "sbb": 1, "add3a": 1, "add3b": 1, "add3c": 1, "adcs": 1, "sbbs": 1,
    }  # fmt: skip


def test_the_versions_have_these() -> None:
    both = {
        "far_jump_abs", "far_jump_rel", "load_imm", "wide_mul", "wide_mulu", "wide_mulsu",
        "wide_div", "wide_divu", "adc", "sbb",
    }  # fmt: skip
    assert {each.name for each in MOP.of_version(1)} == both
    second = both | {"add3a", "add3b", "add3c", "adcs", "sbbs"}
    assert {each.name for each in MOP.of_version(2)} == second


# What stands behind the head.

ADC = "add a0, a0, a1\n sltu a1, a0, a1\n add a0, a0, a2\n sltu a2, a0, a2\n or a1, a1, a2"


def test_followers_that_cannot_be_decoded_fuse_nothing() -> None:
    assert fused(ADC, 1) is not None
    assert fused(ADC.replace("or a1, a1, a2", ".half 0"), 1) is None
    # What is there matters, not what would be fused there.
    assert fused("lui a0, 1\n .word 0", 1) is None


@pytest.mark.parametrize("gone", ["not executable", "outside memory"])
def test_a_sequence_that_leaves_executable_memory(gone: str) -> None:
    data = assemble(ADC).data
    for missing in range(2, 20, 2):
        pc = BASE + PAGE_SIZE - 20 + missing
        memory = Memory((1 if gone == "outside memory" else 2) * PAGE_SIZE, BASE)
        memory.protect(BASE, PAGE_SIZE, read=True, write=False, execute=True)
        memory.initialise(pc, data[: memory.base + memory.size - pc])
        if missing == 18:
            continue  # the head itself is cut
        operation = fetch_operation(memory, ISAS[1], pc)
        assert not isinstance(operation, Fused)
        assert operation.length == 4


def test_a_sequence_across_a_page_end() -> None:
    for before in range(2, 20, 2):
        pc = BASE + PAGE_SIZE - before
        found = fused(ADC, 2, pc=pc)
        assert found is not None
        assert found.length == 20


def test_an_operation_as_text() -> None:
    found = fused("lui a0, 0x12345\n c.addiw a0, 3", 2)
    assert found is not None
    assert disassemble(found, BASE) == "load_imm { lui a0, 0x12345; c.addiw a0, 3 }"


# Flags and names.


def test_isa_strings() -> None:
    assert Isa.parse("all") == Isa.parse("imcba_mop")
    assert str(Isa.parse("imcb_mop")) == "rv64imc_zba_zbb_zbc_zbs_mop"
    assert Isa.parse(str(Isa.parse("all"))) == Isa.parse("all")
    assert not Isa.parse("imcba").fuses
    assert (Isa.parse("imc").reach, Isa.parse("imc_mop").reach) == (4, LONGEST_FUSED)
    isa = Isa.parse("imc_mop", version=1)
    assert pickle.loads(pickle.dumps(isa)) == isa
    assert not Isa.parse("imcba").decoder.fusions


def test_version_0_does_not_fuse() -> None:
    with pytest.raises(ConfigError, match="InvalidVersion"):
        Isa.parse("imc_mop", version=0)
    with pytest.raises(ConfigError, match="VM version 7"):
        Isa.parse("imc", version=7)


# Definitions that make no sense.

_SPECS = {spec.name: spec for spec in (*rv64i.I.insns, *m.M.insns)}
_SUM = immediate_of(0) + immediate_of(1)


@pytest.mark.parametrize(
    ("members", "options", "problem"),
    [
        ("addx a, b, c\n add a, b, c", {}, "no instruction 'addx'"),
        ("add a, b\n add a, b, c", {}, "has operands 'rd, rs1, rs2'"),
        ("add a, b, xx\n add a, b, c", {}, "neither a role nor a register"),
        ("add a, b, c\n add d, b, c", {"steps": "add e, b, c"}, "no member names e"),
        ("add a, b, c\n add d, b, c", {"nonzero": "e"}, "no member names e"),
        ("add a, b, c\n add d, b, c", {"different": "ae"}, "no member names e"),
        ("add a, b, c\n" * 6, {}, "longer than 20 bytes"),
        ("lw a, imm(b)\n add a, b, c", {}, "lw does more than compute"),
        ("add a, b, c\n jalr d, imm(e)", {}, "a jump must be the only step"),
        ("lui a, imm\n addi a, a, imm", {}, "disagree about an immediate"),
        ("add a, b, c\n add d, a, c", {}, "a: written and read"),
        ("add a, b, c\n add d, t0, c", {}, "a register by name"),
        (
            "lui a, imm\n addi a, a, imm",
            {"steps": "lui a, imm", "immediate": Val(Op.MUL, 64, (_SUM, _SUM))},
            "not made by MUL",
        ),
    ],
)
def test_a_fusion_that_makes_no_sense_is_refused(
    members: str, options: dict[str, object], problem: str
) -> None:
    make: Callable[..., object] = Fusions(rv64i.addi, _SPECS).fuse
    with pytest.raises(DefinitionError, match=problem):
        make("test", Cost.ALU, members, **options)

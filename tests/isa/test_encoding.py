"""Rows in both directions, and exactly which words are instructions."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvjit.isa import DEFAULT_ISA, Insn, Isa, disassemble
from rvjit.isa.encoding import COMPRESSED_BASE, IMMEDIATES, Piece, parse_row
from rvjit.isa.ext import c, rv64i
from rvjit.isa.spec import InsnSpec
from tests.oracle.generate import Form, forms, immediate_range, random_operands, random_word

ALL = forms(DEFAULT_ISA)
NAMES = [form.name for form in ALL]
SEED = 4711


def form_of(insn: Insn) -> Form:
    return insn.spelling or insn.spec


def operands_of(insn: Insn) -> dict[str, int]:
    row = form_of(insn).row
    return {name.rstrip("'"): row.extract(name, insn.word) for name in row.operands}


# Rows.


def test_a_row_says_where_each_bit_is() -> None:
    row = parse_row("imm[12|10:5] rs2 rs1 000 imm[4:1|11] 1100011")
    assert (row.length, row.mask, row.match) == (4, 0x707F, 0x63)
    assert row.operands["imm"] == (
        Piece(31, 1, 12), Piece(25, 6, 5), Piece(8, 4, 1), Piece(7, 1, 11),
    )  # fmt: skip
    assert row.operands["rs2"] == (Piece(20, 5, 0),)
    assert row.immediate == "imm"


def test_ignored_fields_are_no_operands() -> None:
    row = parse_row("00010 aq<1> rl<1> 00000 rs1 010 rd 0101111")
    assert set(row.operands) == {"rs1", "rd"}
    assert row.ignored == {"aq": Piece(26, 1, 0), "rl": Piece(25, 1, 0)}
    assert row.immediate is None


def test_three_bit_registers_count_from_x8() -> None:
    row = parse_row("100 0 11 rd' 00 rs2' 01")
    word = row.insert(rd=15, rs2=8)
    assert word == 0x8F81
    assert (row.extract("rd'", word), row.extract("rs2'", word)) == (15, 8)


# Round trips.


@pytest.mark.parametrize("name", NAMES)
def test_what_is_encoded_decodes_to_the_same(name: str) -> None:
    rng = random.Random(f"{SEED} {name}")
    form = ALL[NAMES.index(name)]
    for _ in range(100):
        try:
            operands = random_operands(rng, form)
            word = form.encode(**operands)
        except ValueError:  # an operand that may not be zero was
            continue
        insn = DEFAULT_ISA.decoder.decode(word)
        assert insn is not None, (name, operands)
        assert insn.length == form.row.length
        if form_of(insn) is form:
            assert operands_of(insn) == operands
        else:  # c.lui sp is c.addi16sp, c.addi zero is c.nop, a fence is one of any kind
            assert form_of(insn).row.more_specific_than(form.row), (name, operands)


@given(st.integers(0, (1 << 32) - 1))
@settings(max_examples=1500, deadline=None)
def test_what_decodes_encodes_to_the_same(word: int) -> None:
    insn = DEFAULT_ISA.decoder.decode(word)
    if insn is None:
        return
    form = form_of(insn)
    ignored = sum(
        form.row.extract(name, word) << piece.low for name, piece in form.row.ignored.items()
    )
    assert form.encode(**operands_of(insn)) | ignored == insn.word
    assert insn.word == (word if insn.length == 4 else word & 0xFFFF)


def test_every_compressed_word_encodes_to_itself() -> None:
    for word in range(1 << 16):
        insn = DEFAULT_ISA.decoder.decode(word) if word & 3 != 3 else None
        if insn is not None:
            assert form_of(insn).encode(**operands_of(insn)) == word


def test_a_compressed_word_is_read_from_the_low_half() -> None:
    low = DEFAULT_ISA.decoder.decode(0x852E)
    assert low is not None
    assert DEFAULT_ISA.decoder.decode(0xFFFF_852E) == low


@pytest.mark.parametrize("name", [form.name for form in c.C.expansions])
def test_a_compressed_form_is_its_base_spelled_out(name: str) -> None:
    # The base, written with the operands that the expansion decodes to, decodes to the same.
    rng = random.Random(f"{SEED} {name}")
    form = next(form for form in c.C.expansions if form.name == name)
    for _ in range(50):
        insn = random_word(rng, form, DEFAULT_ISA)
        values = {"rd": insn.rd, "rs1": insn.rs1, "rs2": insn.rs2}
        operands = {
            key: insn.imm if key in IMMEDIATES else values[key] for key in form.base.row.operands
        }
        long = DEFAULT_ISA.decoder.decode(form.base.encode(**operands))
        assert long is not None
        assert (long.spec, long.rd, long.rs1, long.rs2, long.imm) == (
            insn.spec, insn.rd, insn.rs1, insn.rs2, insn.imm,
        )  # fmt: skip


# What does not fit.


@pytest.mark.parametrize("name", NAMES)
def test_operands_that_do_not_fit_are_refused(name: str) -> None:
    rng = random.Random(f"{SEED} {name}")
    form = ALL[NAMES.index(name)]
    while True:
        good = random_operands(rng, form)
        try:
            form.encode(**good)
        except ValueError:
            continue
        break
    for key in form.row.operands:
        plain = key.rstrip("'")
        bad = [-1, 32, 1 << 40, -(1 << 40)]
        if key in IMMEDIATES:
            choices = immediate_range(form.row)
            bad = [choices.start - choices.step, choices.stop, 1 << 40, -(1 << 40)]
            bad += [choices.start + low for low in range(1, choices.step)][:4]
        elif key.endswith("'"):
            bad += [COMPRESSED_BASE - 1, COMPRESSED_BASE + 8]
        for value in bad:
            with pytest.raises(ValueError, match="does not fit"):
                form.encode(**good | {plain: value})
    with pytest.raises(ValueError, match="no operand"):
        form.encode(**good, rs3=1)


@pytest.mark.parametrize(
    ("name", "operands"),
    [
        ("c.addi4spn", {"rd": 8, "uimm": 0}),
        ("c.addiw", {"rd": 0, "imm": 1}),
        ("c.addi16sp", {"imm": 0}),
        ("c.lui", {"rd": 5, "imm": 0}),
        ("c.lwsp", {"rd": 0, "uimm": 4}),
        ("c.ldsp", {"rd": 0, "uimm": 8}),
        ("c.jr", {"rs1": 0}),
        ("c.jr", {}),
        ("c.jalr", {"rs1": 0}),
        ("c.mv", {"rd": 5, "rs2": 0}),
        ("c.add", {"rd": 5, "rs2": 0}),
    ],
)
def test_reserved_compressed_forms_cannot_be_encoded(name: str, operands: dict[str, int]) -> None:
    form = next(form for form in c.C.expansions if form.name == name)
    with pytest.raises(ValueError, match="may not be zero"):
        form.encode(**operands)


def test_missing_registers_are_x0() -> None:
    assert rv64i.addi.encode(imm=5) == rv64i.addi.encode(rd=0, rs1=0, imm=5) == 0x00500013
    assert rv64i.ecall.encode() == 0x73


# Acceptance, by rules written down apart from the definitions (CKB-VM's, with strict fences).

Table = dict[tuple[int, int], str]

_OP = {
    *((funct3, 0x00) for funct3 in range(8)), (0, 0x20), (5, 0x20),
    *((funct3, 0x01) for funct3 in range(8)),
}  # fmt: skip
_OP_B = {
    (7, 0x20), (6, 0x20), (4, 0x20), (1, 0x30), (5, 0x30), (1, 0x34), (1, 0x14), (1, 0x24),
    (5, 0x24), (2, 0x10), (4, 0x10), (6, 0x10), (1, 0x05), (3, 0x05), (2, 0x05), (4, 0x05),
    (5, 0x05), (6, 0x05), (7, 0x05),
}  # fmt: skip
_OP32 = {(0, 0x00), (1, 0x00), (5, 0x00), (0, 0x20), (5, 0x20)} | {
    (funct3, 0x01) for funct3 in (0, 4, 5, 6, 7)
}
_OP32_B = {(0, 0x04), (1, 0x30), (5, 0x30), (2, 0x10), (4, 0x10), (6, 0x10)}
_AMO = {0b00011, 0b00001, 0b00000, 0b00100, 0b01100, 0b01000, 0b10000, 0b10100, 0b11000, 0b11100}


def valid(word: int, b: bool, a: bool) -> bool:
    """Whether CKB-VM (version 1 and later) takes the 32-bit *word* for an instruction."""
    opcode, funct3, funct7 = word & 0x7F, word >> 12 & 7, word >> 25
    rs2, top6 = word >> 20 & 31, word >> 26
    match opcode:
        case 0x37 | 0x17 | 0x6F:
            return True
        case 0x67:
            return funct3 == 0
        case 0x63:
            return funct3 not in (2, 3)
        case 0x03:
            return funct3 != 7
        case 0x23:
            return funct3 <= 3
        case 0x13:
            return valid_op_imm(funct3, top6, funct7, rs2, b)
        case 0x1B:
            if funct3 == 0:
                return True
            if (funct3, funct7) in {(1, 0), (5, 0), (5, 0x20)}:
                return True
            special = (funct7 == 0x30 and (funct3 == 5 or (funct3 == 1 and rs2 <= 2))) or (
                funct3 == 1 and top6 == 0b000010
            )
            return b and special
        case 0x33:
            return (funct3, funct7) in _OP or (b and (funct3, funct7) in _OP_B)
        case 0x3B:
            zext_h = (funct3, funct7, rs2) == (4, 0x04, 0)
            return (funct3, funct7) in _OP32 or (b and ((funct3, funct7) in _OP32_B or zext_h))
        case 0x0F:
            return word & 0xFFFFF == 0x0000F or word == 0x0000100F
        case 0x73:
            return word in (0x00000073, 0x00100073)
        case 0x2F:
            top5 = word >> 27
            return a and funct3 in (2, 3) and (top5 in _AMO or (top5 == 0b00010 and rs2 == 0))
    return False


def valid_op_imm(funct3: int, top6: int, funct7: int, rs2: int, b: bool) -> bool:
    if funct3 not in (1, 5):
        return True
    if top6 == 0 or (funct3, top6) == (5, 0b010000):
        return True
    if not b:
        return False
    if (funct3, top6) in {
        (1, 0b010010),
        (5, 0b010010),
        (1, 0b011010),
        (1, 0b001010),
        (5, 0b011000),
    }:
        return True
    return (
        ((funct3, funct7) == (1, 0x30) and rs2 in (0, 1, 2, 4, 5))
        or (funct3, funct7, rs2) in {(5, 0x14, 7), (5, 0x35, 24)}
    )  # fmt: skip


def words_near(rng: random.Random, count: int) -> list[int]:
    """Words of known opcodes, of any opcode, and instructions with a bit or two flipped."""
    long = [form for form in ALL if isinstance(form, InsnSpec)]
    opcodes = sorted({form.row.match & 0x7F for form in long})
    words = [rng.getrandbits(25) << 7 | rng.choice(opcodes) for _ in range(count)]
    words += [rng.getrandbits(30) << 2 | 3 for _ in range(count)]
    for _ in range(count):
        word = random_word(rng, rng.choice(long), DEFAULT_ISA).word
        words.append((word ^ 1 << rng.randrange(2, 32) ^ 1 << rng.randrange(2, 32)) & ~0 | 3)
        words.append(word)
    return words


@pytest.mark.parametrize("text", ["imc", "imac", "imcb", "imcba"])
def test_exactly_the_words_of_the_rules_are_instructions(text: str) -> None:
    isa = Isa.parse(text, strict_fences=True)
    b, a = "b" in text, "a" in text
    rng = random.Random(f"{SEED} {text}")
    wrong = [
        f"{word:#010x}"
        for word in words_near(rng, 8000)
        if (isa.decoder.decode(word) is not None) != valid(word, b, a)
    ]
    assert not wrong, f"seed {SEED} {text}: {wrong[:10]}"


@pytest.mark.parametrize("text", ["imc", "imcba"])
def test_every_function_code_is_decided_by_the_rules(text: str) -> None:
    # All opcodes, funct3, funct7 and rs2 fields: the bits that decide, for two register choices.
    isa = Isa.parse(text, strict_fences=True)
    b, a = "b" in text, "a" in text
    for opcode in (0x13, 0x1B, 0x33, 0x3B, 0x2F):
        for upper in range(1 << 12):
            for funct3 in range(8):
                word = upper << 20 | 11 << 15 | funct3 << 12 | 10 << 7 | opcode
                found = isa.decoder.decode(word) is not None
                assert found == valid(word, b, a), hex(word)


def test_fences_with_reserved_fields_are_instructions_unless_strict() -> None:
    strict, free = Isa.parse("imc", strict_fences=True), Isa.parse("imc")
    for word in (0x0FF5000F, 0x0FF0050F, 0x0000108F, 0x0010100F, 0x0005100F):
        assert strict.decoder.decode(word) is None
        insn = free.decoder.decode(word)
        assert insn is not None
        assert (insn.spec.name.split(".")[0], insn.rd) == ("fence", insn.word >> 7 & 31)
        assert insn.spec.effects.values == ()
    for word in (0x0FF0000F, 0x8330000F, 0x0000000F, 0x0000100F):
        for isa in (strict, free):
            assert isa.decoder.decode(word) is not None


@pytest.mark.parametrize(
    "word",
    [
        0x00000003 | 7 << 12,  # a load of nothing
        0x30529073, 0x10500073, 0x30200073, 0xC0002573,  # csrrw, wfi, mret, rdcycle
        0x0000001F, 0x0000007F, 0xFFFFFFFF,  # longer encodings
        0x00000007, 0x00000027, 0x00000053,  # floating point
        0x0815C53B,  # packw: zext.h with rs2 = 1
        0x6985D513, 0x0805C533,  # RV32's rev8 and zext.h
        0x02B51513 | 1 << 30,  # slli with a stray bit
        0x02B5151B,  # slliw by 43
        0x1205A52F | 1 << 20,  # lr with rs2
    ],
)  # fmt: skip
def test_words_that_are_no_instructions(word: int) -> None:
    assert DEFAULT_ISA.decoder.decode(word) is None


# Text.


def test_targets_are_absolute_where_pc_is_known() -> None:
    decode: Callable[[int], Insn | None] = DEFAULT_ISA.decoder.decode
    for word, relative, absolute in (
        (rv64i.jal.encode(rd=1, imm=-4), "jal ra, -4", "jal ra, 0xffc"),
        (rv64i.beq.encode(rs1=1, rs2=2, imm=8), "beq ra, sp, 8", "beq ra, sp, 0x1008"),
        (rv64i.jalr.encode(rd=0, rs1=1), "jalr zero, 0(ra)", "jalr zero, 0(ra)"),
        (rv64i.lui.encode(rd=5, imm=-4096), "lui t0, 0xfffff", "lui t0, 0xfffff"),
        (0xA001, "c.j 0", "c.j 0x1000"),
    ):
        insn = decode(word)
        assert insn is not None
        assert disassemble(insn) == relative
        assert disassemble(insn, 0x1000) == absolute


def test_a_target_before_zero_wraps() -> None:
    insn = DEFAULT_ISA.decoder.decode(rv64i.jal.encode(rd=0, imm=-4))
    assert insn is not None
    assert disassemble(insn, 0) == "jal zero, 0xfffffffffffffffc"

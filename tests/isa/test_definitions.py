"""Definitions that are wrong cannot be made; prices are total; ISA strings mean what they say."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from rvjit.errors import ConfigError, DefinitionError
from rvjit.isa import CKB_PRICES, EXTENSIONS, UNIT_PRICES, Cost, Decoder, Isa, PriceModel
from rvjit.isa.encoding import parse_row
from rvjit.isa.expr import Op, Val, const, select
from rvjit.isa.ext import rv64i
from rvjit.isa.spec import Body, Extension, InsnSpec, Sem, System
from tests.oracle.generate import defined, effects_of

ROW = "0000000 rs2 rs1 000 rd 0110011"
LOAD_ROW = "imm[11:0] rs1 000 rd 0000011"
STORE_ROW = "imm[11:5] rs2 rs1 000 imm[4:0] 0100011"


def define(body: Body, row: str = ROW, syntax: str = "rd, rs1, rs2") -> InsnSpec:
    return Extension("x").insn("test", row, syntax, Cost.ALU)(body)


# Rows.


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("", "has 0 bits"),
        ("0000000 rs2 rs1 000 rd 011001", "has 31 bits"),
        ("00000000 rs2 rs1 000 rd 0110011", "has 33 bits"),
        ("0000000 rs3 rs1 000 rd 0110011", "unknown field"),
        ("0000000 imm rs1 000 rd 0110011", "unknown field"),
        ("0000000 RS2 rs1 000 rd 0110011", "cannot read field"),
        ("0000000 rs2[4:0] rs1 000 rd 0110011", "no immediate"),
        ("0000000 rs1 rs1 000 rd 0110011", "names rs1 twice"),
        ("imm[11:5] rs2 rs1 000 imm[5:1] 0100011", "places a bit of imm twice"),
        ("imm[11:5] rs2 rs1 000 imm[3:0|12] 0100011", "leaves out a bit of imm"),
        ("imm[11:5] rs2 rs1 000 uimm[4:0] 0100011", "two immediates"),
        ("imm[0:6] rs2 rs1 000 imm[4:0] 0100011", "run upwards"),
        ("imm[] rs2 rs1 000 imm[4:0] 0100011", "cannot read field"),
        ("imm[:] rs2 rs1 000 imm[4:0] 0100011", "cannot read the bits"),
        ("imm[11:8:5] rs2 rs1 000 imm[4:0] 0100011", "cannot read the bits"),
        ("imm[11|] rs2 rs1 000 imm[4:0] 0100011", "cannot read the bits"),
        ("0000000 rs2 rs1 000 rd 0110010", "do not fit 32 bits"),
        ("100 0 rd rs2 11", "do not fit 16 bits"),
        ("0000000 rs2 rs1 000 rd aq<2> 10011", "does not fix its opcode"),
        ("imm[2:0] 0 rd rs2 10", "does not fix its opcode"),
    ],
)
def test_a_malformed_row_is_refused(row: str, problem: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape(problem)):
        parse_row(row)


# Bodies.


def body_error(body: Body, problem: str, row: str = ROW, syntax: str = "") -> None:
    with pytest.raises(DefinitionError, match=problem):
        define(body, row, syntax)


def assign(make: Callable[[Sem], Val]) -> Body:
    def body(s: Sem) -> None:
        s.rd = make(s)

    return body


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda s: s.rs1 + s.rs2.trunc(32), "widths differ: 64 and 32"),
        (lambda s: s.rs1.trunc(32), "writes 32 bits to rd"),
        (lambda s: s.rs1.eq(s.rs2), "writes 1 bits to rd"),
        (lambda s: s.rs1.trunc(64), "trunc from 64 to 64"),
        (lambda s: s.rs1.trunc(32).trunc(33), "trunc from 32 to 33"),
        (lambda s: s.rs1.zext(), "zext from 64 to 64"),
        (lambda s: s.rs1.trunc(32).sext(16), "sext from 32 to 16"),
        (lambda s: select(s.rs1, s.rs1, s.rs2), "the condition must be one bit"),
        (lambda s: select(s.rs1.eq(0), 1, 2), "two plain ints"),
        (lambda s: select(s.rs1.eq(0), s.rs1, s.rs2.trunc(8)), "widths differ"),
        (lambda s: s.rs1 if s.rs1.eq(s.rs2) else s.rs2, "no truth value"),
        (lambda s: s.rs1 and s.rs2, "no truth value"),
        (lambda s: s.rs1 if s.rs1 == s.rs2 else s.rs2, "no =="),
        (lambda s: s.rs1 if s.rs1 != 0 else s.rs2, "no =="),
        (lambda s: s.rs1 if s.rs1 in (s.rs2, 1) else s.rs2, "no =="),
        (lambda s: s.imm, "has no immediate"),
        (lambda s: s.rd, "reads rd"),
        (lambda s: s.load(s.rs1, 3).zext(), "accesses 3 bytes"),
        (lambda s: s.load(s.rs1.trunc(32), 4).sext(), "32-bit address"),
        (lambda s: Val(Op.LOADED, 64), "loaded value without a load"),
        (lambda s: Val(Op.SC_OK, 1).zext(), "store-conditional it does not make"),
    ],
)
def test_a_body_that_makes_no_sense_is_refused(make: Callable[[Sem], Val], problem: str) -> None:
    body_error(assign(make), problem)


@pytest.mark.parametrize("compare", [lambda a, b: a < b, lambda a, b: a >= b, lambda a, b: 1 - b])
def test_operators_without_a_meaning_are_refused(compare: Callable[[Val, Val], Val]) -> None:
    with pytest.raises(TypeError):
        define(assign(lambda s: compare(s.rs1, s.rs2)))


def test_an_operand_that_the_row_lacks_is_refused() -> None:
    body_error(assign(lambda s: s.rs2), "has no operand rs2", LOAD_ROW)
    body_error(lambda s: s.store(s.rs2, s.rs1), "has no operand rs2", LOAD_ROW)
    body_error(assign(lambda s: s.rs1), "has no operand rd", STORE_ROW)
    body_error(assign(lambda s: s.rs1), "has no operand rs1", "imm[31:12] rd 0110111")


def test_writing_twice_is_refused() -> None:
    def rd(s: Sem) -> None:
        s.rd = s.rs1
        s.rd = s.rs2

    def load(s: Sem) -> None:
        s.rd = s.load(s.rs1, 8) + s.load(s.rs2, 8)

    def store(s: Sem) -> None:
        s.store(s.rs1, s.rs2)
        s.store(s.rs2, s.rs1)

    def jump(s: Sem) -> None:
        s.jump(s.pc)
        s.jump(s.rs1)

    def system(s: Sem) -> None:
        s.system(System.ECALL)
        s.system(System.EBREAK)

    body_error(rd, "makes rd twice")
    body_error(load, "makes a load twice")
    body_error(store, "makes a store twice")
    body_error(jump, "makes a jump twice")
    body_error(system, "makes a system request twice")


def test_effects_that_exclude_each_other_are_refused() -> None:
    def copy(s: Sem) -> None:
        s.store(s.rs1, s.load(s.rs2, 8))

    def load_and_jump(s: Sem) -> None:
        s.jump(s.load(s.rs1, 8))

    def system_and_write(s: Sem) -> None:
        s.system(System.ECALL)
        s.rd = s.rs1

    body_error(copy, "without being an AMO")
    body_error(load_and_jump, "jumps and accesses memory")
    body_error(system_and_write, "may do nothing else")


def test_widths_of_stores_and_jumps_are_checked() -> None:
    body_error(lambda s: s.store(s.rs1, s.rs2.trunc(12)), "stores 12 bits in 1 bytes", STORE_ROW)
    body_error(lambda s: s.store(s.rs1, s.rs2.eq(0)), "accesses 0 bytes", STORE_ROW)
    body_error(lambda s: s.jump(s.rs1.trunc(32)), "jumps to a 32-bit address")
    body_error(lambda s: s.jump(s.rs1, s.rs2), "condition that is not one bit")


def test_a_syntax_names_only_what_the_row_has() -> None:
    body_error(assign(lambda s: s.rs1), "syntax names .'rs3'", syntax="rd, rs1, rs3")
    body_error(assign(lambda s: s.rs1), "syntax names .'imm'", syntax="rd, imm(rs1)")
    assert define(assign(lambda s: s.rs1), LOAD_ROW, "rd, imm(rs1)").syntax == "rd, imm(rs1)"


def test_a_refused_instruction_leaves_nothing_behind() -> None:
    extension = Extension("x")
    with pytest.raises(DefinitionError):
        extension.insn("test", ROW, "", Cost.ALU)(assign(lambda s: s.imm))
    assert extension.insns == []


# Compressed forms.


@pytest.mark.parametrize(
    ("row", "syntax", "operands", "problem"),
    [
        ("100 1 rd rs2 10", "rd, rs2", {"rd": "rd", "rs1": "rd"}, "add needs"),
        ("100 1 rd rs2 10", "", {"rd": "rd", "rs1": 0, "rs2": "rs2", "imm": 0}, "add needs"),
        ("100 1 rd rs2 10", "", {"rd": "rd", "rs1": "rs1", "rs2": "rs2"}, "has no rs1"),
        ("100 1 rd rs2 10", "rd, imm", {"rd": "rd", "rs1": "rd", "rs2": "rs2"}, "syntax names"),
        ("100 1 rd rs2 11", "", {}, "do not fit 16 bits"),
    ],
)
def test_a_malformed_compressed_form_is_refused(
    row: str, syntax: str, operands: dict[str, str | int], problem: str
) -> None:
    with pytest.raises(DefinitionError, match=problem):
        Extension("x").expand("c.test", row, syntax, rv64i.add, **operands)


def test_operands_that_may_not_be_zero_are_the_rows_own() -> None:
    with pytest.raises(DefinitionError, match="has no imm"):
        Extension("x").expand(
            "c.test", "100 1 rd rs2 10", "", rv64i.add, ("imm",), rd="rd", rs1="rd", rs2="rs2"
        )


# Overlaps.


def extension_of(*rows: str) -> Extension:
    extension = Extension("x")
    for number, row in enumerate(rows):
        extension.insn(f"test{number}", row, "", Cost.ALU)(lambda s: None)
    return extension


@pytest.mark.parametrize(
    "rows",
    [
        (ROW, ROW),
        ("0000000 rs2 00000 000 rd 0110011", "0000000 00000 rs1 000 rd 0110011"),
        ("0000000 rs2 rs1 000 rd 0110011", "0000000 aq<5> rs1 000 rd 0110011"),
    ],
)
def test_rows_that_overlap_without_an_order_are_refused(rows: tuple[str, str]) -> None:
    with pytest.raises(DefinitionError, match="overlap"):
        Decoder([extension_of(*rows)])


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_rows_the_more_special_wins(turned: bool) -> None:
    general, special = ROW, "0000000 00000 rs1 000 rd 0110011"
    rows = (special, general) if turned else (general, special)
    decoder = Decoder([extension_of(*rows)])
    for word, row in ((0x00058533, special), (0x00C58533, general)):
        insn = decoder.decode(word)
        assert insn is not None
        assert insn.spec.row.text == row


# What a body may rely on.


def test_constants_are_taken_modulo_the_width() -> None:
    assert const(-1, 8).payload == 0xFF
    assert (const(0) & ~1).args[1].payload == (1 << 64) - 2


def test_values_are_told_apart_by_identity() -> None:
    first, second = const(1), const(1)
    assert len({first: 1, second: 2}) == 2


def test_every_definition_is_documented_and_effects_are_plain() -> None:
    for extension in EXTENSIONS:
        for spec in extension.insns:
            assert spec.doc.strip(), spec.name
            assert spec.effects.ends_block == bool(spec.effects.jump or spec.effects.system)


# Prices.


def test_both_models_price_every_class() -> None:
    for model in (UNIT_PRICES, CKB_PRICES):
        assert all(model[cost] >= 1 for cost in Cost)
    assert {UNIT_PRICES[cost] for cost in Cost} == {1}


def test_every_class_prices_something() -> None:
    used = {spec.cost for extension in EXTENSIONS for spec in extension.insns}
    assert used == set(Cost)


@pytest.mark.parametrize(
    ("name", "price"),
    # CKB-VM's cost_model.rs, read by a person.
    [
        ("add", 1), ("lui", 1), ("auipc", 1), ("fence", 1), ("fence.i", 1),
        ("mul", 5), ("mulh", 5), ("mulhsu", 5), ("mulhu", 5), ("mulw", 5),
        ("div", 32), ("divu", 32), ("rem", 32), ("remu", 32),
        ("divw", 32), ("divuw", 32), ("remw", 32), ("remuw", 32),
        ("lb", 3), ("lbu", 3), ("lh", 3), ("lhu", 3), ("lw", 3), ("lwu", 3), ("ld", 2),
        ("sb", 3), ("sh", 3), ("sw", 3), ("sd", 2),
        ("beq", 3), ("bne", 3), ("blt", 3), ("bge", 3), ("bltu", 3), ("bgeu", 3),
        ("jal", 3), ("jalr", 3), ("ecall", 500), ("ebreak", 500),
        ("lr.w", 4), ("sc.w", 4), ("amoadd.w", 4), ("lr.d", 3), ("sc.d", 3), ("amomaxu.d", 3),
        ("clmul", 1), ("cpop", 1), ("sh3add", 1), ("bext", 1),
        ("c.ld", 2), ("c.lwsp", 3), ("c.j", 3), ("c.beqz", 3), ("c.jr", 3), ("c.sdsp", 2),
        ("c.add", 1), ("c.nop", 1), ("c.ebreak", 500),
    ],
)  # fmt: skip
def test_ckb_prices(name: str, price: int) -> None:
    form = next(form for each in EXTENSIONS for form in defined(each) if form.name == name)
    spec = form if isinstance(form, InsnSpec) else form.base
    assert CKB_PRICES[spec.cost] == price


@pytest.mark.parametrize("cost", list(Cost))
def test_a_price_model_without_a_class_is_refused(cost: Cost) -> None:
    prices = {each: 1 for each in Cost if each is not cost}
    with pytest.raises(ConfigError, match=f"no price for {cost.value}$"):
        PriceModel("gap", prices)


@pytest.mark.parametrize("price", [0, -1, (1 << 32) + 1, 1.5, "1", None])
def test_a_price_outside_its_range_is_refused(price: object) -> None:
    prices = dict.fromkeys(Cost, 1) | {Cost.MUL: price}
    with pytest.raises(ConfigError, match="mul"):
        PriceModel("bad", prices)  # type: ignore[arg-type]


def test_a_price_for_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown classes"):
        PriceModel("odd", dict.fromkeys(Cost, 1) | {"alu": 1})  # type: ignore[dict-item]


def test_the_ends_of_the_price_range_are_allowed() -> None:
    model = PriceModel("wide", dict.fromkeys(Cost, 1 << 32) | {Cost.ALU: 1})
    assert (model[Cost.ALU], model[Cost.DIV]) == (1, 1 << 32)


def test_prices_cannot_change_afterwards() -> None:
    prices = dict.fromkeys(Cost, 1)
    model = PriceModel("copy", prices)
    prices[Cost.ALU] = 9
    assert model[Cost.ALU] == 1
    with pytest.raises(TypeError):
        model.prices[Cost.ALU] = 2  # type: ignore[index]


# ISA strings.


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("imc", "rv64imc"),
        ("cmi", "rv64imc"),
        ("IMC", "rv64imc"),
        ("rv64imac", "rv64imac"),
        ("imcba", "rv64imac_zba_zbb_zbc_zbs"),
        ("RV64IMCB", "rv64imc_zba_zbb_zbc_zbs"),
        ("imac_zba_zbb", "rv64imac_zba_zbb"),
        ("imac_zbs_zba", "rv64imac_zba_zbs"),
        ("imcb_zbb", "rv64imc_zba_zbb_zbc_zbs"),
        ("rv64imcba_zicond", "rv64imac_zba_zbb_zbc_zbs_zicond"),
    ],
)
def test_isa_strings(text: str, canonical: str) -> None:
    isa = Isa.parse(text)
    assert str(isa) == canonical
    assert Isa.parse(str(isa)) == isa


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "nothing named"),
        ("rv64", "nothing named"),
        ("_zba", "nothing named"),
        ("imc_", "known are"),
        ("imfc", "f: known are"),
        ("rv64gc", "g: known are"),
        ("rv32imc", "2, 3, r, v"),
        ("imc_zbkb", "zbkb: known are"),
        ("imc_fence_any", "any, fence"),
        ("im", "lacks c"),
        ("ac", "lacks i, m"),
        ("imczba", "z: known are"),
        ("imc zba", "known are"),
    ],
)
def test_isa_strings_that_are_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(problem)):
        Isa.parse(text)


def test_extensions_decode_only_where_they_are_named() -> None:
    # add.uw, clz, clmul, bset, amoadd.w, czero.eqz: a0, a1, (a2)
    words = {
        "zba": 0x08C5853B, "zbb": 0x60059513, "zbc": 0x0AC59533, "zbs": 0x28C59533,
        "a": 0x00B6252F, "zicond": 0x0EC5D533,
    }  # fmt: skip
    for name, word in words.items():
        assert Isa.parse("imc").decoder.decode(word) is None, name
        for other in words:
            found = Isa.parse(f"imc_{other}").decoder.decode(word)
            assert (found is not None) == (name == other), (name, other)


def test_equal_isas_share_their_decoder() -> None:
    assert Isa.parse("imcb").decoder is Isa.parse("cmi_zba_zbb_zbc_zbs").decoder
    assert Isa.parse("imc").decoder is not Isa.parse("imc", strict_fences=True).decoder


def test_compressed_forms_have_the_effects_of_their_base() -> None:
    for extension in EXTENSIONS:
        for form in extension.expansions:
            assert effects_of(form) is form.base.effects

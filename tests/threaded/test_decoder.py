"""The native decoder against `rvjit.isa.decode`: every halfword, and words of every kind."""

from __future__ import annotations

import ctypes
import random
from array import array
from collections.abc import Iterable
from functools import lru_cache

import pytest

from rvjit.codegen import threaded_abi as abi
from rvjit.codegen.arena import Arena
from rvjit.codegen.llvm import compiler
from rvjit.codegen.threaded import ThreadedPlan, compile_threaded, make_plan
from rvjit.codegen.threaded_decoder import AT_ENDS, AT_LENGTH, AT_OFFSET, AT_REGISTERS, Kind
from rvjit.codegen.threaded_handlers import form_of
from rvjit.isa import Isa
from rvjit.machine.rules import Rules
from tests.oracle.generate import forms, random_word

RULES = {
    "linux": Rules(isa=Isa.parse("imcba_zicond")),
    "ckb": Rules(isa=Isa.parse("imcba", strict_fences=True), ebreak_stops=False),
    "least": Rules(isa=Isa.parse("imc")),
    "few": Rules(isa=Isa.parse("imac_zbb")),
}

_arena = Arena()
_RETURN = 1


@lru_cache
def native(name: str):
    blob = compile_threaded(RULES[name], compiler(), counts=False)
    address = _arena.place(blob.code) + blob.symbols["decode_words"]
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64)(address)


@lru_cache
def plan_of(name: str) -> ThreadedPlan:
    return make_plan(RULES[name])


def decode(name: str, words: list[int]) -> list[tuple[int, int]]:
    given = array("I", words)
    found = array("Q", bytes(16 * len(words)))
    native(name)(given.buffer_info()[0], found.buffer_info()[0], len(words))
    return list(zip(found[::2], found[1::2], strict=True))


def expected(name: str, word: int) -> tuple[int, int]:
    insn = RULES[name].isa.decoder.decode(word)
    if insn is None:
        return 0, 0
    choice = plan_of(name).choices[form_of(insn.spelling or insn.spec)]
    added = 0
    if choice.kind is not Kind.PLAIN:
        back = insn.rs1 != _RETURN if choice.kind is Kind.INDIRECT else insn.imm <= 0
        added = 2 if insn.rd and choice.kind is not Kind.BRANCH else int(back)
    scale = 1 << abi.RECORD_SHIFT if choice.kind in (Kind.BRANCH, Kind.JUMP) else 1
    first = (
        choice.number + added
        | (insn.rd or abi.SINK) << AT_REGISTERS
        | insn.rs1 << AT_REGISTERS + 8
        | insn.rs2 << AT_REGISTERS + 16
        | insn.length << AT_LENGTH
        | choice.ends << AT_ENDS
        | choice.offset << AT_OFFSET
    )
    return first, insn.imm * scale & (1 << 64) - 1


def check(name: str, words: Iterable[int]) -> None:
    given = list(words)
    for word, found in zip(given, decode(name, given), strict=True):
        assert found == expected(name, word), f"{name}: {word:#010x}"


@pytest.mark.parametrize("name", RULES)
def test_every_halfword(name: str) -> None:
    """What follows a compressed instruction in the word changes nothing."""
    rng = random.Random(7)
    check(name, (word | rng.getrandbits(16) << 16 for word in range(1 << 16) if word & 3 != 3))


@pytest.mark.parametrize("name", RULES)
def test_words_of_every_form(name: str) -> None:
    """Operands of each form, and the same words with a bit or two flipped."""
    rng = random.Random(8)
    isa = RULES[name].isa
    words = []
    for form in forms(Isa.parse("imcba_zicond")):
        for _ in range(60):
            word = random_word(rng, form, Isa.parse("imcba_zicond")).word
            words += [word, word ^ 1 << rng.randrange(32)]
            words.append(word ^ 1 << rng.randrange(32) ^ 1 << rng.randrange(32))
    assert isa.decoder.forms
    check(name, words)


@pytest.mark.parametrize("name", RULES)
def test_random_words(name: str) -> None:
    rng = random.Random(9)
    check(name, (rng.getrandbits(32) | 3 for _ in range(100_000)))


@pytest.mark.slow
def test_many_random_words() -> None:
    rng = random.Random(10)
    opcodes = sorted({form.row.match & 0x7F for form in forms(RULES["linux"].isa)})
    for _ in range(20):
        check("linux", (rng.getrandbits(32) | 3 for _ in range(100_000)))
        check("linux", (rng.getrandbits(25) << 7 | rng.choice(opcodes) for _ in range(100_000)))

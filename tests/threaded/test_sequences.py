"""Every handler of two instructions does what the two do, under every limit."""

from __future__ import annotations

import ctypes
import random
from dataclasses import replace

import pytest

from rvjit.codegen import threaded_abi as abi
from rvjit.codegen.threaded import Double, make_plan
from rvjit.codegen.threaded_handlers import Form, Watch, form_of, is_direct
from rvjit.isa.spec import Expansion, InsnSpec
from rvjit.machine.pages import PAGE_SIZE
from rvjit.machine.stop import Stop
from rvjit.threaded.engine import Threaded
from tests.differential.rig import CKB, LINUX, Guest, Part, Rig
from tests.engines.assemble import word
from tests.oracle.generate import random_value, random_word

BASE = 0x10000
CODE = BASE + PAGE_SIZE
DATA = BASE + 3 * PAGE_SIZE
SIZE = 6 * PAGE_SIZE
NOPS = 80  # bytes of nops before and after the pair, for branches to lead into
FAR = 60

PLAN = make_plan(LINUX)


def spellings(form: Form) -> list[InsnSpec | Expansion]:
    """The encodings of what has the handlers of *form*."""
    plain = replace(form, watch=Watch.NOTHING, links=False)
    return [each for each in LINUX.isa.decoder.forms if form_of(each) == plain]


def find_words(rng: random.Random, double: Double) -> tuple[int, int] | None:
    """Two instructions that get the handler of *double*; None where luck did not find any."""
    first, second = PLAN.singles[double.first], PLAN.singles[double.second]
    registers = (0, 1, 5, 8, 9, 10, 11)
    for _ in range(4000):
        one, two = (
            random_word(rng, rng.choice(spellings(form)), LINUX.isa, registers)
            for form in (first, second)
        )
        forwards = (one.rd == two.rs1) | (one.rd == two.rs2) << 1 if one.rd else 0
        wanted = forwards == double.forwards
        effects = two.spec.effects
        if effects.jump is not None:
            direct = is_direct(effects)
            if direct:
                wanted &= -NOPS <= two.imm <= NOPS - 8
            if effects.jump.condition is None:
                wanted &= bool(two.rd) == second.links
            if direct and not second.links:
                wanted &= (two.imm <= 0) == (second.watch is Watch.COUNT)
            elif not second.links:
                wanted &= (two.rs1 == 1) == (second.watch is Watch.LIMIT)
        if wanted:
            return one.word, two.word
    return None


def guest_of(rng: random.Random, words: tuple[int, int], double: Double, rules, seed: str) -> Guest:
    lengths = [PLAN.singles[number].length for number in (double.first, double.second)]
    nop = word("c.nop").to_bytes(2, "little")
    pair = b"".join(w.to_bytes(n, "little") for w, n in zip(words, lengths, strict=True))
    code = nop * (NOPS // 2) + pair + nop * (NOPS // 2) + word("ecall").to_bytes(4, "little")
    registers = [random_value(rng) if number else 0 for number in range(32)]
    pointers = [DATA, DATA + 2 * PAGE_SIZE - 8, DATA + PAGE_SIZE - 4, CODE + NOPS, CODE, BASE]
    for number in (1, 5, 8, 9, 10, 11):
        if rng.random() < 0.8:
            registers[number] = rng.choice(pointers) + rng.choice((0, 0, 0, 1, 4, -2040, -16))
    return Guest(
        parts=(Part(CODE, code, "rwx"), Part(DATA, rng.randbytes(2 * PAGE_SIZE), "rw")),
        pc=CODE + NOPS,
        registers=tuple(value & (1 << 64) - 1 for value in registers),
        base=BASE,
        size=SIZE,
        rules=rules,
        reproduce=seed,
    )


def handler_at(engine: Threaded, pc: int) -> int:
    """Number of the handler in the record of *pc*."""
    slot = engine._records._slot(pc)
    offset = engine._records._records[slot * abi.RECORD_BYTES // 4]
    table = (ctypes.c_uint32 * len(PLAN.symbols)).from_address(engine._context.handlers)
    return list(table).index(offset)


@pytest.mark.parametrize("rules", [LINUX, CKB], ids=["linux", "ckb"])
def test_pairs_do_what_their_parts_do(rules) -> None:
    rng = random.Random(3)
    missed = []
    for double in PLAN.doubles:
        words = find_words(rng, double)
        if words is None:
            missed.append(double)
            continue
        if rules.isa.decoder.decode(words[0]) is None or rules.isa.decoder.decode(words[1]) is None:
            continue
        for _ in range(2):
            guest = guest_of(rng, words, double, rules, f"{double} {words[0]:#x} {words[1]:#x}")
            rig = Rig(guest, first_name="threaded")
            stop = Stop.CYCLE_LIMIT
            limit = 0
            while stop is Stop.CYCLE_LIMIT and limit < FAR:
                limit += 1
                stop = rig.run(limit)
            rig.reset()
            rig.run(FAR)
    assert len(missed) < len(PLAN.doubles) // 20, missed


def test_the_decoder_chooses_pairs() -> None:
    """Records get the handlers of pairs, and lose them where the second part has a breakpoint."""
    rng = random.Random(4)
    for double, number in rng.sample(list(PLAN.doubles.items()), 12):
        words = find_words(rng, double)
        if words is None or PLAN.singles[double.second].spec.effects.jump is not None:
            continue
        rig = Rig(guest_of(rng, words, double, LINUX, str(double)), first_name="threaded")
        engine = rig.engines[0]
        assert isinstance(engine, Threaded)
        pc = rig.guest.pc
        machine = rig.machines[0]
        machine.cycle_limit = 0
        assert engine.run() is Stop.CYCLE_LIMIT
        assert handler_at(engine, pc) == number
        machine.breakpoints = frozenset({pc + PLAN.singles[double.first].length})
        assert engine.run() is Stop.CYCLE_LIMIT
        assert handler_at(engine, pc) == double.first

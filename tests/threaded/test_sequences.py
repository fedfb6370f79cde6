"""Every handler of several instructions does what these do, under every limit."""

from __future__ import annotations

import ctypes
import itertools
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from rvjit.codegen import threaded_abi as abi
from rvjit.codegen.threaded import make_plan
from rvjit.codegen.threaded_handlers import Form, Watch, form_of, is_direct
from rvjit.isa import Insn
from rvjit.isa.spec import Expansion, InsnSpec
from rvjit.machine.pages import PAGE_SIZE
from rvjit.machine.rules import Rules
from rvjit.machine.stop import Stop
from rvjit.threaded.engine import Threaded
from tests.differential.rig import CKB, LINUX, V0, Guest, Part, Rig
from tests.engines.assemble import assemble, word
from tests.oracle.generate import random_value, random_word

BASE = 0x10000
CODE = BASE + PAGE_SIZE
DATA = BASE + 3 * PAGE_SIZE
SIZE = 6 * PAGE_SIZE
NOPS = 80  # bytes of nops before and after the pair, for branches to lead into
FAR = 60

PLAN = make_plan(LINUX)
LONGER = {number: longer for longer, number in PLAN.longer.items()}
SEQUENCES = [number for number in LONGER if PLAN.symbols[number]]


def spellings(form: Form) -> list[InsnSpec | Expansion]:
    """The encodings of what has the handlers of *form*."""
    plain = replace(form, watch=Watch.NOTHING, links=False)
    return [each for each in LINUX.isa.decoder.forms if form_of(each) == plain]


def parts_of(number: int) -> list[tuple[Form, int]]:
    """The forms that the handler *number* runs, each with what it has from the one before."""
    if number in PLAN.singles:
        return [(PLAN.singles[number], 0)]
    longer = LONGER[number]
    return [*parts_of(longer.before), (PLAN.singles[longer.last], longer.forwards)]


def find_words(rng: random.Random, number: int) -> list[int] | None:
    """Instructions that get the handler *number*; None where luck did not find any."""
    parts = parts_of(number)
    for _ in range(20):
        found: list[Insn] = []
        for form, forwards in parts:
            insn = next((i for i in draw(rng, form) if fits(i, form, found, forwards)), None)
            if insn is None:
                break
            found.append(insn)
        else:
            return [insn.word for insn in found]
    return None


def draw(rng: random.Random, form: Form) -> Iterator[Insn]:
    """Yield random instructions of *form*, whatever their kind of transfer."""
    encodings = spellings(form)
    for _ in range(400):
        yield random_word(rng, rng.choice(encodings), LINUX.isa, (0, 1, 2, 5, 8, 9, 10, 11))


def fits(insn: Insn, form: Form, earlier: list[Insn], forwards: int) -> bool:
    """Whether *insn* gets the handler of *form* behind *earlier*, and leads to somewhere."""
    rd = earlier[-1].rd if earlier else 0
    wanted = ((rd == insn.rs1) | (rd == insn.rs2) << 1 if rd else 0) == forwards
    jump = form.spec.effects.jump
    if jump is None:
        return wanted
    if is_direct(form.spec.effects):
        wanted &= -NOPS <= insn.imm <= NOPS - 8
    if jump.condition is not None:
        return wanted & ((insn.imm <= 0) == (form.watch is Watch.COUNT))
    wanted &= bool(insn.rd) == form.links
    if form.links:
        return wanted
    if is_direct(form.spec.effects):
        return wanted & ((insn.imm <= 0) == (form.watch is Watch.COUNT))
    return wanted & ((insn.rs1 == 1) == (form.watch is Watch.LIMIT))


def guest_of(rng: random.Random, words: list[int], number: int, rules: Rules) -> Guest:
    lengths = [form.length for form, _ in parts_of(number)]
    nop = word("c.nop").to_bytes(2, "little")
    parts = b"".join(w.to_bytes(n, "little") for w, n in zip(words, lengths, strict=True))
    code = nop * (NOPS // 2) + parts + nop * (NOPS // 2) + word("ecall").to_bytes(4, "little")
    registers = [random_value(rng) if number else 0 for number in range(32)]
    pointers = [DATA, DATA + 2 * PAGE_SIZE - 8, DATA + PAGE_SIZE - 4, CODE + NOPS, CODE, BASE]
    for register in (1, 2, 5, 8, 9, 10, 11):
        if rng.random() < 0.8:
            registers[register] = rng.choice(pointers) + rng.choice((0, 0, 0, 1, 4, -2040, -16))
    return Guest(
        parts=(Part(CODE, code, "rwx"), Part(DATA, rng.randbytes(2 * PAGE_SIZE), "rw")),
        pc=CODE + NOPS,
        registers=tuple(value & (1 << 64) - 1 for value in registers),
        base=BASE,
        size=SIZE,
        rules=rules,
        reproduce=f"{PLAN.symbols[number]}: {[hex(word) for word in words]}",
    )


def handler_at(engine: Threaded, pc: int) -> int:
    """Number of the handler in the record of *pc*."""
    slot = engine._records._slot(pc)
    offset = engine._records._records[slot * abi.RECORD_BYTES // 4]
    table = (ctypes.c_uint32 * len(PLAN.symbols)).from_address(engine._context.handlers)
    return list(table).index(offset)


@pytest.mark.parametrize(("rules", "each"), [(LINUX, 1), (CKB, 4)], ids=["linux", "ckb"])
def test_sequences_do_what_their_parts_do(rules: Rules, each: int) -> None:
    rng = random.Random(3)
    missed = []
    for number in SEQUENCES[::each]:
        words = find_words(rng, number)
        if words is None:
            missed.append(number)
            continue
        if any(rules.isa.decoder.decode(bits) is None for bits in words):
            continue
        guest = guest_of(rng, words, number, rules)
        rig = Rig(guest, first_name="threaded")
        stop = Stop.CYCLE_LIMIT
        limit = 0
        while stop is Stop.CYCLE_LIMIT and limit < FAR:
            limit += 1
            stop = rig.run(limit)
        for _ in range(3):
            rig = Rig(guest_of(rng, words, number, rules), first_name="threaded")
            rig.run(FAR)
    assert len(missed) < len(SEQUENCES) // (20 * each), missed


def test_the_decoder_chooses_sequences() -> None:
    """Records get the handlers of sequences, and shorter ones where there is a breakpoint."""
    rng = random.Random(4)
    for number in rng.sample(SEQUENCES, 24):
        longer = LONGER[number]
        words = find_words(rng, number)
        if words is None or PLAN.singles[longer.last].spec.effects.jump is not None:
            continue
        rig = Rig(guest_of(rng, words, number, LINUX), first_name="threaded")
        engine = rig.engines[0]
        assert isinstance(engine, Threaded)
        pc = rig.guest.pc
        machine = rig.machines[0]
        machine.cycle_limit = 0
        assert engine.run() is Stop.CYCLE_LIMIT
        assert handler_at(engine, pc) == number
        lengths = [form.length for form, _ in parts_of(longer.before)]
        machine.breakpoints = frozenset({pc + sum(lengths)})
        assert engine.run() is Stop.CYCLE_LIMIT
        shorter = longer.before
        while not PLAN.symbols[shorter]:
            shorter = LONGER[shorter].before
        assert handler_at(engine, pc) == shorter


@pytest.mark.parametrize("part", range(1, abi.LONGEST_SEQUENCE))
def test_code_that_changes_under_a_sequence(part: int) -> None:
    """A store over any later instruction of a sequence is seen when it is entered again."""
    number = next(n for n in SEQUENCES if len(parts_of(n)) == abi.LONGEST_SEQUENCE)
    rng = random.Random(5)
    words = find_words(rng, number)
    assert words is not None
    guest = guest_of(rng, words, number, LINUX)
    lengths = [form.length for form, _ in parts_of(number)]
    rig = Rig(guest, first_name="threaded")
    rig.run(FAR)
    for machine in rig.machines:
        at = guest.pc + sum(lengths[:part])
        machine.memory.write(at, word("c.nop").to_bytes(2, "little") * (lengths[part] // 2))
        machine.pc = guest.pc
    rig.run(2 * FAR)


@pytest.mark.parametrize(
    "name", ["lb", "lbu", "lh", "lhu", "lw", "lwu", "ld", "sb", "sh", "sw", "sd"]
)
def test_accesses_at_the_end_of_the_window(name: str) -> None:
    """By handlers of one instruction and of two; the last bytes are checked out of the way."""
    rng = random.Random(6)
    for rules, distance in itertools.product((LINUX, V0), range(-18, 4)):
        source = f"{name} a1, 8(a0)\n {name} a2, 8(a0)\n ecall"
        registers = [random_value(rng) if number else 0 for number in range(32)]
        registers[10] = BASE + SIZE - 8 + distance
        last = SIZE - PAGE_SIZE
        guest = Guest(
            parts=(
                Part(CODE, assemble(source, CODE).data, "rx"),
                Part(BASE + last, rng.randbytes(PAGE_SIZE), "rw"),
            ),
            pc=CODE,
            registers=tuple(registers),
            base=BASE,
            size=SIZE,
            rules=rules,
            reproduce=f"{name} at {distance} from the end",
        )
        for limits in ((FAR,), (1, 2, FAR)):
            rig = Rig(guest, first_name="threaded")
            for limit in limits:
                rig.run(limit)

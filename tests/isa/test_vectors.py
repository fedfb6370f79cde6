"""The vectors typed from the manual: decoding, text, encoding, and what each instruction does."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache

import pytest

import rvjit.engines
from rvjit.isa import Isa, disassemble
from rvjit.machine.engine import Engine
from rvjit.machine.layout import NO_RESERVATION
from rvjit.machine.machine import Machine
from rvjit.machine.memory import Memory
from rvjit.machine.rules import Rules
from rvjit.machine.stop import Stop
from tests.isa.vectors import CODE, FOLDER, State, Vector, load
from tests.oracle.batch import make_batch
from tests.oracle.generate import Form, forms
from tests.oracle.on_engine import run_engine
from tests.oracle.vector_cases import disagreements, straight_vectors

ISA = Isa.parse("imcba_zicond")
WINDOW, WINDOW_SIZE = 0x10000, 0x80000
DATA, DATA_SIZE = 0x20000, 0x3000
FILES = sorted(path.name for path in FOLDER.glob("*.txt"))


@lru_cache(maxsize=1)
def vectors() -> tuple[Vector, ...]:
    return tuple(load())


def of(file: str) -> list[Vector]:
    return [vector for vector in vectors() if vector.name.startswith(file + ":")]


@lru_cache(maxsize=4)
def _machine_and_engine(engine: str) -> tuple[Machine, Engine]:
    memory = Memory(WINDOW_SIZE, WINDOW)
    memory.protect(CODE, 8, read=True, write=False, execute=True)
    memory.protect(DATA, DATA_SIZE, read=True, write=True, execute=False)
    machine = Machine(memory, Rules(isa=ISA))
    return machine, rvjit.engines.make(engine, machine)


def run_one(engine: str, word: int, before: State, until: int | None = None) -> tuple[Machine, str]:
    """Run one instruction at `CODE` from *before*; return the machine and the stop's name.

    The data area is zero except for the cells of *before*. With *until*, run there instead of one
    step: engines take a step in the interpreter, and only a run in compiled code.
    """
    machine, runner = _machine_and_engine(engine)
    memory = machine.memory
    memory.initialise(CODE, word.to_bytes(4, "little"))
    memory.write(DATA, bytes(DATA_SIZE))
    for address, size, value in before.cells:
        memory.write_int(address, value, size)
    for number in range(1, 32):
        machine.words[number] = before.registers.get(number, 0)
    machine.state.reservation, machine.state.reservation_size = before.reservation or (
        NO_RESERVATION,
        0,
    )
    machine.pc = CODE
    machine.cycles = 0
    machine.fault = None
    if until is None:
        return machine, runner.step(1).value
    machine.breakpoints = frozenset({until})
    stop = runner.run()
    return machine, "step" if stop is Stop.BREAKPOINT else stop.value


def expected_data(vector: Vector) -> bytes:
    data = bytearray(DATA_SIZE)
    for address, size, value in (*vector.before.cells, *vector.after.cells):
        data[address - DATA : address - DATA + size] = value.to_bytes(size, "little")
    return bytes(data)


def check(vector: Vector, machine: Machine, stop: str) -> list[str]:
    """Say everything that is not as *vector* says."""
    after = vector.after
    wrong = []
    if stop != after.stop:
        wrong.append(f"stopped with {stop} ({machine.fault})")
    elif after.fault and (machine.fault is None or machine.fault.kind != after.fault):
        wrong.append(f"fault {machine.fault!r}")
    if machine.pc != vector.pc_after:
        wrong.append(f"pc is {machine.pc:#x}, not {vector.pc_after:#x}")
    registers = vector.before.registers | after.registers
    wrong += [
        f"x{number} is {machine.x[number]:#x}, not {registers.get(number, 0):#x}"
        for number in range(32)
        if machine.x[number] != registers.get(number, 0)
    ]
    if machine.memory.read(DATA, DATA_SIZE) != expected_data(vector):
        wrong.append("memory differs")
    reservation = machine.state.reservation, machine.state.reservation_size
    wanted = after.reservation if after.reserved else vector.before.reservation
    if reservation != (wanted or (NO_RESERVATION, 0)):
        wrong.append(f"reservation is {reservation}")
    if machine.cycles != 1:
        wrong.append(f"charged {machine.cycles}")
    return [f"{vector.name}: {vector.text}: {problem}" for problem in wrong]


@pytest.mark.parametrize("file", FILES)
def test_decoding_gives_the_text_and_encoding_the_word(file: str) -> None:
    for vector in of(file):
        insn = ISA.decoder.decode(vector.word)
        assert insn is not None, vector.name
        assert (disassemble(insn), insn.length) == (vector.text, vector.length), vector.name
        form = insn.spelling or insn.spec
        operands = {
            name.rstrip("'"): form.row.extract(name, vector.word) for name in form.row.operands
        }
        ignored = sum(
            form.row.extract(name, vector.word) << piece.low
            for name, piece in form.row.ignored.items()
        )
        assert form.encode(**operands) | ignored == vector.word, vector.name


@pytest.mark.parametrize("engine", ["interp", "threaded"])
@pytest.mark.parametrize("file", FILES)
def test_a_step_does_what_the_manual_says(file: str, engine: str) -> None:
    # A step of one instruction is the work of one of these in every other engine.
    wrong = []
    for vector in of(file):
        wrong += check(vector, *run_one(engine, vector.word, vector.before))
    assert not wrong, "\n".join(wrong)


def test_compiled_code_does_what_the_manual_says() -> None:
    expected = straight_vectors()
    batch = make_batch([each.case for each in expected], "the vectors")
    wrong = disagreements(expected, batch.results(run_engine("jit", batch.program)))
    assert not wrong, "\n".join(wrong)


def test_compiled_control_transfers_and_faults_are_what_the_manual_says() -> None:
    wrong = []
    for vector in vectors():
        insn = ISA.decoder.decode(vector.word)
        assert insn is not None
        if insn.spec.effects.ends_block or vector.after.fault or insn.spec.name == "auipc":
            wrong += check(vector, *run_one("jit", vector.word, vector.before, vector.pc_after))
    assert not wrong, "\n".join(wrong)


def test_every_instruction_has_vectors() -> None:
    names = [re.sub(r"\.(aq|rl|aqrl)$", "", vector.text.split()[0]) for vector in vectors()]
    found = Counter(names)
    for form in forms(ISA):
        least = 3 if set(form.row.operands) - {"imm"} else 1
        assert found[form.name] >= least, f"{form.name} has {found[form.name]} vectors"


def test_a_wrong_line_is_noticed() -> None:
    vector = vectors()[0]
    machine, stop = run_one("interp", vector.word, vector.before)
    assert check(vector, machine, stop) == []
    machine.words[5] = 1
    assert check(vector, machine, Stop.FAULT.value)


def test_vectors_tell_an_instruction_from_every_other_of_its_shape() -> None:
    # As if the definition had been mixed up with another one: some vector must notice.
    of_form: dict[str, list[Vector]] = {}
    for vector in vectors():
        insn = ISA.decoder.decode(vector.word)
        assert insn is not None
        of_form.setdefault((insn.spelling or insn.spec).name, []).append(vector)
    unnoticed = []
    for form in forms(ISA):
        for other in forms(ISA):
            same = other.row.operands == form.row.operands and other.row.length == form.row.length
            if other is form or not same or (form.name, other.name) in INDISTINGUISHABLE:
                continue
            if not any(notices(vector, form, other) for vector in of_form[form.name]):
                unnoticed.append((form.name, other.name))
    assert not unnoticed


# Fences do the same: nothing. A stop is told apart from them, and they from it.
INDISTINGUISHABLE = {("fence", "fence.i"), ("fence.i", "fence")}


def notices(vector: Vector, form: Form, other: Form) -> bool:
    operands = {name.rstrip("'"): form.row.extract(name, vector.word) for name in form.row.operands}
    try:
        word = other.encode(**operands)
    except ValueError:
        return False
    insn = ISA.decoder.decode(word)
    if insn is None or (insn.spelling or insn.spec) is not other:
        return False
    return bool(check(vector, *run_one("interp", word, vector.before)))

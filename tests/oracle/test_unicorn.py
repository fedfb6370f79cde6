"""Single instructions of every kind and random programs against Unicorn: RV64IMAC."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from rvjit.isa import Insn, Isa
from rvjit.isa.spec import Atomic, System
from rvjit.machine.machine import Machine
from tests.oracle.generate import effects_of, forms, random_value, random_word
from tests.oracle.guest import CODE_BASE, DATA_BASE, DATA_SIZE, GuestProgram
from tests.oracle.on_engine import load, run_engine
from tests.oracle.on_unicorn import ISA, Stepper, run_unicorn
from tests.oracle.programs import Options, random_program

STRIDE = 8
_MASK = (1 << 64) - 1


def state_for(rng: random.Random, insn: Insn) -> tuple[int, ...]:
    """Registers for *insn*: an address in the data where it needs one, an even target for jalr."""
    registers = [0] + [random_value(rng) for _ in range(31)]
    effects = insn.spec.effects
    if effects.load or effects.store:
        address = DATA_BASE + rng.randrange(DATA_SIZE - 16)
        if effects.atomic:
            address &= -8
        registers[insn.rs1] = (address - insn.imm) & _MASK
    elif effects.jump and effects.jump.condition is not None and rng.random() < 0.3:
        registers[insn.rs2] = registers[insn.rs1]
    registers[0] = 0
    return tuple(registers)


def usable(insn: Insn) -> bool:
    """Whether one step of *insn* can be compared."""
    effects = insn.spec.effects
    if insn.rs1 == 0 and (effects.load or effects.store):
        return False  # no address of ours
    # What an SC finds depends on earlier steps: programs judge it.
    return effects.atomic is not Atomic.SC


def run_singles(seed: int, each: int, engine: str = "interp") -> None:
    """Compare *each* random instructions of every form."""
    rng = random.Random(seed)
    chosen: list[Insn] = []
    for form in forms(ISA):
        if effects_of(form).system in (System.ECALL, System.EBREAK):
            continue
        if effects_of(form).atomic is Atomic.SC:
            continue
        found = 0
        while found < each:
            insn = random_word(rng, form, ISA)
            if usable(insn):
                chosen.append(insn)
                found += 1
    codes = [insn.word.to_bytes(insn.length, "little") for insn in chosen]
    data = rng.randbytes(DATA_SIZE)
    stepper = Stepper(CODE_BASE, codes, DATA_BASE, data, STRIDE)
    program = GuestProgram(
        b"".join(code.ljust(STRIDE, b"\0") for code in codes), 0, (0,) * 32, data, f"seed {seed}"
    )
    guest = load(engine, program)
    for index, insn in enumerate(chosen):
        registers = state_for(rng, insn)
        pc, theirs = stepper.step(index, registers)
        machine: Machine = guest.machine
        machine.memory.write(DATA_BASE, data)
        for number, value in enumerate(registers):
            machine.words[number] = value
        machine.pc = CODE_BASE + index * STRIDE
        guest.engine.step(1)
        difference = guest.outcome().difference(theirs)
        if machine.x[3] != theirs.registers[3]:
            difference = f"gp: {machine.x[3]:#x} and {theirs.registers[3]:#x}"
        if difference is None and machine.pc != pc:
            difference = f"pc: {machine.pc:#x} and {pc:#x}"
        assert difference is None, (
            f"run_singles({seed}, {each}): {insn.word:#x} ({insn.spec.name}) number {index}, "
            f"rs1={registers[insn.rs1]:#x} rs2={registers[insn.rs2]:#x}: {difference}"
        )


@pytest.mark.parametrize("engine", ["interp", "threaded"])
def test_random_instructions(seeds: Callable[[int], range], engine: str) -> None:
    for seed in seeds(1):
        run_singles(seed, 12, engine)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_many_random_instructions(seed: int) -> None:
    run_singles(100 + seed, 100, ("interp", "threaded")[seed % 2])


def run_programs(seeds: range, size: int, engine: str) -> None:
    """Compare the programs of *seeds*."""
    options = Options(ISA, size=size)
    for seed in seeds:
        program = random_program(seed, options)
        difference = run_engine(engine, program).difference(run_unicorn(program))
        assert difference is None, f"{program.reproduce}: {engine} and Unicorn: {difference}"


def test_random_programs(seeds: Callable[[int], range]) -> None:
    run_programs(seeds(200), 60, "interp")


def test_random_programs_in_compiled_code(seeds: Callable[[int], range]) -> None:
    run_programs(seeds(15), 60, "jit")


def test_random_straight_programs(seeds: Callable[[int], range]) -> None:
    # Straight code alone: a difference here is a definition, not control flow.
    options = Options(ISA, size=150, branches=False, loops=False, calls=False)
    for seed in seeds(50):
        program = random_program(seed, options)
        difference = run_engine("interp", program).difference(run_unicorn(program))
        assert difference is None, f"{program.reproduce}: {difference}"


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["interp", "threaded", "jit"])
def test_many_random_programs(engine: str) -> None:
    run_programs(range(20_000, 24_000), 120, engine)


def test_isa_is_what_unicorn_has() -> None:
    assert Isa.parse("imac") == ISA

"""Fused operations against a model of CKB-VM's rules, and against Unicorn, which does not fuse."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from rvjit import engines
from rvjit.machine.machine import Machine
from rvjit.machine.memory import Memory
from rvjit.machine.stop import Stop
from tests.differential.rig import FUSED, FUSED_V1
from tests.oracle.generate import random_value
from tests.oracle.mop_model import Plain, run
from tests.oracle.on_engine import run_engine
from tests.oracle.on_unicorn import ISA as UNICORN_ISA
from tests.oracle.on_unicorn import run_unicorn
from tests.oracle.programs import FORMS, Options, random_program
from tests.oracle.sequences import Instruction, random_sequence

Seeds = Callable[[int], range]

BASE = 0x10000
SIZE = 0x10000
RULES = {1: FUSED_V1, 2: FUSED}
# x0 and a few that compressed forms have, too; the model needs no others.
FEW = (5, 8, 9, 10, 11, 12)
ECALL = (0x73).to_bytes(4, "little")

# Each compressed form as its long one, and when it does nothing.
COMPRESSED: dict[str, Callable[[dict[str, int]], Plain]] = {
    "c.add": lambda o: Plain("add", o["rd"], o["rd"], o["rs2"]) if o["rd"] else NOP,
    "c.mv": lambda o: Plain("add", o["rd"], 0, o["rs2"]) if o["rd"] else NOP,
    "c.sub": lambda o: Plain("sub", o["rd"], o["rd"], o["rs2"]),
    "c.or": lambda o: Plain("or", o["rd"], o["rd"], o["rs2"]),
    "c.lui": lambda o: Plain("lui", o["rd"], imm=o["imm"]) if o["rd"] else NOP,
    "c.addiw": lambda o: Plain("addiw", o["rd"], o["rd"], imm=o["imm"]),
    "c.addi": lambda o: Plain("addi", o["rd"], o["rd"], imm=o["imm"]) if o["imm"] else NOP,
    "c.li": lambda o: Plain("addi", o["rd"], 0, imm=o["imm"]) if o["rd"] else NOP,
    "c.slli": lambda o: NOP,
    "c.srli": lambda o: NOP,
}
NOP = Plain("addi")
# Words that do nothing, which a sequence may have in place of ``addi x0, x0, 0``.
HINTS: tuple[Instruction, ...] = (
    ("c.nop", {}),
    ("c.li", {"rd": 0, "imm": 5}),
    ("c.lui", {"rd": 0, "imm": 4096}),
    ("c.mv", {"rd": 0, "rs2": 9}),
    ("c.add", {"rd": 0, "rs2": 9}),
    ("c.addi", {"rd": 9, "imm": 0}),
    ("c.slli", {"rd": 0, "shamt": 3}),
    ("c.srli", {"rd": 9, "shamt": 0}),
)


def plain(insn: Instruction) -> Plain:
    name, operands = insn
    if name == "c.nop":
        return replace(NOP, size=2)
    if name in COMPRESSED:
        return replace(COMPRESSED[name](operands), size=2)
    return Plain(name, **operands)


def encode(insns: list[Instruction]) -> bytes:
    parts = ((FORMS[name], operands) for name, operands in insns)
    return b"".join(
        form.encode(**operands).to_bytes(form.row.length, "little") for form, operands in parts
    )


def straight(rng: random.Random, size: int) -> list[Instruction]:
    """Sequences and near misses one after the other, so that they also run into each other."""
    found: list[Instruction] = []
    while len(found) < size:
        found += random_sequence(rng, FEW, (*FEW, 0))
        if rng.random() < 0.1:
            found.append(("auipc", {"rd": 0, "imm": 4096}))
            found.append(rng.choice(HINTS))
        if rng.random() < 0.1:
            found.insert(rng.randrange(len(found)), rng.choice(HINTS))
    return found


def check(seed: int, version: int, engine: str, size: int) -> None:
    rng = random.Random(seed)
    insns = straight(rng, size)
    registers = [0] + [random_value(rng) if n in FEW else 0 for n in range(1, 32)]
    memory = Memory(SIZE, BASE)
    memory.protect(BASE, SIZE, read=True, write=False, execute=True)
    memory.initialise(BASE, encode(insns) + ECALL)
    machine = Machine(memory, RULES[version])
    for number, value in enumerate(registers):
        machine.words[number] = value
    machine.pc = BASE
    made = engines.make(engine, machine)
    where = f"check({seed}, {version}, {engine!r}, {size})"
    assert made.run() is Stop.SYSCALL, where
    x, cycles = run([plain(insn) for insn in insns], registers, version, BASE)
    assert list(machine.x) == x, where
    assert machine.cycles == cycles + 500, where


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("engine", ["interp", "threaded"])
def test_the_model_agrees(seeds: Seeds, version: int, engine: str) -> None:
    for seed in seeds(300):
        check(seed, version, engine, 40)


@pytest.mark.parametrize("version", [1, 2])
def test_the_model_agrees_with_compiled_code(seeds: Seeds, version: int) -> None:
    for seed in seeds(12):
        check(seed, version, "jit", 90)


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("engine", ["interp", "threaded"])
def test_the_model_agrees_on_many(version: int, engine: str) -> None:
    for seed in range(10_000, 15_000):
        check(seed, version, engine, 60)


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 2])
def test_the_model_agrees_with_much_compiled_code(version: int) -> None:
    for seed in range(50_000, 50_200):
        check(seed, version, "jit", 90)


# Results are those of the members, but for the known differences.


def on_unicorn(seeds: range, version: int, engine: str, size: int) -> None:
    options = Options(UNICORN_ISA, size=size, sequences=0.5, changed_results=False)
    for seed in seeds:
        program = random_program(seed, options)
        outcome = run_engine(engine, program, RULES[version])
        difference = outcome.difference(run_unicorn(program))
        assert difference is None, f"{program.reproduce}: {engine} and Unicorn: {difference}"


@pytest.mark.parametrize("engine", ["interp", "threaded"])
def test_fusion_changes_no_result(seeds: Seeds, engine: str) -> None:
    on_unicorn(seeds(60), 2, engine, 60)


def test_fusion_changes_no_result_of_compiled_code(seeds: Seeds) -> None:
    on_unicorn(seeds(8), 2, "jit", 60)


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "count"), [("interp", 1000), ("threaded", 1000), ("jit", 100)])
def test_fusion_changes_no_result_of_many(engine: str, count: int) -> None:
    on_unicorn(range(70_000, 70_000 + count), 2, engine, 120)

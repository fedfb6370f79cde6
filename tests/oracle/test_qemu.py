"""Vectors, random instructions and random programs against qemu-riscv64."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from rvjit.isa import Isa
from tests.oracle.batch import make_batch
from tests.oracle.on_engine import run_engine
from tests.oracle.on_qemu import qemu_path, run_qemu, unusable
from tests.oracle.programs import Options, random_program
from tests.oracle.singles import random_case, straight_forms
from tests.oracle.vector_cases import disagreements, straight_vectors

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(qemu_path() is None, reason="no qemu-riscv64 here"),
]

ISA = Isa.parse("imcba_zicond")


@pytest.fixture(scope="module")
def without() -> frozenset[str]:
    """Names of instructions that this QEMU cannot judge; printed with the reason."""
    for name, reason in unusable().items():
        print(f"not judged: {name}: {reason}")  # noqa: T201
    return frozenset(unusable())


def test_vectors_are_what_qemu_does(without: frozenset[str]) -> None:
    # QEMU compares the address of a reservation only; ours wants the size to be equal too.
    chosen = [
        expectation
        for expectation in straight_vectors()
        if expectation.case.insn.spec.name not in without and not expectation.size_differs
    ]
    assert len(chosen) > 1200
    batch = make_batch([expectation.case for expectation in chosen], "the vectors")
    wrong = disagreements(chosen, batch.results(run_qemu(batch.program)))
    assert not wrong, "\n".join(wrong[:10])


def run_singles(seed: int, each: int, without: frozenset[str]) -> None:
    rng = random.Random(seed)
    cases = [
        random_case(rng, form, ISA, f"seed {seed}")
        for form in straight_forms(ISA)
        if form.name not in without
        for _ in range(each)
    ]
    batch = make_batch(cases, f"run_singles({seed}, {each})")
    theirs = batch.results(run_qemu(batch.program))
    ours = batch.results(run_engine("interp", batch.program))
    wrong = [
        f"{case.name}: {case.insn.word:#x} {case.insn.spec.name} {case}: QEMU {their}, ours {our}"
        for case, their, our in zip(cases, theirs, ours, strict=True)
        if their != our
    ]
    assert not wrong, "\n".join(wrong[:5])


def test_random_instructions(seeds: Callable[[int], range], without: frozenset[str]) -> None:
    for seed in seeds(1):
        run_singles(seed, 15, without)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_many_random_instructions(seed: int, without: frozenset[str]) -> None:
    run_singles(1000 + seed, 40, without)


def run_programs(seeds: range, size: int, engine: str, without: frozenset[str]) -> None:
    options = Options(ISA, size=size, exclude=without)
    for seed in seeds:
        program = random_program(seed, options)
        theirs = run_qemu(program)
        difference = run_engine(engine, program).difference(theirs)
        assert difference is None, f"{program.reproduce}: {engine} and QEMU: {difference}"


def test_random_programs(seeds: Callable[[int], range], without: frozenset[str]) -> None:
    run_programs(seeds(60), 60, "interp", without)


def test_random_programs_in_compiled_code(
    seeds: Callable[[int], range], without: frozenset[str]
) -> None:
    run_programs(seeds(15), 60, "jit", without)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["interp", "threaded", "jit"])
def test_many_random_programs(engine: str, without: frozenset[str]) -> None:
    run_programs(range(10_000, 12_000), 120, engine, without)

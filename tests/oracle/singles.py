"""Random single instructions with registers and memory that make them worth running."""

from __future__ import annotations

import random

from rvjit.isa import Insn, Isa
from rvjit.isa.spec import Atomic
from tests.oracle.batch import Case
from tests.oracle.generate import Form, effects_of, forms, random_value, random_word
from tests.oracle.guest import DATA_BASE, GP

_MASK = (1 << 64) - 1
_REGISTERS = tuple(number for number in range(32) if number != GP)
_OFFSETS = (0, 8, 16, 0xFF8, 0x1000, 1, 3, 0xFFD, 0xFFF)


def straight_forms(isa: Isa) -> list[Form]:
    """Forms that go on to the next instruction."""
    return [form for form in forms(isa) if not effects_of(form).ends_block]


def random_case(rng: random.Random, form: Form, isa: Isa, name: str) -> Case:
    """Return a case of *form*; addresses are made to lie in the data area.

    A store-conditional finds its reservation, or one at another address, or none.
    """
    while True:
        insn = random_word(rng, form, isa, _REGISTERS)
        effects = insn.spec.effects
        registers = {number: random_value(rng) for number in (insn.rs1, insn.rs2) if number}
        if effects.load is None and effects.store is None:
            return Case(insn, registers, name=name)
        if insn.rs1 == 0:
            continue
        address = DATA_BASE + 0x800 + rng.choice(_OFFSETS)
        if effects.atomic:
            address &= -8
        registers[insn.rs1] = (address - insn.imm) & _MASK
        first = address & -8
        cells = tuple((at, random_value(rng)) for at in (first, first + 8))
        return Case(insn, registers, cells, _reservation(rng, insn, address), name)


def _reservation(rng: random.Random, insn: Insn, address: int) -> tuple[int, int] | None:
    if insn.spec.effects.atomic is not Atomic.SC:
        return None
    store = insn.spec.effects.store
    assert store is not None
    return rng.choice(
        ((address, store.size), (address, store.size), (address + 8, store.size), None)
    )

"""Random instructions: values, operands and words, from the definitions' own rows.

Everything takes a `random.Random`, so that a seed makes the same test again. Programs are made of
these in `programs`.
"""

from __future__ import annotations

import random
from functools import lru_cache

from rvjit.isa import EXTENSIONS, Insn, Isa
from rvjit.isa.encoding import COMPRESSED_BASE, IMMEDIATES, Row
from rvjit.isa.spec import Effects, Expansion, Extension, InsnSpec

Form = InsnSpec | Expansion

_MASK = (1 << 64) - 1
_CORNERS = (
    0,
    1,
    2,
    _MASK,
    _MASK - 1,
    1 << 63,
    (1 << 63) - 1,
    1 << 31,
    (1 << 31) - 1,
    (1 << 32) - 1,
    1 << 32,
    0xFFFF_FFFF_8000_0000,
    0xFFFF_FFFF_0000_0000,
    0x80,
    0x8000,
    0x00FF_00FF_00FF_00FF,
)


def random_value(rng: random.Random) -> int:
    """Return 64 bits: a corner, a small number of either sign, one bit, a word, or anything."""
    kind = rng.randrange(6)
    if kind == 0:
        return rng.choice(_CORNERS)
    if kind == 1:
        return rng.randint(-70, 70) & _MASK
    if kind == 2:
        return 1 << rng.randrange(64)
    if kind == 3:
        return rng.getrandbits(32)
    if kind == 4:
        return (rng.choice(_CORNERS) ^ rng.getrandbits(rng.randrange(1, 64))) & _MASK
    return rng.getrandbits(64)


def defined(extension: Extension) -> list[Form]:
    """Every form of *extension*, long ones first."""
    return [*extension.insns, *extension.expansions]


@lru_cache(maxsize=16)
def forms(isa: Isa) -> tuple[Form, ...]:
    """Every instruction of *isa*, long and compressed, in the order of the definitions."""
    chosen = [extension for extension in EXTENSIONS if extension.name in isa.extensions]
    return tuple(form for extension in chosen for form in defined(extension))


def effects_of(form: Form) -> Effects:
    """What *form* does."""
    return form.effects if isinstance(form, InsnSpec) else form.base.effects


def immediate_range(row: Row) -> range:
    """The values that the row's immediate can have; empty without one."""
    name = row.immediate
    if name is None:
        return range(0)
    step = 1 << min(piece.shift for piece in row.operands[name])
    top = 1 << max(piece.shift + piece.width for piece in row.operands[name])
    return range(-top // 2, top // 2, step) if name == "imm" else range(0, top, step)


def random_immediate(rng: random.Random, row: Row) -> int:
    """Return an immediate of *row*: often an end of its range or near zero."""
    choices = immediate_range(row)
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice((choices[0], choices[-1]))
    if kind == 1:
        return choices[min(max(choices.index(0) + rng.randint(-2, 2), 0), len(choices) - 1)]
    return rng.choice(choices)


def random_operands(
    rng: random.Random, form: Form, registers: range | tuple[int, ...] = range(32)
) -> dict[str, int]:
    """Return operands for ``form.encode``; x8..x15 of *registers* where only those fit."""
    short = [number for number in registers if 0 <= number - COMPRESSED_BASE < 8]
    operands = {}
    for name in form.row.operands:
        if name in IMMEDIATES:
            operands[name] = random_immediate(rng, form.row)
        elif name.endswith("'"):
            operands[name[:-1]] = rng.choice(short)
        else:
            operands[name] = rng.choice(registers)
    return operands


def random_word(
    rng: random.Random, form: Form, isa: Isa, registers: range | tuple[int, ...] = range(32)
) -> Insn:
    """Return an instruction of exactly this form, its ignored fields (aq, rl, fm) random too."""
    while True:
        try:
            word = form.encode(**random_operands(rng, form, registers))
        except ValueError:  # an operand that may not be zero was
            continue
        for piece in form.row.ignored.values():
            word |= rng.getrandbits(piece.width) << piece.low
        insn = isa.decoder.decode(word)
        # A few operands make a word into another instruction: c.lui sp is c.addi16sp.
        if insn is not None and (insn.spelling or insn.spec).name == form.name:
            return insn

"""A: atomic memory operations (Unprivileged ISA, Zalrsc and Zaamo).

The two sizes of each operation differ only in the size, so one body serves both.
"""

from __future__ import annotations

from collections.abc import Callable

from rvjit.isa.cost import Cost
from rvjit.isa.expr import Val, select
from rvjit.isa.spec import Extension, InsnSpec, Sem

A = Extension("a")

_SIZES = {4: (".w", "010", Cost.ATOMIC_W), 8: (".d", "011", Cost.ATOMIC_D)}


def _extend(value: Val) -> Val:
    return value if value.width == 64 else value.sext()


def _low(value: Val, size: int) -> Val:
    return value if size == 8 else value.trunc(8 * size)


def _lr(size: int) -> InsnSpec:
    suffix, width, cost = _SIZES[size]

    @A.insn(f"lr{suffix}", f"00010 aq<1> rl<1> 00000 rs1 {width} rd 0101111", "rd, (rs1)", cost)
    def lr(s: Sem) -> None:
        """Load and reserve the address."""
        s.rd = _extend(s.load_reserved(s.rs1, size))

    return lr


def _sc(size: int) -> InsnSpec:
    suffix, width, cost = _SIZES[size]

    @A.insn(f"sc{suffix}", f"00011 aq<1> rl<1> rs2 rs1 {width} rd 0101111", "rd, rs2, (rs1)", cost)
    def sc(s: Sem) -> None:
        """Store if the reservation holds; rd is 0 on success, 1 on failure."""
        s.rd = (~s.store_conditional(s.rs1, _low(s.rs2, size))).zext()

    return sc


def _amo(name: str, code: str, size: int, combine: Callable[[Val, Val], Val]) -> InsnSpec:
    suffix, width, cost = _SIZES[size]
    row = f"{code} aq<1> rl<1> rs2 rs1 {width} rd 0101111"

    @A.insn(f"amo{name}{suffix}", row, "rd, rs2, (rs1)", cost)
    def amo(s: Sem) -> None:
        """Replace memory by its combination with rs2; rd is the old value."""
        operand = _low(s.rs2, size)
        s.rd = _extend(s.amo(s.rs1, size, lambda old: combine(old, operand)))

    return amo


def _swap(old: Val, operand: Val) -> Val:  # noqa: ARG001
    return operand


_OPERATIONS: tuple[tuple[str, str, Callable[[Val, Val], Val]], ...] = (
    ("add", "00000", lambda old, operand: old + operand),
    ("swap", "00001", _swap),
    ("xor", "00100", lambda old, operand: old ^ operand),
    ("or", "01000", lambda old, operand: old | operand),
    ("and", "01100", lambda old, operand: old & operand),
    ("min", "10000", lambda old, operand: select(old.lt_s(operand), old, operand)),
    ("max", "10100", lambda old, operand: select(old.lt_s(operand), operand, old)),
    ("minu", "11000", lambda old, operand: select(old.lt_u(operand), old, operand)),
    ("maxu", "11100", lambda old, operand: select(old.lt_u(operand), operand, old)),
)

for _size in _SIZES:
    _lr(_size)
    _sc(_size)
    for _name, _code, _combine in _OPERATIONS:
        _amo(_name, _code, _size, _combine)

"""Val and Op: the value language that instruction bodies are written in.

A body runs once, at import, on `Val` nodes; the tree it leaves is what every engine walks.
A `Val` has no truth value and no ``==``, so a body that branches in Python cannot be imported.
Widths are bits and must match exactly: `trunc`, `zext` and `sext` change them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from rvjit.errors import DefinitionError


class Op(Enum):
    """What a `Val` computes. Shift and rotate amounts count modulo the width."""

    CONST = auto()  # payload: the value
    RS1 = auto()
    RS2 = auto()
    IMM = auto()  # any immediate of the row, sign- or zero-extended to 64 bits
    PC = auto()
    NEXT_PC = auto()  # pc + length of this encoding
    LOADED = auto()  # what this instruction's load read
    SC_OK = auto()  # 1 bit: the store-conditional of this instruction succeeds
    RD_IS_RS1 = auto()  # 1 bit: rd and rs1 are one register, and not x0
    ADD = auto()
    SUB = auto()
    MUL = auto()
    MULH_SS = auto()
    MULH_SU = auto()
    MULH_UU = auto()
    DIV_S = auto()  # division as the M chapter defines it, total
    DIV_U = auto()
    REM_S = auto()
    REM_U = auto()
    AND = auto()
    OR = auto()
    XOR = auto()
    SHL = auto()
    SHR_U = auto()
    SHR_S = auto()
    ROL = auto()
    ROR = auto()
    EQ = auto()
    LT_S = auto()
    LT_U = auto()
    SELECT = auto()
    ZEXT = auto()
    SEXT = auto()
    TRUNC = auto()
    CLZ = auto()
    CTZ = auto()
    CPOP = auto()
    BYTE_SWAP = auto()
    OR_BYTES = auto()
    CLMUL = auto()  # low half of the carry-less product
    CLMULH = auto()  # high half
    CLMULR = auto()  # bits 2*width-2 .. width-1


@dataclass(frozen=True, eq=False, slots=True)
class Val:
    """A value that an instruction computes: operation, width in bits, arguments."""

    op: Op
    width: int
    args: tuple[Val, ...] = ()
    payload: int = 0

    def __bool__(self) -> bool:
        """Refuse: use `select`."""
        raise DefinitionError("a symbolic value has no truth value: use select()")

    def __eq__(self, other: object) -> bool:
        """Refuse: use `eq`."""
        raise DefinitionError("a symbolic value has no ==: use .eq()")

    def __hash__(self) -> int:
        """Hash by identity."""
        return id(self)

    def __add__(self, other: Val | int) -> Val:
        return self._binary(Op.ADD, other)

    def __sub__(self, other: Val | int) -> Val:
        return self._binary(Op.SUB, other)

    def __mul__(self, other: Val | int) -> Val:
        return self._binary(Op.MUL, other)

    def __and__(self, other: Val | int) -> Val:
        return self._binary(Op.AND, other)

    def __or__(self, other: Val | int) -> Val:
        return self._binary(Op.OR, other)

    def __xor__(self, other: Val | int) -> Val:
        return self._binary(Op.XOR, other)

    def __invert__(self) -> Val:
        return self._binary(Op.XOR, (1 << self.width) - 1)

    def mulh_ss(self, other: Val) -> Val:
        """High half of the signed product."""
        return self._binary(Op.MULH_SS, other)

    def mulh_su(self, other: Val) -> Val:
        """High half of signed self times unsigned *other*."""
        return self._binary(Op.MULH_SU, other)

    def mulh_uu(self, other: Val) -> Val:
        """High half of the unsigned product."""
        return self._binary(Op.MULH_UU, other)

    def div_s(self, other: Val) -> Val:
        """Signed quotient, total as in the M chapter."""
        return self._binary(Op.DIV_S, other)

    def div_u(self, other: Val) -> Val:
        """Unsigned quotient, total."""
        return self._binary(Op.DIV_U, other)

    def rem_s(self, other: Val) -> Val:
        """Signed remainder, total."""
        return self._binary(Op.REM_S, other)

    def rem_u(self, other: Val) -> Val:
        """Unsigned remainder, total."""
        return self._binary(Op.REM_U, other)

    def shl(self, amount: Val | int) -> Val:
        """Shift left by *amount* modulo the width."""
        return self._binary(Op.SHL, amount)

    def shr_u(self, amount: Val | int) -> Val:
        """Shift right, zeros coming in."""
        return self._binary(Op.SHR_U, amount)

    def shr_s(self, amount: Val | int) -> Val:
        """Shift right, copies of the sign coming in."""
        return self._binary(Op.SHR_S, amount)

    def rol(self, amount: Val) -> Val:
        """Rotate left."""
        return self._binary(Op.ROL, amount)

    def ror(self, amount: Val) -> Val:
        """Rotate right."""
        return self._binary(Op.ROR, amount)

    def eq(self, other: Val | int) -> Val:
        """One bit: equal."""
        return self._compare(Op.EQ, other)

    def ne(self, other: Val | int) -> Val:
        """One bit: different."""
        return ~self.eq(other)

    def lt_s(self, other: Val | int) -> Val:
        """One bit: less than, signed."""
        return self._compare(Op.LT_S, other)

    def lt_u(self, other: Val | int) -> Val:
        """One bit: less than, unsigned."""
        return self._compare(Op.LT_U, other)

    def trunc(self, width: int) -> Val:
        """Keep the low *width* bits."""
        return self._resize(Op.TRUNC, width, width < self.width)

    def zext(self, width: int = 64) -> Val:
        """Widen with zeros."""
        return self._resize(Op.ZEXT, width, width > self.width)

    def sext(self, width: int = 64) -> Val:
        """Widen with the sign bit."""
        return self._resize(Op.SEXT, width, width > self.width)

    def clz(self) -> Val:
        """Leading zeros."""
        return Val(Op.CLZ, self.width, (self,))

    def ctz(self) -> Val:
        """Trailing zeros."""
        return Val(Op.CTZ, self.width, (self,))

    def cpop(self) -> Val:
        """One bits."""
        return Val(Op.CPOP, self.width, (self,))

    def byte_swap(self) -> Val:
        """Bytes in reverse order."""
        return Val(Op.BYTE_SWAP, self.width, (self,))

    def or_bytes(self) -> Val:
        """Each non-zero byte becomes 0xff."""
        return Val(Op.OR_BYTES, self.width, (self,))

    def clmul(self, other: Val) -> Val:
        """Low half of the carry-less product."""
        return self._binary(Op.CLMUL, other)

    def clmulh(self, other: Val) -> Val:
        """High half of the carry-less product."""
        return self._binary(Op.CLMULH, other)

    def clmulr(self, other: Val) -> Val:
        """Bits ``2*width-2 .. width-1`` of the carry-less product."""
        return self._binary(Op.CLMULR, other)

    def uses(self, op: Op) -> bool:
        """Whether this or a value below it is of kind *op*."""
        return self.op is op or any(arg.uses(op) for arg in self.args)

    def _binary(self, op: Op, other: Val | int) -> Val:
        return Val(op, self.width, (self, self.like(other)))

    def _compare(self, op: Op, other: Val | int) -> Val:
        return Val(op, 1, (self, self.like(other)))

    def like(self, other: Val | int) -> Val:
        """Return *other* as a value of this width."""
        value = const(other, self.width) if isinstance(other, int) else other
        if value.width != self.width:
            raise DefinitionError(f"widths differ: {self.width} and {value.width} bits")
        return value

    def _resize(self, op: Op, width: int, allowed: bool) -> Val:
        if not allowed:
            raise DefinitionError(f"{op.name.lower()} from {self.width} to {width} bits")
        return Val(op, width, (self,))


def const(value: int, width: int = 64) -> Val:
    """Return the constant *value* modulo ``2**width``."""
    return Val(Op.CONST, width, (), value & ((1 << width) - 1))


def select(condition: Val, if_true: Val | int, if_false: Val | int) -> Val:
    """*if_true* where the one-bit *condition* holds, else *if_false*; at least one is a `Val`."""
    if condition.width != 1:
        raise DefinitionError(f"select on {condition.width} bits: the condition must be one bit")
    if isinstance(if_true, Val):
        return Val(Op.SELECT, if_true.width, (condition, if_true, if_true.like(if_false)))
    if isinstance(if_false, Val):
        return Val(Op.SELECT, if_false.width, (condition, if_false.like(if_true), if_false))
    raise DefinitionError("select between two plain ints has no width: use const()")

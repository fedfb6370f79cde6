"""Val to LLVM: one arm for each operation of the value language.

Every operation is total here as it is in the definitions: shift amounts are masked, divisors are
made harmless, so that no guest can reach undefined behaviour of LLVM.
"""

from __future__ import annotations

from collections.abc import Callable

from rvjit.codegen.text import FunctionText
from rvjit.isa.expr import Op, Val

WORD = 64

Leaf = Callable[[Val], str]

_SIMPLE = {
    Op.ADD: "add", Op.SUB: "sub", Op.MUL: "mul", Op.AND: "and", Op.OR: "or", Op.XOR: "xor",
}  # fmt: skip
_SHIFTS = {Op.SHL: "shl", Op.SHR_U: "lshr", Op.SHR_S: "ashr"}
_ROTATES = {Op.ROL: "fshl", Op.ROR: "fshr"}
_COMPARES = {Op.EQ: "eq", Op.LT_S: "slt", Op.LT_U: "ult"}
_EXTENSIONS = {Op.ZEXT: "zext", Op.SEXT: "sext"}
_COUNTS = {Op.CLZ: "ctlz", Op.CTZ: "cttz"}
_HIGH_HALVES = {
    Op.MULH_SS: ("sext", "sext"),
    Op.MULH_SU: ("sext", "zext"),
    Op.MULH_UU: ("zext", "zext"),
}
_CARRYLESS = {Op.CLMUL: 0, Op.CLMULH: 64, Op.CLMULR: 63}

_INTRINSICS = [
    *(
        signature.replace("W", f"i{width}")
        for width in (32, 64)
        for signature in (
            "W @llvm.fshl.W(W, W, W)",
            "W @llvm.fshr.W(W, W, W)",
            "W @llvm.ctlz.W(W, i1)",
            "W @llvm.cttz.W(W, i1)",
            "W @llvm.ctpop.W(W)",
            "W @llvm.bswap.W(W)",
            "W @llvm.umin.W(W, W)",
            "W @llvm.usub.sat.W(W, W)",
        )
    ),
    "<2 x i64> @llvm.x86.pclmulqdq(<2 x i64>, <2 x i64>, i8 immarg)",
    "i128 @llvm.clmul.i128(i128, i128)",
    "i64 @llvm.read_register.i64(metadata)",
]
DECLARATIONS = "".join(f"declare {signature}\n" for signature in _INTRINSICS)

_PREFIX = "@llvm."
_BY_NAME = {
    signature[signature.index(_PREFIX) : signature.index("(")]: f"declare {signature}\n"
    for signature in _INTRINSICS
}


def declarations(functions: str) -> str:
    """Return the declarations that the IR of *functions* needs: each costs as much as a line."""
    used = set()
    at = functions.find(_PREFIX)
    while at >= 0:
        end = functions.index("(", at)
        used.add(functions[at:end])
        at = functions.find(_PREFIX, end)
    return "".join(_BY_NAME[name] for name in sorted(used))


class Lowering:
    """Lowers the trees of one instruction; *leaf* gives the names of operands.

    *pclmul* says that the host has a carry-less multiplier.
    """

    def __init__(self, text: FunctionText, leaf: Leaf, *, pclmul: bool) -> None:
        self._text = text
        self._leaf = leaf
        self._pclmul = pclmul

    def lower(self, value: Val) -> str:
        """Emit *value* and return its name or constant, of type ``i<width>``."""
        emit = self._text.value
        width = value.width
        kind = f"i{width}"
        op = value.op
        match op:
            case Op.CONST:
                return _constant(value.payload, width)
            case Op.RS1 | Op.RS2 | Op.IMM | Op.PC | Op.NEXT_PC:
                return self._leaf(value)
            case Op.LOADED | Op.SC_OK | Op.RD_IS_RS1:
                return self._leaf(value)
            case Op.ADD if width == WORD:
                return self._text.sum(*self.split(value))
            case Op.ADD | Op.SUB | Op.MUL | Op.AND | Op.OR | Op.XOR:
                return emit(f"{_SIMPLE[op]} {kind} {self._pair(value)}")
            case Op.SHL | Op.SHR_U | Op.SHR_S:
                whole = self.lower(value.args[0])
                amount = self._amount(value.args[1])
                return emit(f"{_SHIFTS[op]} {kind} {whole}, {amount}")
            case Op.ROL | Op.ROR:
                whole, amount = (self.lower(arg) for arg in value.args)
                name = f"@llvm.{_ROTATES[op]}.{kind}"
                return emit(f"call {kind} {name}({kind} {whole}, {kind} {whole}, {kind} {amount})")
            case Op.EQ | Op.LT_S | Op.LT_U:
                return emit(f"icmp {_COMPARES[op]} i{value.args[0].width} {self._pair(value)}")
            case Op.SELECT:
                condition, first, second = (self.lower(arg) for arg in value.args)
                return emit(f"select i1 {condition}, {kind} {first}, {kind} {second}")
            case Op.ZEXT | Op.SEXT:
                inner = value.args[0]
                return self._text.extend(_EXTENSIONS[op], inner.width, self.lower(inner), width)
            case Op.TRUNC:
                inner = value.args[0]
                return self._text.truncate(inner.width, self.lower(inner), width)
            case Op.CLZ | Op.CTZ:
                inner_name = self.lower(value.args[0])
                return emit(
                    f"call {kind} @llvm.{_COUNTS[op]}.{kind}({kind} {inner_name}, i1 false)"
                )
            case Op.CPOP:
                return emit(f"call {kind} @llvm.ctpop.{kind}({kind} {self.lower(value.args[0])})")
            case Op.BYTE_SWAP:
                return emit(f"call {kind} @llvm.bswap.{kind}({kind} {self.lower(value.args[0])})")
            case Op.OR_BYTES:
                return self._or_bytes(value)
            case Op.MULH_SS | Op.MULH_SU | Op.MULH_UU:
                return self._high_half(value)
            case Op.DIV_S | Op.DIV_U | Op.REM_S | Op.REM_U:
                return self._division(value)
            case Op.CLMUL | Op.CLMULH | Op.CLMULR:
                return self._carryless(value)

    def split(self, value: Val) -> tuple[str, int]:
        """Emit a 64-bit *value* but for the constant that it adds last; return both."""
        if value.op is not Op.ADD:
            return self.lower(value), 0
        first, second = (self.lower(arg) for arg in value.args)
        if not second.startswith("%"):
            return first, int(second)
        if not first.startswith("%"):
            return second, int(first)
        return self._text.value(f"add i64 {first}, {second}"), 0

    def _pair(self, value: Val) -> str:
        first, second = (self.lower(arg) for arg in value.args)
        return f"{first}, {second}"

    def _amount(self, value: Val) -> str:
        if value.op is Op.CONST:
            return str(value.payload & value.width - 1)
        name = self.lower(value)
        return self._text.value(f"and i{value.width} {name}, {value.width - 1}")

    def _or_bytes(self, value: Val) -> str:
        emit = self._text.value
        count = value.width // 8
        whole = f"i{value.width}"
        name = emit(f"bitcast {whole} {self.lower(value.args[0])} to <{count} x i8>")
        name = emit(f"icmp ne <{count} x i8> {name}, zeroinitializer")
        name = emit(f"sext <{count} x i1> {name} to <{count} x i8>")
        return emit(f"bitcast <{count} x i8> {name} to {whole}")

    def _high_half(self, value: Val) -> str:
        emit = self._text.value
        width = value.width
        wide = f"i{2 * width}"
        parts = [
            emit(f"{extend} i{width} {self.lower(arg)} to {wide}")
            for extend, arg in zip(_HIGH_HALVES[value.op], value.args, strict=True)
        ]
        name = emit(f"mul {wide} {parts[0]}, {parts[1]}")
        name = emit(f"lshr {wide} {name}, {width}")
        return emit(f"trunc {wide} {name} to i{width}")

    def _division(self, value: Val) -> str:
        """Divide by 1 where the M chapter defines the outcome itself, then select that outcome."""
        emit = self._text.value
        kind = f"i{value.width}"
        dividend, divisor = (self.lower(arg) for arg in value.args)
        by_zero = emit(f"icmp eq {kind} {divisor}, 0")
        harmful = by_zero
        signed = value.op in (Op.DIV_S, Op.REM_S)
        if signed:
            lowest = emit(f"icmp eq {kind} {dividend}, {-(1 << value.width - 1)}")
            minus_one = emit(f"icmp eq {kind} {divisor}, -1")
            overflow = emit(f"and i1 {lowest}, {minus_one}")
            harmful = emit(f"or i1 {by_zero}, {overflow}")
        safe = emit(f"select i1 {harmful}, {kind} 1, {kind} {divisor}")
        sign = "s" if signed else "u"
        if value.op in (Op.DIV_S, Op.DIV_U):
            quotient = emit(f"{sign}div {kind} {dividend}, {safe}")
            return emit(f"select i1 {by_zero}, {kind} -1, {kind} {quotient}")
        remainder = emit(f"{sign}rem {kind} {dividend}, {safe}")
        return emit(f"select i1 {by_zero}, {kind} {dividend}, {kind} {remainder}")

    def _carryless(self, value: Val) -> str:
        emit = self._text.value
        first, second = (self.lower(arg) for arg in value.args)
        if self._pclmul:
            left = emit(f"insertelement <2 x i64> zeroinitializer, i64 {first}, i32 0")
            right = emit(f"insertelement <2 x i64> zeroinitializer, i64 {second}, i32 0")
            product = emit(
                f"call <2 x i64> @llvm.x86.pclmulqdq(<2 x i64> {left}, <2 x i64> {right}, i8 0)"
            )
            wide = emit(f"bitcast <2 x i64> {product} to i128")
        else:
            left = emit(f"zext i64 {first} to i128")
            right = emit(f"zext i64 {second} to i128")
            wide = emit(f"call i128 @llvm.clmul.i128(i128 {left}, i128 {right})")
        shift = _CARRYLESS[value.op]
        if shift:
            wide = emit(f"lshr i128 {wide}, {shift}")
        return emit(f"trunc i128 {wide} to i64")


def _constant(payload: int, width: int) -> str:
    if width == 1:
        return "true" if payload else "false"
    return str(payload - (1 << width) if payload >> width - 1 else payload)

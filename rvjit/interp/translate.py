"""Effects to Python: one factory per instruction, whose closures run one decoded instruction.

A factory is called with the operands of a decoded instruction and returns ``run() -> next pc``.
Values are unsigned ints of their width; one-bit values are Python conditions.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable
from functools import cache

from rvjit import bits
from rvjit.errors import DefinitionError
from rvjit.isa.expr import Op, Val
from rvjit.isa.spec import Access, Atomic, Effects, InsnSpec, System
from rvjit.machine.layout import NO_RESERVATION
from rvjit.machine.pages import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, READABLE, STORE_FAST
from rvjit.machine.rules import Rules

Run = Callable[[], int]
Factory = Callable[..., Run]

# What generated code may name besides its operands; the engine supplies the values.
ENVIRONMENT = (
    "x",  # registers, a list
    "r",  # [reservation address, size]
    "base",
    "size",
    "m1", "m2", "m4", "m8",  # memory as words of that many bytes
    "flags",
    "load_any",  # (offset, size) -> int, any alignment
    "store_any",  # (offset, value, size), any alignment
    "prepare",  # (offset, size): the slow path of a store
    "out_of_bounds", "misaligned", "no_permission",  # (address, size, access): raise
    "ecall", "ebreak",  # raise
)  # fmt: skip
OPERANDS = ("rd", "rs1", "rs2", "imm", "pc", "next_pc")

_HELPERS = {
    name: getattr(bits, name)
    for name in (
        "byte_swap", "clmul", "clz", "ctz", "div_signed", "div_unsigned", "or_bytes",
        "rem_signed", "rem_unsigned", "to_signed",
    )
}  # fmt: skip


@cache
def factory(spec: InsnSpec, rules: Rules, *, writes_rd: bool) -> Factory:
    """Compile *spec* under *rules*; without *writes_rd* (rd is x0) the result is dropped."""
    source = source_of(spec, rules, writes_rd=writes_rd)
    filename = f"<rvjit {spec.name}{'' if writes_rd else ' x0'} {id(rules):x}>"
    namespace: dict[str, object] = dict(_HELPERS)
    exec(compile(source, filename, "exec"), namespace)
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    made = namespace["make"]
    assert callable(made)
    return made


def source_of(spec: InsnSpec, rules: Rules, *, writes_rd: bool) -> str:
    """Python source of the factory, for people to read and `factory` to compile."""
    lines = [f"def make({', '.join((*ENVIRONMENT, *OPERANDS))}):"]
    lines += _fixed_values(spec.effects, rules)
    lines.append("    def run():")
    lines += [f"        {line}" for line in _body(spec, rules, writes_rd=writes_rd)]
    lines.append("    return run")
    return "\n".join(lines) + "\n"


def _fixed_values(effects: Effects, rules: Rules) -> list[str]:
    """What depends on operands only is computed when the closure is made."""
    lines = [f"    imm &= {bits.MASK64:#x}"]
    if effects.uses(Op.RD_IS_RS1):
        lines.append("    rd_is_rs1 = rd == rs1 != 0")
    if effects.jump is not None and _is_fixed(effects.jump.target):
        lines.append(f"    target = {expression(effects.jump.target)}")
    access = effects.load or effects.store
    if access is not None:
        lines.append(f"    last = size - {access.size + rules.misses_end(effects)}")
    return lines


def _is_fixed(value: Val) -> bool:
    if value.op in (Op.RS1, Op.RS2, Op.LOADED, Op.SC_OK):
        return False
    return all(_is_fixed(arg) for arg in value.args)


def _body(spec: InsnSpec, rules: Rules, *, writes_rd: bool) -> list[str]:
    effects = spec.effects
    if effects.system is System.ECALL:
        return ["ecall()"]
    if effects.system is System.EBREAK and rules.ebreak_stops:
        return ["ebreak(pc)"]
    lines = _access_lines(effects, rules)
    target = "next_pc"
    if effects.jump is not None:
        target = "target"
        if not _is_fixed(effects.jump.target):
            lines.append(f"target = {expression(effects.jump.target)}")
        if effects.jump.condition is not None:
            target = f"target if {expression(effects.jump.condition)} else next_pc"
    if effects.rd is not None and writes_rd:
        lines.append(f"x[rd] = {expression(effects.rd)}")
    return [*lines, f"return {target}"]


def _access_lines(effects: Effects, rules: Rules) -> list[str]:
    access = effects.load or effects.store
    if access is None:
        return []
    size = access.size
    kind = "store" if effects.store is not None else "load"
    lines = []
    if effects.atomic is not None:
        lines.append(f"a = {expression(access.address)}")
        if rules.aligned_atomics:
            lines.append(f"if a & {size - 1}: misaligned(a, {size}, {kind!r})")
    if effects.atomic is Atomic.SC and not rules.ckb_reservation:
        assert effects.store is not None
        assert effects.store.value is not None
        lines.append(f"ok = r[0] == a and r[1] == {size}")
        lines.append("if ok:")
        lines += [f"    {line}" for line in _locate(access, kind)]
        lines += [f"    {line}" for line in _store(size, expression(effects.store.value))]
        return [*lines, f"r[:] = ({NO_RESERVATION}, 0)"]
    lines += _locate(access, kind)
    if effects.load is not None:
        lines += _load(size, strict=rules.strict_loads)
    if effects.atomic is Atomic.LR:
        lines.append(f"r[:] = (a, {size})")
    if effects.store is not None:
        assert effects.store.value is not None
        value = expression(effects.store.value)
        if effects.atomic is Atomic.SC:
            lines += [*_load(size, strict=False), "ok = r[0] == a"]
            value = f"({value}) if ok else v"
        lines += _store(size, value)
    if effects.atomic is Atomic.SC:
        lines.append(f"r[:] = ({NO_RESERVATION}, 0)")
    return lines


def _locate(access: Access, kind: str) -> list[str]:
    address = _unmasked(access.address)
    return [
        f"o = ({address} - base) & {bits.MASK64:#x}",
        f"if o > last: out_of_bounds(o + base & {bits.MASK64:#x}, {access.size}, {kind!r})",
    ]


def _load(size: int, *, strict: bool) -> list[str]:
    lines = []
    if strict:
        ends = f"flags[o >> {PAGE_SHIFT}] & flags[o + {size - 1} >> {PAGE_SHIFT}]"
        lines.append(f"if not {ends} & {READABLE}: no_permission(o + base, {size}, 'load')")
    if size == 1:
        return [*lines, "v = m1[o]"]
    shift = size.bit_length() - 1
    return [*lines, f"v = load_any(o, {size}) if o & {size - 1} else m{size}[o >> {shift}]"]


def _store(size: int, value: str) -> list[str]:
    crosses = f" or o & {PAGE_MASK} > {PAGE_SIZE - size}" if size > 1 else ""
    lines = [
        f"w = {value}",
        f"if not flags[o >> {PAGE_SHIFT}] & {STORE_FAST}{crosses}: prepare(o, {size})",
    ]
    if size == 1:
        return [*lines, "m1[o] = w"]
    shift = size.bit_length() - 1
    return [
        *lines,
        f"if o & {size - 1}: store_any(o, w, {size})",
        f"else: m{size}[o >> {shift}] = w",
    ]


_UNMASKED = {Op.ADD: "+", Op.SUB: "-", Op.MUL: "*"}
_BITWISE = {Op.AND: "&", Op.OR: "|", Op.XOR: "^"}


def _unmasked(value: Val) -> str:
    """Source whose low *width* bits are right; the rest is the caller's to mask."""
    if value.op in _UNMASKED:
        left, right = (_unmasked(arg) for arg in value.args)
        return f"({left} {_UNMASKED[value.op]} {right})"
    if value.op is Op.TRUNC:
        return _unmasked(value.args[0])
    return expression(value)


def expression(value: Val) -> str:
    """Source of *value* as an unsigned int of its width; a condition for one bit."""
    width = value.width
    full = f"{bits.mask(width):#x}"
    args = value.args
    match value.op:
        case Op.CONST:
            return hex(value.payload)
        case Op.RS1:
            return "x[rs1]"
        case Op.RS2:
            return "x[rs2]"
        case Op.IMM:
            return "imm"
        case Op.PC:
            return "pc"
        case Op.NEXT_PC:
            return "next_pc"
        case Op.LOADED:
            return "v"
        case Op.SC_OK:
            return "ok"
        case Op.RD_IS_RS1:
            return "rd_is_rs1"
        case Op.ADD | Op.SUB | Op.MUL | Op.TRUNC:
            return f"({_unmasked(value)} & {full})"
        case Op.AND | Op.OR | Op.XOR:
            return _bitwise(value)
        case Op.SHL:
            return f"({expression(args[0])} << {_amount(args[1])} & {full})"
        case Op.SHR_U:
            return f"({expression(args[0])} >> {_amount(args[1])})"
        case Op.SHR_S:
            return f"({_signed(args[0])} >> {_amount(args[1])} & {full})"
        case Op.ROL | Op.ROR:
            first, second = ("<<", ">>") if value.op is Op.ROL else (">>", "<<")
            amount = _amount(args[1])
            whole = expression(args[0])
            return f"(({whole} {first} {amount} | {whole} {second} {width} - {amount}) & {full})"
        case Op.MULH_UU:
            return f"({expression(args[0])} * {expression(args[1])} >> {width})"
        case Op.MULH_SS:
            return f"({_signed(args[0])} * {_signed(args[1])} >> {width} & {full})"
        case Op.MULH_SU:
            return f"({_signed(args[0])} * {expression(args[1])} >> {width} & {full})"
        case Op.DIV_S:
            return f"div_signed({_pair(value)}, {width})"
        case Op.DIV_U:
            return f"div_unsigned({_pair(value)}, {width})"
        case Op.REM_S:
            return f"rem_signed({_pair(value)}, {width})"
        case Op.REM_U:
            return f"rem_unsigned({_pair(value)})"
        case Op.EQ:
            return f"({expression(args[0])} == {expression(args[1])})"
        case Op.LT_U:
            return f"({expression(args[0])} < {expression(args[1])})"
        case Op.LT_S:
            sign = f"{1 << args[0].width - 1:#x}"
            return f"({expression(args[0])} ^ {sign} < {expression(args[1])} ^ {sign})"
        case Op.SELECT:
            condition, if_true, if_false = (expression(arg) for arg in args)
            return f"({if_true} if {condition} else {if_false})"
        case Op.ZEXT:
            inner = expression(args[0])
            return f"(1 if {inner} else 0)" if args[0].width == 1 else inner
        case Op.SEXT:
            top = 1 << args[0].width - 1
            return f"(({expression(args[0])} ^ {top:#x}) - {top:#x} & {full})"
        case Op.CLZ:
            return f"clz({expression(args[0])}, {width})"
        case Op.CTZ:
            return f"ctz({expression(args[0])}, {width})"
        case Op.CPOP:
            return f"{expression(args[0])}.bit_count()"
        case Op.BYTE_SWAP:
            return f"byte_swap({expression(args[0])}, {width})"
        case Op.OR_BYTES:
            return f"or_bytes({expression(args[0])}, {width})"
        case Op.CLMUL:
            return f"(clmul({_pair(value)}) & {full})"
        case Op.CLMULH:
            return f"(clmul({_pair(value)}) >> {width})"
        case Op.CLMULR:
            return f"(clmul({_pair(value)}) >> {width - 1} & {full})"


def _bitwise(value: Val) -> str:
    left, right = value.args
    if value.width > 1:
        return f"({expression(left)} {_BITWISE[value.op]} {expression(right)})"
    if value.op is Op.XOR and right.op is Op.CONST:
        return f"(not {expression(left)})" if right.payload else expression(left)
    raise DefinitionError(f"{value.op.name} of conditions is not defined; use select()")


def _signed(value: Val) -> str:
    sign = 1 << value.width - 1
    return f"(({expression(value)} ^ {sign:#x}) - {sign:#x})"


def _amount(value: Val) -> str:
    return f"({_unmasked(value)} & {value.width - 1})"


def _pair(value: Val) -> str:
    return f"{expression(value.args[0])}, {expression(value.args[1])}"

"""Decoded instructions to text."""

from __future__ import annotations

import re

from rvjit.isa.decode import Insn
from rvjit.isa.encoding import IMMEDIATES, Row
from rvjit.isa.expr import Op
from rvjit.isa.fusion import Operation
from rvjit.isa.registers import ABI_NAMES
from rvjit.isa.spec import IMPLIED, InsnSpec

_UPPER_SHIFT = 12
_ORDERINGS = ("", ".rl", ".aq", ".aqrl")
_OPERAND = re.compile(r"[a-z]+\d?'?")


def disassemble(operation: Operation, pc: int | None = None) -> str:
    """Return *operation* as text, compressed forms under their own names.

    With *pc*, targets of branches and jumps are absolute addresses, else offsets. Upper immediates
    (lui, auipc) print as assemblers take them, the value shifted right by 12. Fused instructions
    are in braces behind the name of the operation: ``adcs { add a0, a0, a1; sltu a2, a0, a1 }``.
    """
    if isinstance(operation, Insn):
        return _insn(operation, pc)
    members = "; ".join(_insn(member, None) for member in operation.members)
    return f"{operation.fusion.name} {{ {members} }}"


def _insn(insn: Insn, pc: int | None) -> str:
    form = insn.spelling or insn.spec
    row = form.row

    def show(found: re.Match[str]) -> str:
        return _operand(found.group(), row, insn, pc)

    text = _OPERAND.sub(show, form.syntax)
    name = form.name
    if "aq" in row.ignored:
        name += _ORDERINGS[row.extract("aq", insn.word) << 1 | row.extract("rl", insn.word)]
    return f"{name} {text}" if text else name


def _operand(name: str, row: Row, insn: Insn, pc: int | None) -> str:
    if name == IMPLIED:
        return name
    value = row.extract(name, insn.word)
    if name in row.ignored:  # pred or succ
        return "".join(letter for bit, letter in enumerate("wroi") if value >> bit & 1)[::-1] or "0"
    if name not in IMMEDIATES:
        return ABI_NAMES[value]
    lowest = min(piece.shift for piece in row.operands[name])
    if lowest == _UPPER_SHIFT:
        return hex(value >> _UPPER_SHIFT & 0xFFFFF)
    if pc is not None and _is_relative(insn.spec):
        return hex(pc + value & 0xFFFF_FFFF_FFFF_FFFF)
    return str(value)


def _is_relative(spec: InsnSpec) -> bool:
    jump = spec.effects.jump
    return jump is not None and jump.target.op is Op.ADD and jump.target.args[0].op is Op.PC

"""Encoding rows: the manual's row of an instruction as text, in both directions.

A row lists fields from the most significant bit down. A field is a run of binary digits, a
register (``rd rs1 rs2``, with ``'`` the three-bit form for x8..x15), an immediate with its bit
numbers as the manual writes them (``imm[12|10:5]``), or an ignored field with its width
(``aq<1>``). Immediates named ``imm`` are signed, ``uimm`` and ``shamt`` are not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rvjit.errors import DefinitionError

_FIELD = re.compile(r"^([a-z]+\d?'?)(?:\[([0-9:|]+)\]|<(\d+)>)?$")
_RANGE = re.compile(r"^(\d+)(?::(\d+))?$")
_REGISTERS = {"rd": 5, "rs1": 5, "rs2": 5, "rd'": 3, "rs1'": 3, "rs2'": 3}
_SIGNED = "imm"
IMMEDIATES = frozenset({"imm", "uimm", "shamt"})
COMPRESSED_BASE = 8  # rd' = 0 names x8
OPCODE_BITS = 0x7F  # fixed in every 32-bit row
OPCODE_BITS_COMPRESSED = 0xE003  # fixed in every 16-bit row: quadrant and funct3


@dataclass(frozen=True, slots=True)
class Piece:
    """Word bits ``[low, low + width)`` that hold bits ``[shift, shift + width)`` of an operand."""

    low: int
    width: int
    shift: int


@dataclass(frozen=True)
class Row:
    """One parsed encoding row. ``word & mask == match`` says whether a word has this form."""

    text: str
    length: int  # bytes: 2 or 4
    mask: int
    match: int
    operands: dict[str, tuple[Piece, ...]]
    ignored: dict[str, Piece]  # fields that change nothing but the text

    @property
    def immediate(self) -> str | None:
        """Name of the row's immediate operand, if it has one."""
        return next((name for name in self.operands if name in IMMEDIATES), None)

    def extract(self, name: str, word: int) -> int:
        """Value of operand or ignored field *name* in *word*; only ``imm`` can be negative."""
        value = 0
        for piece in self.operands.get(name) or (self.ignored[name],):
            value |= (word >> piece.low & (1 << piece.width) - 1) << piece.shift
        if name.endswith("'"):
            return value + COMPRESSED_BASE
        if name == _SIGNED:
            top = 1 << self._bits(name) - 1
            value = (value ^ top) - top
        return value

    def insert(self, **values: int) -> int:
        """Return the word with these operand values. Raises `ValueError` if one does not fit."""
        word = self.match
        for name, value in values.items():
            key = name if name in self.operands else name + "'"
            if key not in self.operands:
                raise ValueError(f"row {self.text!r} has no operand {name}")
            raw = value - COMPRESSED_BASE if key.endswith("'") else value
            placed = 0
            for piece in self.operands[key]:
                placed |= (raw >> piece.shift & (1 << piece.width) - 1) << piece.low
            word |= placed
            if self.extract(key, placed | self.match) != value:
                raise ValueError(f"{name} = {value} does not fit row {self.text!r}")
        return word

    def more_specific_than(self, other: Row) -> bool:
        """Whether every word of this form also has *other*'s form, and not the reverse."""
        return (
            self.length == other.length
            and self.mask & other.mask == other.mask
            and self.mask != other.mask
            and self.match & other.mask == other.match
        )

    def overlaps(self, other: Row) -> bool:
        """Whether some word has both forms."""
        common = self.mask & other.mask
        return self.length == other.length and self.match & common == other.match & common

    def _bits(self, name: str) -> int:
        return max(piece.shift + piece.width for piece in self.operands[name])


def parse_row(text: str) -> Row:
    """Parse *text*; raises `DefinitionError` unless it fills exactly 16 or 32 bits."""
    fields = text.split()
    widths = [_field_width(field, text) for field in fields]
    total = sum(widths)
    if total not in (16, 32):
        raise DefinitionError(f"row {text!r} has {total} bits")
    mask = match = 0
    operands: dict[str, list[Piece]] = {}
    ignored: dict[str, Piece] = {}
    high = total
    for field, width in zip(fields, widths, strict=True):
        high -= width
        if set(field) <= {"0", "1"}:
            mask |= ((1 << width) - 1) << high
            match |= int(field, 2) << high
            continue
        name, pieces = _pieces(field, high, width, text)
        if not pieces:
            ignored[name] = Piece(high, width, 0)
            continue
        if name in _REGISTERS and name in operands:
            raise DefinitionError(f"row {text!r} names {name} twice")
        operands.setdefault(name, []).extend(pieces)
    for name, pieces in operands.items():
        covered = sorted(bit for p in pieces for bit in range(p.shift, p.shift + p.width))
        if len(covered) != len(set(covered)):
            raise DefinitionError(f"row {text!r} places a bit of {name} twice")
        if covered != list(range(covered[0], covered[-1] + 1)):
            raise DefinitionError(f"row {text!r} leaves out a bit of {name}")
    if len([name for name in operands if name in IMMEDIATES]) > 1:
        raise DefinitionError(f"row {text!r} has two immediates")
    # Decoders index by these bits, and the low two tell the length.
    fixed = OPCODE_BITS if total == 32 else OPCODE_BITS_COMPRESSED
    if mask & fixed != fixed:
        raise DefinitionError(f"row {text!r} does not fix its opcode (bits {fixed:#x})")
    low = match & 3
    if (total == 32) != (low == 3):
        raise DefinitionError(f"row {text!r}: low bits {low:02b} do not fit {total} bits")
    frozen = {name: tuple(pieces) for name, pieces in operands.items()}
    return Row(text, total // 8, mask, match, frozen, ignored)


def _field_width(field: str, text: str) -> int:
    if set(field) <= {"0", "1"}:
        return len(field)
    found = _FIELD.match(field)
    if found is None:
        raise DefinitionError(f"row {text!r}: cannot read field {field!r}")
    name, bits, ignored = found.groups()
    if ignored:
        return int(ignored)
    if bits:
        if name not in IMMEDIATES:
            raise DefinitionError(f"row {text!r}: {name} is no immediate")
        return sum(high - low + 1 for high, low in _ranges(bits, text))
    if name not in _REGISTERS:
        raise DefinitionError(f"row {text!r}: unknown field {field!r}")
    return _REGISTERS[name]


def _ranges(bits: str, text: str) -> list[tuple[int, int]]:
    found = []
    for part in bits.split("|"):
        range_ = _RANGE.match(part)
        if range_ is None:
            raise DefinitionError(f"row {text!r}: cannot read the bits {part!r}")
        high = int(range_[1])
        low = int(range_[2] or high)
        if high < low:
            raise DefinitionError(f"row {text!r}: the bits {part!r} run upwards")
        found.append((high, low))
    return found


def _pieces(field: str, low: int, width: int, text: str) -> tuple[str, list[Piece]]:
    name, bits, ignored = _FIELD.match(field).groups()  # type: ignore[union-attr]
    if ignored:
        return name, []
    if not bits:
        return name, [Piece(low, width, 0)]
    pieces = []
    at = low + width
    for high_bit, low_bit in _ranges(bits, text):
        size = high_bit - low_bit + 1
        at -= size
        pieces.append(Piece(at, size, low_bit))
    return name, pieces

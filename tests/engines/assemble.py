"""A small assembler for tests: the definitions' own rows, labels, and a few pseudo-instructions.

One instruction or label a line, ``#`` starts a comment. Besides every instruction of rvjit:
``li rd, number``, ``la rd, label``, ``mv``, ``nop``, ``j``, ``jr``, ``call``, ``ret``, ``beqz``,
``bnez``, ``.word``, ``.half``, ``.space n``, ``.org offset``. Branch targets are labels or
``. + n``.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from rvjit.isa import EXTENSIONS
from rvjit.isa.encoding import IMMEDIATES
from rvjit.isa.registers import register_number
from rvjit.isa.spec import IMPLIED, Expansion, InsnSpec
from rvjit.machine.pages import PAGE_SIZE

FORMS: dict[str, InsnSpec | Expansion] = {
    form.name: form
    for extension in reversed(EXTENSIONS)
    for form in (*extension.insns, *extension.expansions)
}
_OPERAND = re.compile(r"[a-z]+\d?'?")
_MASK = (1 << 64) - 1

# A piece of code: bytes long, and its bytes once labels are known.
Piece = tuple[int, Callable[[int, dict[str, int]], bytes]]


@dataclass(frozen=True)
class Code:
    """Assembled bytes for *base* and the addresses of labels."""

    base: int
    data: bytes
    labels: dict[str, int]

    @property
    def end(self) -> int:
        return self.base + len(self.data)

    def __getitem__(self, label: str) -> int:
        return self.labels[label]


def assemble(source: str, base: int = 0x10000) -> Code:
    """Assemble *source* for address *base*. Raises `ValueError` with the line for anything odd."""
    pieces: list[Piece] = []
    labels: dict[str, int] = {}
    at = base
    for raw in source.splitlines():
        line = raw.split("#")[0].strip()
        while found := re.match(r"(\w+):\s*", line):
            labels[found[1]] = at
            line = line[found.end() :]
        if not line:
            continue
        try:
            for piece in _pieces(line, at - base):
                pieces.append(piece)
                at += piece[0]
        except (KeyError, ValueError) as error:
            raise ValueError(f"{raw.strip()!r}: {error!r}") from error
    data = bytearray()
    for size, make in pieces:
        made = make(base + len(data), labels)
        assert len(made) == size
        data += made
    return Code(base, bytes(data), labels)


def word(text: str) -> int:
    """Encode one instruction, without labels."""
    return int.from_bytes(assemble(text, 0).data, "little")


def _pieces(line: str, offset: int) -> list[Piece]:
    name, _, rest = line.partition(" ")
    args = [arg.strip() for arg in rest.split(",")] if rest.strip() else []
    match name:
        case ".word":
            return [_fixed(struct.pack("<I", int(arg, 0))) for arg in args]
        case ".half":
            return [_fixed(struct.pack("<H", int(arg, 0))) for arg in args]
        case ".space":
            return [_fixed(bytes(int(args[0], 0)))]
        case ".org":
            return [_fixed(bytes(int(args[0], 0) - offset))]
        case "nop":
            return [_insn("addi", "zero, zero, 0")]
        case "mv":
            return [_insn("addi", f"{rest}, 0")]
        case "j":
            return [_insn("jal", f"zero, {rest}")]
        case "call":
            return [_insn("jal", f"ra, {rest}")]
        case "jr":
            return [_insn("jalr", f"zero, 0({rest})")]
        case "ret":
            return [_insn("jalr", "zero, 0(ra)")]
        case "beqz" | "bnez":
            return [_insn(name[:3] + name[3:].removesuffix("z"), f"{args[0]}, zero, {args[1]}")]
        case "li":
            return [_insn(*each.split(" ", 1)) for each in _load(args[0], int(args[1], 0))]
        case "la":
            return _address(register_number(args[0]), args[1])
    return [_insn(name, rest)]


def _fixed(data: bytes) -> Piece:
    return len(data), lambda _at, _labels: data


def _insn(name: str, operands: str) -> Piece:
    form = FORMS[name]
    names = _OPERAND.findall(form.syntax)
    pattern = _OPERAND.sub("(@)", re.escape(form.syntax).replace("\\ ", " "))
    pattern = pattern.replace("(@)", r"([^,()]+)").replace(" ", r"\s*")
    found = re.fullmatch(pattern, operands.strip())
    if found is None:
        raise ValueError(f"operands are {form.syntax!r}")
    relative = name in ("jal", "c.j", "c.beqz", "c.bnez") or (
        name[0] == "b" and form.row.immediate == "imm"
    )

    def make(at: int, labels: dict[str, int]) -> bytes:
        values: dict[str, int] = {}
        for key, text in zip(names, (each.strip() for each in found.groups()), strict=True):
            if key in form.row.ignored or key == IMPLIED:
                continue
            if key not in IMMEDIATES:
                values[key.removesuffix("'")] = register_number(text)
            elif relative:
                target = labels[text] if text in labels else at + int(text.lstrip(". +"), 0)
                values[key] = target - at
            elif name in ("lui", "auipc"):
                number = int(text, 0) << 12
                values[key] = number - (1 << 32) if number >> 31 else number
            else:
                values[key] = int(text, 0)
        encoded = form.encode(**values)
        if name == "fence":
            encoded |= 0x0FF0_0000
        return encoded.to_bytes(form.row.length, "little")

    return form.row.length, make


def _load(rd: str, value: int) -> list[str]:
    """Instructions that load any 64-bit number."""
    value = (value & _MASK) - (1 << 64) if value & _MASK >> 63 << 63 & _MASK else value & _MASK
    low = (value & 0xFFF ^ 0x800) - 0x800
    high = value - low
    if high == 0:
        return [f"addi {rd}, zero, {low}"]
    if -(1 << 31) <= value < (1 << 31):
        lines = [f"lui {rd}, {high >> 12 & 0xFFFFF}"]
        return lines + ([f"addiw {rd}, {rd}, {low}"] if low or high >> 31 == 1 else [])
    lines = [*_load(rd, high >> 12), f"slli {rd}, {rd}, 12"]
    return lines + ([f"addi {rd}, {rd}, {low}"] if low else [])


def _address(rd: int, label: str) -> list[Piece]:
    def split(offset: int) -> tuple[int, int]:
        low = (offset & 0xFFF ^ 0x800) - 0x800
        return offset - low, low

    def upper(at: int, labels: dict[str, int]) -> bytes:
        return FORMS["auipc"].encode(rd=rd, imm=split(labels[label] - at)[0]).to_bytes(4, "little")

    def lower(at: int, labels: dict[str, int]) -> bytes:
        low = split(labels[label] - (at - 4))[1]
        return FORMS["addi"].encode(rd=rd, rs1=rd, imm=low).to_bytes(4, "little")

    return [(4, upper), (4, lower)]


# ELF files around code.

R, W, X = 4, 2, 1


def elf(code: Code, flags: int = R | X, more: tuple[tuple[int, bytes, int], ...] = ()) -> bytes:
    """An executable with *code* as one segment, *more* as (address, data, flags), and symbols."""
    segments = [(code.base, code.data, flags), *more]
    header = 64 + 56 * len(segments)
    body = bytearray()
    phdrs = b""
    for address, data, allowed in segments:
        at = header + len(body)
        pad = (address - at) % PAGE_SIZE
        body += bytes(pad) + data
        size = len(data)
        phdrs += struct.pack(
            "<IIQQQQQQ", 1, allowed, at + pad, address, address, size, size, PAGE_SIZE
        )
    names = bytearray(b"\0")
    symbols = bytearray(24)
    for name, address in code.labels.items():
        symbols += struct.pack("<IBBHQQ", len(names), 0x12, 0, 1, address, 0)
        names += name.encode() + b"\0"
    symbols_at = header + len(body)
    names_at = symbols_at + len(symbols)
    sections_at = names_at + len(names)
    sections = bytes(64) + b"".join(
        struct.pack("<IIQQQQIIQQ", 0, *each)
        for each in (
            (1, 6, code.base, 0, len(code.data), 0, 0, 1, 0),
            (2, 0, 0, symbols_at, len(symbols), 3, 1, 8, 24),
            (3, 0, 0, names_at, len(names), 0, 0, 1, 0),
        )
    )
    entry = code.labels.get("_start", code.base)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    head = ident + struct.pack(
        "<HHIQQQIHHHHHH", 2, 243, 1, entry, 64, sections_at, 1, 64, 56, len(segments), 64, 4, 0
    )
    return head + phdrs + bytes(body) + bytes(symbols) + bytes(names) + sections

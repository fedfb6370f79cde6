"""Relocatable x86-64 objects, as LLVM writes them, to one position-independent blob.

Regions name nothing but their arguments, so an object is little more than its text. Constants that
LLVM places in read-only sections are laid out after the text and their PC-relative references
resolved; anything else is refused.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from rvjit.codegen.blob import Blob
from rvjit.errors import InternalError

_SHF_ALLOC = 2
_SHT_SYMTAB = 2
_SHT_RELA = 4
_SHT_NOBITS = 8
_STT_FUNC = 2
_RELATIVE = {2: "R_X86_64_PC32", 4: "R_X86_64_PLT32"}


@dataclass(frozen=True)
class _Section:
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    align: int


@dataclass(frozen=True)
class _Laid:
    """An object's *code*, and where in it functions stand, and references to other sections."""

    code: bytes
    symbols: dict[str, int]
    functions: dict[str, range]
    references: list[int]


def link(data: bytes) -> Blob:
    """Lay out *data*, an ELF64 x86-64 object. Raises `InternalError` for what it cannot place."""
    laid = _lay_out(data)
    return Blob(laid.code, laid.symbols)


def link_each(data: bytes) -> dict[str, Blob]:
    """As `link`, each function by itself, by name; those that use constants with all there is."""
    laid = _lay_out(data)
    return {
        name: Blob(laid.code, {name: place.start})
        if any(reference in place for reference in laid.references)
        else Blob(laid.code[place.start : place.stop], {name: 0})
        for name, place in laid.functions.items()
    }


def _lay_out(data: bytes) -> _Laid:
    sections = _sections(data)
    places: dict[int, int] = {}
    code = bytearray()
    for index, section in enumerate(sections):
        if section.flags & _SHF_ALLOC and section.size:
            if section.kind == _SHT_NOBITS:
                raise InternalError("compiled code wants writable data")
            code += bytes(-len(code) % max(section.align, 1))
            places[index] = len(code)
            code += data[section.offset : section.offset + section.size]
    symtab = next(section for section in sections if section.kind == _SHT_SYMTAB)
    names = sections[symtab.link]
    symbols: dict[str, int] = {}
    functions: dict[str, range] = {}
    addresses: list[int | None] = []
    for at in range(symtab.offset, symtab.offset + symtab.size, 24):
        name, kind, _, where, value, size = struct.unpack_from("<IBBHQQ", data, at)
        address = places[where] + value if where in places else None
        addresses.append(address)
        if name and address is not None:
            end = data.index(b"\0", names.offset + name)
            text = data[names.offset + name : end].decode()
            symbols[text] = address
            if kind & 0xF == _STT_FUNC:
                functions[text] = range(address, address + size)
    references: list[int] = []
    for section in sections:
        if section.kind == _SHT_RELA and section.info in places:
            references += _relocate(data, section, code, places[section.info], addresses)
    return _Laid(bytes(code), symbols, functions, references)


def _sections(data: bytes) -> list[_Section]:
    table, entry, count = (
        struct.unpack_from("<Q", data, 0x28)[0],
        *struct.unpack_from("<HH", data, 0x3A),
    )
    found = []
    for at in range(table, table + entry * count, entry):
        _, kind, flags, _, offset, size, link_, info, align, _ = struct.unpack_from(
            "<IIQQQQIIQQ", data, at
        )
        found.append(_Section(kind, flags, offset, size, link_, info, align))
    return found


def _relocate(
    data: bytes, section: _Section, code: bytearray, place: int, addresses: list[int | None]
) -> list[int]:
    found = []
    for at in range(section.offset, section.offset + section.size, 24):
        offset, info, addend = struct.unpack_from("<QQq", data, at)
        kind, symbol = info & 0xFFFF_FFFF, addresses[info >> 32]
        if kind not in _RELATIVE or symbol is None:
            raise InternalError(f"compiled code needs relocation {kind} of symbol {info >> 32}")
        struct.pack_into("<i", code, place + offset, symbol + addend - (place + offset))
        found.append(place + offset)
    return found

"""The symbols of an ELF file, read and ordered for `rvjit.loader.symbols.SymbolTable`.

A table is advice. Whatever is wrong with it, loading goes on as if there were none; sizes are
bounded, so that a hostile table costs neither time nor memory.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from io import BytesIO
from typing import NamedTuple

from rvjit.bits import MASK64

# Bounds on what is looked at, far above what linkers make of guests that fit a window.
_MOST_SECTIONS = 4096
_MOST_SYMBOLS = 1 << 17
_LONGEST_NAME = 4096
_MOST_NAME_BYTES = 16 << 20

_ENTRY_SIZE = 24
_SHN_UNDEF = 0
_SHN_LORESERVE = 0xFF00
_SHN_ABS = 0xFFF1
_SHF_EXECINSTR = 4
_NOTYPE, _OBJECT, _FUNC, _IFUNC = 0, 1, 2, 10
_LOCAL, _GLOBAL = 0, 1


class _Symbol(NamedTuple):
    address: int
    size: int  # 0: not declared
    name: str
    kind: int
    binding: int
    absolute: bool
    in_code: bool
    section_end: int

    @property
    def rank(self) -> tuple[bool, bool, bool]:
        """Smaller is the better of several names for one address."""
        return (self.kind == _NOTYPE, self.size == 0, self.binding != _GLOBAL)


class _Section(NamedTuple):
    kind: object
    flags: int
    address: int
    offset: int
    size: int
    link: int
    entry_size: int


@dataclass(frozen=True)
class Index:
    """What a table answers from."""

    by_name: dict[str, int] = field(default_factory=dict)
    functions: list[tuple[int, int, str]] = field(default_factory=list)
    # From starts[i] up to starts[i + 1] addresses belong to owners[i].
    starts: list[int] = field(default_factory=list)
    owners: list[_Symbol | None] = field(default_factory=list)


def read_index(file: bytes, bias: int) -> Index:
    """Read the symbols of *file*, moved by *bias*; none where anything is wrong with them."""
    try:
        return _make_index(_read_symbols(file, bias))
    except Exception:  # noqa: BLE001 - a parser fed hostile bytes may raise anything
        return Index()


def _read_symbols(file: bytes, bias: int) -> list[_Symbol]:
    sections, byte_order = _read_sections(file)
    table = _first(sections, "SHT_SYMTAB") or _first(sections, "SHT_DYNSYM")
    if table is None or table.entry_size != _ENTRY_SIZE:
        return []
    strings = sections[table.link]
    strings_end = strings.offset + strings.size
    if strings_end > len(file) or table.offset + table.size > len(file):
        return []
    count = min(table.size // _ENTRY_SIZE, _MOST_SYMBOLS)
    entries = memoryview(file)[table.offset : table.offset + count * _ENTRY_SIZE]
    names: dict[int, str] = {}
    name_bytes = 0
    symbols = []
    # pyelftools needs 30 us for an entry, too slow for the tables of large programs.
    for at, info, _, place, value, size in struct.iter_unpack(byte_order + "IBBHQQ", entries):
        kind = info & 0xF
        absolute = place == _SHN_ABS
        if kind not in {_NOTYPE, _OBJECT, _FUNC, _IFUNC} or place == _SHN_UNDEF or not at:
            continue
        if not absolute and (place >= _SHN_LORESERVE or place >= len(sections)):
            continue
        name = names.get(at)
        if name is None:
            start = strings.offset + at
            end = file.find(b"\0", start, min(start + _LONGEST_NAME, strings_end))
            name_bytes += end - start if end >= 0 else _LONGEST_NAME
            if name_bytes > _MOST_NAME_BYTES:
                break
            name = names[at] = file[start:end].decode("utf-8", "replace") if end >= 0 else ""
        # Mapping symbols ($x, $d) and local labels of assemblers (.L...) name nothing.
        if not name or name.startswith(("$", ".L")):
            continue
        section = sections[0 if absolute else place]
        symbols.append(
            _Symbol(
                address=(value + (0 if absolute else bias)) & MASK64,
                size=size,
                name=name,
                kind=kind,
                binding=info >> 4,
                absolute=absolute,
                in_code=bool(section.flags & _SHF_EXECINSTR),
                section_end=(section.address + section.size + bias) & MASK64,
            )
        )
    return symbols


def _read_sections(file: bytes) -> tuple[list[_Section], str]:
    from elftools.common.utils import struct_parse
    from elftools.elf.elffile import ELFFile

    stream = BytesIO(file)
    elf = ELFFile(stream)
    header = elf.header
    byte_order = "<" if elf.little_endian else ">"
    if elf.elfclass != 64 or not 0 < header["e_shnum"] <= _MOST_SECTIONS:
        return [], byte_order
    sections = []
    for position in range(header["e_shnum"]):
        place = header["e_shoff"] + position * header["e_shentsize"]
        raw = struct_parse(elf.structs.Elf_Shdr, stream, stream_pos=place)
        sections.append(
            _Section(
                kind=raw["sh_type"],
                flags=raw["sh_flags"],
                address=raw["sh_addr"],
                offset=raw["sh_offset"],
                size=raw["sh_size"],
                link=raw["sh_link"],
                entry_size=raw["sh_entsize"],
            )
        )
    return sections, byte_order


def _first(sections: list[_Section], kind: str) -> _Section | None:
    return next((each for each in sections if each.kind == kind), None)


def _make_index(symbols: list[_Symbol]) -> Index:
    index = Index()
    for symbol in sorted(symbols, key=lambda each: each.binding == _LOCAL):
        index.by_name.setdefault(symbol.name, symbol.address)
    best: dict[int, _Symbol] = {}
    for symbol in symbols:
        known = best.get(symbol.address)
        if not symbol.absolute and (known is None or symbol.rank < known.rank):
            best[symbol.address] = symbol
    placed = _with_sizes([best[address] for address in sorted(best)])
    index.functions.extend(
        (each.address, each.size, each.name)
        for each in placed
        if each.kind in {_FUNC, _IFUNC} or (each.kind == _NOTYPE and each.in_code)
    )
    _flatten(placed, index)
    return index


def _with_sizes(symbols: list[_Symbol]) -> list[_Symbol]:
    """Give a size to symbols without one; drop those inside a symbol that has one.

    *symbols* are in order of address. A label in the middle of a function must not hide it.
    """
    kept = []
    covered = 0  # end of the sized symbols so far
    for symbol in symbols:
        end = symbol.address + symbol.size
        if symbol.size and end <= MASK64:
            covered = max(covered, end)
            kept.append(symbol)
        elif not symbol.size and symbol.address >= covered:
            kept.append(symbol)
    sized = []
    for position, symbol in enumerate(kept):
        if symbol.size:
            sized.append(symbol)
            continue
        following = kept[position + 1].address if position + 1 < len(kept) else MASK64
        end = min(following, max(symbol.section_end, symbol.address))
        sized.append(symbol._replace(size=end - symbol.address))
    return sized


def _flatten(symbols: list[_Symbol], index: Index) -> None:
    """Fill *index* so that one bisection finds the innermost symbol around an address."""
    open_symbols: list[_Symbol] = []

    def close_until(address: int) -> None:
        while open_symbols and open_symbols[-1].address + open_symbols[-1].size <= address:
            closed = open_symbols.pop()
            end = closed.address + closed.size
            while open_symbols and open_symbols[-1].address + open_symbols[-1].size <= end:
                open_symbols.pop()
            index.starts.append(end)
            index.owners.append(open_symbols[-1] if open_symbols else None)

    for symbol in symbols:
        close_until(symbol.address)
        if symbol.size:
            open_symbols.append(symbol)
            index.starts.append(symbol.address)
            index.owners.append(symbol)
    close_until(MASK64 + 1)

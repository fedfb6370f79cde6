"""ELF files made byte by byte, so that each field can be wrong on its own."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import pytest

R, W, X = 4, 2, 1
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_TLS = 1, 2, 3, 7
HEADER_FIELDS = (
    ("e_type", "H", 2),
    ("e_machine", "H", 243),
    ("e_version", "I", 1),
    ("e_entry", "Q", 0),
    ("e_phoff", "Q", 64),
    ("e_shoff", "Q", 0),
    ("e_flags", "I", 1),
    ("e_ehsize", "H", 64),
    ("e_phentsize", "H", 56),
    ("e_phnum", "H", 0),
    ("e_shentsize", "H", 64),
    ("e_shnum", "H", 0),
    ("e_shstrndx", "H", 0),
)


def segment(vaddr: int, data: bytes = b"", flags: int = R, **fields: int) -> dict[str, Any]:
    """A program header and its bytes; *fields* override p_... of the header."""
    return {"p_vaddr": vaddr, "data": data, "p_flags": flags, **fields}


def build_elf(
    segments: Sequence[dict[str, Any]] | None = None,
    *,
    order: str = "<",
    symbols: Sequence[tuple[str, int, int, int, int]] = (),
    text: tuple[int, int] = (0x11000, 0x1000),
    sections: dict[str, int] | None = None,
    ident: bytes | None = None,
    tail: bytes = b"",
    **header: int,
) -> bytes:
    """Header, program headers, the bytes of the segments, sections (for *symbols*), *tail*.

    Symbols are (name, value, size, info, section); section 1 is .text at *text*, executable.
    *sections* overrides sh_size, sh_offset, sh_link or sh_entsize of .symtab.
    """
    if segments is None:
        segments = [segment(0x11000, b"\x13\0\0\0" * 4, R | X)]
        header.setdefault("e_entry", 0x11000)
    at = 64 + 56 * len(segments)
    table = body = b""
    for each in segments:
        data = each["data"]
        values = {
            "p_type": PT_LOAD,
            "p_offset": at,
            "p_paddr": 0,
            "p_filesz": len(data),
            "p_memsz": len(data),
            "p_align": 4096,
            **each,
        }
        names = ("p_type", "p_flags", "p_offset", "p_vaddr", "p_paddr", "p_filesz", "p_memsz")
        words = [values[name] for name in (*names, "p_align")]
        table += struct.pack(order + "IIQQQQQQ", *words)
        body += data
        at += len(data)
    header.setdefault("e_phnum", len(segments))
    if symbols:
        strings, entries = b"\0", bytes(24)
        for name, value, size, info, place in symbols:
            entries += struct.pack(order + "IBBHQQ", len(strings), info, 0, place, value, size)
            strings += name.encode() + b"\0"
        symtab = {
            "sh_type": 2,
            "sh_offset": at,
            "sh_size": len(entries),
            "sh_link": 3,
            "sh_entsize": 24,
            **(sections or {}),
        }
        body += entries + strings
        strings_at = at + len(entries)
        at = strings_at + len(strings)
        layout = order + "IIQQQQIIQQ"
        body += bytes(64)
        body += struct.pack(layout, 0, 1, 6, text[0], 0, text[1], 0, 0, 4, 0)
        body += struct.pack(
            layout,
            0,
            symtab["sh_type"],
            0,
            0,
            symtab["sh_offset"],
            symtab["sh_size"],
            symtab["sh_link"],
            0,
            8,
            symtab["sh_entsize"],
        )
        body += struct.pack(layout, 0, 3, 0, 0, strings_at, len(strings), 0, 0, 1, 0)
        header.setdefault("e_shoff", at)
        header.setdefault("e_shnum", 4)
    if ident is None:
        ident = b"\x7fELF" + bytes([2, 1 if order == "<" else 2, 1])
    words = [header.pop(name, default) for name, _, default in HEADER_FIELDS]
    assert not header, header
    layout = order + "".join(code for _, code, _ in HEADER_FIELDS)
    return ident.ljust(16, b"\0") + struct.pack(layout, *words) + table + body + tail


@pytest.fixture(scope="session")
def make_elf() -> Callable[..., bytes]:
    """`build_elf`, for test modules."""
    return build_elf


@pytest.fixture(scope="session")
def make_segment() -> Callable[..., dict[str, Any]]:
    """`segment`, for test modules."""
    return segment

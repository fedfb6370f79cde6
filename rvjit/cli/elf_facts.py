"""What the headers of an ELF64 file say, believed for showing only; loaders look for themselves."""

from __future__ import annotations

import struct
from typing import NamedTuple

from rvjit.errors import ElfError

_IDENT = b"\x7fELF\x02\x01"  # 64-bit, little-endian
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_MOST_PHDRS = 1024
_PT_LOAD, _PT_INTERP, _PT_ATTRIBUTES = 1, 3, 0x70000003
_TYPES = {1: "object file", 2: "executable", 3: "position-independent executable", 4: "core dump"}
_MACHINES = {3: "x86", 40: "ARM", 62: "x86-64", 183: "AArch64", 243: "RISC-V", 258: "LoongArch"}
_FLOAT_ABIS = ("soft-float", "single-float", "double-float", "quad-float")
_RVC, _RVE = 1, 8
_EM_RISCV = 243
_TAG_ARCH = 5


class Load(NamedTuple):
    """A PT_LOAD header; sizes in bytes."""

    address: int
    size: int
    file_size: int
    permissions: str


class ElfFacts(NamedTuple):
    """Header fields in words, segments to load, and the ISA string that the compiler left."""

    kind: str
    machine: str
    abi: str | None  # of RISC-V files
    entry: int
    loads: tuple[Load, ...]
    dynamic: bool
    isa: str | None


def read_facts(file: bytes) -> ElfFacts | None:
    """Return what the headers say; None where it is another class of ELF.

    Raises `ElfError` for a file that is no ELF or too short.
    """
    if file[:4] != _IDENT[:4]:
        raise ElfError("e_ident[EI_MAG]", file[:4], "not an ELF file")
    if file[: len(_IDENT)] != _IDENT:
        return None
    if len(file) < _HEADER.size:
        raise ElfError("file size", len(file), "shorter than an ELF header: truncated")
    _, kind, machine, _, entry, phoff, _, flags, _, _, phnum, *_ = _HEADER.unpack_from(file)
    phdrs = [
        _PHDR.unpack_from(file, phoff + position * _PHDR.size)
        for position in range(min(phnum, _MOST_PHDRS))
        if phoff + (position + 1) * _PHDR.size <= len(file)
    ]
    loads = tuple(
        Load(vaddr, memsz, filesz, _permissions(p_flags))
        for p_type, p_flags, _, vaddr, _, filesz, memsz, _ in phdrs
        if p_type == _PT_LOAD
    )
    notes = [file[phdr[2] : phdr[2] + phdr[5]] for phdr in phdrs if phdr[0] == _PT_ATTRIBUTES]
    return ElfFacts(
        kind=_TYPES.get(kind, f"type {kind:#x}"),
        machine=_MACHINES.get(machine, f"machine {machine:#x}"),
        abi=_abi(flags) if machine == _EM_RISCV else None,
        entry=entry,
        loads=loads,
        dynamic=any(phdr[0] == _PT_INTERP for phdr in phdrs),
        isa=_arch(notes[0]) if notes else None,
    )


def _permissions(flags: int) -> str:
    return "".join(letter if flags & bit else "-" for letter, bit in (("R", 4), ("W", 2), ("X", 1)))


def _abi(flags: int) -> str:
    words = [_FLOAT_ABIS[flags >> 1 & 3]]
    if flags & _RVC:
        words.append("compressed")
    if flags & _RVE:
        words.append("RV64E")
    return ", ".join(words)


def _arch(note: bytes) -> str | None:
    """Return Tag_RISCV_arch of a .riscv.attributes section (RISC-V ELF psABI, "Attributes")."""
    # 'A', then: length (4), vendor string, NUL; tag 1 (file), length (4); then attributes.
    vendor_end = note.find(b"\0", 5)
    at = vendor_end + 6
    if note[:1] != b"A" or vendor_end < 0 or note[vendor_end + 1 : vendor_end + 2] != b"\x01":
        return None
    while at < len(note):
        tag, at = _uleb(note, at)
        if not tag & 1:  # even tags are numbers, odd ones strings
            _, at = _uleb(note, at)
            continue
        end = note.find(b"\0", at)
        if end < 0:
            return None
        if tag == _TAG_ARCH:
            return note[at:end].decode("ascii", "backslashreplace")
        at = end + 1
    return None


def _uleb(note: bytes, at: int) -> tuple[int, int]:
    """Read a number in ULEB128; return it and where it ends, always after *at*."""
    value = shift = 0
    while at < len(note):
        byte = note[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return value, at

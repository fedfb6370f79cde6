"""ELF64 to Program: static RISC-V executables for the `linux` profile, fixed or static PIE.

Everything is checked here, so that installing cannot fail: whatever the bytes, `load_linux`
returns or raises `ElfError`, in time and memory bounded by the sizes of file and window. The file
header is read by `struct`, for precise refusals and to bound the tables that pyelftools reads.
"""

from __future__ import annotations

import struct
from io import BytesIO
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from rvjit.errors import ElfError
from rvjit.loader.program import Program, Segment, SymbolTable
from rvjit.loader.window import LinuxWindow
from rvjit.machine.pages import PAGE_SIZE, round_down, round_up

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_MAGIC: Final = b"\x7fELF"
_ET_EXEC, _ET_DYN = 2, 3
_EM_RISCV = 243
_PHENTSIZE = 56
_MOST_PHDR_BYTES = 1 << 16  # Linux has the same bound
_FLOAT_ABI, _RVE = 0x6, 0x8  # of e_flags (RISC-V ELF psABI, "File Header")
_FLOAT_ABI_NAMES = {2: "single", 4: "double", 6: "quad"}
_PF_X, _PF_W, _PF_R = 1, 2, 4
_DYN_SIZE = 16
_MOST_DYN_ENTRIES = 4096
_SHOWN_PATH = 64
_ADDRESS_SPACE = 1 << 64
_PIE_GAP = 0x10000  # above the start of the window, where a static PIE goes if there is room


class _Header(NamedTuple):
    ident: bytes
    type: int
    machine: int
    version: int
    entry: int
    phoff: int
    shoff: int
    flags: int
    ehsize: int
    phentsize: int
    phnum: int
    shentsize: int
    shnum: int
    shstrndx: int


class _Phdr(NamedTuple):
    kind: object  # pyelftools' name, or the number where it knows none
    flags: int
    offset: int
    vaddr: int
    filesz: int
    memsz: int
    align: int


def load_linux(
    file: bytes,
    *,
    window_base: int,
    window_size: int,
    stack_size: int | None = None,
    name: str = "",
) -> Program:
    """Check *file* and return what to install in a window of *window_size* bytes.

    *stack_size* in bytes is what `LinuxWindow` makes of it; None for its default.

    A static PIE is placed 64 KiB above the start of the window, or lower where it would not fit;
    it relocates itself. Segments end below the guard page of the stack. Raises `ElfError` for
    whatever is wrong with the file, `ConfigError` only for an impossible window.
    """
    window = LinuxWindow(window_base, window_size, stack_size)
    header = _read_header(file)
    phdrs = _read_phdrs(file, header)
    _refuse_dynamic(file, phdrs)
    loads = [each for each in phdrs if each.kind == "PT_LOAD"]
    if not loads:
        raise ElfError("e_phnum", header.phnum, "no PT_LOAD segment: nothing to run")
    for load in loads:
        _check_load(file, load)
    # Linkers make empty segments at address 0; they fill nothing.
    filled = sorted((each for each in loads if each.memsz), key=lambda each: each.vaddr)
    if not filled:
        raise ElfError("p_memsz", 0, "all PT_LOAD segments are empty: nothing to run")
    for below, above in pairwise(filled):
        if below.vaddr + below.memsz > above.vaddr:
            raise ElfError("p_vaddr", above.vaddr, f"overlaps the segment at {below.vaddr:#x}")
    is_pie = header.type == _ET_DYN
    bias = _choose_bias(filled, window) if is_pie else 0
    for load in filled:
        _check_inside(load, bias, window)
    segments = tuple(
        Segment(
            address=each.vaddr + bias,
            data=file[each.offset : each.offset + each.filesz],
            size=each.memsz,
            readable=bool(each.flags & _PF_R),
            writable=bool(each.flags & _PF_W),
            executable=bool(each.flags & _PF_X),
        )
        for each in filled
    )
    _check_entry(header.entry, bias, segments)
    return Program(
        entry=header.entry + bias,
        segments=segments,
        phdr_address=_phdr_address(header, filled, bias),
        phentsize=header.phentsize,
        phnum=header.phnum,
        symbols=SymbolTable(file, bias),
        name=name,
        file=file,
        is_pie=is_pie,
        load_bias=bias,
        file_bytes_loaded=sum(each.filesz for each in loads),
    )


def _read_header(file: bytes) -> _Header:
    if file[:4] != _MAGIC:
        raise ElfError("e_ident[EI_MAG]", file[:4], "not an ELF file")
    for position, (field, wanted, reason) in enumerate(
        (
            ("e_ident[EI_CLASS]", 2, "only 64-bit ELF files (2) are supported"),
            ("e_ident[EI_DATA]", 1, "only little-endian ELF files (1) are supported"),
            ("e_ident[EI_VERSION]", 1, "the only ELF version is 1"),
        ),
        start=4,
    ):
        if len(file) > position and file[position] != wanted:
            raise ElfError(field, file[position], reason)
    if len(file) < _HEADER.size:
        reason = f"an ELF64 header has {_HEADER.size} bytes: truncated"
        raise ElfError("file size", len(file), reason)
    header = _Header(*_HEADER.unpack_from(file))
    for field, value, wanted, reason in (
        ("e_machine", header.machine, _EM_RISCV, "not a RISC-V program (0xf3)"),
        ("e_version", header.version, 1, "the only ELF version is 1"),
    ):
        if value != wanted:
            raise ElfError(field, value, reason)
    if header.type not in {_ET_EXEC, _ET_DYN}:
        reason = "neither ET_EXEC (2) nor ET_DYN (3): link it into a static executable"
        raise ElfError("e_type", header.type, reason)
    if header.flags & _RVE:
        raise ElfError("e_flags", header.flags, "built for RV64E, which is not supported")
    if header.flags & _FLOAT_ABI:
        abi = _FLOAT_ABI_NAMES[header.flags & _FLOAT_ABI]
        reason = (
            f"built for the {abi}-precision floating-point ABI, but the guest has no "
            "floating-point registers: build with -march=rv64imac -mabi=lp64"
        )
        raise ElfError("e_flags", header.flags, reason)
    _check_phdr_table(file, header)
    if header.entry == 0:
        raise ElfError("e_entry", 0, "no entry point: a shared library or an object?")
    if header.entry & 1:
        raise ElfError("e_entry", header.entry, "odd: no instruction can start there")
    return header


def _check_phdr_table(file: bytes, header: _Header) -> None:
    if header.phnum == 0:
        raise ElfError("e_phnum", 0, "no program headers: nothing to run")
    if header.phentsize != _PHENTSIZE:
        reason = f"a program header has {_PHENTSIZE} bytes"
        raise ElfError("e_phentsize", header.phentsize, reason)
    size = header.phnum * _PHENTSIZE
    if size > _MOST_PHDR_BYTES:  # PN_XNUM (0xffff) too
        reason = f"more than {_MOST_PHDR_BYTES // _PHENTSIZE} program headers"
        raise ElfError("e_phnum", header.phnum, reason)
    if header.phoff + size > len(file):
        reason = f"{header.phnum} program headers there pass the end of the file ({len(file):#x})"
        raise ElfError("e_phoff", header.phoff, reason)


def _open(file: bytes) -> tuple[ELFFile, BytesIO]:
    """Return pyelftools' view of *file*, of which only the file header was read."""
    from elftools.elf.elffile import ELFFile

    stream = BytesIO(file)
    return ELFFile(stream), stream


# Not `iter_segments` and `iter_tags`: their objects look for sections and strings, and follow
# whatever tables the file claims to have. The layouts alone read just what was bounded before.


def _read_phdrs(file: bytes, header: _Header) -> list[_Phdr]:
    try:
        from elftools.common.utils import struct_parse

        elf, stream = _open(file)
        found = []
        for position in range(header.phnum):
            place = header.phoff + position * _PHENTSIZE
            raw = struct_parse(elf.structs.Elf_Phdr, stream, stream_pos=place)
            found.append(
                _Phdr(
                    kind=raw["p_type"],
                    flags=raw["p_flags"],
                    offset=raw["p_offset"],
                    vaddr=raw["p_vaddr"],
                    filesz=raw["p_filesz"],
                    memsz=raw["p_memsz"],
                    align=raw["p_align"],
                )
            )
    except Exception as error:  # a parser fed hostile bytes may raise anything
        raise ElfError("e_phoff", header.phoff, f"unreadable program headers: {error}") from error
    return found


def _refuse_dynamic(file: bytes, phdrs: list[_Phdr]) -> None:
    for phdr in phdrs:
        if phdr.kind == "PT_INTERP":
            size = min(phdr.filesz, _SHOWN_PATH)
            path = file[phdr.offset : phdr.offset + size].rstrip(b"\0")
            raise ElfError("PT_INTERP", path, "dynamically linked: link with -static")
    dynamics = [each for each in phdrs if each.kind == "PT_DYNAMIC"]
    if len(dynamics) > 1:
        raise ElfError("e_phnum", len(phdrs), f"{len(dynamics)} PT_DYNAMIC segments among them")
    for dynamic in dynamics:
        for tag, value in _read_dynamic(file, dynamic):
            if tag == "DT_NEEDED":
                reason = "dynamically linked, it needs a shared library: link with -static"
                raise ElfError("DT_NEEDED", value, reason)


def _read_dynamic(file: bytes, dynamic: _Phdr) -> list[tuple[object, int]]:
    """Return (tag, value) pairs up to DT_NULL; tags as in `_Phdr.kind`."""
    if dynamic.offset + dynamic.filesz > len(file):
        reason = f"the PT_DYNAMIC segment passes the end of the file ({len(file):#x})"
        raise ElfError("p_offset", dynamic.offset, reason)
    count = dynamic.filesz // _DYN_SIZE
    entries: list[tuple[object, int]] = []
    try:
        from elftools.common.utils import struct_parse

        elf, stream = _open(file)
        for position in range(min(count, _MOST_DYN_ENTRIES)):
            place = dynamic.offset + position * _DYN_SIZE
            raw = struct_parse(elf.structs.Elf_Dyn, stream, stream_pos=place)
            if raw["d_tag"] == "DT_NULL":
                return entries
            entries.append((raw["d_tag"], raw["d_val"]))
    except Exception as error:  # a parser fed hostile bytes may raise anything
        reason = f"unreadable dynamic section: {error}"
        raise ElfError("p_offset", dynamic.offset, reason) from error
    if count > _MOST_DYN_ENTRIES:
        reason = f"a dynamic section of more than {_MOST_DYN_ENTRIES} entries"
        raise ElfError("p_filesz", dynamic.filesz, reason)
    return entries


def _check_load(file: bytes, load: _Phdr) -> None:
    if load.offset + load.filesz > len(file):
        reason = f"{load.filesz:#x} bytes there pass the end of the file ({len(file):#x})"
        raise ElfError("p_offset", load.offset, reason)
    if load.filesz > load.memsz:
        reason = f"more bytes in the file than in memory (p_memsz {load.memsz:#x})"
        raise ElfError("p_filesz", load.filesz, reason)
    if load.vaddr + load.memsz > _ADDRESS_SPACE:
        reason = f"p_vaddr {load.vaddr:#x} + p_memsz passes 2**64"
        raise ElfError("p_memsz", load.memsz, reason)


def _choose_bias(loads: list[_Phdr], window: LinuxWindow) -> int:
    """Return what to add to the addresses of a static PIE; *loads* are in order of address."""
    low = round_down(loads[0].vaddr)
    high = round_up(loads[-1].vaddr + loads[-1].memsz)
    room = window.mmap_top - window.base
    if high - low > room:
        reason = f"addresses from {low:#x} to {high:#x} do not fit in {room:#x} bytes of memory"
        raise ElfError("p_memsz", loads[-1].memsz, reason)
    # As Linux: alignments that are no power of two are nonsense, and ignored.
    wanted = [each.align for each in loads if each.align.bit_count() == 1]
    alignment = max([PAGE_SIZE, *wanted])
    for floor in (window.base + _PIE_GAP, window.base):
        start = floor + (low - floor) % alignment
        if start + (high - low) <= window.mmap_top:
            return start - low
    reason = f"nowhere between {window.base:#x} and {window.mmap_top:#x} can it be aligned so"
    raise ElfError("p_align", alignment, reason)


def _check_inside(load: _Phdr, bias: int, window: LinuxWindow) -> None:
    low = load.vaddr + bias
    where = f"memory for programs goes from {window.base:#x} to {window.mmap_top:#x}"
    if not window.base <= low < window.mmap_top:
        raise ElfError("p_vaddr", load.vaddr, where)
    if low + load.memsz > window.mmap_top:
        raise ElfError("p_memsz", load.memsz, f"from {low:#x} on: {where}")


def _check_entry(entry: int, bias: int, segments: tuple[Segment, ...]) -> None:
    for segment in segments:
        if segment.contains(entry + bias):
            if not segment.executable:
                raise ElfError("e_entry", entry, "in a segment that is not executable")
            return
    raise ElfError("e_entry", entry, "in no segment")


def _phdr_address(header: _Header, loads: list[_Phdr], bias: int) -> int:
    """Where the guest finds the program headers (AT_PHDR), 0 if they are not loaded."""
    size = header.phnum * header.phentsize
    for load in loads:
        if load.offset <= header.phoff and header.phoff + size <= load.offset + load.filesz:
            return header.phoff - load.offset + load.vaddr + bias
    return 0

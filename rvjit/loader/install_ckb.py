"""Put a program into a fresh `Memory` as CKB-VM does."""

from __future__ import annotations

from collections.abc import Sequence

from rvjit.loader.ckb import CkbElf, Fill, load_actions, load_ckb, source_bytes, source_range
from rvjit.loader.install import Image
from rvjit.loader.program import Program, Segment, SymbolTable
from rvjit.loader.stack import build_ckb_stack
from rvjit.machine.memory import Memory
from rvjit.machine.pages import EXECUTABLE

_ET_DYN = 3
_PHENTSIZE = 56


def install_ckb(
    file: bytes, memory: Memory, args: Sequence[bytes], version: int, *, name: str = ""
) -> Image:
    """Load *file* and *args* into a fresh W^X *memory* at base 0, as CKB-VM's load_program.

    The program's segments are what remained after loading, page by page. Raises `CkbElfError`.
    """
    elf = load_ckb(file, version)
    fills = load_actions(memory, elf)
    sp, stack_bytes = build_ckb_stack(memory, args, version)
    return Image(
        pc=elf.entry,
        sp=sp,
        brk=0,
        mmap_top=0,
        stack_low=memory.size - memory.size // 4,
        loaded_bytes=elf.file_bytes_loaded + stack_bytes,
        program=_ckb_program(file, elf, fills, name),
        base=memory.base,
        stack=memory.read(sp, memory.size - sp),
    )


def _ckb_program(file: bytes, elf: CkbElf, fills: Sequence[Fill], name: str) -> Program:
    segments = []
    for fill in sorted(fills, key=lambda each: each.start):
        start, _ = source_range(fill)
        flags = fill.action.flags
        segments.append(
            Segment(
                address=start,
                data=bytes(source_bytes(fill)),
                size=fill.stop - start,
                readable=True,
                writable=not flags & EXECUTABLE,  # CKB has no read-only pages
                executable=bool(flags & EXECUTABLE),
            )
        )
    return Program(
        entry=elf.entry,
        segments=tuple(segments),
        phdr_address=0,
        phentsize=_PHENTSIZE,
        phnum=elf.phnum,
        symbols=SymbolTable(file),
        name=name,
        file=file,
        is_pie=elf.type == _ET_DYN,
        load_bias=0,
        file_bytes_loaded=elf.file_bytes_loaded,
    )

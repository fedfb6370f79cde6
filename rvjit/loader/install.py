"""Image: put a loaded program into a fresh `Memory` and say how it starts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rvjit.errors import ConfigError
from rvjit.loader.ckb import CkbElf, Fill, load_actions, load_ckb, source_bytes, source_range
from rvjit.loader.program import Program, Segment, SymbolTable
from rvjit.loader.stack import build_ckb_stack, build_linux_stack
from rvjit.loader.window import LinuxWindow
from rvjit.machine.memory import Memory
from rvjit.machine.pages import EXECUTABLE, PAGE_SIZE, round_down, round_up

_ET_DYN = 3
_PHENTSIZE = 56


@dataclass(frozen=True)
class Image:
    """How an installed program starts; all addresses are the guest's.

    *brk* is where the heap starts and *mmap_top* where mappings end (growing down); both are 0
    under `ckb`, which has neither. *stack_low* is the lowest address of the stack. *loaded_bytes*
    is what CKB charges for: file bytes loaded plus stack bytes used.
    """

    pc: int
    sp: int
    brk: int
    mmap_top: int
    stack_low: int
    loaded_bytes: int
    program: Program


def install_linux(
    program: Program,
    memory: Memory,
    args: Sequence[bytes],
    env: Sequence[bytes],
    random16: bytes,
    *,
    execfn: bytes | None = None,
) -> Image:
    """Put *program* and its first stack into *memory*, fresh and of the window it was loaded for.

    Pages get what their segments allow; where two segments share a page it allows what either does
    (W with X is possible). W implies R, as on RISC-V Linux. The stack is readable and writable,
    whatever PT_GNU_STACK says.

    Bytes of the program do not count as written (no DIRTY): a dirty snapshot holds what differs
    from the loaded program. The arguments differ from run to run, so their pages are DIRTY.

    Raises `ConfigError` where *memory* is not for this program or the arguments do not fit in half
    the stack.
    """
    window = LinuxWindow(memory.base, memory.size)
    if memory.wxorx:
        raise ConfigError("a linux program needs memory without W^X")
    for segment in program.segments:
        if segment.address < window.base or segment.end > window.mmap_top:
            raise ConfigError(
                f"segment from {segment.address:#x} to {segment.end:#x} is outside "
                f"{window.base:#x} to {window.mmap_top:#x}: loaded for another window"
            )
    for address, size, permission in _page_permissions(program.segments):
        memory.protect(
            address,
            size,
            read=bool(permission & (_READ | _WRITE)),
            write=bool(permission & _WRITE),
            execute=bool(permission & _EXECUTE),
        )
    for segment in program.segments:
        memory.initialise(segment.address, segment.data, dirty=False)
    memory.protect(window.stack_low, window.stack_size, read=True, write=True, execute=False)
    sp = build_linux_stack(
        memory,
        program,
        window.end,
        args,
        env,
        random16,
        execfn=execfn,
        limit=window.stack_size // 2,
    )
    return Image(
        pc=program.entry,
        sp=sp,
        brk=round_up(program.end),
        mmap_top=window.mmap_top,
        stack_low=window.stack_low,
        loaded_bytes=program.file_bytes_loaded + window.end - sp,
        program=program,
    )


_READ, _WRITE, _EXECUTE = 1, 2, 4


def _page_permissions(segments: Sequence[Segment]) -> Iterator[tuple[int, int, int]]:
    """Yield (address, size, permission) for ranges of pages; a later range overrides.

    *segments* are in order of address, so only the last page so far can be shared with the next.
    """
    last_page, last_permission = -1, 0
    for segment in segments:
        if not segment.size:
            continue
        permission = (
            _READ * segment.readable | _WRITE * segment.writable | _EXECUTE * segment.executable
        )
        first = round_down(segment.address)
        end = round_up(segment.end)
        yield first, end - first, permission
        if first == last_page:
            shared = last_permission | permission
            yield first, PAGE_SIZE, shared
            last_permission = shared if end == first + PAGE_SIZE else permission
        else:
            last_permission = permission
        last_page = end - PAGE_SIZE


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
        digest=hashlib.sha256(file).hexdigest(),
        is_pie=elf.type == _ET_DYN,
        load_bias=0,
        file_bytes_loaded=elf.file_bytes_loaded,
    )

"""CKB's own ELF rules: what CKB-VM loads, bit by bit, however odd; no pyelftools.

Consensus depends on these rules, so they are neither stricter nor laxer than CKB-VM's. Legal here,
and refused by the `linux` loader:

* any e_machine, e_type, e_version, e_flags, e_ehsize, e_phentsize (the stride stays 56), p_align;
* big-endian headers (the bytes that are loaded stay as they are);
* no program headers, or no PT_LOAD: then nothing is loaded;
* an entry that is odd, in no segment or outside memory: the first fetch fails, not the loading;
* p_filesz above p_memsz: bytes beyond p_memsz are loaded up to the end of the page;
* p_memsz so large that its rounding wraps to 0: nothing is loaded, p_filesz counts all the same;
* from version 1 on, segments over an earlier writable one: whole pages are initialised again;
* section headers, symbols, PT_INTERP and dynamic sections of any content: nobody looks at them.

Refused here and fine for `linux`: segments that share a page (unless the earlier one is writable
and the version at least 1), segments without R, segments with W and X.

Memory is a W^X `Memory` at base 0. Where CKB-VM's memories differ, its W^X one is followed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from rvjit.bits import MASK64
from rvjit.errors import ConfigError, ElfError, PermissionDenied
from rvjit.isa.isa import VM_VERSIONS
from rvjit.machine.memory import Memory
from rvjit.machine.pages import (
    EXECUTABLE,
    FREEZED,
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    round_down,
    round_up,
)

_MAGIC: Final = b"\x7fELF"
_IDENT_SIZE = 16
_HEADER_SIZES = {1: 52, 2: 64}  # by EI_CLASS
_PHDR_SIZE = 56
_BYTE_ORDERS = {1: "<", 2: ">"}  # by EI_DATA
_PT_LOAD = 1
_PF_X, _PF_W, _PF_R = 1, 2, 4
_ZEROS = bytes(1 << 18)
_IS_FREEZED = bytes(flags & FREEZED for flags in range(256))


class CkbElfError(ElfError):
    """CKB-VM refuses the file or its arguments; *ckb_error* is the name of CKB-VM's error."""

    def __init__(self, ckb_error: str, field: str, value: object, reason: str) -> None:
        self.ckb_error = ckb_error
        super().__init__(field, value, f"{reason} ({ckb_error})")


@dataclass(frozen=True)
class LoadAction:
    """One PT_LOAD header as CKB-VM reads it; arguments of `init_pages`, all 64-bit."""

    address: int
    size: int
    flags: int
    source: memoryview = field(repr=False)  # the file's bytes, p_filesz of them
    offset_from_address: int


@dataclass(frozen=True)
class CkbElf:
    """A file that CKB-VM's parser accepts; loading it may still fail."""

    version: int
    entry: int
    type: int
    phnum: int
    actions: tuple[LoadAction, ...]

    @property
    def file_bytes_loaded(self) -> int:
        """Sum of p_filesz over PT_LOAD headers: the price of loading."""
        return sum(len(action.source) for action in self.actions)


class Fill(NamedTuple):
    """Pages ``[start, stop)`` (addresses) that keep what *action* put there."""

    action: LoadAction
    start: int
    stop: int


def load_ckb(file: bytes, version: int) -> CkbElf:
    """Parse *file* by the rules of VM *version* (0, 1 or 2). Raises `CkbElfError`.

    `ConfigError` for another version.
    """
    check_version(version)
    byte_order, entry, elf_type, phoff, phnum = _read_header(file)
    end = phoff + phnum * _PHDR_SIZE
    if phnum and end > len(file):
        reason = f"{phnum} program headers there pass the end of the file ({len(file):#x})"
        raise CkbElfError("ElfParseError", "e_phoff", phoff, reason)
    layout = struct.Struct(byte_order + "IIQQQQQQ")
    view = memoryview(file)
    table = view[phoff:end] if phnum else view[:0]
    actions = tuple(
        _load_action(view, version, flags, (offset, vaddr, filesz, memsz))
        for kind, flags, offset, vaddr, _, filesz, memsz, _ in layout.iter_unpack(table)
        if kind == _PT_LOAD
    )
    return CkbElf(version=version, entry=entry, type=elf_type, phnum=phnum, actions=actions)


def check_version(version: int) -> None:
    """Raise `ConfigError` unless *version* is a VM version of CKB."""
    if version not in VM_VERSIONS:
        raise ConfigError(f"VM version {version}: CKB has 0, 1 and 2")


def _read_header(file: bytes) -> tuple[str, int, int, int, int]:
    """Return byte order, e_entry, e_type, e_phoff and e_phnum."""

    def malformed(field: str, value: object, reason: str) -> CkbElfError:
        return CkbElfError("ElfParseError", field, value, reason)

    if len(file) < _IDENT_SIZE:
        raise malformed("file size", len(file), "Malformed entity: Too small")
    if file[:4] != _MAGIC:
        number = int.from_bytes(file[:8], "little")
        raise malformed("e_ident[EI_MAG]", file[:4], f"Invalid magic number: {number:#x}")
    header_size = _HEADER_SIZES.get(file[4])
    if header_size is None:
        raise malformed("e_ident[EI_CLASS]", file[4], "Malformed entity: invalid ELF class")
    byte_order = _BYTE_ORDERS.get(file[5])
    if byte_order is None:
        raise malformed("e_ident[EI_DATA]", file[5], "Malformed entity: invalid ELF endianness")
    if len(file) < header_size:
        raise malformed("file size", len(file), f"the ELF header has {header_size} bytes")
    if header_size != _HEADER_SIZES[2]:
        raise CkbElfError("ElfBits", "e_ident[EI_CLASS]", file[4], "the machine has 64 bits")
    (elf_type,) = struct.unpack_from(byte_order + "H", file, 16)
    entry, phoff = struct.unpack_from(byte_order + "QQ", file, 24)
    (phnum,) = struct.unpack_from(byte_order + "H", file, 56)
    return byte_order, entry, elf_type, phoff, phnum


def _load_action(
    file: memoryview, version: int, flags: int, place: tuple[int, int, int, int]
) -> LoadAction:
    start, vaddr, filesz, memsz = place
    end = (start + filesz) & MASK64
    if start > end or end > len(file):
        reason = f"{filesz:#x} bytes there pass the end of the file ({len(file):#x})"
        raise CkbElfError("ElfSegmentAddrOrSizeError", "p_offset", start, reason)
    if not flags & _PF_R:
        raise CkbElfError("ElfSegmentUnreadable", "p_flags", flags, "segment without R")
    if flags & _PF_W and flags & _PF_X:
        reason = "segment with both W and X"
        raise CkbElfError("ElfSegmentWritableAndExecutable", "p_flags", flags, reason)
    if flags & _PF_X:
        page_flags = FREEZED | EXECUTABLE
    else:
        page_flags = 0 if flags & _PF_W and version >= 1 else FREEZED
    offset = vaddr & PAGE_MASK
    return LoadAction(
        address=round_down(vaddr),
        size=round_up((memsz + offset) & MASK64) & MASK64,
        flags=page_flags,
        source=file[start:end],
        offset_from_address=offset,
    )


def load_actions(memory: Memory, elf: CkbElf) -> tuple[Fill, ...]:
    """Load *elf* into *memory*; the machine's pc is then ``elf.entry``.

    Returns which pages keep the bytes of which action, in order of loading; they do not overlap.
    Raises `CkbElfError`; what was loaded before the failing header stays loaded, as in CKB-VM.
    """
    if memory.base:
        raise ConfigError(f"memory base {memory.base:#x}: under ckb rules it is 0")
    done: list[LoadAction] = []
    try:
        for action in elf.actions:
            _claim_pages(
                memory, action.address, action.size, action.flags, action.offset_from_address
            )
            done.append(action)
            if elf.version == 0:
                _clear_padding(memory, action)
    finally:
        # Filling waits until it is known which bytes last: thousands of headers may name the same
        # pages, and only the last of them counts.
        fills = tuple(_lasting(done, memory.page_count))
        for fill in fills:
            _fill_pages(memory, fill)
    return fills


def init_pages(
    memory: Memory,
    address: int,
    size: int,
    flags: int,
    source: bytes | memoryview,
    offset_from_address: int = 0,
) -> None:
    """Make whole pages of *source*, zeros before and after, and OR *flags* into theirs.

    This is CKB-VM's init_pages. *address* and *size* are multiples of the page size; *flags* are
    FREEZED, EXECUTABLE, both or none. The bytes start *offset_from_address* after *address*; what
    does not fit is left out. Every page gets DIRTY. Raises `CkbElfError` (MemPageUnalignedAccess,
    MemOutOfBound, MemWriteOnFreezedPage); pages before a FREEZED one then have *flags* already, but
    no bytes were written.
    """
    _claim_pages(memory, address, size, flags, offset_from_address)
    action = LoadAction(address, size, flags, memoryview(source), offset_from_address)
    _fill_pages(memory, Fill(action, address, address + size))


def _claim_pages(memory: Memory, address: int, size: int, flags: int, offset: int) -> None:
    """Do all of init_pages but filling: the checks in CKB-VM's order, and the flags."""
    for name, value in (("address", address), ("size", size)):
        if value & PAGE_MASK:
            reason = f"not a multiple of {PAGE_SIZE}"
            raise CkbElfError("MemPageUnalignedAccess", name, value, reason)
    if address > memory.size or size > memory.size or address + size > memory.size:
        reason = f"{size:#x} bytes there pass the end of memory ({memory.size:#x})"
        raise CkbElfError("MemOutOfBound", "address", address, reason)
    if offset > size:
        reason = f"beyond the {size:#x} bytes at {address:#x}"
        raise CkbElfError("MemOutOfBound", "offset", offset, reason)
    first, last = address >> PAGE_SHIFT, (address + size) >> PAGE_SHIFT
    held = bytes(memory.flags[first:last]).translate(_IS_FREEZED).find(1)
    if flags:
        for page in range(first, last if held < 0 else first + held):
            memory.set_flag(page, flags)
    if held >= 0:
        page_address = address + held * PAGE_SIZE
        reason = f"the page at {page_address:#x} is frozen: an earlier segment is there"
        raise CkbElfError("MemWriteOnFreezedPage", "address", address, reason)


def _clear_padding(memory: Memory, action: LoadAction) -> None:
    """Version 0's extra store of zeros before the segment; it checks permissions, hence matters."""
    if not action.offset_from_address:
        return
    try:
        memory.write(action.address, bytes(action.offset_from_address))
    except PermissionDenied as error:
        raise CkbElfError(
            "MemWriteOnExecutablePage",
            "p_vaddr",
            action.address + action.offset_from_address,
            "version 0 loads executable segments at page boundaries only",
        ) from error


def _lasting(actions: list[LoadAction], page_count: int) -> Iterator[Fill]:
    """Yield what remains of *actions* where later ones cover earlier ones, earliest first."""
    covered = bytearray(page_count)
    found = []
    for action in reversed(actions):
        end = (action.address + action.size) >> PAGE_SHIFT
        at = covered.find(0, action.address >> PAGE_SHIFT, end)
        while at >= 0:
            stop = covered.find(1, at, end)
            stop = end if stop < 0 else stop
            covered[at:stop] = b"\x01" * (stop - at)
            found.append(Fill(action, at << PAGE_SHIFT, stop << PAGE_SHIFT))
            at = covered.find(0, stop, end)
    return reversed(found)


def _fill_pages(memory: Memory, fill: Fill) -> None:
    """Write *fill*: zeros, the source, zeros. All of it gets DIRTY."""
    source_start, source_stop = source_range(fill)
    _write_zeros(memory, fill.start, source_start)
    memory.initialise(source_start, source_bytes(fill))
    _write_zeros(memory, source_stop, fill.stop)


def source_range(fill: Fill) -> tuple[int, int]:
    """Addresses within *fill* that hold bytes of the source; both within ``[start, stop]``."""
    action = fill.action
    body = action.address + action.offset_from_address
    start = min(max(fill.start, body), fill.stop)
    return start, max(min(fill.stop, body + len(action.source)), start)


def source_bytes(fill: Fill) -> memoryview:
    """Return the bytes of the source that *fill* puts at `source_range`."""
    start, stop = source_range(fill)
    body = fill.action.address + fill.action.offset_from_address
    return fill.action.source[start - body : stop - body]


def _write_zeros(memory: Memory, start: int, stop: int) -> None:
    while start < stop:
        size = min(stop - start, len(_ZEROS))
        memory.initialise(start, memoryview(_ZEROS)[:size])
        start += size

"""Snapshot: a machine at rest as a value, and its one portable form in bytes and files."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO

from rvjit.errors import SnapshotError, SnapshotFormatError
from rvjit.machine.layout import NO_LIMIT
from rvjit.machine.pages import PAGE_SHIFT, PAGE_SIZE, READABLE, WRITABLE
from rvjit.snapshot import container
from rvjit.snapshot.container import CHUNK, Section
from rvjit.snapshot.identity import Identity
from rvjit.snapshot.pages import LeftPages, Pages, Source, pack_extents, unpack_extents

_PAGES_IN_CHUNK = CHUNK // PAGE_SIZE
_REGISTERS = 32
_WORD = 1 << 64


class SnapshotKind(Enum):
    """What a snapshot needs to be resumed. The value is its name in files and on command lines."""

    FULL = "full"  # nothing
    DIRTY = "dirty"  # the same program, freshly loaded
    SOURCED = "sourced"  # the data source


@dataclass(frozen=True)
class Cpu:
    """Registers and counters; all unsigned 64-bit.

    *x* are x0 to x31. *reservation* is the address that LR reserved, 2**64-1 for none, and
    *reservation_size* its bytes. *exit_code* is that of a guest that has ended, else None.
    """

    x: tuple[int, ...]
    pc: int
    cycles: int
    cycle_limit: int
    reservation: int
    reservation_size: int
    exit_code: int | None = None


@dataclass(frozen=True)
class Snapshot:
    """A machine at rest. `VM.snapshot` makes one, `VM.from_snapshot` goes on from it.

    *host* is the state of what the guest can reach beside its memory, by name. *extra* are sections
    of a file that this release does not know and need not know; they are written again.
    """

    kind: SnapshotKind
    identity: Identity
    cpu: Cpu
    pages: Pages
    host: Mapping[str, object] = field(default_factory=dict)
    extra: tuple[tuple[str, bytes], ...] = ()

    def to_bytes(self, *, compress: bool = False) -> bytes:
        """Return the portable form; equal states give equal bytes.

        *compress* needs the extra `zstd`.
        """
        return b"".join(self.parts(compress=compress))

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> Snapshot:
        """Undo `to_bytes`. Raises `SnapshotFormatError` for anything else."""
        return _decode(container.read(data))

    def save(self, path: str | os.PathLike[str], *, compress: bool = False) -> None:
        """Write a file of that name: either all of it or nothing is there afterwards.

        Raises `OSError`.
        """
        save_parts(path, self.parts(compress=compress))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Snapshot:
        """Read a file. Raises `SnapshotFormatError` for one that is damaged, and `OSError`."""
        with open(path, "rb") as file:
            return cls.read(file)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Snapshot:
        """Check a file as `load` does, but leave its pages there until they are used.

        For large memories, of which there is then one copy less. Using a page raises
        `SnapshotFormatError` where the file has been changed since; replacing it does no harm.
        """
        with ExitStack() as stack:
            file = stack.enter_context(open(path, "rb"))
            taken = _decode(container.read(file, leave=("data",)), leaves=True)
            weakref.finalize(taken.pages.literals, stack.pop_all().close)
        return taken

    @classmethod
    def read(cls, file: BinaryIO) -> Snapshot:
        """Read a snapshot that is the rest of a seekable binary file."""
        return _decode(container.read(file))

    @property
    def empty_flags(self) -> int:
        """Flags of the pages that no extent mentions."""
        return READABLE | WRITABLE if self.identity.wxorx else 0

    def parts(self, *, compress: bool = False) -> Iterator[bytes | memoryview]:
        """Yield the portable form part by part, at most about a mebibyte each."""
        return container.write(self._sections(), compress=compress)

    def _sections(self) -> Iterator[Section]:
        pages, cpu = self.pages, self.cpu
        yield Section("mach", _pack({"kind": self.kind.value, **self.identity.as_dict()}))
        words = [*cpu.x, cpu.pc, cpu.cycles, cpu.cycle_limit]
        yield Section("cpu.", _pack([*words, cpu.reservation, cpu.reservation_size, cpu.exit_code]))
        yield Section("host", _pack(_ordered(self.host)))
        sources = [[source.id, source.offset] for source in pages.sources]
        table = {"extents": pack_extents(pages.extents), "sources": sources}
        yield Section("page", _pack(table))
        for start in range(0, len(pages.literals), _PAGES_IN_CHUNK):
            yield Section("data", b"".join(pages.literals[start : start + _PAGES_IN_CHUNK]))
        for name, payload in self.extra:
            yield Section(name, payload, critical=False)


def save_parts(path: str | os.PathLike[str], parts: Iterable[bytes | memoryview]) -> None:
    """Write *parts* to a file of a temporary name beside *path*, then give it that name."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with open(temporary, "xb") as file:
            file.writelines(parts)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _decode(sections: Iterable[Section], *, leaves: bool = False) -> Snapshot:
    found: dict[str, Section] = {}
    literals: list[bytes | memoryview] = []
    left: list[tuple[int, Callable[[], bytes]]] = []
    extra: list[tuple[str, bytes]] = []
    for section in sections:
        if section.name == "data" and section.load:
            left.append((_page_count(section, section.size), section.load))
        elif section.name == "data":
            literals += _split(section)
        elif section.name in _DECODED:
            if section.name in found:
                raise _wrong(section, "a second section of that name")
            found[section.name] = section
        elif section.critical:
            raise _wrong(section, "unknown to this release, and needed to understand the rest")
        else:
            extra.append((section.name, bytes(section.payload)))
    for name in _DECODED:
        if name not in found:
            raise SnapshotFormatError(f"has no section {name!r}", 0)
    try:
        section = found["mach"]
        kind, identity = _machine(_map(section))
        section = found["cpu."]
        cpu = _cpu(_unpack(section))
        section = found["host"]
        host = _map(section)
        section = found["page"]
        pages = _pages(_map(section), identity, LeftPages(left) if leaves else literals)
    except ValueError as error:
        raise _wrong(section, str(error)) from error
    return Snapshot(kind, identity, cpu, pages, host, tuple(extra))


_DECODED = ("mach", "cpu.", "host", "page")


def _machine(found: dict[str, Any]) -> tuple[SnapshotKind, Identity]:
    kind = SnapshotKind(found.pop("kind", None))
    identity = Identity.from_dict(found)
    if identity.memory_size % PAGE_SIZE or identity.memory_base % PAGE_SIZE:
        raise ValueError(f"memory of {identity.memory_size:#x} bytes: not made of pages")
    return kind, identity


def _cpu(found: object) -> Cpu:
    count = _REGISTERS + 6
    if not isinstance(found, list) or len(found) != count:
        raise ValueError(f"expected a list of {count} words")
    *words, exit_code = found
    for word in words:
        if type(word) is not int or not 0 <= word < _WORD:
            raise ValueError(f"{word!r} is no 64-bit word")
    if words[_REGISTERS + 2] > NO_LIMIT:
        raise ValueError(f"cycle limit {words[_REGISTERS + 2]} is above {NO_LIMIT}")
    if words[0]:
        raise ValueError(f"x0 is {words[0]:#x}")
    if exit_code is not None and (type(exit_code) is not int or not -128 <= exit_code < 256):
        raise ValueError(f"exit code {exit_code!r}")
    pc, cycles, cycle_limit, reservation, size = words[_REGISTERS:]
    return Cpu(tuple(words[:_REGISTERS]), pc, cycles, cycle_limit, reservation, size, exit_code)


def _pages(
    found: dict[str, Any], identity: Identity, literals: Sequence[bytes | memoryview]
) -> Pages:
    extents, sources = found.get("extents"), found.get("sources")
    if not isinstance(extents, list) or not isinstance(sources, list) or len(found) != 2:
        raise ValueError(f"expected lists of extents and sources, not {sorted(found)}")
    known = []
    for index, source in enumerate(sources):
        match source:
            case [int() | str() | bytes() as name, int() as offset] if 0 <= offset < _WORD:
                known.append(Source(name, offset))
            case _:
                raise ValueError(f"source {index}: {source!r}")
    unpacked = unpack_extents(
        extents,
        page_count=identity.memory_size >> PAGE_SHIFT,
        literal_count=len(literals),
        source_count=len(known),
    )
    return Pages(unpacked, literals, tuple(known))


def _split(section: Section) -> list[memoryview]:
    count = _page_count(section, len(section.payload))
    view = memoryview(section.payload)
    return [view[page * PAGE_SIZE : (page + 1) * PAGE_SIZE] for page in range(count)]


def _page_count(section: Section, size: int) -> int:
    if not size or size % PAGE_SIZE:
        raise _wrong(section, f"{size} bytes: not made of pages")
    return size // PAGE_SIZE


def _wrong(section: Section, reason: str) -> SnapshotFormatError:
    return SnapshotFormatError(reason, section.offset, section.name)


def _ordered(value: object) -> object:
    """Return the same with all maps in the order of their keys."""
    if isinstance(value, Mapping):
        return {key: _ordered(value[key]) for key in sorted(value)}
    return [_ordered(each) for each in value] if isinstance(value, list | tuple) else value


def _pack(value: object) -> bytes:
    import msgpack  # not needed until there is a snapshot

    try:
        packed: bytes = msgpack.packb(value, use_bin_type=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise SnapshotError(f"state that cannot be saved: {error}") from error
    return packed


def _map(section: Section) -> dict[str, Any]:
    found = _unpack(section)
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ValueError("expected a map with names as keys")
    return found


def _unpack(section: Section) -> object:
    import msgpack

    try:
        return msgpack.unpackb(section.payload, raw=False, strict_map_key=True)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise _wrong(section, f"its msgpack is broken: {error or type(error).__name__}") from error

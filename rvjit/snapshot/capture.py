"""From a machine to a snapshot and back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

from rvjit.errors import SnapshotMismatch
from rvjit.machine.machine import Machine
from rvjit.machine.memory import Memory
from rvjit.machine.pages import (
    DIRTY,
    PAGE_SHIFT,
    PAGE_SIZE,
    READABLE,
    SAVED_FLAGS,
    WRITABLE,
    runs_of,
)
from rvjit.snapshot.identity import Identity
from rvjit.snapshot.pages import Extent, Kind, Pages, PagesBuilder, Source, SourceId
from rvjit.snapshot.snapshot import Cpu, Snapshot, SnapshotKind
from rvjit.snapshot.state import EVERYTHING, HostPart, Selection, get_states, set_states

_SAVED = bytes(flags & SAVED_FLAGS for flags in range(256))

# Reads bytes ``[offset, offset + length)`` of the data of a name; None where there is no such data.
LoadData = Callable[[SourceId, int, int], bytes | memoryview | None]


def capture(
    machine: Machine,
    identity: Identity,
    kind: SnapshotKind,
    *,
    parts: Mapping[str, HostPart] | None = None,
    chosen: Selection = EVERYTHING,
    exit_code: int | None = None,
    live: bool = False,
) -> Snapshot:
    """Take a FULL or DIRTY snapshot of a machine that is not running; it changes nothing.

    With *live* the snapshot's pages are views of the machine's memory, for writing them out at
    once: it is worth nothing after the machine has run.
    """
    memory = machine.memory
    if kind is SnapshotKind.DIRTY:
        pages = capture_pages(memory, pages_with_dirty(memory), Kind.KEEP, live=live)
    else:
        pages = capture_pages(memory, memory.pages_in_use(), Kind.ZERO, live=live)
    return Snapshot(
        kind, identity, capture_cpu(machine, exit_code), pages, get_states(parts or {}, chosen)
    )


def capture_cpu(machine: Machine, exit_code: int | None = None) -> Cpu:
    """Return registers and counters."""
    state = machine.state
    return Cpu(
        tuple(machine.x),
        machine.pc,
        machine.cycles,
        machine.cycle_limit,
        state.reservation,
        state.reservation_size,
        exit_code,
    )


def capture_pages(
    memory: Memory,
    held: Sequence[int],
    others: Kind,
    *,
    live: bool = False,
    sources: Mapping[int, tuple[Source, int]] | None = None,
) -> Pages:
    """Describe a memory: the bytes of the pages *held* (ascending), of *others* only the flags.

    Pages with the flags of an empty memory that are not held are left out. *sources* are the pages
    that come from a source, which are not held, with the flags to note.
    """
    flags = memory.flags.tobytes().translate(_SAVED)
    plain = empty_flags(memory)
    builder = PagesBuilder()

    runs = _runs_other_than(plain)

    def add_others(start: int, stop: int) -> None:
        for run in runs.finditer(flags, start, stop):
            builder.add_run(run.start(), run.end() - run.start(), run[1][0], others)

    at = 0
    for page in sorted({*held, *sources}) if sources else held:
        if page == at + 1:  # quicker, and common where pages lie apart
            if flags[at] != plain:
                builder.add_run(at, 1, flags[at], others)
        elif page != at:
            add_others(at, page)
        if sources and page in sources:
            source, noted = sources[page]
            builder.add_source(page, 1, noted, source)
        else:
            start = page << PAGE_SHIFT
            view = memory.buffer[start : start + PAGE_SIZE]
            builder.add_bytes(page, flags[page], view if live else bytes(view))
        at = page + 1
    add_others(at, memory.page_count)
    return builder.build()


@lru_cache(maxsize=2)
def _runs_other_than(flags: int) -> re.Pattern[bytes]:
    """Return what finds runs of pages with the same flags, but not with *flags*."""
    return re.compile(rb"([^\x%02x])\1*" % flags, re.DOTALL)


def pages_with_dirty(memory: Memory) -> list[int]:
    """Indices of pages that have DIRTY, ascending."""
    return [page for page in memory.pages_in_use() if memory.flags[page] & DIRTY]


def empty_flags(memory: Memory) -> int:
    """Return the flags of every page of such a memory when it is made."""
    return READABLE | WRITABLE if memory.wxorx else 0


def apply(
    machine: Machine,
    snapshot: Snapshot,
    *,
    parts: Mapping[str, HostPart] | None = None,
    chosen: Selection = EVERYTHING,
    load_data: LoadData | None = None,
) -> None:
    """Make *machine*, which does not run, what it was when *snapshot* was taken.

    Whoever calls this has checked `Snapshot.identity`. A DIRTY snapshot needs the same program,
    loaded and not run. The exit code is the caller's to set. Raises `SnapshotMismatch` where
    anything does not fit; nothing has been changed then.
    """
    memory = machine.memory
    loaded = [
        _load(snapshot.pages.sources[extent.argument], extent, load_data)
        for extent in snapshot.pages.extents
        if extent.kind is Kind.SOURCE
    ]
    if snapshot.kind is SnapshotKind.DIRTY:
        _check_fresh(memory, snapshot.pages)
    set_states(parts or {}, snapshot.host, chosen)
    # Flags last of what sets DIRTY, and bytes after them: initialising leaves flags alone.
    _zero(memory, snapshot.pages, others=snapshot.kind is not SnapshotKind.DIRTY)
    _apply_flags(memory, snapshot.pages)
    _apply_bytes(memory, snapshot.pages, loaded)
    cpu, state = snapshot.cpu, machine.state
    for number, value in enumerate(cpu.x):
        machine.x[number] = value
    machine.pc, machine.cycles = cpu.pc, cpu.cycles
    state.reservation, state.reservation_size = cpu.reservation, cpu.reservation_size
    machine.cycle_limit = cpu.cycle_limit


def _load(source: Source, extent: Extent, load_data: LoadData | None) -> bytes | memoryview:
    size = extent.length * PAGE_SIZE
    wanted = f"{size} bytes of source {source.id!r} from {source.offset}"
    data = None if load_data is None else load_data(source.id, source.offset, size)
    if data is None:
        raise SnapshotMismatch("data source", wanted, "nothing of that")
    if len(data) != size:
        raise SnapshotMismatch("data source", wanted, f"{len(data)} bytes")
    return data


def _check_fresh(memory: Memory, pages: Pages) -> None:
    for page in pages_with_dirty(memory):
        extent = pages.extent_of(page)
        if extent is None or extent.kind is Kind.KEEP:
            address = hex(memory.base + page * PAGE_SIZE)
            raise SnapshotMismatch(f"the page at {address}", "as loaded", "written: it has run")


def _zero(memory: Memory, pages: Pages, *, others: bool) -> None:
    """Zero what has to be, with *others* also the pages that *pages* does not mention."""

    def wanted(page: int) -> bool:
        extent = pages.extent_of(page)
        return others if extent is None else extent.kind is Kind.ZERO

    for first, stop in runs_of(filter(wanted, memory.pages_in_use())):
        memory.zero(memory.base + first * PAGE_SIZE, (stop - first) * PAGE_SIZE)


def _apply_flags(memory: Memory, pages: Pages) -> None:
    plain = empty_flags(memory)
    at = 0
    for extent in pages.extents:
        memory.assign_flags(range(at, extent.first), plain)
        memory.assign_flags(range(extent.first, extent.stop), extent.flags)
        at = extent.stop
    memory.assign_flags(range(at, memory.page_count), plain)


def _apply_bytes(memory: Memory, pages: Pages, loaded: Iterable[bytes | memoryview]) -> None:
    """Write bytes that differ; code made from others can stay."""
    for page, data in pages.contents():
        _put(memory, page, data)
    sources = [extent for extent in pages.extents if extent.kind is Kind.SOURCE]
    for extent, data in zip(sources, loaded, strict=True):
        for index in range(extent.length):
            at = index * PAGE_SIZE
            _put(memory, extent.first + index, memoryview(data)[at : at + PAGE_SIZE])


def _put(memory: Memory, page: int, data: bytes | memoryview) -> None:
    start = page << PAGE_SHIFT
    if bytes(memory.buffer[start : start + PAGE_SIZE]) != data:
        memory.initialise(memory.base + start, data, dirty=False)
        memory.list_page(page)

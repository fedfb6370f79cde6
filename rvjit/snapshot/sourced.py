"""Sourced snapshots: pages that came whole from a stable data source are stored as references.

These are CKB-VM's second snapshots (Snapshot2), by its rules: what is tracked, when a page stops
being so, and how runs are merged. CKB-VM's known oddities follow from the rules and are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from rvjit.errors import SnapshotMismatch
from rvjit.loader.ckb import LoadAction
from rvjit.machine.machine import Machine
from rvjit.machine.memory import Memory
from rvjit.machine.pages import (
    DIRTY,
    PAGE_SHIFT,
    PAGE_SIZE,
    SAVED_FLAGS,
    page_of,
    pages_touched,
    round_up,
)
from rvjit.snapshot.capture import apply, capture_cpu, capture_pages
from rvjit.snapshot.identity import Identity
from rvjit.snapshot.pages import Extent, Kind, Pages, Source, SourceId
from rvjit.snapshot.snapshot import Snapshot, SnapshotKind
from rvjit.snapshot.state import EVERYTHING, HostPart, Selection, get_states

_SIZE_WIDTH = 8  # bytes of the word that says how much data there is


class DataSource(Protocol):
    """Data that stays the same for as long as snapshots refer to it."""

    def load_data(
        self,
        name: SourceId,
        offset: int,
        length: int,
    ) -> tuple[bytes | memoryview, int] | None:
        """Return up to *length* bytes from *offset*, and how many there are from there to the end.

        None where there is no data of that name. CKB gives all of it for a *length* of 0.
        """


class SourcedContext:
    """Which pages of one memory equal a data source, and snapshots that make use of it.

    Tracking takes DIRTY from a page; whatever writes to it sets DIRTY again, and then it is stored
    with its bytes. Addresses are the guest's. Whatever reaches outside of memory raises
    `OutOfBounds`.
    """

    def __init__(self, source: DataSource) -> None:
        self.source = source
        # By page index: where its bytes are, and the flags it had when it was tracked.
        self.tracked: dict[int, tuple[Source, int]] = {}

    def load_data(
        self,
        name: SourceId,
        offset: int,
        length: int,
    ) -> tuple[bytes | memoryview, int]:
        """Ask the source. Raises `SnapshotMismatch` where it has nothing of that name."""
        found = self.source.load_data(name, offset, length)
        if found is None:
            wanted = f"{length} bytes of source {name!r} from {offset}"
            raise SnapshotMismatch("data source", wanted, "nothing of that")
        return found

    def store_bytes(
        self,
        memory: Memory,
        address: int,
        name: SourceId,
        offset: int,
        length: int,
        size_address: int,
    ) -> tuple[int, int]:
        """Store data of the source as the guest would, and track the pages that it fills.

        The number of bytes from *offset* to the end goes to *size_address* first. Returns how many
        were stored, and that number. Raises what `Memory.write` does.
        """
        data, full_length = self.load_data(name, offset, length)
        memory.write_int(size_address, full_length, _SIZE_WIDTH)
        self.untrack_pages(memory, address, len(data))
        if len(data):
            memory.write(address, data)
        self.track_pages(memory, address, len(data), name, offset)
        return len(data), full_length

    def mark_program(
        self,
        memory: Memory,
        actions: Iterable[LoadAction],
        name: SourceId,
        offset: int = 0,
    ) -> None:
        """Track the pages of a program just loaded by *actions* (`load_ckb`).

        Its file is the data of that name from *offset* on.
        """
        for action in actions:
            start = action.address + action.offset_from_address
            length = min(len(action.source), action.size - action.offset_from_address)
            self.track_pages(memory, start, length, name, offset + action.file_offset)

    def track_pages(
        self,
        memory: Memory,
        start: int,
        length: int,
        name: SourceId,
        offset: int,
    ) -> None:
        """Note that ``[start, start + length)`` equals the source from *offset* on.

        Whole pages only, the rest is ignored.
        """
        first = round_up(start)
        offset += first - start
        for address in range(first, start + length - PAGE_SIZE + 1, PAGE_SIZE):
            page = page_of(memory.offset(address, PAGE_SIZE, "store"))
            memory.clear_flag(page, DIRTY)
            place = Source(name, offset + address - first)
            self.tracked[page] = place, memory.flags[page] & SAVED_FLAGS

    def untrack_pages(self, memory: Memory, start: int, length: int) -> None:
        """Make the pages that ``[start, start + length)`` touches DIRTY and forget their source."""
        if not length:
            return
        for page in pages_touched(memory.offset(start, length, "store"), length):
            memory.set_flag(page, DIRTY)
            self.tracked.pop(page, None)

    def make_snapshot(
        self,
        machine: Machine,
        identity: Identity,
        *,
        parts: Mapping[str, HostPart] | None = None,
        chosen: Selection = EVERYTHING,
        exit_code: int | None = None,
    ) -> Snapshot:
        """Return a SOURCED snapshot; nothing changes."""
        memory = machine.memory
        sources = {
            page: self.tracked[page]
            for page in sorted(self.tracked)
            if not memory.flags[page] & DIRTY
        }
        held = [page for page in memory.pages_in_use() if page not in sources]
        pages = capture_pages(memory, held, Kind.ZERO, sources=sources)
        states = get_states(parts or {}, chosen)
        return Snapshot(
            SnapshotKind.SOURCED, identity, capture_cpu(machine, exit_code), pages, states
        )

    def resume(
        self,
        machine: Machine,
        snapshot: Snapshot,
        *,
        parts: Mapping[str, HostPart] | None = None,
        chosen: Selection = EVERYTHING,
    ) -> None:
        """Make *machine* what it was when *snapshot* was taken, and track what is from the source.

        Whoever calls this has checked `Snapshot.identity`. Where the source gives fewer bytes than
        it had, whole pages of them, the others stay zero, as in CKB-VM. Raises `SnapshotMismatch`
        for other numbers of bytes and unknown names; nothing has been changed then.
        """
        loaded: dict[Source, bytes | memoryview] = {}
        extents = []
        for extent in snapshot.pages.extents:
            if extent.kind is Kind.SOURCE:
                source = snapshot.pages.sources[extent.argument]
                data, _ = self.load_data(source.id, source.offset, extent.length * PAGE_SIZE)
                if len(data) % PAGE_SIZE:
                    where = f"whole pages of source {source.id!r} from {source.offset}"
                    raise SnapshotMismatch("data source", where, f"{len(data)} bytes")
                loaded[source] = data
                if not len(data):
                    continue
                extents.append(extent._replace(length=len(data) >> PAGE_SHIFT))
            else:
                extents.append(extent)
        pages = replace(snapshot.pages, extents=tuple(extents))
        apply(
            machine,
            replace(snapshot, pages=pages),
            parts=parts,
            chosen=chosen,
            load_data=lambda name, offset, length: loaded[Source(name, offset)],  # noqa: ARG005
        )
        self.tracked = dict(_tracked(pages, extents))


def _tracked(pages: Pages, extents: Iterable[Extent]) -> Iterable[tuple[int, tuple[Source, int]]]:
    for extent in extents:
        if extent.kind is Kind.SOURCE:
            name, offset = pages.sources[extent.argument]
            for index in range(extent.length):
                yield extent.first + index, (Source(name, offset + index * PAGE_SIZE), extent.flags)

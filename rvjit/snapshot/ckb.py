"""What CKB-VM's two kinds of snapshot hold, field by field, read off ours."""

from __future__ import annotations

from dataclasses import dataclass

from rvjit.machine.pages import DIRTY, PAGE_SHIFT, PAGE_SIZE, PUBLIC
from rvjit.snapshot.pages import Kind, SourceId
from rvjit.snapshot.snapshot import Snapshot


@dataclass(frozen=True)
class CkbSnapshot:
    """CKB-VM's first kind: index, flags and bytes of every DIRTY page, ascending."""

    version: int
    registers: tuple[int, ...]
    pc: int
    page_indices: tuple[int, ...]
    page_flags: tuple[int, ...]
    pages: tuple[bytes, ...]
    load_reservation_address: int


@dataclass(frozen=True)
class CkbSnapshot2:
    """CKB-VM's second kind.

    *pages_from_source* are (address, flags, id, offset in the source, length), *dirty_pages*
    (address, flags, bytes); both merged to runs, ascending.
    """

    pages_from_source: tuple[tuple[int, int, SourceId, int, int], ...]
    dirty_pages: tuple[tuple[int, int, bytes], ...]
    version: int
    registers: tuple[int, ...]
    pc: int
    cycles: int
    max_cycles: int
    load_reservation_address: int


def as_ckb_snapshot(snapshot: Snapshot) -> CkbSnapshot:
    """Return the fields of CKB-VM's first kind; *snapshot* may be of any kind."""
    rows = list(_dirty_pages(snapshot))
    return CkbSnapshot(
        version=snapshot.identity.vm_version,
        registers=snapshot.cpu.x,
        pc=snapshot.cpu.pc,
        page_indices=tuple(page for page, _, _ in rows),
        page_flags=tuple(flags for _, flags, _ in rows),
        pages=tuple(data for _, _, data in rows),
        load_reservation_address=snapshot.cpu.reservation,
    )


def as_ckb_snapshot2(snapshot: Snapshot) -> CkbSnapshot2:
    """Return the fields of CKB-VM's second kind; *snapshot* is SOURCED, or has no sources."""
    runs: list[tuple[int, int, bytearray]] = []
    for page, flags, data in _dirty_pages(snapshot):
        address = page << PAGE_SHIFT
        if runs and runs[-1][0] + len(runs[-1][2]) == address and runs[-1][1] == flags:
            runs[-1][2].extend(data)
        else:
            runs.append((address, flags, bytearray(data)))
    pages = snapshot.pages
    return CkbSnapshot2(
        pages_from_source=tuple(
            (
                extent.first << PAGE_SHIFT,
                extent.flags & PUBLIC,
                *pages.sources[extent.argument],
                extent.length << PAGE_SHIFT,
            )
            for extent in pages.extents
            if extent.kind is Kind.SOURCE
        ),
        dirty_pages=tuple((address, flags, bytes(data)) for address, flags, data in runs),
        version=snapshot.identity.vm_version,
        registers=snapshot.cpu.x,
        pc=snapshot.cpu.pc,
        cycles=snapshot.cpu.cycles,
        max_cycles=snapshot.cpu.cycle_limit,
        load_reservation_address=snapshot.cpu.reservation,
    )


def _dirty_pages(snapshot: Snapshot) -> list[tuple[int, int, bytes]]:
    """Return page index, public flags and bytes of the pages with DIRTY, ascending."""
    contents = dict(snapshot.pages.contents())
    zeros = bytes(PAGE_SIZE)
    return [
        (page, extent.flags & PUBLIC, bytes(contents.get(page, zeros)))
        for extent in snapshot.pages.extents
        if extent.flags & DIRTY and extent.kind is not Kind.SOURCE
        for page in range(extent.first, extent.stop)
    ]

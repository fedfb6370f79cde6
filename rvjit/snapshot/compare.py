"""Comparison of two snapshots at rest."""

from __future__ import annotations

from collections.abc import Iterator

from rvjit.errors import SnapshotMismatch
from rvjit.machine.pages import PAGE_SIZE
from rvjit.snapshot.diff import (
    Differences,
    differing_bytes,
    differing_states,
    differing_words,
    joined,
)
from rvjit.snapshot.pages import ZERO_PAGE, Extent, Kind
from rvjit.snapshot.snapshot import Cpu, Snapshot, SnapshotKind


def compare(first: Snapshot, second: Snapshot) -> Differences:
    """Return how two snapshots of one kind and machine differ.

    Pages from a data source are compared by source and offset. Raises `SnapshotMismatch` where they
    are of different kinds or machines.
    """
    if first.kind is not second.kind:
        raise SnapshotMismatch("kind", first.kind.value, second.kind.value)
    first.identity.check(second.identity, program=first.kind is SnapshotKind.DIRTY)
    flags = []
    ranges: list[tuple[int, int]] = []
    for page, one, two in _pages(first, second):
        address = first.identity.memory_base + page * PAGE_SIZE
        if one[0] != two[0]:
            flags.append((address, one[0], two[0]))
        if one[1] != two[1]:
            if isinstance(one[1], bytes) and isinstance(two[1], bytes):
                ranges += differing_bytes(address, one[1], two[1])
            else:
                ranges.append((address, PAGE_SIZE))
    states = [
        {**each.host, "exit_code": each.cpu.exit_code, "cycle_limit": each.cpu.cycle_limit}
        for each in (first, second)
    ]
    return Differences(
        registers=differing_words(_words(first.cpu), _words(second.cpu)),
        flags=tuple(flags),
        memory=joined(ranges),
        host=differing_states(*states),
    )


# Flags, and bytes or where they are to be found.
_Page = tuple[int, object]


def _pages(first: Snapshot, second: Snapshot) -> Iterator[tuple[int, _Page, _Page]]:
    """Yield what both say of every page of which they do not say the same, ascending."""
    default: _Page = (first.empty_flags, ZERO_PAGE)
    if first.kind is SnapshotKind.DIRTY:
        default = (first.empty_flags, Kind.KEEP)
    contents = [dict(each.pages.contents()) for each in (first, second)]
    tables = [_by_page(each) for each in (first, second)]
    for page in sorted({*tables[0], *tables[1]}):
        found = []
        for taken, table, data in zip((first, second), tables, contents, strict=True):
            extent = table.get(page)
            found.append(default if extent is None else _page(taken, extent, page, data))
        if found[0] != found[1]:
            yield page, found[0], found[1]


def _by_page(taken: Snapshot) -> dict[int, Extent]:
    return {
        page: extent for extent in taken.pages.extents for page in range(extent.first, extent.stop)
    }


def _page(
    taken: Snapshot, extent: Extent, page: int, contents: dict[int, bytes | memoryview]
) -> _Page:
    if extent.kind is Kind.SOURCE:
        name, offset = taken.pages.sources[extent.argument]
        return extent.flags, (name, offset + (page - extent.first) * PAGE_SIZE)
    if extent.kind is Kind.KEEP:
        return extent.flags, Kind.KEEP
    return extent.flags, bytes(contents.get(page, ZERO_PAGE))


def _words(cpu: Cpu) -> list[int]:
    return [*cpu.x, cpu.pc, cpu.cycles, cpu.reservation, cpu.reservation_size]

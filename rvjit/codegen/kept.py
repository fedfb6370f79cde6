"""Compiled regions as they are kept: beside the code everything that it was made from.

Whether a region may be used is found out by comparing that with the machine, byte for byte. So a
process that has the region needs neither to find it in guest code again nor to decode anything, and
there is no key that could leave something out.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from rvjit.codegen.blob import Blob
from rvjit.codegen.cache import dump
from rvjit.machine.machine import Machine
from rvjit.machine.memory import Memory
from rvjit.machine.pages import EXECUTABLE, pages_touched


class Origin:
    """What the region at *pc* was made from, but for the machine's rules and window.

    *slots* is the number of slots of the dispatch table, *reads* what was read of guest memory as
    (offset, bytes), *executable* the pages of those (page, whether it was), *barriers* which of
    the barriers are among those bytes.
    """

    __slots__ = ("barriers", "executable", "pc", "reads", "slots")

    def __init__(
        self,
        pc: int,
        slots: int,
        reads: tuple[tuple[int, bytes], ...],
        executable: tuple[tuple[int, bool], ...],
        barriers: tuple[int, ...],
    ) -> None:
        self.pc = pc
        self.slots = slots
        self.reads = reads
        self.executable = executable
        self.barriers = barriers

    @classmethod
    def of(
        cls,
        machine: Machine,
        pc: int,
        slots: int,
        ranges: Iterable[range],
        barriers: AbstractSet[int],
    ) -> Origin:
        """Note what *machine* has now at the addresses in *ranges*."""
        memory = machine.memory
        joined = _join(memory, ranges)
        reads = tuple(
            (each.start, memory.buffer[each.start : each.stop].tobytes()) for each in joined
        )
        pages = sorted({page for each in joined for page in pages_touched(each.start, len(each))})
        executable = tuple((page, bool(memory.flags[page] & EXECUTABLE)) for page in pages)
        return cls(pc, slots, reads, executable, _among(barriers, memory, reads))

    def holds(self, memory: Memory, slots: int, barriers: AbstractSet[int]) -> bool:
        """Whether a machine with this *memory* would be read in the same way now."""
        if slots != self.slots:
            return False
        flags, buffer = memory.flags, memory.buffer
        return (
            all(bool(flags[page] & EXECUTABLE) == wanted for page, wanted in self.executable)
            and all(
                buffer[offset : offset + len(data)].tobytes() == data for offset, data in self.reads
            )
            and _among(barriers, memory, self.reads) == self.barriers
        )

    def same(self, other: Origin) -> bool:
        """Whether both would give the same region."""
        return (self.slots, self.reads, self.executable, self.barriers) == (
            other.slots,
            other.reads,
            other.executable,
            other.barriers,
        )


class KeptRegion:
    """A compiled region.

    *pcs* are the addresses of its instructions, *pages* the pages of guest memory they are in.
    """

    __slots__ = ("blob", "insn_count", "origin", "pages", "pcs")

    def __init__(
        self, origin: Origin, pcs: AbstractSet[int], pages: AbstractSet[int], count: int, blob: Blob
    ) -> None:
        self.origin = origin
        self.pcs = pcs
        self.pages = pages
        self.insn_count = count
        self.blob = blob

    def record(self) -> bytes:
        """Return it as the bytes of a record."""
        origin, blob = self.origin, self.blob
        symbols = tuple((name.encode(), offset) for name, offset in sorted(blob.symbols.items()))
        return dump(
            (
                (origin.slots, origin.reads, origin.executable, origin.barriers),
                tuple(sorted(self.pcs)),
                tuple(sorted(self.pages)),
                self.insn_count,
                (blob.code, symbols),
            )
        )


def region_of(pc: int, record: bytes) -> KeptRegion:
    """Return the region at *pc* that `KeptRegion.record` made *record* of."""
    origin, pcs, pages, count, (code, symbols) = marshal.loads(record)
    blob = Blob(code, {name.decode(): offset for name, offset in symbols})
    return KeptRegion(Origin(pc, *origin), frozenset(pcs), frozenset(pages), count, blob)


def _join(memory: Memory, ranges: Iterable[range]) -> list[range]:
    """Return ranges of addresses as disjoint ranges of offsets in ascending order."""
    joined: list[range] = []
    for each in sorted(ranges, key=lambda each: each.start):
        start = max(each.start - memory.base, 0)
        stop = min(each.stop - memory.base, memory.size)
        if start >= stop:
            continue
        if joined and start <= joined[-1].stop:
            joined[-1] = range(joined[-1].start, max(joined[-1].stop, stop))
        else:
            joined.append(range(start, stop))
    return joined


def _among(
    barriers: AbstractSet[int], memory: Memory, reads: tuple[tuple[int, bytes], ...]
) -> tuple[int, ...]:
    """Return those of *barriers* that are addresses of what was read, in order."""
    return tuple(
        sorted(
            barrier
            for barrier in barriers
            if any(0 <= barrier - memory.base - offset < len(data) for offset, data in reads)
        )
    )

"""Pages at rest: what a snapshot says of pages, as extents, and the bytes of those that have any.

An `Extent` is a run of pages with the same flags and the same kind of contents. Equal pages are
stored once, pages of zeros not at all.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import accumulate
from operator import attrgetter
from typing import NamedTuple, overload

from rvjit.machine.pages import PAGE_SIZE, SAVED_FLAGS

ZERO_PAGE = bytes(PAGE_SIZE)
_SAMPLED = 64  # every so many bytes
_SHORTEST = 4  # numbers of an extent in its packed form


class Kind(IntEnum):
    """Where the bytes of an extent's pages are."""

    ZERO = 0  # nowhere: zeros
    LITERAL = 1  # the next pages of the snapshot's literals, in order
    SAME = 2  # the literal page with number `argument`, again for every page
    SOURCE = 3  # in a data source: `argument` is the index of an entry of `sources`
    KEEP = 4  # where loading the program put them; only the flags are the snapshot's


_WITH_ARGUMENT = (Kind.SAME, Kind.SOURCE)
_KINDS = frozenset(map(int, Kind))

SourceId = int | bytes | str


class Source(NamedTuple):
    """Where an extent's first page begins: byte *offset* of the data named *id*."""

    id: SourceId
    offset: int


class Extent(NamedTuple):
    """Pages ``[first, first + length)``."""

    first: int
    length: int
    flags: int
    kind: Kind
    argument: int = 0

    @property
    def stop(self) -> int:
        """Index of the page behind the last."""
        return self.first + self.length


class LeftPages(Sequence[bytes | memoryview]):
    """Literal pages that were left in a file, in sections; the last one used is kept.

    *sections* are pairs: the number of pages, and what reads their bytes.
    """

    def __init__(self, sections: Sequence[tuple[int, Callable[[], bytes]]]) -> None:
        self._loads = [load for _, load in sections]
        self._starts = list(accumulate((count for count, _ in sections), initial=0))
        self._held = -1
        self._bytes = memoryview(b"")

    def __len__(self) -> int:
        return self._starts[-1]

    @overload
    def __getitem__(self, index: int) -> memoryview: ...

    @overload
    def __getitem__(self, index: slice) -> list[memoryview]: ...

    def __getitem__(self, index: int | slice) -> memoryview | list[memoryview]:
        """Return one page, or several."""
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        number = range(len(self))[index]
        section = bisect_right(self._starts, number) - 1
        if section != self._held:
            self._bytes, self._held = memoryview(self._loads[section]()), section
        at = (number - self._starts[section]) * PAGE_SIZE
        return self._bytes[at : at + PAGE_SIZE]


_FIRST = attrgetter("first")


@dataclass(frozen=True)
class Pages:
    """Extents in ascending order, the literal pages of 4096 bytes, and references to sources."""

    extents: tuple[Extent, ...]
    literals: Sequence[bytes | memoryview] = field(repr=False)
    sources: tuple[Source, ...] = ()

    def contents(self) -> Iterator[tuple[int, bytes | memoryview]]:
        """Yield the index and the bytes of every page that is LITERAL or SAME."""
        literal = 0
        for extent in self.extents:
            if extent.kind is Kind.LITERAL:
                for page in range(extent.first, extent.stop):
                    yield page, self.literals[literal]
                    literal += 1
            elif extent.kind is Kind.SAME:
                for page in range(extent.first, extent.stop):
                    yield page, self.literals[extent.argument]

    def extent_of(self, page: int) -> Extent | None:
        """Return the extent that *page* is in, or None."""
        index = bisect_right(self.extents, page, key=_FIRST) - 1
        extent = self.extents[index] if index >= 0 else None
        return extent if extent is not None and page < extent.stop else None


class PagesBuilder:
    """Collects pages in ascending order. Literals are kept as they are given, not copied."""

    def __init__(self) -> None:
        self._extents: list[Extent] = []
        self._literals: list[bytes | memoryview] = []
        self._sources: list[Source] = []
        # By a sample of a page its number among the literals, or those of several by their bytes.
        self._seen: dict[bytes, int | dict[bytes, int]] = {}

    def add_bytes(self, page: int, flags: int, data: bytes | memoryview) -> None:
        """Add one page with its 4096 bytes."""
        plain = data if isinstance(data, bytes) else bytes(data)
        if plain == ZERO_PAGE:
            self.add_run(page, 1, flags, Kind.ZERO)
            return
        number = self._number_of(plain)
        if number < len(self._literals):
            self.add_run(page, 1, flags, Kind.SAME, number)
            return
        self._literals.append(data)
        self.add_run(page, 1, flags, Kind.LITERAL)

    def _number_of(self, data: bytes) -> int:
        """Return the number of the literal that is *data*, else the one that it will have.

        Most pages differ from all others in the sample; a hash of a whole page is what would take
        longest of all.
        """
        number = len(self._literals)
        alike = self._seen.setdefault(data[::_SAMPLED], number)
        if isinstance(alike, int):
            if alike == number:
                return number
            alike = self._seen[data[::_SAMPLED]] = {bytes(self._literals[alike]): alike}
        return alike.setdefault(data, number)

    def add_source(self, page: int, length: int, flags: int, source: Source) -> None:
        """Add pages of a data source; a run goes on where pages, flags and source do."""
        last = self._extents[-1] if self._extents else None
        if last is not None and last.kind is Kind.SOURCE and last.stop == page:
            known = self._sources[last.argument]
            goes_on = Source(known.id, known.offset + last.length * PAGE_SIZE)
            if last.flags == flags and goes_on == source:
                self._extents[-1] = last._replace(length=last.length + length)
                return
        self._sources.append(source)
        self._extents.append(Extent(page, length, flags, Kind.SOURCE, len(self._sources) - 1))

    def add_extent(self, extent: Extent, sources: Sequence[Source]) -> None:
        """Add an extent without bytes of its own; *sources* are those it refers to."""
        if extent.kind is Kind.SOURCE:
            first, length, flags = extent[:3]
            self.add_source(first, length, flags, sources[extent.argument])
        else:
            self.add_run(*extent)

    def add_run(self, page: int, length: int, flags: int, kind: Kind, argument: int = 0) -> None:
        """Add pages that need no bytes of their own, joined to the last extent if alike."""
        extents = self._extents
        if extents:
            last = extents[-1]
            first, before, *alike = last
            if first + before == page and alike == [flags, kind, argument]:
                extents[-1] = last._replace(length=before + length)
                return
        extents.append(Extent(page, length, flags, kind, argument))

    def build(self) -> Pages:
        """Return what was collected."""
        return Pages(tuple(self._extents), self._literals, tuple(self._sources))


def pack_extents(extents: Iterable[Extent]) -> list[int]:
    """Return extents as a flat list of small numbers; `unpack_extents` reads it."""
    packed: list[int] = []
    at = 0
    for first, length, flags, kind, argument in extents:
        packed += (first - at, length, flags, int(kind))
        if kind in _WITH_ARGUMENT:
            packed.append(argument)
        at = first + length
    return packed


def unpack_extents(
    packed: Sequence[object], *, page_count: int, literal_count: int, source_count: int
) -> tuple[Extent, ...]:
    """Undo `pack_extents`. Raises `ValueError`, which says what, where anything is impossible."""
    extents: list[Extent] = []
    at, literals, index = 0, 0, 0
    while index < len(packed):
        row = packed[index : index + _SHORTEST + 1]
        numbers = [each for each in row if type(each) is int and 0 <= each < 1 << 64]
        if len(numbers) != len(row) or len(row) < _SHORTEST:
            raise ValueError(f"extent {len(extents)}: {row!r} are not its numbers")
        gap, length, flags, number = numbers[:_SHORTEST]
        if number not in _KINDS:
            raise ValueError(f"extent {len(extents)}: unknown kind of page {number}")
        kind = Kind(number)
        argument = 0
        index += _SHORTEST
        if kind in _WITH_ARGUMENT:
            if len(row) <= _SHORTEST:
                raise ValueError(f"extent {len(extents)}: cut off")
            argument = numbers[_SHORTEST]
            index += 1
        first = at + gap
        at = first + length
        if not length or at > page_count:
            raise ValueError(
                f"extent {len(extents)}: pages {first} to {at}, memory has {page_count}"
            )
        if flags & ~SAVED_FLAGS:
            raise ValueError(f"extent {len(extents)}: unknown page flags {flags:#x}")
        if kind is Kind.LITERAL:
            literals += length
        if argument >= {Kind.SAME: literals, Kind.SOURCE: source_count}.get(kind, 1):
            raise ValueError(f"extent {len(extents)}: refers to {kind.name} {argument}")
        extents.append(Extent(first, length, flags, kind, argument))
    if literals != literal_count:
        raise ValueError(f"{literals} pages have bytes, but there are bytes of {literal_count}")
    return tuple(extents)

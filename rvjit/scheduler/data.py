"""The data that scripts can name: programs, cell data, witnesses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from rvjit.errors import ScriptError

PROGRAM = "program"  # the root's own program

_INDEX_LIMIT = 1 << 32
_ENTRY_MASK = (1 << 56) - 1
_GROUP = 1  # the top byte of a source that means the script's group
GROUP_BIT = _GROUP << 56

INPUT, OUTPUT, CELL_DEP, HEADER_DEP = 1, 2, 3, 4

# By (source, place); place 0 is the data of a cell, 1 a witness.
_PIECES = {
    (INPUT, 0): "input",
    (OUTPUT, 0): "output",
    (CELL_DEP, 0): "cell_dep",
    (GROUP_BIT | INPUT, 0): "group_input",
    (GROUP_BIT | OUTPUT, 0): "group_output",
    (INPUT, 1): "witness",
    (OUTPUT, 1): "witness",
    (GROUP_BIT | INPUT, 1): "group_input_witness",
    (GROUP_BIT | OUTPUT, 1): "group_output_witness",
}
PIECES = (PROGRAM, *dict.fromkeys(_PIECES.values()))


class Location(NamedTuple):
    """Bytes ``[offset, offset + length)`` of the data called *name*; length 0 is up to the end."""

    name: str
    offset: int
    length: int

    @classmethod
    def of_bounds(cls, name: str, bounds: int) -> Location:
        """Read offset and length as system calls pass them, 32 bits each."""
        return cls(name, bounds >> 32, bounds & 0xFFFF_FFFF)


ROOT_LOCATION = Location(PROGRAM, 0, (1 << 64) - 1)


class Source(NamedTuple):
    """Where a system call looks: one of the four kinds, of the transaction or of the group."""

    entry: int
    group: bool

    @property
    def word(self) -> int:
        """The same as a number, normalised: only a top byte of 1 is left."""
        return GROUP_BIT * self.group | self.entry


def parse_source(word: int) -> Source:
    """Read a source argument. Raises `ScriptError` (External) for an unknown kind."""
    entry = word & _ENTRY_MASK
    if not INPUT <= entry <= HEADER_DEP:
        raise ScriptError("External", f"SourceEntry parse_from_u64 {entry}")
    return Source(entry, word >> 56 == _GROUP)


def piece_name(source: int, index: int, place: int) -> str | None:
    """Return the name of the data that three arguments of a system call mean; None for no such."""
    kind = _PIECES.get((source, place))
    if kind is None or index >= _INDEX_LIMIT:
        return None
    return f"{kind}/{index}"


class DataPieces:
    """A data source of plain bytes by name.

    Names are ``program``, ``input/0``, ``output/0``, ``cell_dep/0``, ``group_input/0``,
    ``group_output/0`` (the data of cells) and ``witness/0``, ``group_input_witness/0``,
    ``group_output_witness/0``, with any index. *find* is asked for names that are not among
    *pieces*.
    """

    def __init__(
        self,
        pieces: Mapping[str, bytes],
        find: Callable[[str], bytes | None] = lambda name: None,  # noqa: ARG005
    ) -> None:
        self._pieces = dict(pieces)
        self._find = find

    def load_data(self, name: object, offset: int, length: int) -> tuple[memoryview, int] | None:
        """Return up to *length* bytes (0: all) from *offset* on, and how many there are.

        An offset behind the end counts as the end. None where there is no data of that name.
        """
        assert isinstance(name, str)
        data = self._pieces.get(name)
        if data is None:
            data = self._find(name)
        if data is None:
            return None
        rest = memoryview(data)[min(offset, len(data)) :]
        return rest[:length] if length else rest, len(rest)

"""Many records in one file, each read when it is asked for and checked when it is read.

    8   magic
    4   size of the index
    4   checksum of the index
    .   index: for every record its key (u64), size and checksum (u32)
    .   the records, in the same order

A key may have several records. Checksums find damage; they do not tell who wrote the file, which is
for `rvjit.codegen.folder` to know.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable

from rvjit.codegen.digests import checksum

_MAGIC = b"rvjitkc2"
_HEAD = struct.Struct("<8sII")
_ENTRY = struct.Struct("<QII")

# Records of one file: bytes in all, and how many for one key.
MOST_BYTES = 64 << 20
MOST_VARIANTS = 4

Record = tuple[int, bytes]


class Bundle:
    """The records in an open file, which it closes at the end of its life.

    A file that is no bundle, or whose index is damaged, has no records.
    """

    _close = staticmethod(os.close)  # modules may be gone before the last object is

    def __init__(self, file: int) -> None:
        self._file = file
        self._places: dict[int, list[tuple[int, int, int]]] = {}  # offset, size, checksum
        head = os.pread(file, _HEAD.size, 0)
        if len(head) < _HEAD.size:
            return
        magic, size, check = _HEAD.unpack(head)
        if magic != _MAGIC or size > MOST_BYTES:
            return
        index = os.pread(file, size, _HEAD.size)
        if len(index) != size or size % _ENTRY.size or checksum(index) != check:
            return
        at = _HEAD.size + size
        for key, length, check in _ENTRY.iter_unpack(index):
            self._places.setdefault(key, []).append((at, length, check))
            at += length

    def __del__(self) -> None:
        self._close(self._file)

    @property
    def keys(self) -> list[int]:
        """Keys of all records, each once."""
        return list(self._places)

    def read(self, key: int) -> list[bytes]:
        """Return the undamaged records of *key*, newest first."""
        found = []
        for offset, size, check in self._places.get(key, ()):
            data = os.pread(self._file, size, offset)
            if len(data) == size and checksum(data) == check:
                found.append(data)
        return found

    def records(self) -> list[Record]:
        """Return all undamaged records, newest first among those of one key."""
        return [(key, data) for key in self._places for data in self.read(key)]


def merge(new: Iterable[Record], old: Iterable[Record]) -> list[Record]:
    """Return *new* and *old* records within the bounds of a file, each once; new ones first."""
    seen: dict[int, list[bytes]] = {}
    merged: list[Record] = []
    room = MOST_BYTES - _HEAD.size
    for key, data in (*new, *old):
        variants = seen.setdefault(key, [])
        size = _ENTRY.size + len(data)
        if data in variants or len(variants) == MOST_VARIANTS or size > room:
            continue
        variants.append(data)
        merged.append((key, data))
        room -= size
    return merged


def pack(records: list[Record]) -> bytes:
    """Return the contents of a file with these records."""
    index = b"".join(_ENTRY.pack(key, len(data), checksum(data)) for key, data in records)
    head = _HEAD.pack(_MAGIC, len(index), checksum(index))
    return b"".join([head, index, *(data for _, data in records)])

"""The frame of a snapshot's bytes: a header, sections with checksums, an end that seals them.

All numbers are little-endian, all checksums CRC-32::

    header   magic, u16 format version, u16 zero, u64 feature bits, u32 checksum of what precedes
    section  4 bytes name, u32 flags, u64 size, u64 stored size, u32 checksum of what precedes;
             the stored bytes; u32 checksum of the stored bytes
    ...
    section  b"end.", critical: u64 number of sections, u32 checksum of all their checksums

Nothing may follow. A section that its reader does not know is refused if it is critical, else kept.
A compressed section (Zstandard) has another stored size than size.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from types import ModuleType
from typing import BinaryIO

from rvjit.errors import SnapshotError, SnapshotFormatError

MAGIC = b"\x89RVS\r\n\x1a\n"  # as PNG's: shows files that were taken for text
FORMAT_VERSION = 1

# Feature bits: what a reader must know to understand the rest.
COMPRESSED = 1
FEATURES = COMPRESSED

# Section flags.
_CRITICAL = 1
_ZSTD = 2

# No section is larger; data is in sections of `CHUNK`, so that nobody needs it all in memory twice.
LARGEST_SECTION = 64 << 20
CHUNK = 1 << 20

_HEADER = struct.Struct("<8sHHQ")
_SECTION = struct.Struct("<4sIQQ")
_CHECKSUM = struct.Struct("<I")
_END = struct.Struct("<QI")
_END_NAME = "end."
_LEVEL = 1  # of compression: on guest memory higher ones cost much and gain little


@dataclass(frozen=True)
class Section:
    """A named part of a snapshot; *offset* is where it was read, 0 where it was not.

    *size* and *load*, which returns the payload again, are there where the payload was left in its
    file.
    """

    name: str
    payload: bytes | memoryview
    critical: bool = True
    offset: int = 0
    size: int = 0
    load: Callable[[], bytes] | None = None


def write(sections: Iterable[Section], *, compress: bool = False) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a snapshot, part by part."""
    header = _HEADER.pack(MAGIC, FORMAT_VERSION, 0, COMPRESSED if compress else 0)
    yield header + _CHECKSUM.pack(zlib.crc32(header))
    count, seal = 0, 0
    for section in sections:
        size = len(section.payload)
        stored = _compressed(section.payload) if compress else section.payload
        smaller = len(stored) < size
        if not smaller:
            stored = section.payload
        flags = _CRITICAL * section.critical | _ZSTD * smaller
        head = _SECTION.pack(section.name.encode("ascii"), flags, size, len(stored))
        checksum = _CHECKSUM.pack(zlib.crc32(stored))
        head += _CHECKSUM.pack(zlib.crc32(head))
        yield head
        yield stored
        yield checksum
        count += 1
        seal = zlib.crc32(head[-_CHECKSUM.size :] + checksum, seal)
    payload = _END.pack(count, seal)
    head = _SECTION.pack(_END_NAME.encode(), _CRITICAL, len(payload), len(payload))
    yield head + _CHECKSUM.pack(zlib.crc32(head)) + payload + _CHECKSUM.pack(zlib.crc32(payload))


def read(source: bytes | memoryview | BinaryIO, leave: Container[str] = ()) -> Iterator[Section]:
    """Yield the sections of a snapshot in bytes or a seekable file, checked one by one.

    The end is checked only when all sections were taken: what came before may be used only then.
    The payloads of sections whose names are in *leave* are checked and not kept: they are read
    again, and checked again, when they are wanted. Raises `SnapshotFormatError`.
    """
    return _Reader(source).sections(leave)


class _Reader:
    def __init__(self, source: bytes | memoryview | BinaryIO) -> None:
        self._file: BinaryIO = (
            BytesIO(source) if isinstance(source, bytes | bytearray | memoryview) else source
        )
        start = self._file.tell()
        self._left = self._file.seek(0, 2) - start
        self._file.seek(start)
        self._at = 0

    def sections(self, leave: Container[str]) -> Iterator[Section]:
        features = self._header()
        count, seal = 0, 0
        while True:
            offset = self._at
            head, head_sum = self._checked(_SECTION.size, "", "a section's header")
            raw, flags, size, stored_size = _SECTION.unpack(head)
            name = _name(raw, offset)
            if flags & ~(_CRITICAL | _ZSTD) or (flags & _ZSTD and not features & COMPRESSED):
                raise SnapshotFormatError(f"unknown section flags {flags:#x}", offset, name)
            if max(size, stored_size) > LARGEST_SECTION:
                reason = f"{max(size, stored_size)} bytes, at most {LARGEST_SECTION} are allowed"
                raise SnapshotFormatError(reason, offset, name)
            if size != stored_size and not flags & _ZSTD:
                reason = f"size {size} differs from stored size {stored_size}"
                raise SnapshotFormatError(reason, offset, name)
            place = self._file.tell()
            payload, payload_sum = self._checked(stored_size, name, "its contents")
            if name == _END_NAME:
                break
            if flags & _ZSTD:
                payload = _decompressed(payload, size, offset, name)
            count += 1
            seal = zlib.crc32(head_sum + payload_sum, seal)
            critical = bool(flags & _CRITICAL)
            if name in leave:
                load = partial(self._load, place, size, (stored_size, payload_sum), (offset, name))
                yield Section(name, b"", critical, offset, size, load)
            else:
                yield Section(name, payload, critical, offset)
        if payload != _END.pack(count, seal):
            raise SnapshotFormatError("sections are missing, added or moved", offset, name)
        if self._left:
            raise SnapshotFormatError(f"{self._left} bytes too many", self._at)

    def _load(
        self, place: int, size: int, stored: tuple[int, bytes], where: tuple[int, str]
    ) -> bytes:
        """Return *size* bytes of a section that were found good before."""
        stored_size, checksum = stored
        self._file.seek(place)
        data = self._file.read(stored_size)
        if _CHECKSUM.pack(zlib.crc32(data)) != checksum:
            raise SnapshotFormatError("the file has changed since it was opened", *where)
        return data if stored_size == size else _decompressed(data, size, *where)

    def _header(self) -> int:
        magic = self._take(min(len(MAGIC), self._left), "the magic number")
        if magic != MAGIC:
            raise SnapshotFormatError(f"no snapshot: it begins with {magic!r}", 0)
        rest = self._take(_HEADER.size - len(MAGIC) + _CHECKSUM.size, "the header")
        header = magic + rest[: -_CHECKSUM.size]
        _, version, zero, features = _HEADER.unpack(header)
        if rest[-_CHECKSUM.size :] != _CHECKSUM.pack(zlib.crc32(header)):
            raise SnapshotFormatError("the header's checksum is wrong", 0)
        if version != FORMAT_VERSION or zero:
            reason = f"format version {version}, this release reads {FORMAT_VERSION}"
            raise SnapshotFormatError(reason, len(MAGIC))
        if features & ~FEATURES:
            reason = f"features {features & ~FEATURES:#x} are unknown to this release"
            raise SnapshotFormatError(reason, len(MAGIC))
        return int(features)

    def _checked(self, size: int, name: str, what: str) -> tuple[bytes, bytes]:
        """Take *size* bytes and their checksum; return both."""
        offset = self._at
        data = self._take(size, what, name)
        checksum = self._take(_CHECKSUM.size, f"the checksum of {what}", name)
        if checksum != _CHECKSUM.pack(zlib.crc32(data)):
            raise SnapshotFormatError(f"the checksum of {what} is wrong", offset, name)
        return data, checksum

    def _take(self, size: int, what: str, name: str = "") -> bytes:
        data = self._file.read(size) if size <= self._left else b""
        if len(data) != size:
            reason = f"cut off: {what} has {size} bytes, {self._left} are left"
            raise SnapshotFormatError(reason, self._at, name)
        self._at += size
        self._left -= size
        return data


def _name(raw: bytes, offset: int) -> str:
    if not (raw.isascii() and raw.decode("ascii").isprintable()):
        raise SnapshotFormatError(f"section name {raw!r}", offset)
    return raw.decode("ascii")


def _zstandard() -> ModuleType:
    try:
        import zstandard
    except ImportError as error:
        message = "compressed snapshots need the package zstandard: pip install 'rvjit[zstd]'"
        raise SnapshotError(message) from error
    return zstandard


def _compressed(data: bytes | memoryview) -> bytes:
    compressed: bytes = _zstandard().ZstdCompressor(level=_LEVEL).compress(data)
    return compressed


def _decompressed(data: bytes, size: int, offset: int, name: str) -> bytes:
    zstandard = _zstandard()
    try:
        # Looked at first, so that no more is ever made than the limit on sections allows.
        found = zstandard.get_frame_parameters(data).content_size
        plain: bytes = zstandard.ZstdDecompressor().decompress(data) if found == size else b""
    except zstandard.ZstdError as error:
        raise SnapshotFormatError(f"cannot be decompressed: {error}", offset, name) from error
    if len(plain) != size:
        reason = f"{found} bytes after decompression, {size} were promised"
        raise SnapshotFormatError(reason, offset, name)
    return plain

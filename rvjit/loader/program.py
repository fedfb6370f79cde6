"""Program and Segment: what loaders make of a file; immutable, independent of any memory.

One `Program` may be installed in any number of memories, at the same time and from any thread.
"""

from __future__ import annotations

from functools import cached_property

from rvjit.errors import ConfigError
from rvjit.loader.symbols import SymbolTable
from rvjit.values import dataclass, field

__all__ = ["Program", "Segment", "SymbolTable"]


@dataclass(frozen=True)
class Segment:
    """A range of guest memory that loading fills: *data* first, then zeros up to *size* bytes.

    The zeros are never stored, so a large *size* costs nothing here. Raises `ConfigError` where
    *data* is longer than *size*.
    """

    address: int
    data: bytes = field(repr=False)
    size: int
    readable: bool
    writable: bool
    executable: bool

    def __post_init__(self) -> None:
        if len(self.data) > self.size or self.address < 0:
            raise ConfigError(
                f"segment at {self.address:#x}: {len(self.data)} bytes of data in {self.size}"
            )

    @property
    def end(self) -> int:
        """First address after the segment."""
        return self.address + self.size

    def contains(self, address: int) -> bool:
        """Whether the byte at *address* belongs to the segment."""
        return self.address <= address < self.end


@dataclass(frozen=True)
class Program:
    """A program ready to be installed; all addresses are the guest's, load bias included.

    *segments* are in ascending order and do not overlap, though two may share a page.
    *phdr_address* is where the program headers are in guest memory, 0 if nowhere.
    *file_bytes_loaded* is the sum of p_filesz over all PT_LOAD headers. *file* is the whole
    file. *load_bias* is what was added to the file's addresses (seldom negative), 0
    unless *is_pie*.
    """

    entry: int
    segments: tuple[Segment, ...]
    phdr_address: int
    phentsize: int
    phnum: int
    symbols: SymbolTable = field(compare=False, repr=False)
    name: str
    file: bytes = field(repr=False)
    is_pie: bool
    load_bias: int
    file_bytes_loaded: int

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the file in hex."""
        from hashlib import sha256

        return sha256(self.file).hexdigest()

    @property
    def end(self) -> int:
        """First address after the highest segment; 0 without segments."""
        return max((segment.end for segment in self.segments), default=0)

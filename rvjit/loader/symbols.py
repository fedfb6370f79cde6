"""SymbolTable: names for addresses, read on first use and never a reason to fail."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rvjit.loader.symbol_index import Index


class SymbolTable:
    """The symbols of an ELF *file*, moved by *bias*; empty where the table is broken or missing."""

    def __init__(self, file: bytes = b"", bias: int = 0) -> None:
        self._file = file
        self._bias = bias

    def address(self, name: str) -> int:
        """Return the address that *name* stands for; global names win. Raises `KeyError`."""
        return self._index.by_name[name]

    def find(self, address: int) -> tuple[str, int] | None:
        """Return the innermost symbol around *address* and the offset into it, or None.

        A symbol without a size reaches to the next symbol, at most to the end of its section.
        """
        from bisect import bisect_right

        index = self._index
        at = bisect_right(index.starts, address) - 1
        owner = index.owners[at] if at >= 0 else None
        return None if owner is None else (owner.name, address - owner.address)

    def functions(self) -> Iterator[tuple[int, int, str]]:
        """Yield (address, size, name) of functions by address, each address once.

        Labels without type or size in executable sections count (assembly); their size is what
        `find` takes it for.
        """
        return iter(self._index.functions)

    @cached_property
    def _index(self) -> Index:
        from rvjit.loader.symbol_index import read_index

        return read_index(self._file, self._bias)

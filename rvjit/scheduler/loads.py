"""System calls of CKB that load: the transaction and its parts, and data of cells.

What a script gives a buffer for is stored as the first `min(size, rest)` bytes from an offset on,
and the whole rest's length goes back; each four bytes cost a cycle.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rvjit.bits import MASK64
from rvjit.errors import ScriptError
from rvjit.isa.registers import A0
from rvjit.loader.ckb import CkbElfError, init_pages
from rvjit.machine.pages import EXECUTABLE, FREEZED
from rvjit.scheduler.access import load64, store64, store_bytes
from rvjit.scheduler.calls import Handler
from rvjit.scheduler.data import parse_source, piece_name
from rvjit.scheduler.guest import Guest
from rvjit.scheduler.limits import (
    INDEX_OUT_OF_BOUND,
    ITEM_MISSING,
    SLICE_OUT_OF_BOUND,
    SUCCESS,
    bytes_price,
)
from rvjit.scheduler.molecule import Cell, Header, Input, pack_uint
from rvjit.scheduler.transaction import TransactionContext

_CELL = 0  # the place of a cell's data


def store_data(guest: Guest, data: bytes) -> None:
    """Store what the guest wants of *data* at a0; a1 points to the size, a2 is the offset."""
    address, size_address, offset = guest.x[A0 : A0 + 3]
    memory = guest.memory
    offset = min(offset, len(data))
    size = load64(memory, size_address)
    rest = len(data) - offset
    store64(memory, size_address, rest)
    size = min(size, rest)
    store_bytes(memory, address, data[offset : offset + size])
    guest.charge(bytes_price(size))
    guest.answer(SUCCESS)


def _store_known(guest: Guest, find: Callable[[], bytes]) -> None:
    store_data(guest, find())


def _store_found(
    guest: Guest, find: Callable[..., Any], fields: dict[int, Callable[[Any], bytes | None]] | None,
    field_error: str,
) -> None:  # fmt: skip
    """Look an item up by a3 (index) and a4 (source), and store it, or field a5 of it."""
    index, word = guest.x[A0 + 3 : A0 + 5]
    found = find(parse_source(word), index)
    if isinstance(found, int):
        guest.answer(found)
        return
    if fields is None:
        store_data(guest, found if isinstance(found, bytes) else _packed(found))
        return
    number = guest.x[A0 + 5]
    if number not in fields:
        raise ScriptError("External", f"{field_error} parse_from_u64 {number}")
    data = fields[number](found)
    if data is None:
        guest.answer(ITEM_MISSING)
    else:
        store_data(guest, data)


def _packed(found: Cell | Header | Input) -> bytes:
    return found.output.packed if isinstance(found, Cell) else found.packed


def _u64(value: int) -> bytes:
    return pack_uint(value & MASK64, 8)


_CELL_FIELDS: dict[int, Callable[[Cell], bytes | None]] = {
    0: lambda cell: _u64(cell.output.capacity),
    1: lambda cell: cell.data_hash,
    2: lambda cell: cell.output.lock.packed,
    3: lambda cell: cell.output.lock.hash,
    4: lambda cell: None if cell.output.type is None else cell.output.type.packed,
    5: lambda cell: None if cell.output.type is None else cell.output.type.hash,
    6: lambda cell: _u64(cell.occupied_capacity),
}
_HEADER_FIELDS: dict[int, Callable[[Header], bytes | None]] = {
    0: lambda header: _u64(header.epoch_number),
    1: lambda header: _u64(header.number - header.epoch_index),
    2: lambda header: _u64(header.epoch_length),
}
_INPUT_FIELDS: dict[int, Callable[[Input], bytes | None]] = {
    0: lambda item: item.previous_output.packed,
    1: lambda item: _u64(item.since),
}


def of_transaction(context: TransactionContext, version: int) -> dict[int, Handler]:
    """Return the calls that look at a transaction."""

    def known(find: Callable[[], bytes]) -> Handler:
        return partial(_store_known, find=find)

    def found(
        find: Callable[..., Any], fields: dict[int, Any] | None = None, name: str = ""
    ) -> Handler:
        return partial(_store_found, find=find, fields=fields, field_error=name)

    transaction, script = context.transaction, context.group.script
    handlers = {
        2051: known(lambda: transaction.packed),
        2052: known(lambda: script.packed),
        2061: known(lambda: transaction.hash),
        2062: known(lambda: script.hash),
        2071: found(context.cell),
        2072: found(context.header),
        2073: found(context.input),
        2074: found(context.witness),
        2081: found(context.cell, _CELL_FIELDS, "CellField"),
        2082: found(context.header, _HEADER_FIELDS, "HeaderField"),
        2083: found(context.input, _INPUT_FIELDS, "InputField"),
    }
    if version >= 2:
        handlers[2104] = found(context.extension)
    return handlers


# Data of cells, of which pages can be tracked: these need a data source only.


def load_cell_data(guest: Guest) -> None:
    """Store data of a cell as `store_data` does; whole pages of it are tracked."""
    address, size_address, offset, index, word = guest.x[A0 : A0 + 5]
    name = piece_name(parse_source(word).word, index, _CELL)
    found = None if name is None else guest.context.source.load_data(name, offset, 1)
    if name is None or found is None:
        guest.answer(INDEX_OUT_OF_BOUND)
        return
    size = load64(guest.memory, size_address)
    if size:
        written, _ = guest.context.store_bytes(
            guest.memory, address, name, offset, size, size_address
        )
        guest.charge(bytes_price(written))
    else:
        store64(guest.memory, size_address, found[1])
    guest.answer(SUCCESS)


def load_cell_data_as_code(guest: Guest) -> None:
    """Make executable pages of a part of a cell's data."""
    address, memory_size, offset, size, index, word = guest.x[A0 : A0 + 6]
    name = piece_name(parse_source(word).word, index, _CELL)
    found = None if name is None else guest.context.source.load_data(name, 0, 0)
    if name is None or found is None:
        guest.answer(INDEX_OUT_OF_BOUND)
        return
    data, length = found
    if not size:
        length = 0  # as if the cell had no data
    end = offset + size
    if end > MASK64:
        raise ScriptError("MemOutOfBound", f"{size} bytes from {offset} on")
    if offset >= length or end > length or size > memory_size:
        guest.answer(SLICE_OUT_OF_BOUND)
        return
    try:
        init_pages(guest.memory, address, memory_size, EXECUTABLE | FREEZED, data[offset:end])
    except CkbElfError as error:
        raise ScriptError(error.ckb_error, str(error)) from error
    # All of the memory, though only *size* bytes came from the cell (CKB-FACTS 7.3, defect a).
    guest.context.track_pages(guest.memory, address, memory_size, name, offset)
    guest.charge(bytes_price(memory_size))
    guest.answer(SUCCESS)


OF_DATA: dict[int, Handler] = {2091: load_cell_data_as_code, 2092: load_cell_data}

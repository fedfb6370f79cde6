"""Page flags and what they mean: one byte per page of guest memory.

The low three bits are public, with the values that CKB-VM gives them; the others never leave the
process. A zero byte is an unmapped page, so that the flags of a large memory can be reserved
lazily.

Invariant: STORE_FAST is set only where a store needs no more work than writing the bytes: the page
is writable, DIRTY and LISTED already, and holds no translated code. Compiled stores test that one
bit; everything else is the slow path, `Memory.prepare_store`.
"""

from __future__ import annotations

from collections.abc import Iterable

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
PAGE_MASK = PAGE_SIZE - 1

FREEZED = 0x01  # may not be initialised again; ordinary stores do not care
EXECUTABLE = 0x02
DIRTY = 0x04  # written since somebody cleared the bit
PUBLIC = FREEZED | EXECUTABLE | DIRTY

READABLE = 0x08
WRITABLE = 0x10
HOLDS_CODE = 0x20  # an engine decoded or compiled bytes of this page
STORE_FAST = 0x40
LISTED = 0x80  # in the dirty list since tracking was armed last

SAVED_FLAGS = PUBLIC | READABLE | WRITABLE  # the guest's; the others are about this process


def page_of(offset: int) -> int:
    """Index of the page that holds byte *offset* of memory."""
    return offset >> PAGE_SHIFT


def round_up(value: int) -> int:
    """Round up to a multiple of the page size."""
    return (value + PAGE_MASK) & ~PAGE_MASK


def round_down(value: int) -> int:
    """Round down to a multiple of the page size."""
    return value & ~PAGE_MASK


def pages_touched(offset: int, size: int) -> range:
    """Indices of the pages that ``[offset, offset + size)`` touches; empty for size 0."""
    if size == 0:
        return range(0)
    return range(offset >> PAGE_SHIFT, ((offset + size - 1) >> PAGE_SHIFT) + 1)


def runs_of(pages: Iterable[int]) -> list[tuple[int, int]]:
    """Join ascending page indices to runs: first page, and one past the last."""
    found: list[tuple[int, int]] = []
    for page in pages:
        if found and found[-1][1] == page:
            found[-1] = found[-1][0], page + 1
        else:
            found.append((page, page + 1))
    return found

"""Fetching and decoding the instruction at pc, the one way for every engine.

The order is CKB-VM's (CKB-FACTS 2.5): up to page offset 0xffd one 4-byte fetch, at the end of a
page two bytes and, for a long instruction, two more; every touched page must be executable.
"""

from __future__ import annotations

from rvjit.errors import IllegalInstruction, OutOfBounds, PermissionDenied
from rvjit.machine.memory import Memory
from rvjit.machine.pages import EXECUTABLE, PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, pages_touched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rvjit.isa import Insn, Isa

_WIDE = 4
_NARROW = 2


def fetch(memory: Memory, isa: Isa, pc: int) -> Insn:
    """Return the decoded instruction at *pc*.

    Raises `OutOfBounds`, `PermissionDenied` (both with access ``fetch``) or `IllegalInstruction`,
    with pc set.
    """
    word = fetch_word(memory, pc)
    insn = isa.decoder.decode(word)
    if insn is None:
        raise IllegalInstruction(word, pc)
    return insn


def fetch_word(memory: Memory, pc: int) -> int:
    """Return the bits at *pc*: 16 of a compressed instruction, else 32."""
    offset = pc - memory.base
    if pc & PAGE_MASK <= PAGE_SIZE - _WIDE + 1:
        word = _read(memory, pc, offset, _WIDE)
        return word if word & 3 == 3 else word & 0xFFFF
    word = _read(memory, pc, offset, _NARROW)
    if word & 3 == 3:
        word |= _read(memory, pc + _NARROW, offset + _NARROW, _NARROW) << 16
    return word


def _read(memory: Memory, pc: int, offset: int, size: int) -> int:
    if not 0 <= offset <= memory.size - size:
        raise OutOfBounds(pc, size, "fetch", pc)
    for page in range(offset >> PAGE_SHIFT, (offset + size - 1 >> PAGE_SHIFT) + 1):
        if not memory.flags[page] & EXECUTABLE:
            raise PermissionDenied(pc, size, "fetch", pc)
    return int.from_bytes(memory.buffer[offset : offset + size], "little")


def hold_insn(memory: Memory, pc: int, length: int) -> range:
    """Mark the pages of the instruction at *pc* as holding code; return their indices."""
    pages = pages_touched(pc - memory.base, length)
    for page in pages:
        memory.hold_code(page)
    return pages

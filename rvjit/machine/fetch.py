"""Fetching and decoding what is at pc, the one way for every engine.

The order is CKB-VM's (CKB-FACTS 2.5): up to page offset 0xffd one 4-byte fetch, at the end of a
page two bytes and, for a long instruction, two more; every touched page must be executable.
"""

from __future__ import annotations

from rvjit.errors import GuestFault, IllegalInstruction, OutOfBounds, PermissionDenied
from rvjit.machine.memory import Memory
from rvjit.machine.pages import EXECUTABLE, PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, pages_touched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rvjit.isa import Insn, Isa, Operation

_WIDE = 4
_NARROW = 2


def fetch_operation(memory: Memory, isa: Isa, pc: int) -> Operation:
    """Return what runs at *pc*: an instruction, or several that are fused.

    Raises as `fetch` does. Behind the first instruction anything that cannot be decoded only means
    that nothing is fused.
    """
    insn = fetch(memory, isa, pc)
    fusions = isa.decoder.fusions
    if insn.spec not in fusions:
        return insn
    from rvjit.isa.fusion import find_fused

    def follow(address: int) -> Insn | None:
        try:
            return fetch(memory, isa, address)
        except GuestFault:
            return None

    return find_fused(fusions[insn.spec], insn, pc, follow) or insn


def fetch(memory: Memory, isa: Isa, pc: int) -> Insn:
    """Return the decoded instruction at *pc*, alone.

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


def hold_code(memory: Memory, isa: Isa, pc: int, length: int) -> list[int]:
    """Mark the pages of *length* bytes of code at *pc* as holding code; return their indices.

    Where sequences are fused, the bytes behind have a part in it as well, if they can be fetched.
    """
    pages = code_pages(memory, isa, pc, length)
    for page in pages:
        memory.hold_code(page)
    return pages


def code_pages(memory: Memory, isa: Isa, pc: int, length: int) -> list[int]:
    """Pages whose bytes have a part in what the code of *length* bytes at *pc* is."""
    offset = pc - memory.base
    pages = [*pages_touched(offset, length)]
    if isa.fuses:
        # Decoding the last instruction may have looked that far, if it had but two bytes.
        last = offset + length - _NARROW + isa.reach - 1 >> PAGE_SHIFT
        more = range(pages[-1] + 1, min(last + 1, memory.page_count))
        pages += [page for page in more if memory.flags[page] & EXECUTABLE]
    return pages

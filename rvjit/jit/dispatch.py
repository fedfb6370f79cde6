"""The dispatch table: from guest pc to compiled code, one slot for every two bytes of code."""

from __future__ import annotations

import ctypes

from rvjit.machine.machine import Machine
from rvjit.machine.memory import reserve
from rvjit.machine.pages import PAGE_SIZE

_SLOT_BYTES = 8
_CODE_BYTES = 2


class DispatchTable:
    """Slots from the start of the window to the last page that ever was executable.

    Slot 0 is always the window's first address, so that compiled code may hold slot numbers. The
    host's memory is taken only where slots are used.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._start = 0
        self._slots = memoryview(bytearray()).cast("Q")

    def covers(self, pc: int) -> bool:
        """Whether there is a slot for *pc*."""
        return self._index(pc) is not None

    @property
    def slots(self) -> int:
        """How many slots there are."""
        return len(self._slots)

    def grow(self) -> None:
        """Cover the executable pages there are now; what was set before is kept."""
        start = self._machine.memory.base
        old = self._slots
        end = self._machine.memory.executable.stop
        count = max(end * PAGE_SIZE // _CODE_BYTES, len(old))
        mapping = reserve(max(count * _SLOT_BYTES, PAGE_SIZE))
        self._slots = memoryview(mapping).cast("Q")[:count]
        self._start = start
        for index in range(len(old)):
            if old[index]:
                self._slots[index] = old[index]
        state = self._machine.state
        state.dispatch = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
        state.dispatch_base = start
        state.dispatch_slots = count

    def set(self, pc: int, address: int) -> None:
        """Make *address* the code for *pc*; 0 for none. Outside the table nothing happens."""
        index = self._index(pc)
        if index is not None:
            self._slots[index] = address

    def _index(self, pc: int) -> int | None:
        offset = pc - self._start
        if offset & 1 or not 0 <= offset < len(self._slots) * _CODE_BYTES:
            return None
        return offset // _CODE_BYTES

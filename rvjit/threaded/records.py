"""Decoded instructions: the memory of records and sides, and what Python does to it."""

from __future__ import annotations

import ctypes

from rvjit.codegen import threaded_abi as abi
from rvjit.isa.isa import LONGEST, Isa
from rvjit.machine.memory import Memory, reserve
from rvjit.machine.pages import PAGE_SIZE

_HALFWORD = 2
_WORDS = abi.RECORD_BYTES // 4  # of a record, as u32
_SIDE_WORDS = abi.SIDE_BYTES // 4
_HIDDEN = abi.AT_HIDDEN // 4
_ROUNDS = abi.AT_ROUNDS // 4

_MARGIN = abi.REACH >> 1  # halfwords before and after the span


class Records:
    """One record and one side for every halfword of the executable span, and marks on them.

    The host's memory is taken only where instructions were decoded. *context* gets the addresses.
    """

    def __init__(
        self, memory: Memory, isa: Isa, context: abi.Context, marks: dict[abi.Marks, int]
    ) -> None:
        self._memory = memory
        # A handler may run what is behind its own instruction, so handlers that start this many
        # bytes before a change go with it.
        self._look_back = LONGEST * (abi.LONGEST_SEQUENCE - 1) + isa.reach
        self._context = context
        self._handlers = marks  # offsets of the marks' handlers
        self._marked: dict[int, abi.Marks] = {}
        self._start = memory.base
        self._size = 0
        self._records = memoryview(bytearray()).cast("I")
        self._sides = memoryview(bytearray()).cast("I")

    def covers(self, pc: int) -> bool:
        """Whether there is a record for *pc*."""
        return not pc & 1 and 0 <= pc - self._start < self._size

    def grow(self) -> None:
        """Cover the executable pages there are now, with nothing decoded; marks are kept."""
        pages = self._memory.executable
        self._start = self._memory.base + pages.start * PAGE_SIZE
        self._size = len(pages) * PAGE_SIZE
        slots = self._size // _HALFWORD + 2 * _MARGIN
        records = reserve(slots * abi.RECORD_BYTES)
        sides = reserve(slots * abi.SIDE_BYTES)
        self._records = memoryview(records).cast("I")
        self._sides = memoryview(sides).cast("I")
        context = self._context
        context.code_base = self._start
        context.code_size = self._size
        context.records = _address(records) + _MARGIN * abi.RECORD_BYTES
        context.sides = _address(sides) + _MARGIN * abi.SIDE_BYTES
        context.pc_bias = (self._start - (context.records >> abi.RECORD_SHIFT)) & (1 << 64) - 1
        for pc, mark in self._marked.items():
            self._put(pc, mark)

    def forget(self, start: int, stop: int) -> None:
        """Forget what was made from the bytes of pcs ``[start, stop)``; marks stay."""
        end = self._start + self._size
        low, start, stop = (
            min(max(pc, self._start), end) for pc in (start - self._look_back, start, stop)
        )
        first, last = self._slot(start), self._slot(stop + 1)
        # Of records before the range only the handler goes: others may use their operands.
        for slot in range(self._slot(low), first):
            self._records[slot * _WORDS] = 0
        zeros = bytes((last - first) * abi.RECORD_BYTES)
        self._records[first * _WORDS : last * _WORDS] = memoryview(zeros).cast("I")
        if self._marked:
            self._remark(low, stop)

    def mark(self, pc: int, mark: abi.Marks) -> None:
        """Let *mark* stand at *pc* instead of the instruction; the last one wins."""
        self._marked[pc] = mark
        self.forget(pc, pc + _HALFWORD)

    def unmark(self, pc: int, mark: abi.Marks) -> None:
        """Take *mark* away from *pc* if it is there."""
        if self._marked.get(pc) is mark:
            del self._marked[pc]
            self.forget(pc, pc + _HALFWORD)

    def unmark_all(self, start: int, stop: int, mark: abi.Marks) -> None:
        """Take *mark* away from all pcs in ``[start, stop)``."""
        for pc in [pc for pc in self._marked if start <= pc < stop]:
            self.unmark(pc, mark)

    def rounds(self, pc: int) -> int:
        """Rounds of 256 counted visits that *pc* has had."""
        return self._sides[self._slot(pc) * _SIDE_WORDS + _ROUNDS] if self.covers(pc) else 0

    def set_rounds(self, pc: int, rounds: int) -> None:
        """Count the visits of *pc* from *rounds* on."""
        if self.covers(pc):
            self._sides[self._slot(pc) * _SIDE_WORDS + _ROUNDS] = rounds

    def _remark(self, low: int, high: int) -> None:
        if len(self._marked) < (high - low) // _HALFWORD:
            inside = [pc for pc in self._marked if low <= pc < high]
        else:
            inside = [pc for pc in range(low & -2, high, _HALFWORD) if pc in self._marked]
        for pc in inside:
            self._put(pc, self._marked[pc])

    def _put(self, pc: int, mark: abi.Marks) -> None:
        if self.covers(pc):
            slot = self._slot(pc)
            self._records[slot * _WORDS] = self._handlers[mark]
            self._sides[slot * _SIDE_WORDS + _HIDDEN] = 0

    def _slot(self, pc: int) -> int:
        return (pc - self._start) // _HALFWORD + _MARGIN


def _address(mapping: object) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(mapping))  # type: ignore[arg-type]

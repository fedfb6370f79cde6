"""Checkpoints of a machine in memory: one copy of its memory, and what it takes to go back.

The copy is the state at the newest checkpoint; of each older one there is what the pages written
since held before. So taking one costs what was written, and the oldest is dropped by forgetting it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from pathlib import Path

from rvjit.machine.machine import Machine
from rvjit.machine.memory import reserve
from rvjit.machine.pages import PAGE_SHIFT, PAGE_SIZE, SAVED_FLAGS
from rvjit.replay.recorder import registers_of
from rvjit.replay.replayer import Outcome, Plan, Replayer, machine_with, write_trace
from rvjit.snapshot.checkpoint import Listeners

_SAVED = bytes(flags & SAVED_FLAGS for flags in range(256))


class _Mark:
    """A checkpoint: *registers*, and what pages and flags were that differ at the next one."""

    def __init__(self, registers: bytes) -> None:
        self.registers = registers
        self.pages: dict[int, bytes] = {}
        self.flags: list[tuple[int, bytes]] = []

    @property
    def size(self) -> int:
        """Bytes that it takes, nearly."""
        return PAGE_SIZE * len(self.pages) + sum(len(flags) for _, flags in self.flags)


class Mirror:
    """Checkpoints of *machine*, which is at rest whenever a method is called."""

    def __init__(self, machine: Machine, *, native: bool) -> None:
        self._machine = machine
        self._native = native
        memory = self._memory = machine.memory
        self._listeners = Listeners.of(memory)
        self._listeners.hand_over(None)
        self._map = reserve(memory.size)
        self._bytes = memoryview(self._map)
        self._used = set(memory.pages_in_use())
        for page in self._used:
            start = page << PAGE_SHIFT
            self._bytes[start : start + PAGE_SIZE] = memory.buffer[start : start + PAGE_SIZE]
        self._flags_map = reserve(max(memory.page_count, PAGE_SIZE))
        self._flags = memoryview(self._flags_map)[: memory.page_count]
        self._flags[:] = memory.flags.tobytes().translate(_SAVED)
        self._pending: set[int] = set()
        self._flagged: set[range] = set()
        self._marks: deque[_Mark] = deque()
        self._listeners.add(self)

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return PAGE_SIZE * len(self._used) + sum(mark.size for mark in self._marks)

    def take(self) -> None:
        """Add a checkpoint: the state now."""
        memory = self._memory
        written = self._pending.union(memory.dirty_pages)
        self._listeners.hand_over(self)
        self._advance_pages(written)
        self._advance_flags(written)
        self._pending.clear()
        self._flagged.clear()
        self._marks.append(_Mark(registers_of(self._machine)))

    def drop_oldest(self) -> None:
        """Forget the oldest checkpoint."""
        self._marks.popleft()

    def replay(self, plan: Plan, path: Path) -> Outcome:
        """Replay from the oldest, on a machine of its own; then there are none."""
        machine = self.machine_at_oldest()
        self._marks.clear()
        return write_trace(Replayer(machine, native=self._native), plan, path)

    def machine_at_oldest(self) -> Machine:
        """Return a new machine that is what this one was at the oldest checkpoint."""
        back: dict[int, bytes] = {}
        flags = bytearray(self._flags)
        for mark in reversed(self._marks):
            back |= mark.pages
            for first, undone in mark.flags:
                flags[first : first + len(undone)] = undone
        found = machine_with(self._machine, self._marks[0].registers, flags, self._used)
        for page in self._used:
            start = page << PAGE_SHIFT
            found.memory.buffer[start : start + PAGE_SIZE] = (
                back.get(page) or self._bytes[start : start + PAGE_SIZE]
            )
        return found

    def close(self) -> None:
        """Forget everything."""
        self._listeners.remove(self)
        self._marks.clear()
        self._used.clear()

    # A member of `Listeners`.

    def flags_changed(self, pages: range) -> None:
        """Hear that flags of *pages* changed."""
        self._flagged.add(pages)

    def pages_changed(self, pages: Iterable[int]) -> None:
        """Hear that *pages* changed and the dirty list is about to forget it."""
        self._pending.update(pages)

    def set_alone(self, alone: bool) -> None:
        """Hear whether anybody else listens, which does not matter here."""

    # How it is done.

    def _advance_pages(self, written: set[int]) -> None:
        """Copy pages; note in the newest checkpoint what they were."""
        buffer, copy = self._memory.buffer, self._bytes
        before: dict[int, bytes] = {}
        for page in written:
            start = page << PAGE_SHIFT
            there = copy[start : start + PAGE_SIZE]
            before[page] = there.tobytes()
            there[:] = buffer[start : start + PAGE_SIZE]
        self._used |= written
        if self._marks:
            self._marks[-1].pages = before

    def _advance_flags(self, written: set[int]) -> None:
        """Do the same for flags: those that a store changed, and those of changed ranges."""
        flags, saved = self._memory.flags, self._flags
        undo: list[tuple[int, bytes]] = []
        for each in self._flagged:
            old = saved[each.start : each.stop].tobytes()
            new = flags[each.start : each.stop].tobytes().translate(_SAVED)
            if old != new:
                undo.append((each.start, old))
                saved[each.start : each.stop] = new
        for page in written:
            value = flags[page] & SAVED_FLAGS
            if saved[page] != value:
                undo.append((page, bytes((saved[page],))))
                saved[page] = value
        undo.reverse()  # the oldest change of a page that is in several ranges is undone last
        if self._marks:
            self._marks[-1].flags = undo

"""Recorder: notes what reaches a guest from outside, so that its run can be done again exactly.

Between two stops of its engine a guest is a function of its state. So all that a replay needs is
what somebody else, a system call, a handler, the caller, changed of registers and memory in
between. What was done outside, output above all, is not done again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from rvjit.machine.engine import CodeObserver, Engine, NativeRun
from rvjit.machine.layout import word_of
from rvjit.machine.machine import Machine
from rvjit.machine.memory import Memory
from rvjit.machine.pages import DIRTY, PAGE_SHIFT, PAGE_SIZE, SAVED_FLAGS, pages_touched
from rvjit.machine.statistics import Statistics
from rvjit.machine.stop import Stop
from rvjit.values import dataclass

_REGISTERS = slice(0, word_of("cycles") + 1)
_RESERVATION = slice(word_of("reservation"), word_of("reservation_size") + 1)
_BIG = 64 * PAGE_SIZE  # from here on pages that hold nothing are not looked at
_SAVED = bytes(flags & SAVED_FLAGS for flags in range(256))
_OVERHEAD = 256  # bytes of a change's objects, roughly
_ENTRY = 128  # and of a range's


def registers_of(machine: Machine) -> bytes:
    """Return x, pc, cycles and the reservation as words in the host's byte order."""
    return registers_in(machine.words)


def registers_in(words: memoryview) -> bytes:
    """Do that for the words of a machine's state."""
    return words[_REGISTERS].tobytes() + words[_RESERVATION].tobytes()


def set_registers(machine: Machine, registers: bytes) -> None:
    """Undo `registers_of`."""
    words = memoryview(registers).cast("Q")
    count = _REGISTERS.stop
    machine.words[_REGISTERS] = words[:count]
    machine.words[_RESERVATION] = words[count:]


@dataclass(frozen=True)
class Change:
    """What was changed while the engine stood at cycle *at*.

    *registers* are all of them afterwards. *writes* are offsets with the bytes there, or a number
    of zeros; *flags* are first pages and saved flags of the pages from there on.
    """

    at: int
    registers: bytes
    writes: tuple[tuple[int, bytes | int], ...]
    flags: tuple[tuple[int, bytes], ...]

    @property
    def size(self) -> int:
        """Bytes that it takes, roughly."""
        held = sum(_ENTRY + (0 if isinstance(data, int) else len(data)) for _, data in self.writes)
        return _OVERHEAD + len(self.registers) + held + sum(len(data) for _, data in self.flags)

    def apply(self, machine: Machine) -> None:
        """Make the same change."""
        memory = machine.memory
        for offset, data in self.writes:
            if isinstance(data, int):
                memory.zero(memory.base + offset, data)
            else:
                memory.initialise(memory.base + offset, data, dirty=False)
        for first, flags in self.flags:
            assign_flags(memory, first, flags)
        set_registers(machine, self.registers)


def assign_flags(memory: Memory, first: int, flags: bytes) -> None:
    """Give the pages from *first* on these flags (SAVED_FLAGS only)."""
    while flags:
        rest = flags.lstrip(flags[:1])
        count = len(flags) - len(rest)
        memory.assign_flags(range(first, first + count), flags[0])
        first, flags = first + count, rest


class Recorder:
    """An engine around *engine* that notes, whenever it is entered, what changed since it stopped.

    Also a watcher of the machine's memory. `room` is how many bytes may be noted in all before it
    stops for its caller's sake: where `may_stop` says so, `run` then returns CYCLE_LIMIT, with
    `is_full` set, at once. With None, the default, nothing is noted.
    """

    def __init__(self, machine: Machine, engine: Engine, may_stop: Callable[[], bool]) -> None:
        self.machine = machine
        self.engine = engine
        self.name = engine.name
        self.room: int | None = None
        self.may_stop = may_stop
        self.is_full = False
        self.size = 0  # bytes, of all changes
        self._changes: deque[Change] = deque()
        self._dropped = 0
        self._wrote: list[tuple[int, int]] = []
        self._flagged: list[range] = []
        self._stood = registers_of(machine)
        self.fault: str | None = None
        machine.memory.watchers.append(self)

    def detach(self) -> None:
        """Hear no more of the memory."""
        self.machine.memory.watchers.remove(self)

    # What was noted.

    @property
    def position(self) -> int:
        """Number of changes so far."""
        return self._dropped + len(self._changes)

    @property
    def stood(self) -> bytes:
        """The registers when the engine last stopped, or at the last `begin`."""
        return self._stood

    def changes_from(self, position: int) -> list[Change]:
        """Return what was noted since the number of changes was *position*."""
        return list(self._changes)[position - self._dropped :]

    def drop_before(self, position: int) -> None:
        """Forget what was noted before."""
        while self._dropped < position:
            self.size -= self._changes.popleft().size
            self._dropped += 1

    def begin(self) -> None:
        """Take the state now as it is: somebody keeps a copy of it."""
        self._wrote.clear()
        self._flagged.clear()
        self._stood = registers_of(self.machine)
        self.fault = None
        self.is_full = False

    # A watcher.

    def host_wrote(self, offset: int, size: int) -> None:
        """Note a range for later."""
        self._wrote.append((offset, size))

    def flags_changed(self, pages: range) -> None:
        """Note pages for later."""
        self._flagged.append(pages)

    # An engine.

    @property
    def statistics(self) -> Statistics:
        """What the engine inside did."""
        return self.engine.statistics

    @property
    def entries(self) -> list[int]:
        """Those of the engine inside."""
        return self.engine.entries

    def observe(self, observer: CodeObserver) -> None:
        """Tell *observer* of the code of the engine inside."""
        self.engine.observe(observer)

    def run(self) -> Stop:
        """Run until a stop."""
        self._note()
        if self.room is not None and self.size > self.room and self.may_stop():
            self.is_full = True
            return Stop.CYCLE_LIMIT
        try:
            return self._ended(self.engine.run())
        finally:
            self._stood = registers_of(self.machine)

    def step(self, count: int) -> Stop:
        """Run up to *count* instructions."""
        self._note()
        try:
            return self._ended(self.engine.step(count))
        finally:
            self._stood = registers_of(self.machine)

    def native_run(self) -> NativeRun | None:
        """Return None: what ran in a loop of native code would not be noted."""
        return None

    def ran(self, cycles: int) -> None:
        """Do nothing: there was no native run."""

    def close(self) -> None:
        """Close the engine inside."""
        self.engine.close()

    def _ended(self, stop: Stop) -> Stop:
        self.fault = str(self.machine.fault) if stop is Stop.FAULT else None
        return stop

    def _note(self) -> None:
        if self.room is None:
            self._wrote.clear()
            self._flagged.clear()
            return
        registers = registers_of(self.machine)
        if not self._wrote and not self._flagged and registers == self._stood:
            return
        at = memoryview(self._stood).cast("Q")[_REGISTERS.stop - 1]
        change = Change(at, registers, self._written(), self._flags())
        self._changes.append(change)
        self.size += change.size

    def _written(self) -> tuple[tuple[int, bytes | int], ...]:
        memory = self.machine.memory
        found: list[tuple[int, bytes | int]] = []
        for offset, size in _merged(self._wrote):
            if size < _BIG:
                found.append((offset, bytes(memory.buffer[offset : offset + size])))
                continue
            found.append((offset, size))
            pages = pages_touched(offset, size)
            used = {*memory.pages_with(pages, DIRTY), *memory.clean_pages.intersection(pages)}
            for page in sorted(used):
                start = max(page << PAGE_SHIFT, offset)
                stop = min(page + 1 << PAGE_SHIFT, offset + size)
                data = bytes(memory.buffer[start:stop])
                if any(data):
                    found.append((start, data))
        self._wrote.clear()
        return tuple(found)

    def _flags(self) -> tuple[tuple[int, bytes], ...]:
        flags = self.machine.memory.flags
        ranges = _merged((pages.start, len(pages)) for pages in self._flagged)
        self._flagged.clear()
        return tuple(
            (first, flags[first : first + count].tobytes().translate(_SAVED))
            for first, count in ranges
        )


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges (start, length) in order, without overlaps."""
    found: list[tuple[int, int]] = []
    for start, length in sorted(ranges):
        if found and start <= sum(found[-1]):
            first, reach = found[-1][0], max(sum(found[-1]), start + length)
            found[-1] = first, reach - first
        elif length:
            found.append((start, length))
    return found

"""Checkpoint: a state of a running guest to come back to, again and again, and levels above it.

What costs is what changed: going back touches the pages written since, and saving a level copies
them. Any number of checkpoints of one guest do not know of each other, and a store of the guest
knows of none: all read the one dirty list, and whoever empties it tells the others what was in it.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from rvjit.codegen.levels import SAVED_WORDS
from rvjit.errors import SnapshotError
from rvjit.machine.machine import Machine
from rvjit.machine.memory import Memory
from rvjit.machine.pages import PAGE_SHIFT, PAGE_SIZE, SAVED_FLAGS
from rvjit.machine.pristine import Pristine
from rvjit.snapshot.copies import Copies, Native, NativeCopies, PlainCopies
from rvjit.snapshot.diff import (
    Differences,
    differing_bytes,
    differing_flags,
    differing_states,
    differing_words,
    joined,
)
from rvjit.snapshot.state import HOST_PARTS, HostPart, Selection, get_states, set_states


class Guest(Protocol):
    """What has checkpoints: a VM."""

    machine: Machine
    exit_code: int | None

    @property
    def parts(self) -> dict[str, HostPart]:
        """Return host state by name."""

    def exclusive(self, what: str) -> AbstractContextManager[None]:
        """Let nobody else in, and raise where *what* is impossible now."""


_COMPARED_AT_ONCE = 256  # pages
_RUN = re.compile(rb"(.)\1*", re.DOTALL)
_SAVED = bytes(flags & SAVED_FLAGS for flags in range(256))


class Listener(Protocol):
    """Somebody who follows what changes in a memory: a checkpoint."""

    def flags_changed(self, pages: range) -> None:
        """Hear that flags of *pages* changed."""

    def pages_changed(self, pages: Iterable[int]) -> None:
        """Hear that *pages* changed and the dirty list is about to forget it."""

    def set_alone(self, alone: bool) -> None:
        """Hear whether nobody else has to be told what happens."""


class Listeners:
    """The checkpoints of one memory, and what of its changes is not in the dirty list: flags."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._members: list[weakref.ref[Listener]] = []

    @classmethod
    def of(cls, memory: Memory) -> Listeners:
        """Return those of *memory*."""
        for watcher in memory.watchers:
            if isinstance(watcher, cls):
                return watcher
        made = cls(memory)
        memory.watchers.append(made)
        memory.lists_everything = True
        return made

    @classmethod
    def watchers_changed(cls, memory: Memory) -> None:
        """Tell those of *memory*, if there are any, that somebody else watches it, or no longer."""
        for watcher in list(memory.watchers):
            if isinstance(watcher, cls):
                watcher._tell()  # noqa: SLF001 - ours

    def add(self, checkpoint: Listener) -> None:
        """Add one; it leaves by itself when nobody has it any more."""
        self._members.append(weakref.ref(checkpoint, self._gone))
        self._tell()

    def remove(self, checkpoint: Listener) -> None:
        """Take one out."""
        self._members = [each for each in self._members if each() is not checkpoint]
        self._tell()

    def hand_over(self, than: Listener | None) -> None:
        """Empty the dirty list, having told all but one what is in it."""
        written = self._memory.dirty_pages
        for other in self.others(than):
            other.pages_changed(written)
        self._memory.arm_tracking()

    def others(self, than: Listener | None) -> Iterator[Listener]:
        """Yield all but one."""
        for reference in self._members:
            member = reference()
            if member is not None and member is not than:
                yield member

    def host_wrote(self, offset: int, size: int) -> None:
        """Do nothing: such pages are in the dirty list."""

    def flags_changed(self, pages: range) -> None:
        """Note pages whose flags changed."""
        for member in self.others(None):
            member.flags_changed(pages)

    def _gone(self, reference: weakref.ref[Listener]) -> None:
        self._members = [each for each in self._members if each is not reference]
        self._tell()

    def _tell(self) -> None:
        """Say to each whether it is the only one that has to hear of anything."""
        memory = self._memory
        if not self._members and self in memory.watchers:
            memory.watchers.remove(self)
            memory.lists_everything = False
            memory.arm_tracking()  # nobody after us has to know what the list means here
        # `Pristine` need not be told what it finds out for itself.
        others = [each for each in memory.watchers if not isinstance(each, Pristine)]
        alone = len(self._members) == 1 and others == [self]
        for member in self.others(None):
            member.set_alone(alone)


class _Level(NamedTuple):
    """What of a level is not in `Copies`."""

    states: Mapping[str, object]
    exit_code: int | None
    # What the saved flags of pages were before whose flags changed, oldest change first.
    flags: tuple[tuple[range, bytes], ...] = ()


class Entry(Protocol):
    """Who is inside a guest."""

    depth: int  # how often the thread that runs it is inside; 0 for nobody


class Checkpoint:
    """A state of a guest, the root, and levels above it. Make one with `VM.checkpoint`.

    `push` saves the state now as a new level; `restore` goes back to the newest level, or to a
    lower one, dropping those above; `pop` goes back to the newest level and drops it. `depth` is
    the number of levels above the root. All raise `SnapshotError` inside a handler and after
    `close`, and `MachineBusy`.

    With *native*, which needs what native engines need, the work on pages is done in native code.
    """

    def __init__(self, guest: Guest, entry: Entry, chosen: Selection, *, native: bool) -> None:
        self._guest = guest
        self._entry = entry
        machine = guest.machine
        self._machine = machine
        self._memory = machine.memory
        self._chosen = chosen
        self._keeping = _keep_input(self, guest.parts, chosen)
        self._listeners = Listeners.of(self._memory)
        self._listeners.hand_over(None)
        self._copies: Copies = NativeCopies(machine) if native else PlainCopies(machine)
        native_way = self._copies.native
        self._native_push, self._native_restore = native_way.push, native_way.restore
        self._pending: set[int] = set()  # pages that differ and are not in the dirty list
        self._flagged: list[range] = []  # pages whose flags may differ
        self._levels = [_Level(get_states(guest.parts, chosen), guest.exit_code)]
        self._exit_code = guest.exit_code  # of the newest level
        self._next = self._levels[0]  # what a push in the quick way adds
        # What the host's state is for as long as the machine's count of host calls is that.
        self._states = self._levels[0].states
        self._host_calls = self._host_calls_now()
        self._alone = False
        self._closed = False
        self._quick = False  # whether nothing but pages, registers and exit code can differ
        self._listeners.add(self)

    @property
    def depth(self) -> int:
        """Number of levels above the root."""
        return len(self._levels) - 1

    def push(self) -> None:
        """Save the state as a new level."""
        if (
            self._quick
            and not self._entry.depth
            and self._machine.host_calls == self._host_calls
            and not self._native_push()
        ):
            exit_code = self._guest.exit_code
            if exit_code != self._exit_code:
                self._exit_code = exit_code
                self._next = _Level(self._states, exit_code)
            self._levels.append(self._next)  # most often the same as the one below
            return
        with self._guest.exclusive("a push"):
            self._check_open()
            self._push()

    def restore(self, depth: int | None = None) -> None:
        """Go back to the newest level, or to the one at *depth* (0 is the root).

        Levels above that are gone then. Raises `SnapshotError` where there is no such level, or
        host state cannot be set back; nothing has been changed then.
        """
        # No other thread can get between these looks and the native function, which keeps the lock.
        if (
            self._quick
            and depth is None
            and not self._entry.depth
            and self._machine.host_calls == self._host_calls
            and not self._native_restore()
        ):
            self._guest.exit_code = self._exit_code
            return
        with self._guest.exclusive("a restore"):
            self._check_open()
            self._restore(self.depth if depth is None else depth)

    def pop(self) -> None:
        """Go back to the newest level and drop it. Raises `SnapshotError` for the root."""
        levels = self._levels
        if (
            self._quick
            and len(levels) > 1
            and levels[-1].states is levels[-2].states
            and not levels[-1].flags
            and not self._entry.depth
            and self._machine.host_calls == self._host_calls
            and not self._native_restore()
        ):
            self._guest.exit_code = self._exit_code
            self._copies.unwind()
            levels.pop()
            self._choose_way()
            return
        with self._guest.exclusive("a pop"):
            self._check_open()
            if not self.depth:
                raise SnapshotError(
                    "pop without a push: only the root is left, which close() drops"
                )
            self._restore(self.depth)
            self._unwind()
            self._settle()

    def verify(self) -> Differences:
        """Compare everything with the newest level: first is the level, second the guest now.

        That looks at all registers, all bytes and flags of all pages, and all chosen host state,
        whatever was noted as written; without differences the answer is false.
        """
        with self._guest.exclusive("a comparison"):
            self._check_open()
            memory, level = self._memory, self._levels[-1]
            words = [self._machine.words[word] for word in SAVED_WORDS]
            now = memory.flags.tobytes().translate(_SAVED)
            saved = self._copies.saved_flags.tobytes()
            states = {**level.states, "exit_code": level.exit_code}
            there = get_states(self._guest.parts, self._chosen)
            return Differences(
                registers=differing_words(self._copies.words(), words),
                flags=differing_flags(memory.base, saved, now),
                memory=joined(self._differing_ranges()),
                host=differing_states(states, {**there, "exit_code": self._guest.exit_code}),
            )

    def close(self) -> None:
        """Give up all that was saved; the guest stays as it is."""
        if self._closed:
            return
        self._closed = True
        self._quick = False
        self._listeners.remove(self)
        self._keeping()
        del self._copies, self._levels[:]

    # For who runs the guest again and again, and is alone inside it already.

    def go_back(self) -> None:
        """Do what `restore` does."""
        self._check_open()
        self._restore(self.depth)

    @property
    def native(self) -> Native | None:
        """What native code has to do to go back; None where that would not be all there is to do.

        It holds until the guest calls its host or somebody changes it from outside.
        """
        same_host = self._machine.host_calls == self._host_calls
        return self._copies.native if self._quick and same_host else None

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def root_size(self) -> int:
        """Number of pages that making the root has copied."""
        return self._copies.root_size

    def fill(self, memory: Memory) -> int:
        """Make *memory*, of the same shape and not used yet, what the guest's memory is now.

        It begins with the root and shares its pages until it writes to them. Returns how many pages
        were copied: those that differ from the root.
        """
        own = self._memory
        self._copies.image().begin(memory)
        pages = {*own.dirty_pages, *self._pending, *self._copies.newer()}
        for page in pages:
            start = page << PAGE_SHIFT
            memory.buffer[start : start + PAGE_SIZE] = own.buffer[start : start + PAGE_SIZE]
            memory.flags[page] = own.flags[page] & SAVED_FLAGS
        changed = [*self._flagged, *(each for level in self._levels for each, _ in level.flags)]
        for each in changed:
            flags = own.flags[each.start : each.stop].tobytes().translate(_SAVED)
            memory.flags[each.start : each.stop] = flags
        memory.clean_pages = set(own.clean_pages)
        memory.executable = own.executable
        memory.times_armed += 1  # nobody has listed what differs from the program
        return len(pages)

    # What listeners say.

    def flags_changed(self, pages: range) -> None:
        """Hear that flags of *pages* changed."""
        self._flagged.append(pages)
        self._quick = False

    def pages_changed(self, pages: Iterable[int]) -> None:
        """Hear that *pages* changed and the dirty list is about to forget it."""
        self._pending.update(pages)
        self._quick = False

    def set_alone(self, alone: bool) -> None:
        """Hear whether nobody else has to be told what happens."""
        self._alone = alone
        self._choose_way()

    # How it is done.

    def _push(self) -> None:
        self._list_pending()
        self._hand_over(self._listeners.others(self), self._memory.dirty_pages)
        undo = []
        for pages in self._flagged:
            saved = self._copies.saved_flags[pages.start : pages.stop]
            undo.append((pages, saved.tobytes()))
            flags = self._memory.flags[pages.start : pages.stop]
            saved[:] = flags.tobytes().translate(_SAVED)
        self._flagged.clear()
        self._copies.push()
        if self._host_calls != self._machine.host_calls:
            self._states = get_states(self._guest.parts, self._chosen)
        self._levels.append(_Level(self._states, self._guest.exit_code, tuple(undo)))
        self._settle()

    def _restore(self, depth: int) -> None:
        if not 0 <= depth <= self.depth:
            raise SnapshotError(f"no level {depth}: there are 0 to {self.depth}")
        level = self._levels[depth]
        if self._host_calls != self._machine.host_calls or self._states is not level.states:
            set_states(self._guest.parts, level.states, self._chosen)
            self._machine.host_calls += 1  # other checkpoints look again
            self._states = level.states
        while self.depth > depth:
            self._unwind()
        self._list_pending()
        written = [] if self._alone else self._memory.dirty_pages
        self._hand_over(self._listeners.others(self), written)
        self._set_flags_back()
        self._copies.restore()
        self._flagged.clear()
        for watcher in self._memory.watchers:
            if watcher is not self._listeners:
                for page in written:
                    watcher.flags_changed(range(page, page + 1))
                    watcher.host_wrote(page << PAGE_SHIFT, PAGE_SIZE)
        self._guest.exit_code = level.exit_code
        self._machine.fault = None
        self._settle()

    def _unwind(self) -> None:
        """Drop the newest level; what it differed in counts as changed since the one below."""
        self._copies.unwind()
        for pages, saved in reversed(self._levels.pop().flags):
            self._copies.saved_flags[pages.start : pages.stop] = saved
            self._flagged.append(pages)

    def _settle(self) -> None:
        """Note that the host's state is `_states` now."""
        self._host_calls = self._host_calls_now()
        self._choose_way()

    def _choose_way(self) -> None:
        """Decide whether the quick ways will do."""
        if self._closed:
            return
        level = self._levels[-1]
        self._exit_code = level.exit_code
        self._next = level if not level.flags else _Level(level.states, level.exit_code)
        same_host = self._states is level.states
        native = isinstance(self._copies, NativeCopies) and self._alone
        self._quick = native and same_host and not self._flagged and not self._pending

    def _host_calls_now(self) -> int:
        """Count host calls; -1, which the count never is, where objects of the caller take part.

        Those may change at any time.
        """
        own = any(name in self._chosen for name in self._guest.parts if name not in HOST_PARTS)
        return -1 if own else self._machine.host_calls

    def _list_pending(self) -> None:
        for page in sorted(self._pending):
            self._memory.list_page(page)
        self._pending.clear()

    @staticmethod
    def _hand_over(others: Iterable[Listener], pages: Sequence[int]) -> None:
        """Tell the others what the dirty list is about to forget."""
        for other in others:
            other.pages_changed(pages)

    def _set_flags_back(self) -> None:
        """Set the flags of pages that were not written, too."""
        memory, saved = self._memory, self._copies.saved_flags
        for pages in list(self._flagged):
            now = memory.flags[pages.start : pages.stop].tobytes().translate(_SAVED)
            wanted = saved[pages.start : pages.stop].tobytes()
            if now != wanted:
                for run in _RUN.finditer(wanted):
                    first, stop = pages.start + run.start(), pages.start + run.end()
                    memory.assign_flags(range(first, stop), run[1][0])

    def _differing_ranges(self) -> Iterator[tuple[int, int]]:
        memory, copies = self._memory, self._copies
        for first in range(0, memory.page_count, _COMPARED_AT_ONCE):
            pages = range(first, min(first + _COMPARED_AT_ONCE, memory.page_count))
            if all(map(copies.is_root, pages)) and copies.root_equals(pages):
                continue
            for page in pages:
                start = page << PAGE_SHIFT
                wanted = bytes(copies.page(page))
                there = bytes(memory.buffer[start : start + PAGE_SIZE])
                if wanted != there:
                    yield from differing_bytes(memory.base + start, wanted, there)

    def _check_open(self) -> None:
        if self._closed:
            raise SnapshotError("this checkpoint was closed")


def _keep_input(
    checkpoint: Checkpoint, parts: Mapping[str, HostPart], chosen: Selection
) -> Callable[[], object]:
    """Make input that comes from outside rewindable for as long as *checkpoint* lives.

    Returns what ends it.
    """
    keep = getattr(parts.get("stdin"), "keep", None)
    if keep is None or "stdin" not in chosen:
        return lambda: None
    keep(on=True)
    ending = weakref.finalize(checkpoint, keep, on=False)
    ending.atexit = False
    return ending

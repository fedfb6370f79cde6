"""The regions of one program, shared by all machines of the process that run it, and kept on disk.

A region is placed in memory once, however many machines use it, and its memory is given back when
the last of them lets go of it. Machines share where they have the same program, rules and window;
whether a region fits a machine is found out by comparing what it was made from.
"""

from __future__ import annotations

import _thread
import atexit
import weakref
from collections.abc import Set as AbstractSet

from rvjit.codegen.arena import Arena
from rvjit.codegen.bundle import MOST_VARIANTS, Bundle
from rvjit.codegen.cache import NO_CACHE, CodeCache, code_cache
from rvjit.codegen.digests import digest
from rvjit.codegen.kept import KeptRegion, Origin, region_of
from rvjit.machine.machine import Machine

arena = Arena()

# CPU seconds of compilation that are worth a write while the program still runs.
_WORTH_SAVING = 0.5


class PlacedRegion:
    """A region where it can run; its memory is free again when nobody holds this object."""

    __slots__ = ("__weakref__", "_free", "address", "insn_count", "origin", "pages", "pcs", "size",
                 "symbols")  # fmt: skip

    def __init__(self, kept: KeptRegion, address: int) -> None:
        self._free = arena.free  # modules may be gone before the last object is
        self.origin = kept.origin
        self.pcs = kept.pcs
        self.pages = kept.pages
        self.insn_count = kept.insn_count
        self.symbols = kept.blob.symbols
        self.size = len(kept.blob.code)
        self.address = address

    def __del__(self) -> None:
        self._free(self.address, self.size)

    @property
    def pc(self) -> int:
        """Where the guest enters it."""
        return self.origin.pc


class Shelf:
    """Finds and keeps regions; for any number of threads.

    *name* is that of the bundle in *cache*; without one nothing is kept on disk.
    """

    def __init__(self, cache: CodeCache, name: str | None) -> None:
        self._cache = cache
        self._name = name
        self._lock = _thread.allocate_lock()
        self._placed: dict[int, list[weakref.ref[PlacedRegion]]] = {}
        self._new: dict[int, list[KeptRegion]] = {}  # neither on disk nor given up
        self._unsaved_seconds = 0.0
        self._bundle: Bundle | None = None if name is None else cache.bundle(name)

    @property
    def kept(self) -> set[int]:
        """The pcs that have, or lately had, regions: on disk, or of other machines."""
        with self._lock:
            on_disk = [] if self._bundle is None else self._bundle.keys
            return {*on_disk, *self._new, *self._placed}

    def find(
        self, machine: Machine, pc: int, slots: int, barriers: AbstractSet[int]
    ) -> PlacedRegion | None:
        """Return the region at *pc* that fits *machine* as it is now, None if there is none."""
        memory = machine.memory
        with self._lock:
            for placed in self._live(pc):
                if placed.origin.holds(memory, slots, barriers):
                    return placed
            for kept in self._unplaced(pc):
                if kept.origin.holds(memory, slots, barriers):
                    return self._place(kept)
        return None

    def made(self, origin: Origin) -> PlacedRegion | None:
        """Return the region that somebody else has made of the same, if any."""
        with self._lock:
            for placed in self._live(origin.pc):
                if placed.origin.same(origin):
                    return placed
        return None

    def add(self, kept: KeptRegion, seconds: float) -> PlacedRegion:
        """Place a region that took *seconds* to make, and keep it."""
        with self._lock:
            if self._name is not None:
                variants = self._new.setdefault(kept.origin.pc, [])
                variants.append(kept)
                del variants[:-MOST_VARIANTS]
                _unsaved.add(self)
            self._unsaved_seconds += seconds
            worth_saving = self._unsaved_seconds >= _WORTH_SAVING
            placed = self._place(kept)
        if worth_saving:
            self.save()
        return placed

    def save(self) -> None:
        """Write what is new to disk."""
        with self._lock:
            _unsaved.discard(self)
            new, self._new = self._new, {}
            self._unsaved_seconds = 0.0
        if not new or self._name is None:
            return
        self._cache.keep(
            self._name, [(pc, kept.record()) for pc, regions in new.items() for kept in regions]
        )
        bundle = self._cache.bundle(self._name)
        with self._lock:
            self._bundle = bundle

    def _live(self, pc: int) -> list[PlacedRegion]:
        return [placed for ref in self._placed.get(pc, ()) if (placed := ref()) is not None]

    def _unplaced(self, pc: int) -> list[KeptRegion]:
        records = [] if self._bundle is None else self._bundle.read(pc)
        return [*self._new.get(pc, ()), *(region_of(pc, record) for record in records)]

    def _place(self, kept: KeptRegion) -> PlacedRegion:
        placed = PlacedRegion(kept, arena.place(kept.blob.code))
        self._placed[placed.pc] = [weakref.ref(each) for each in (*self._live(placed.pc), placed)]
        return placed


_shelves: weakref.WeakValueDictionary[tuple[str, str], Shelf] = weakref.WeakValueDictionary()
_shelves_lock = _thread.allocate_lock()

# Those with something to write, which outlive their machines until it is written.
_unsaved: set[Shelf] = set()
_MOST_UNSAVED = 16


def shelf_for(machine: Machine) -> Shelf:
    """Return the shelf of the machine's program; one of its own for a machine without any."""
    if machine.program_key is None or not machine.keeps_code:
        return Shelf(NO_CACHE, None)
    if len(_unsaved) > _MOST_UNSAVED:
        save_all()
    memory = machine.memory
    window = f"{memory.base:#x} {memory.size:#x}"
    parts = (machine.program_key, f"{window} {machine.rules.key}".encode())
    name = f"regions-{digest(b''.join(parts)).hex()}"
    cache = code_cache()
    key = cache.root, name
    with _shelves_lock:
        shelf = _shelves.get(key)
        if shelf is None:
            shelf = _shelves[key] = Shelf(cache, name if cache.size else None)
    return shelf


def save_all() -> None:
    """Write everything that is new to disk."""
    for shelf in list(_unsaved):
        shelf.save()


# Before the compiler's thread registers its end, so after it: exit handlers run last first.
atexit.register(save_all)

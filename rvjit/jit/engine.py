"""The JIT's loop: run compiled regions, compile what is missing, leave the rest to exactness."""

from __future__ import annotations

import ctypes
import os
import time
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from rvjit.codegen import abi
from rvjit.codegen.arena import address_of
from rvjit.codegen.blob import Blob
from rvjit.codegen.cache import NO_CACHE, CodeCache, code_cache
from rvjit.codegen.kept import KeptRegion, Origin
from rvjit.jit.dispatch import DispatchTable
from rvjit.jit.shelf import PlacedRegion, Shelf, arena, shelf_for
from rvjit.jit.stack import lowest_stack_address
from rvjit.machine.layout import word_of
from rvjit.machine.machine import Machine
from rvjit.machine.pages import EXECUTABLE, page_of
from rvjit.machine.rules import Rules
from rvjit.machine.stop import EXITS, Exit, Stop
from rvjit.machine.turns import Turns
from rvjit.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rvjit.codegen.blocks import RegionSource
    from rvjit.machine.engine import CodeObserver, ExactEngine, NativeRun
    from rvjit.machine.statistics import Statistics

_CYCLES = word_of("cycles")
_EXIT_REASON = word_of("exit_reason")
_HOST_STACK_LOW = word_of("host_stack_low")

# Instructions that the exact engine runs before compiled code is tried again.
_EXACT_RUN = 64

# A page whose code was dropped this often mixes code and data: it is only interpreted from then on.
_MAX_DROPS = 8


@dataclass(eq=False)
class Job:
    """A region to compile. `build` needs no machine, so it may run on any thread."""

    source: RegionSource
    origin: Origin
    shelf: Shelf
    rules: Rules
    base: int
    size: int
    placed: PlacedRegion | None = None
    seconds: float = 0.0
    stale: bool = False  # the code it was made from has changed

    @property
    def insn_count(self) -> int:
        """Guest instructions of the region."""
        return self.source.insn_count

    def build(self) -> None:
        """Compile the region, unless another machine has had it compiled since."""
        build_together([self])

    def emit(self, *, pclmul: bool) -> str:
        """Return the region's IR; *pclmul* says that the host has a carry-less multiplier."""
        from rvjit.codegen.emit import RegionEmitter

        slots = self.origin.slots
        return RegionEmitter(
            self.source, self.rules, self.base, self.size, slots, pclmul=pclmul
        ).emit()


def build_together(jobs: Sequence[Job]) -> None:
    """Build *jobs*, no two with the same pc, in one module: each has a cost of its own in LLVM.

    The CPU time counts from when the compiler is there, and is shared out by instructions.
    """
    for job in jobs:
        job.placed = job.shelf.made(job.origin)
    missing = [job for job in jobs if job.placed is None]
    if not missing:
        return
    from rvjit.codegen.llvm import compiler

    llvm = compiler()
    started = time.thread_time()
    blobs = llvm.compile("".join(job.emit(pclmul=llvm.pclmul) for job in missing))
    seconds = time.thread_time() - started
    count = sum(job.insn_count for job in missing)
    for job in missing:
        source = job.source
        blob = blobs[abi.region_symbol(source.pc)]
        job.seconds = seconds * job.insn_count / count
        kept = KeptRegion(job.origin, source.pcs, source.pages, source.insn_count, blob)
        job.placed = job.shelf.add(kept, job.seconds)


class _Counts:
    """What is counted on the way; see `rvjit.machine.statistics.Statistics`."""

    def __init__(self) -> None:
        self.regions = 0
        self.cache_hits = 0
        self.compiled_insns = 0
        self.compile_seconds = 0.0
        self.dropped_regions = 0
        self.exact_runs = 0
        self.code_bytes = 0


@dataclass(frozen=True)
class _Runtime:
    """The functions of `rvjit.codegen.abi.RUNTIME_IR`, and the address of one."""

    enter: Callable[[int], None]
    alternate: Callable[[int, int, int], None]
    store_slow: int
    address: int  # of all of them, and their bytes
    size: int


_runtime: _Runtime | None = None


def _load_runtime(cache: CodeCache) -> _Runtime:
    """Return the native functions around regions, loaded once for the process."""
    global _runtime  # noqa: PLW0603
    if _runtime is None:
        blob = cache.blob(abi.RUNTIME_IR, _compile_runtime)
        address = arena.place(blob.code)
        pointer = ctypes.c_void_p
        _runtime = _Runtime(
            ctypes.CFUNCTYPE(None, pointer)(address + blob.symbols["enter"]),
            ctypes.CFUNCTYPE(None, pointer, pointer, pointer)(address + blob.symbols["alternate"]),
            address + blob.symbols["store_slow"],
            address,
            len(blob.code),
        )
    return _runtime


def _compile_runtime() -> Blob:
    from rvjit.codegen.llvm import compiler

    return compiler().runtime


class Jit:
    """Compiles every region before its first run.

    The exact engine takes faults, stores to code, budgets' tails and what cannot be compiled.
    """

    name = "jit"

    def __init__(
        self,
        machine: Machine,
        exact: ExactEngine,
        dropped: Callable[[int], None] | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        self.machine = machine
        self._dropped = dropped  # called with the entry of every region that goes
        self._counts = _Counts()
        self.charged = 0  # cycles, by compiled code and the exact engine
        self._exact = exact
        runtime = self._runtime = _load_runtime(code_cache() if machine.keeps_code else NO_CACHE)
        self._enter, self._alternate = runtime.enter, runtime.alternate
        machine.state.store_slow = runtime.store_slow
        self._table = DispatchTable(machine)
        self._shelf = shelf_for(machine) if shelf is None else shelf
        self._regions: dict[int, PlacedRegion] = {}
        self._pages: dict[int, set[int]] = {}
        self._drops: dict[int, int] = {}
        self._observers: list[CodeObserver] = []
        self._jobs: set[Job] = set()  # found, and neither published nor given up
        self._covered: Counter[int] = Counter()  # in how many regions an instruction stands
        self._turns = Turns()
        self._stray = False  # the last run stopped wherever the guest happened to be
        self._breakpoints: frozenset[int] = frozenset()
        self._state_address = ctypes.addressof(machine.state)
        machine.memory.code_caches.append(self)
        _engines.add(self)

    @property
    def statistics(self) -> Statistics:
        """What it did so far."""
        from rvjit.machine.statistics import Statistics

        counts, exact = self._counts, self._exact.statistics
        cached = self.machine.keeps_code
        return Statistics(
            compiled_cycles=self.charged - exact.cycles,
            threaded_cycles=exact.threaded_cycles,
            interpreted_cycles=exact.interpreted_cycles,
            regions=counts.regions,
            compiled_insns=counts.compiled_insns,
            compile_seconds=counts.compile_seconds,
            dropped_regions=counts.dropped_regions,
            exact_runs=counts.exact_runs,
            code_bytes=counts.code_bytes,
            cache_hits=counts.cache_hits if cached else None,
            cache_misses=counts.regions - counts.cache_hits if cached else None,
        )

    @property
    def entries(self) -> list[int]:
        """Where regions begin now, ascending."""
        return sorted(self._regions)

    def observe(self, observer: CodeObserver) -> None:
        """Tell *observer* of every region from now on, and of those that there are."""
        self._observers.append(observer)
        observer.support("rvjit_runtime", self._runtime.address, self._runtime.size)
        for pc, region in self._regions.items():
            observer.region(pc, region.address, region.size)

    def run(self) -> Stop:
        """Run until a stop; see `rvjit.machine.engine.Engine`."""
        words = self.machine.words
        before = words[_CYCLES]
        try:
            return self._run()
        finally:
            self.charged += words[_CYCLES] - before

    def _run(self) -> Stop:
        machine = self.machine
        machine.arm_limit()
        self.begin()
        if self._breakpoints and machine.pc in self._breakpoints:
            stop = self._exact.step(1)
            if stop is not Stop.STEP:
                return stop
        found: Stop | None = None
        if self._stray and self._covered.get(machine.pc):
            # Inside a region: the next entry is near, and nobody else will come in here.
            found = self._run_to_entry()
        while found is None:
            found = self._after(self.enter())
        self._stray = found is not Stop.SYSCALL
        return found

    def step(self, count: int) -> Stop:
        """Run up to *count* instructions in the exact engine."""
        words = self.machine.words
        before = words[_CYCLES]
        try:
            return self._exact.step(count)
        finally:
            self.charged += words[_CYCLES] - before

    def native_run(self) -> NativeRun:
        """Make ready for native runs; see `rvjit.machine.engine.Engine`."""
        self.machine.arm_limit()
        self.begin()
        return address_of(self._enter), self._state_address, 0, 0

    def ran(self, cycles: int) -> None:
        """Count *cycles* that were run so."""
        self.charged += cycles

    # For tiered engines, which decide themselves what is compiled, when and on what thread.

    def begin(self) -> None:
        """Make ready for `enter` on this thread, with the machine's breakpoints."""
        self.machine.words[_HOST_STACK_LOW] = lowest_stack_address()
        self._set_breakpoints(self.machine.breakpoints)

    def enter(self) -> Exit:
        """Run compiled code from pc; all state is in the buffers afterwards."""
        self._enter(self._state_address)
        return EXITS[self.machine.words[_EXIT_REASON]]

    def alternate(self, cold: tuple[int, int]) -> Exit:
        """As `enter`, but run *cold* (its entry and argument) where there is no compiled code."""
        self._alternate(self._state_address, *cold)
        return EXITS[self.machine.words[_EXIT_REASON]]

    def alternation(self, cold: tuple[int, int]) -> NativeRun:
        """Return the native function behind `alternate`, and its arguments."""
        return address_of(self._alternate), self._state_address, *cold

    def has(self, pc: int) -> bool:
        """Whether a region can be entered at *pc*."""
        return pc in self._regions

    def awaits(self, pc: int) -> bool:
        """Whether a region with *pc* somewhere in it is being made."""
        return any(pc in job.source.pcs and not job.stale for job in self._jobs)

    def covers(self, pc: int) -> bool:
        """Whether a region has the instruction at *pc*."""
        return self._covered[pc] > 0

    def load(self, pc: int) -> bool:
        """Let guest code run the region at *pc* that is there already; False where none fits."""
        if not self._has_slot(pc):
            return False
        placed = self._shelf.find(self.machine, pc, self._table.slots, self._breakpoints)
        if placed is None or self._thrashes(placed.pages):
            return False
        self._install(placed)
        self._counts.cache_hits += 1
        return True

    def find(self, pc: int, *, eager: bool = False) -> Job | None:
        """Look up what a region at *pc* would be made of; None where it cannot be compiled.

        Code that changes from now on makes the job stale. *eager* is for what may run but once.
        """
        from rvjit.codegen.blocks import EAGER, HOT, find_region

        machine = self.machine
        if not self._has_slot(pc):
            return None
        source = find_region(machine, pc, self._breakpoints, EAGER if eager else HOT)
        if source is None or self._thrashes(source.pages):
            return None
        for page in source.pages:
            machine.memory.hold_code(page)
        origin = Origin.of(machine, pc, self._table.slots, source.reads, self._breakpoints)
        memory = machine.memory
        job = Job(source, origin, self._shelf, machine.rules, memory.base, memory.size)
        self._jobs.add(job)
        return job

    def publish(self, job: Job) -> bool:
        """Let guest code run what was made of *job*; False where that is stale."""
        self._jobs.discard(job)
        self._counts.compile_seconds += job.seconds
        if job.stale or job.placed is None or self._breakpoints & job.source.pcs:
            return False
        self._install(job.placed)
        return True

    def drop_page(self, page: int) -> None:
        """Forget the regions made from bytes of *page*."""
        for job in self._jobs:
            job.stale = job.stale or page in job.source.pages
        starts = self._pages.pop(page, None)
        if not starts:
            return
        self._drops[page] = self._drops.get(page, 0) + 1
        for pc in starts:
            self._drop(pc)

    def forget_regions(self) -> None:
        """Let go of all compiled code, and of what is being compiled."""
        for job in self._jobs:
            job.stale = True
        for pc in list(self._regions):
            self._drop(pc)

    def close(self) -> None:
        """Let go of all compiled code, as the end of the engine's life does too, and keep it."""
        for pc in list(self._regions):
            self._drop(pc)
        self._shelf.save()
        self._exact.close()

    def _has_slot(self, pc: int) -> bool:
        """Whether the dispatch table has, or can be given, a slot for *pc*."""
        memory = self.machine.memory
        offset = pc - memory.base
        if pc & 1 or not 0 <= offset < memory.size:
            return False
        if not self._table.covers(pc) and memory.flags[page_of(offset)] & EXECUTABLE:
            self._table.grow()
        return self._table.covers(pc)

    def _thrashes(self, pages: AbstractSet[int]) -> bool:
        return any(self._drops.get(page, 0) >= _MAX_DROPS for page in pages)

    def _install(self, placed: PlacedRegion) -> None:
        pc = placed.pc
        self._drop(pc)
        self._regions[pc] = placed
        for page in placed.pages:
            self._pages.setdefault(page, set()).add(pc)
            self.machine.memory.hold_code(page)
        self._covered.update(placed.pcs)
        self._table.set(pc, placed.address + placed.symbols[abi.region_symbol(pc)])
        counts = self._counts
        counts.regions += 1
        counts.compiled_insns += placed.insn_count
        counts.code_bytes += placed.size
        for observer in self._observers:
            observer.region(pc, placed.address, placed.size)

    def _after(self, reason: Exit) -> Stop | None:
        """Deal with an exit of compiled code; None to go on."""
        machine = self.machine
        if reason is Exit.SYSCALL:
            return Stop.SYSCALL
        if reason is Exit.LIMIT:
            request = machine.take_request()
            if request is not None:
                return request
            machine.arm_limit()
            return self._run_exactly(_EXACT_RUN)
        if reason is Exit.EXACT:
            return self._run_to_entry()
        if machine.pc in self._breakpoints:
            return Stop.BREAKPOINT
        return None if self._compile(machine.pc) else self._run_exactly(_EXACT_RUN)

    def _run_to_entry(self) -> Stop | None:
        """Run at least one instruction exactly, then on until compiled code can take over.

        A check that failed is some instructions ahead of pc, and where it failed there is no entry.
        None without an entry in reach: the place is compiled then.
        """
        for _ in range(_EXACT_RUN):
            stop = self._run_exactly(1)
            if stop is not None or self.machine.pc in self._regions:
                return stop
        return None

    def _run_exactly(self, count: int) -> Stop | None:
        self._counts.exact_runs += 1
        self._turns.count()
        stop = self._exact.advance(count)
        return None if stop is Stop.STEP else stop

    def _compile(self, pc: int) -> bool:
        """Compile and publish the region at *pc*; False where the exact engine has to run it."""
        if self.load(pc):
            return True
        job = self.find(pc, eager=True)
        if job is None:
            return False
        job.build()
        return self.publish(job)

    def _drop(self, pc: int) -> None:
        region = self._regions.pop(pc, None)
        if region is None:
            return
        self._table.set(pc, 0)
        if self._dropped is not None:
            self._dropped(pc)
        self._covered.subtract(region.pcs)
        for page in region.pages:
            self._pages.get(page, set()).discard(pc)
        self._counts.dropped_regions += 1
        self._counts.code_bytes -= region.size

    def _set_breakpoints(self, wanted: frozenset[int]) -> None:
        """Drop regions that contain a new breakpoint; none is ever compiled across one."""
        if wanted == self._breakpoints:
            return
        new = wanted - self._breakpoints
        self._breakpoints = wanted
        for breakpoint_pc in new:
            page = page_of(breakpoint_pc - self.machine.memory.base)
            for pc in list(self._pages.get(page, ())):
                region = self._regions[pc]
                if breakpoint_pc in region.pcs:
                    self._drop(pc)


_engines: weakref.WeakSet[Jit] = weakref.WeakSet()


def _forget_regions() -> None:
    """In a forked child: the parent may free regions, and place others there, at any time."""
    for engine in list(_engines):
        engine.forget_regions()


os.register_at_fork(after_in_child=_forget_regions)

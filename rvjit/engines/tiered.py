"""Cold code in the threaded engine, hot code compiled on another thread.

The threaded engine counts visits to functions and loops. What is visited often is compiled in the
background; the runner publishes the outcome between two entries of native code, and the threaded
engine hands over wherever compiled code begins. Results do not depend on when that happens.
"""

from __future__ import annotations

import weakref
from collections import Counter, deque

from rvjit.jit.shelf import shelf_for
from rvjit.machine.layout import word_of
from rvjit.machine.machine import Machine
from rvjit.machine.stop import Exit, Stop
from rvjit.machine.turns import Turns
from rvjit.threaded.engine import Threaded
from rvjit.values import replace

# Visits before a place is compiled: so many in the first round, 256 in each other.
_ROUNDS = 4
_FIRST_VISITS = 256

# How often a place has to be hot where a region has its code already: the guest stands there
# because it was stopped inside of the region, and comes to the region's entry soon, or else is to
# be compiled again.
_PATIENCE = 8

# Instructions that the threaded engine runs where compiled code does not fit under the limit.
_EXACT_RUN = 256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rvjit.engines.worker import Done
    from rvjit.jit.engine import Jit, Job
    from rvjit.machine.engine import CodeObserver, NativeRun
    from rvjit.machine.statistics import Statistics

_CYCLES = word_of("cycles")
_EXIT_REASON = word_of("exit_reason")
_LIMIT_WORD = word_of("limit_word")


def submit(job: Job, done: weakref.WeakMethod[Done]) -> None:
    """Have *job* compiled, and *done* called; what does it is imported for the first one."""
    from rvjit.engines import worker

    worker.submit(job, done)


class Tiered:
    """Runs a machine cold at once and hot as soon as the compiler is done.

    What runs compiled code is made when there is some to run, which many a short run never has.
    """

    name = "tiered"

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._cold = Threaded(machine, counts=True)
        self._native = self._cold.native
        self._cold.hot_after(_ROUNDS, _FIRST_VISITS)
        self._shelf = shelf_for(machine)
        # What is kept is loaded at the first visit, not now: most runs need little of it.
        for pc in self._shelf.kept:
            self._cold.mark_compiled(pc)
        self._turns = Turns()
        self._ready: deque[Job] = deque()
        self._waits: Counter[int] = Counter()  # by pc
        self._tier: Jit | None = None  # `_hot`, once it was asked for
        self._charged = 0  # cycles before

    @property
    def _hot(self) -> Jit:
        hot = self._tier
        if hot is None:
            from rvjit.jit.engine import Jit

            hot = self._tier = Jit(self.machine, self._cold, self._forget, self._shelf)
            hot.charged = self._charged
            hot.begin()
        return hot

    @property
    def statistics(self) -> Statistics:
        """What both tiers did so far."""
        if self._tier is not None:
            return self._tier.statistics
        cached = 0 if self.machine.keeps_code else None
        return replace(
            self._cold.statistics,
            compiled_cycles=0,
            regions=0,
            compiled_insns=0,
            compile_seconds=0.0,
            dropped_regions=0,
            exact_runs=0,
            code_bytes=0,
            cache_hits=cached,
            cache_misses=cached,
        )

    @property
    def entries(self) -> list[int]:
        """Where compiled regions begin now, ascending."""
        return [] if self._tier is None else self._tier.entries

    def observe(self, observer: CodeObserver) -> None:
        """Tell *observer* of the handlers, and of regions that there are and that come."""
        self._cold.observe(observer)
        self._hot.observe(observer)

    def run(self) -> Stop:
        """Run until a stop; see `rvjit.machine.engine.Engine`."""
        before = self.machine.words[_CYCLES]
        try:
            return self._run()
        finally:
            self._charge(self.machine.words[_CYCLES] - before)

    def _run(self) -> Stop:
        stop = self._cold.begin()
        hot = self._tier
        if hot is not None:
            hot.begin()
        while stop is None:
            if self._ready:
                self._publish()
            self._turns.count()
            hot = self._tier
            reason = self._cold.enter() if hot is None else hot.alternate(self._native)
            stop = self._after(reason)
        return stop

    def step(self, count: int) -> Stop:
        """Run up to *count* instructions in the threaded engine."""
        before = self.machine.words[_CYCLES]
        try:
            return self._cold.step(count)
        finally:
            self._charge(self.machine.words[_CYCLES] - before)

    def native_run(self) -> NativeRun:
        """Make ready for native runs; see `rvjit.machine.engine.Engine`."""
        run = self._cold.native_run()
        hot = self._tier
        if hot is None:
            return run
        self._publish()
        hot.begin()
        return hot.alternation(self._native)

    def ran(self, cycles: int) -> None:
        """Take note of native runs; see `rvjit.machine.engine.Engine`."""
        self._charge(cycles)
        if self.machine.words[_EXIT_REASON] == Exit.HOT:
            self._request(self.machine.pc)  # which is not said again

    def _charge(self, cycles: int) -> None:
        hot = self._tier
        if hot is None:
            self._charged += cycles
        else:
            hot.charged += cycles

    def close(self) -> None:
        """Give back what was decoded and compiled."""
        if self._tier is not None:
            self._tier.close()
        self._cold.close()

    def _after(self, reason: Exit) -> Stop | None:
        """Deal with an exit of either engine; None to go on."""
        if reason is Exit.SYSCALL:
            return Stop.SYSCALL
        machine = self.machine
        stop: Stop | None = None
        match reason:
            case Exit.LIMIT:
                stop = machine.take_request()
                if stop is None:
                    machine.arm_limit()
                    # Unless the worker lowered the limit to be heard, it is near.
                    stop = None if self._ready else self._cold.advance(_EXACT_RUN)
            case Exit.EXACT:
                stop = self._cold.advance(1)
            case Exit.HOT:
                self._request(machine.pc)
            case Exit.ENTER:
                if not self._hot.load(machine.pc):
                    self._cold.unmark(machine.pc)  # its region is gone, or does not fit
            case Exit.BREAKPOINT | Exit.NO_CODE:
                stop = self._cold.resolve(reason)
        return None if stop is Stop.STEP else stop

    def _request(self, pc: int) -> None:
        if self._hot.has(pc):
            return
        if self._hot.awaits(pc):
            # Where compiled code comes back to code that is on its way: that may be all it takes.
            self._cold.set_rounds(pc, 0)
            return
        if self._hot.covers(pc):
            self._waits[pc] += 1
            if self._waits[pc] < _PATIENCE:
                self._cold.set_rounds(pc, 0)
                return
        if self._hot.load(pc):  # another machine had it compiled
            self._cold.mark_compiled(pc)
            return
        job = self._hot.find(pc)
        if job is not None:
            submit(job, weakref.WeakMethod(self._built))

    def _built(self, job: Job) -> None:
        """Take a finished job from the worker, on its thread."""
        self._ready.append(job)
        self.machine.words[_LIMIT_WORD] = 0  # the runner looks at `_ready` when it comes back

    def _publish(self) -> None:
        while self._ready:
            job = self._ready.popleft()
            if self._hot.publish(job):
                self._cold.mark_compiled(job.source.pc)

    def _forget(self, pc: int) -> None:
        """Run *pc* cold again, and count anew: its region is gone."""
        self._cold.unmark(pc)
        self._cold.set_rounds(pc, 0)

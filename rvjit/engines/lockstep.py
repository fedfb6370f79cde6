"""Run the JIT and the reference interpreter side by side and report the first difference.

Three machines: the caller's, which the first engine runs; a shadow, which the reference runs; and a
base, which lags one chunk behind, so that a chunk that ends differently can be run again with ever
closer limits until the first differing instruction is found.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from rvjit.codegen.blocks import MAX_BLOCK_INSNS
from rvjit.engines.compare import copy_machine, first_difference, new_like, state_difference
from rvjit.errors import EngineMismatch
from rvjit.interp.engine import Interpreter
from rvjit.isa import disassemble
from rvjit.jit.engine import Jit
from rvjit.machine.engine import CodeObserver
from rvjit.machine.fetch import fetch_operation
from rvjit.machine.layout import NO_LIMIT
from rvjit.machine.machine import Machine
from rvjit.machine.pages import PUBLIC, READABLE, WRITABLE, pages_touched
from rvjit.machine.statistics import Statistics
from rvjit.machine.stop import Stop
from rvjit.machine.turns import let_others_run
from rvjit.values import replace

# Cycles between two comparisons.
_CHUNK = 20_000

# Stops that depend on when somebody asked, not on the guest: the shadow follows to the same cycle.
_ASYNCHRONOUS = (Stop.PAUSE, Stop.TIMEOUT, Stop.INTERRUPT)


class Lockstep:
    """Runs a machine on the JIT, checked by the reference. Raises `EngineMismatch` from `run`."""

    name = "lockstep"

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._first = Jit(machine, Interpreter(machine))
        self._shadow = new_like(machine)
        self._reference = Interpreter(self._shadow)
        self._base = new_like(machine)
        for other in (self._shadow, self._base):
            copy_machine(machine, other)
        self._chunk_size = _CHUNK
        self._comparisons = 0
        machine.memory.watchers.append(self)

    @property
    def statistics(self) -> Statistics:
        """What the first engine did so far, and how often it was compared with the reference."""
        return replace(
            self._first.statistics,
            comparisons=self._comparisons,
            reference_cycles=self._reference.statistics.interpreted_cycles,
        )

    @property
    def entries(self) -> list[int]:
        """Where regions of the first engine begin now, ascending."""
        return self._first.entries

    def observe(self, observer: CodeObserver) -> None:
        """Tell *observer* of the first engine's native code."""
        self._first.observe(observer)

    def run(self) -> Stop:
        """Run until a stop; see `rvjit.machine.engine.Engine`."""
        self._sync_registers()
        limit = self.machine.cycle_limit
        try:
            while True:
                stop = self._chunk(limit)
                if stop is not None:
                    self._compare_written()
                    return stop
        finally:
            self.machine.cycle_limit = limit

    def step(self, count: int) -> Stop:
        """Run up to *count* instructions in both engines."""
        self._sync_registers()
        stop = self._first.step(count)
        return self._check(stop, self._follow(stop, lambda: self._reference.step(count)))

    def close(self) -> None:
        """Give back what both engines made."""
        self._first.close()
        self._reference.close()

    # What the host writes between runs is mirrored.

    def host_wrote(self, offset: int, size: int) -> None:
        """Copy a host's write to the other machines."""
        memory = self.machine.memory
        data = memory.buffer[offset : offset + size]
        for other in (self._shadow, self._base):
            other.memory.initialise(memory.base + offset, data, dirty=False)
        self.flags_changed(pages_touched(offset, size))

    def flags_changed(self, pages: range) -> None:
        """Copy what the flags of *pages* say to the other machines."""
        flags = self.machine.memory.flags
        for other in (self._shadow, self._base):
            for page in pages:
                other.memory.copy_flags(page, flags[page] & (PUBLIC | READABLE | WRITABLE))

    def _sync_registers(self) -> None:
        for other in (self._shadow, self._base):
            other.copy_registers(self.machine)
            other.breakpoints = self.machine.breakpoints

    def _chunk(self, limit: int) -> Stop | None:
        """Run one chunk on both; None when it ended by the chunk's own limit only."""
        let_others_run()
        machine, shadow = self.machine, self._shadow
        started = machine.cycles
        chunk_limit = min(limit, started + self._chunk_size)
        machine.cycle_limit = shadow.cycle_limit = chunk_limit
        shadow.memory.arm_tracking()
        stop = self._first.run()
        self._check(stop, self._follow(stop, self._reference.run), chunk_limit)
        for page in shadow.memory.dirty_pages:
            self._base.memory.copy_page(shadow.memory, page)
        self._base.copy_registers(shadow)
        if stop is Stop.CYCLE_LIMIT and chunk_limit < limit:
            # One instruction may cost more than a whole chunk.
            self._chunk_size = 16 * self._chunk_size if machine.cycles == started else _CHUNK
            return None
        return stop

    def _follow(self, stop: Stop, run: Callable[[], Stop]) -> Stop:
        """Let the reference *run* as far as the first engine came; return how that ended."""
        if stop not in _ASYNCHRONOUS:
            return run()
        self._shadow.cycle_limit = self.machine.cycles
        reference_stop = run()
        return stop if reference_stop is Stop.CYCLE_LIMIT else reference_stop

    def _check(self, stop: Stop, reference_stop: Stop, limit: int | None = None) -> Stop:
        machine, shadow = self.machine, self._shadow
        self._comparisons += 1
        difference = state_difference(machine, shadow, shadow.memory.dirty_pages)
        if stop is not reference_stop:
            difference = "stop", stop.value, reference_stop.value
        if difference is None and stop is Stop.FAULT:
            pair = str(machine.fault), str(shadow.fault)
            difference = None if pair[0] == pair[1] else ("fault", *pair)
        if difference is None:
            return stop
        if limit is not None:
            self._locate(limit)
        raise EngineMismatch(*difference, machine.pc, machine.cycles)

    def _locate(self, limit: int) -> None:
        """Run the chunk again from the base under ever closer limits; raise for what is found."""
        low, high = self._base.cycles, limit
        found = self._difference_under(high)
        if found is None:
            return  # it needed the code compiled before; report what was seen
        while high - low > 1:
            middle = (low + high) // 2
            difference = self._difference_under(middle)
            if difference is None:
                low = middle
            else:
                high, found = middle, difference
        self._locate_instruction(high)
        last = self._at(low)
        raise EngineMismatch(*found, last.pc, last.cycles, _text(last))

    def _locate_instruction(self, limit: int) -> None:
        """Compile the last instructions under *limit* one by one; raise for one that is wrong.

        Under a limit compiled code runs whole blocks or nothing, so where a block went wrong is
        not known yet.
        """
        cycles: deque[int] = deque(maxlen=MAX_BLOCK_INSNS)
        counted = self._at(self._base.cycles)
        engine = Interpreter(counted)
        while counted.cycles < limit:
            cycles.append(counted.cycles)
            if engine.step(1) is not Stop.STEP:
                break
        for start in cycles:
            before, reference, first = (self._at(start) for _ in range(3))
            Interpreter(reference).step(1)
            first.cycle_limit = reference.cycles
            first.breakpoints = frozenset({reference.pc})  # a region ends before it
            Jit(first, Interpreter(first)).run()
            difference = first_difference(first, reference)
            if difference is not None:
                raise EngineMismatch(*difference, before.pc, before.cycles, _text(before))

    def _at(self, cycles: int) -> Machine:
        """Return a copy of the base that the reference ran on to *cycles*."""
        machine = new_like(self._base)
        copy_machine(self._base, machine)
        machine.cycle_limit = cycles
        Interpreter(machine).run()
        machine.cycle_limit = NO_LIMIT
        return machine

    def _difference_under(self, limit: int) -> tuple[str, str, str] | None:
        machines = [new_like(self._base), new_like(self._base)]
        for machine in machines:
            copy_machine(self._base, machine)
            machine.cycle_limit = limit
        stops = [Jit(machines[0], Interpreter(machines[0])).run(), Interpreter(machines[1]).run()]
        if stops[0] is not stops[1]:
            return "stop", stops[0].value, stops[1].value
        return first_difference(*machines)

    def _compare_written(self) -> None:
        """Compare every page that either machine wrote, however long ago."""
        difference = state_difference(self.machine, self._shadow, self.machine.memory.dirty_pages)
        if difference is not None:
            raise EngineMismatch(*difference, self.machine.pc, self.machine.cycles)


def _text(machine: Machine) -> str:
    return disassemble(fetch_operation(machine.memory, machine.rules.isa, machine.pc), machine.pc)

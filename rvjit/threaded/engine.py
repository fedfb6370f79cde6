"""The threaded engine's loop: native handlers, and the reference for what they leave to it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cached_property

from rvjit.codegen import threaded_abi as abi
from rvjit.codegen.arena import Arena, address_of
from rvjit.codegen.cache import NO_CACHE, CodeCache, code_cache
from rvjit.machine.layout import word_of
from rvjit.machine.machine import Machine
from rvjit.machine.pages import EXECUTABLE, PAGE_SHIFT, PAGE_SIZE
from rvjit.machine.rules import Rules
from rvjit.machine.stop import EXITS, Exit, Stop
from rvjit.machine.turns import Turns
from rvjit.threaded.records import Records
from rvjit.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rvjit.codegen.blob import Blob
    from rvjit.interp.engine import Interpreter
    from rvjit.machine.engine import CodeObserver, NativeRun
    from rvjit.machine.statistics import Statistics

_EXIT_REASON = word_of("exit_reason")


@dataclass(frozen=True)
class _Code:
    """The native code for some rules, placed in memory."""

    address: int
    size: int
    enter: Callable[[int], None]
    step: Callable[[int, int], int]
    table: int
    marks: dict[abi.Marks, int]


_arena = Arena()
_placed: dict[str, _Code] = {}


def _load(rules: Rules, cache: CodeCache, *, counts: bool) -> _Code:
    """Return the code for *rules*, loaded once for the process."""
    wanted = abi.key(rules, counts=counts)
    if wanted not in _placed:
        blob = cache.blob(wanted, lambda: _compile(rules, counts=counts))
        address = _arena.place(blob.code)
        at = blob.symbols[abi.TABLE]
        offsets = memoryview(blob.code)[at : at + 4 * (1 + len(abi.MARKS))].cast("I")
        _placed[wanted] = _Code(
            address,
            len(blob.code),
            ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address + blob.symbols["enter"]),
            ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64)(
                address + blob.symbols["step"]
            ),
            address + at,
            {mark: offsets[number] for number, mark in enumerate(abi.MARKS, 1)},
        )
    return _placed[wanted]


def _compile(rules: Rules, *, counts: bool) -> Blob:
    from rvjit.codegen.llvm import compiler
    from rvjit.codegen.threaded import compile_threaded

    return compile_threaded(rules, compiler(), counts=counts)


class Threaded:
    """Runs a machine in native code, exactly; decodes in native code, too.

    The reference takes what the handlers do not do: faults, and stores to pages with code.

    A tiered engine uses `begin`, `enter` and `resolve` instead of `run`, marks what is compiled
    with `mark_compiled` and `unmark`, and meets `Exit.ENTER`; with *counts* also `hot_after` and
    `Exit.HOT`.
    """

    name = "threaded"

    def __init__(self, machine: Machine, *, counts: bool = False) -> None:
        self.machine = machine
        cache = code_cache() if machine.keeps_code else NO_CACHE
        code = self._code = _load(machine.rules, cache, counts=counts)
        self._enter = code.enter
        self._step = code.step
        self._context = context = abi.Context()
        self._address = ctypes.addressof(context)
        memory = machine.memory
        host_memory, context.page_flags, _ = memory.addresses
        context.state = ctypes.addressof(machine.state)
        context.memory = (host_memory - memory.base) & (1 << 64) - 1
        context.code = code.address
        context.handlers = code.table
        context.base = memory.base
        context.size = memory.size
        self._turns = Turns()
        self._breakpoints: frozenset[int] = frozenset()
        self._records = Records(memory, machine.rules.isa, context, code.marks)
        self._records.grow()
        memory.code_caches.append(self)

    @property
    def statistics(self) -> Statistics:
        """What it did so far."""
        from rvjit.machine.statistics import Statistics

        exact = self.__dict__.get("_exact")
        interpreted = 0 if exact is None else exact.statistics.interpreted_cycles
        return Statistics(threaded_cycles=self._context.charged, interpreted_cycles=interpreted)

    @property
    def entries(self) -> list[int]:
        """Nothing is compiled for one machine only."""
        return []

    def observe(self, observer: CodeObserver) -> None:
        """Tell *observer* of the handlers, which are there already."""
        observer.support("rvjit_threaded", self._code.address, self._code.size)

    def run(self) -> Stop:
        """Run until a stop; see `rvjit.machine.engine.Engine`."""
        stop = self.begin()
        while stop is None:
            self._turns.count()
            stop = self.resolve(self.enter())
        return stop

    def step(self, count: int) -> Stop:
        """Run up to *count* instructions; see `rvjit.machine.engine.Engine`."""
        return self._advance(count, abi.Marks.ENTER | abi.Marks.BREAKPOINT)

    def advance(self, count: int) -> Stop:
        """As `step`, but a breakpoint at or after pc stops it; for engines that fall back on us."""
        self.set_breakpoints(self.machine.breakpoints)
        return self._advance(count, abi.Marks.ENTER)

    def native_run(self) -> NativeRun:
        """Make ready for native runs; see `rvjit.machine.engine.Engine`."""
        self.machine.arm_limit()
        self.set_breakpoints(self.machine.breakpoints)
        return (*self.native, 0, 0)

    def ran(self, cycles: int) -> None:
        """Do nothing: the native code counts."""

    def close(self) -> None:
        """Forget all decoded instructions."""
        self._records.grow()

    @cached_property
    def _exact(self) -> Interpreter:
        """The reference, which most runs never need."""
        from rvjit.interp.engine import Interpreter

        return Interpreter(self.machine)

    # For tiered engines.

    def begin(self) -> Stop | None:
        """Make ready for `enter`: arm the limit, step over a breakpoint at pc; a stop if any."""
        machine = self.machine
        machine.arm_limit()
        self.set_breakpoints(machine.breakpoints)
        if self._breakpoints and machine.pc in self._breakpoints:
            stop = self.step(1)
            if stop is not Stop.STEP:
                return stop
            machine.arm_limit()
        return None

    @property
    def native(self) -> tuple[int, int]:
        """Address of the native function behind `enter`, and its argument."""
        return address_of(self._enter), self._address

    def enter(self) -> Exit:
        """Run natively from pc; all state is in the buffers afterwards."""
        self._enter(self._address)
        return EXITS[self.machine.words[_EXIT_REASON]]

    def resolve(self, reason: Exit) -> Stop | None:
        """Do what an exit asks for; None to go on. ENTER and HOT ask for nothing here."""
        machine = self.machine
        match reason:
            case Exit.SYSCALL:
                return Stop.SYSCALL
            case Exit.LIMIT:
                return self._at_limit()
            case Exit.EXACT:
                stop = self._exact.step(1)
                return None if stop is Stop.STEP else stop
            case Exit.BREAKPOINT:
                return Stop.BREAKPOINT
            case Exit.NO_CODE:
                if machine.pc in self._breakpoints:
                    return Stop.BREAKPOINT  # where no code can be, as the return of a host's call
                stop = self._uncovered(machine.pc)
                return None if stop is Stop.STEP else stop
            case Exit.ENTER | Exit.HOT:
                return None

    def mark_compiled(self, pc: int) -> None:
        """Leave with `Exit.ENTER` whenever *pc* is reached, until `unmark` or `drop_page`."""
        if pc not in self._breakpoints:
            self._records.mark(pc, abi.Marks.ENTER)

    def unmark(self, pc: int) -> None:
        """Run *pc* here again."""
        self._records.unmark(pc, abi.Marks.ENTER)

    def hot_after(self, rounds: int, first: int = 256) -> None:
        """Leave with `Exit.HOT` at a pc after counted visits; 0 *rounds* for never.

        Visits through calls, backward jumps, register jumps that are no returns, and those with
        which native code is entered are counted. The first round has *first* of them (1..256),
        every other 256. It happens once for each pc.
        """
        self._context.hot_threshold = rounds
        self._context.first_visits = first & 0xFF

    def rounds(self, pc: int) -> int:
        """Rounds of counted visits that *pc* has had."""
        return self._records.rounds(pc)

    def set_rounds(self, pc: int, rounds: int) -> None:
        """Go on counting the visits of *pc* from *rounds*."""
        self._records.set_rounds(pc, rounds)

    def set_breakpoints(self, wanted: frozenset[int]) -> None:
        """Stop with `Exit.BREAKPOINT` at these pcs and no others."""
        if wanted == self._breakpoints:
            return
        for pc in self._breakpoints - wanted:
            self._records.unmark(pc, abi.Marks.BREAKPOINT)
        for pc in wanted - self._breakpoints:
            self._records.mark(pc, abi.Marks.BREAKPOINT)
        self._breakpoints = wanted

    def drop_page(self, page: int) -> None:
        """Forget decoded instructions with bytes in *page*, and that any was compiled."""
        start = self.machine.memory.base + page * PAGE_SIZE
        self._records.unmark_all(start, start + PAGE_SIZE, abi.Marks.ENTER)
        self._records.forget(start, start + PAGE_SIZE)

    # Exits.

    def _advance(self, count: int, passed: abi.Marks) -> Stop:
        self.machine.arm_limit()
        try:
            return self._advance_natively(count, passed)
        finally:
            # Native steps leave the limit word at the last one; whoever runs on would stop there.
            self.machine.arm_limit()

    def _advance_natively(self, count: int, passed: abi.Marks) -> Stop:
        if not self.machine.cycle_limit:  # native steps take a limit word of 0 for a request
            exact = self._exact
            return exact.advance(count) if passed is abi.Marks.ENTER else exact.step(count)
        left = count
        while True:
            if left == 0:
                return Stop.STEP
            self._context.passed = int(passed)
            left -= self._step(self._address, left)
            self._context.passed = 0
            reason = Exit(self.machine.state.exit_reason)
            if reason is Exit.SYSCALL:
                return Stop.SYSCALL
            if left == 0:
                return Stop.STEP
            seen = () if passed & abi.Marks.BREAKPOINT else self._breakpoints
            if reason is Exit.NO_CODE and self.machine.pc in seen:
                return Stop.BREAKPOINT
            if reason is Exit.NO_CODE or reason is Exit.EXACT:
                if reason is Exit.NO_CODE and self._grown(self.machine.pc):
                    continue
                stop: Stop | None = self._exact.step(1)
                if stop is Stop.STEP:
                    left -= 1
                    stop = None
            else:
                stop = self.resolve(reason)
            if stop is not None:
                return stop
            self.machine.arm_limit()

    def _at_limit(self) -> Stop | None:
        """Say why the limit word stopped us; None where a withdrawn request had zeroed it."""
        machine = self.machine
        request = machine.take_request()
        if request is not None:
            return request
        machine.arm_limit()
        needed = max(self._context.needed, machine.cycles + 1)  # every price is at least 1
        return Stop.CYCLE_LIMIT if needed > machine.cycle_limit else None

    def _uncovered(self, pc: int) -> Stop:
        if self._grown(pc):
            return Stop.STEP
        return self._exact.step(1)

    def _grown(self, pc: int) -> bool:
        """Make the records reach *pc* if it is executable and they do not yet."""
        memory = self.machine.memory
        offset = pc - memory.base
        if pc & 1 or self._records.covers(pc) or not 0 <= offset < memory.size:
            return False
        if not memory.flags[offset >> PAGE_SHIFT] & EXECUTABLE:
            return False
        self._records.grow()
        return True

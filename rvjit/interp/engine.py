"""The reference interpreter's loop: fetch, charge, run, one instruction at a time."""

from __future__ import annotations

from array import array
from typing import NoReturn

from rvjit.errors import Breakpoint, GuestFault, Misaligned, OutOfBounds, PermissionDenied
from rvjit.interp.translate import Run, factory
from rvjit.machine.engine import CodeObserver
from rvjit.machine.fetch import fetch_operation, hold_code
from rvjit.machine.layout import word_of
from rvjit.machine.machine import Machine
from rvjit.machine.statistics import Statistics
from rvjit.machine.stop import Stop

_PC = word_of("pc")
_CYCLES = word_of("cycles")
_LIMIT = word_of("limit_word")
_RESERVATION = word_of("reservation")
_RESERVATION_SIZE = word_of("reservation_size")

# Instructions between two looks at the limit word, which other threads zero: under 2 ms.
_CHUNK = 4096


class _Ecall(Exception):
    """An ecall was reached; the loop turns it into a stop."""


class _Break(Exception):
    """A breakpoint was reached; the loop turns it into a stop."""


class Interpreter:
    """Runs a machine in plain Python, exactly; what the other engines are compared with.

    Registers live in a list while it runs and are in the state buffer at every stop.
    """

    name = "interp"

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._x = [0] * 32
        self._reservation = [0, 0]
        self._code: dict[int, tuple[Run, int]] = {}
        self._pages: dict[int, list[int]] = {}
        self._breakpoints: frozenset[int] = frozenset()
        self._charged = 0  # cycles so far
        memory = machine.memory
        memory.code_caches.append(self)
        buffer = memory.buffer
        self._environment = (
            self._x,
            self._reservation,
            memory.base,
            memory.size,
            buffer,
            buffer.cast("H"),
            buffer.cast("I"),
            buffer.cast("Q"),
            memory.flags,
            self._load_any,
            self._store_any,
            memory.prepare_store,
            _out_of_bounds,
            _misaligned,
            _no_permission,
            _ecall,
            _ebreak,
        )

    @property
    def statistics(self) -> Statistics:
        """What it did so far."""
        return Statistics(interpreted_cycles=self._charged)

    @property
    def entries(self) -> list[int]:
        """Nothing is compiled."""
        return []

    def observe(self, observer: CodeObserver) -> None:
        """Do nothing: there is no native code."""

    def run(self) -> Stop:
        """Run until a stop; see `rvjit.machine.engine.Engine`."""
        machine = self.machine
        machine.arm_limit()
        self._set_breakpoints(machine.breakpoints)
        if machine.pc in self._breakpoints:
            stop = self.step(1)
            if stop is not Stop.STEP:
                return stop
            self._set_breakpoints(machine.breakpoints)
        return self._loop(None)

    def step(self, count: int) -> Stop:
        """Run up to *count* instructions; see `rvjit.machine.engine.Engine`."""
        self.machine.arm_limit()
        self._set_breakpoints(frozenset())
        return self._loop(count)

    def advance(self, count: int) -> Stop:
        """As `step`, but a breakpoint at or after pc stops it; for engines that fall back on us."""
        self.machine.arm_limit()
        self._set_breakpoints(self.machine.breakpoints)
        return self._loop(count)

    def close(self) -> None:
        """Forget all decoded instructions."""
        self._code.clear()
        self._pages.clear()

    def drop_page(self, page: int) -> None:
        """Forget decoded instructions with bytes in *page*."""
        for pc in self._pages.pop(page, ()):
            self._code.pop(pc, None)

    def _loop(self, count: int | None) -> Stop:
        machine = self.machine
        words = machine.words
        x = self._x
        x[:] = machine.x
        self._reservation[:] = words[_RESERVATION], words[_RESERVATION_SIZE]
        code = self._code
        pc = words[_PC]
        cycles = words[_CYCLES]
        left = count
        try:
            while True:
                limit = words[_LIMIT]
                turns = _CHUNK if left is None else min(left, _CHUNK)
                for done in range(turns):
                    try:
                        run, price = code[pc]
                    except KeyError:
                        run, price = self._decode(pc)
                    charged = cycles + price
                    if charged > limit:
                        turns = done
                        stop = self._at_limit(charged)
                        if stop is not None:
                            return stop
                        break
                    cycles = charged
                    pc = run()
                if left is not None:
                    left -= turns
                    if not left:
                        return Stop.STEP
        except _Ecall:
            pc += 4
            return Stop.SYSCALL
        except _Break:
            return Stop.BREAKPOINT
        except GuestFault as fault:
            fault.pc = pc
            machine.fault = fault.with_traceback(None)
            return Stop.FAULT
        finally:
            words[_PC] = pc
            self._charged += cycles - words[_CYCLES]
            words[_CYCLES] = cycles
            machine.x[:] = array("Q", x)
            words[_RESERVATION], words[_RESERVATION_SIZE] = self._reservation

    def _at_limit(self, charged: int) -> Stop | None:
        """Say why the limit word stopped us; None where a withdrawn request had zeroed it."""
        machine = self.machine
        request = machine.take_request()
        if request is not None:
            return request
        machine.arm_limit()
        return Stop.CYCLE_LIMIT if charged > machine.cycle_limit else None

    def _decode(self, pc: int) -> tuple[Run, int]:
        machine = self.machine
        if pc in self._breakpoints:
            return _break, 0
        rules = machine.rules
        try:
            operation = fetch_operation(machine.memory, rules.isa, pc)
        except GuestFault as fault:
            # Costs nothing, and is not kept: the page may become executable.
            return _raiser(fault), 0
        after = pc + operation.length
        runs = [
            factory(step.spec, rules, writes_rd=step.rd != 0)(
                *self._environment, step.rd, step.rs1, step.rs2, step.imm, pc, after
            )
            for step in operation.steps
        ]
        record = runs[0] if len(runs) == 1 else _in_turn(runs), rules.prices[operation.cost]
        self._code[pc] = record
        for page in hold_code(machine.memory, rules.isa, pc, operation.length):
            self._pages.setdefault(page, []).append(pc)
        return record

    def _set_breakpoints(self, wanted: frozenset[int]) -> None:
        for pc in wanted - self._breakpoints:
            self._code.pop(pc, None)
        self._breakpoints = wanted

    def _load_any(self, offset: int, size: int) -> int:
        return int.from_bytes(self.machine.memory.buffer[offset : offset + size], "little")

    def _store_any(self, offset: int, value: int, size: int) -> None:
        self.machine.memory.buffer[offset : offset + size] = value.to_bytes(size, "little")


def _in_turn(runs: list[Run]) -> Run:
    """Run the steps of a fused operation; the last says where to go on."""
    *first, last = runs

    def run() -> int:
        for step in first:
            step()
        return last()

    return run


def _raiser(fault: GuestFault) -> Run:
    def run() -> int:
        raise fault

    return run


def _break() -> int:
    raise _Break


def _ecall() -> NoReturn:
    raise _Ecall


def _ebreak(pc: int) -> NoReturn:
    raise Breakpoint(pc)


def _out_of_bounds(address: int, size: int, access: str) -> NoReturn:
    raise OutOfBounds(address, size, access)


def _misaligned(address: int, size: int, access: str) -> NoReturn:
    raise Misaligned(address, size, access)


def _no_permission(address: int, size: int, access: str) -> NoReturn:
    raise PermissionDenied(address, size, access)

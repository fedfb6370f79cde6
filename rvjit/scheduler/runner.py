"""Runner: runs one VM up to its next request, its end, or an error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from rvjit.bits import to_signed
from rvjit.errors import (
    ConfigError,
    CyclesExceeded,
    GuestFault,
    IllegalInstruction,
    InternalError,
    ScriptError,
    ScriptPaused,
)
from rvjit.isa.cost import Cost
from rvjit.isa.registers import A0, A7
from rvjit.machine.fetch import fetch
from rvjit.machine.layout import word_of
from rvjit.machine.machine import Machine
from rvjit.machine.stop import Stop
from rvjit.scheduler.calls import EXIT, Handler
from rvjit.scheduler.guest import Guest
from rvjit.scheduler.requests import Request
from rvjit.vm.interrupts import Interruptible
from rvjit.vm.result import ckb_view

_CYCLES = word_of("cycles")
_ECALL_LENGTH = 4


class Exited(NamedTuple):
    """The VM ended itself; *code* is -128..127."""

    code: int


Outcome: TypeAlias = Request | Exited
StepObserver: TypeAlias = Callable[[Guest], None]


class PauseSignal:
    """Asks a script to pause, from any thread, now or when it runs next; `run` takes it back."""

    def __init__(self) -> None:
        self._wanted = False
        self._machine: Machine | None = None

    def interrupt(self) -> None:
        """Ask."""
        self._wanted = True
        machine = self._machine
        if machine is not None:
            machine.request(Stop.PAUSE)

    def free(self) -> None:
        """Take it back, if nobody has paused yet."""
        self._wanted = False
        machine = self._machine
        if machine is not None:
            machine.withdraw(Stop.PAUSE)

    @property
    def has_interrupted(self) -> bool:
        """Whether somebody asked, and nobody has paused yet."""
        return self._wanted

    def attach(self, machine: Machine | None) -> None:
        """Pass requests on to *machine* from now on; to none for None."""
        before, self._machine = self._machine, machine
        if before is not None and before is not machine:
            before.withdraw(Stop.PAUSE)
        if machine is not None and self._wanted:
            machine.request(Stop.PAUSE)

    def served(self) -> None:
        """Note that the script has paused."""
        self._wanted = False


class Runner:
    """Runs VMs, one at a time, with the system calls in *handlers*.

    *step* is called before each instruction, which makes a run slow. Ctrl-C is heard where
    `listening` was entered.
    """

    def __init__(self, handlers: Mapping[int, Handler], step: StepObserver | None) -> None:
        self._handlers = handlers
        self._step = step
        self._machine: Machine | None = None  # that runs, or ran last
        self._interrupted = False
        self._pressed = False  # Ctrl-C, and nobody has been told
        self._thread = 0  # that runs
        self._guard: Interruptible | None = None

    # What Ctrl-C sees: whichever machine runs.

    def request(self, reason: Stop) -> None:
        """Have the VM that runs, or else the next one, stop."""
        self._interrupted = True
        # A helper thread asks as well, perhaps once more for what has been delivered.
        self._pressed |= threading.get_ident() == self._thread
        if self._machine is not None:
            self._machine.request(reason)

    def withdraw(self, reason: Stop) -> None:
        """Forget a request that was not served."""
        self._interrupted = False
        if self._machine is not None:
            self._machine.withdraw(reason)

    def listening(self) -> Interruptible:
        """Return the context in which Ctrl-C stops the VM that runs, and then Python."""
        self._thread = threading.get_ident()
        self._guard = Interruptible(self)
        return self._guard

    def run(self, guest: Guest, limit: int, pause: PauseSignal | None) -> Outcome:
        """Run *guest* until its cycles would pass *limit*, unless anything else comes first.

        Raises `CyclesExceeded`, `ScriptPaused` (the guest can go on), and `ScriptError`.
        """
        machine, engine = guest.machine, guest.engine
        self._machine = machine
        guest.set_limit(limit)
        if pause is not None:
            pause.attach(machine)
        if self._interrupted:
            machine.request(Stop.INTERRUPT)
        x, words, handlers = guest.x, guest.words, self._handlers
        while True:
            stop = engine.run() if self._step is None else self._run_in_steps(guest)
            if stop is Stop.SYSCALL:
                number = x[A7]
                if number == EXIT:
                    return Exited(to_signed(x[A0] & 0xFF, 8))
                handler = handlers.get(number)
                if handler is None:
                    raise ScriptError("InvalidEcall", str(number), guest.id, machine.pc)
                cycles = words[_CYCLES]
                try:
                    request = handler(guest)
                except BaseException as error:
                    raised = self._failed_call(guest, error, cycles)
                    if raised is error:
                        raise
                    raise raised from error
                if request is not None:
                    return request
                if words[_CYCLES] > limit:
                    raise CyclesExceeded(guest.id)
            elif stop is Stop.CYCLE_LIMIT:
                raise CyclesExceeded(guest.id)
            elif stop is Stop.FAULT:
                raise self._failed(guest)
            elif stop is Stop.PAUSE:
                if pause is not None:
                    pause.served()
                raise ScriptPaused(guest.id)
            elif stop is Stop.INTERRUPT:
                self._interrupted = False
                pressed, self._pressed = self._pressed, False
                if pressed and self._guard is not None:
                    self._guard.deliver()  # which raises, or the guest goes on
            else:
                raise InternalError(f"VM {guest.id} of a script stopped with {stop}")

    def _failed_call(self, guest: Guest, error: BaseException, cycles: int) -> BaseException:
        """Return what to raise for what a handler raised; *cycles* were there before it."""
        machine = guest.machine
        if isinstance(error, GuestFault):
            return as_script_error(error, guest.id, machine.pc)
        if isinstance(error, ScriptError):
            error.vm_id, error.pc = guest.id, machine.pc
        else:
            # The caller's own sink or handler failed: a further run makes the call again.
            machine.pc -= _ECALL_LENGTH
            machine.cycles = cycles - machine.rules.prices[Cost.SYSTEM]
        return error

    def _failed(self, guest: Guest) -> ScriptError:
        """Return the error for a fault; pc is where CKB-VM leaves it."""
        machine = guest.machine
        fault = machine.take_fault()
        try:
            length = fetch(machine.memory, machine.rules.isa, machine.pc).length
        except GuestFault:
            length = 0  # of what could not be fetched
        name, pc = ckb_view(fault, length)
        if pc is not None:
            machine.pc = pc
        detail = str(fault)
        if isinstance(fault, IllegalInstruction):
            detail = f"pc {fault.pc or 0:#x}, instruction {fault.word:#x}"
        return ScriptError(name, detail, guest.id, pc)

    def _run_in_steps(self, guest: Guest) -> Stop:
        assert self._step is not None
        while True:
            self._step(guest)
            stop = guest.engine.step(1)
            if stop is not Stop.STEP:
                return stop


def as_script_error(
    fault: GuestFault, vm_id: int | None = None, pc: int | None = None
) -> ScriptError:
    """Return CKB's error for what a system call, or the scheduler for it, ran into."""
    name, _ = ckb_view(fault, _ECALL_LENGTH)
    return ScriptError(name, str(fault), vm_id, pc)


def check_handlers(handlers: Mapping[int, object]) -> None:
    """Raise `ConfigError` for numbers that cannot be handled."""
    for number in handlers:
        if type(number) is not int or number == EXIT or number < 0:
            raise ConfigError(f"system call {number!r}: cannot be handled")

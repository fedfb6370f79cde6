"""The scheduler: runs the VMs of one script, one at a time, exactly as CKB's does.

A VM runs until it yields with a request, ends or fails; then the request is dealt with, then pipes.
Of the VMs that can run, the newest does. Nothing depends on time, hash order or the host.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias, TypeVar

from rvjit.errors import (
    ConfigError,
    CyclesExceeded,
    Deadlock,
    GuestFault,
    MachineBusy,
    ScriptError,
    ScriptPaused,
)
from rvjit.machine.machine import Machine
from rvjit.scheduler.calls import EXEC, adapt, of_tables
from rvjit.scheduler.data import PROGRAM, ROOT_LOCATION, DataPieces
from rvjit.scheduler.events import Account, Observer
from rvjit.scheduler.exec1 import exec_at_once
from rvjit.scheduler.limits import MAX_CYCLES, ROOT, SUCCESS, SWAP_CYCLES
from rvjit.scheduler.loads import OF_DATA, of_transaction
from rvjit.scheduler.machines import Machines
from rvjit.scheduler.pipes import Pipes
from rvjit.scheduler.population import Population
from rvjit.scheduler.replies import Replies
from rvjit.scheduler.requests import (
    RUNNABLE,
    TERMINATED,
    State,
    Terminated,
    Waiting,
    describe,
)
from rvjit.scheduler.runner import (
    Exited,
    PauseSignal,
    Runner,
    StepObserver,
    as_script_error,
    check_handlers,
)
from rvjit.scheduler.runner import Outcome as RunOutcome
from rvjit.scheduler.suspended import FullSuspendedState, VmAtRest
from rvjit.scheduler.transaction import TransactionContext
from rvjit.snapshot.sourced import DataSource
from rvjit.syscalls import Call, Host
from rvjit.syscalls import Outcome as CallOutcome
from rvjit.syscalls.streams import Sink, discard
from rvjit.vm.profile import Profile
from rvjit.vm.vm import DEFAULT_ENGINE

_T = TypeVar("_T")


class LimitCycles(NamedTuple):
    """Run until *cycles* more have been charged."""

    cycles: int = MAX_CYCLES


class PauseOrLimit(NamedTuple):
    """Run until *signal* asks for a pause, or *cycles* more have been charged."""

    signal: PauseSignal
    cycles: int = MAX_CYCLES


RunMode: TypeAlias = LimitCycles | PauseOrLimit


class TerminatedResult(NamedTuple):
    """How a script ended: the root's exit code (-128..127) and all cycles."""

    exit_code: int
    consumed_cycles: int


class IterationResult(NamedTuple):
    """Which VM ran, and how the script ended if it has."""

    executed_vm: int
    terminated_status: TerminatedResult | None


class Scheduler:
    """Runs a script: its root VM, and all that this one spawns.

    *data_source* has the data that the script can name, ``program`` among them (the root's file);
    bytes are taken for that. With a `TransactionContext` the script can look at the transaction,
    too; there are no calls for that otherwise. *version* is that of the VM and of the system calls
    (0, 1, 2; by default what the transaction's script names, or 2), *isa* an ISA string in place of
    what CKB uses for it. *args* are the root's arguments, which has none on the chain. *debug* is
    called with the bytes of debug prints, *observer* with each `Event`, *step* with the `Guest`
    before each instruction, which is slow. *syscalls* are handlers by number, as `VM.syscall` has
    them, for numbers that CKB has not got, or in place of its own, and *host* is the host of these.

    CKB's own scheduler loses or repeats charges where a run is cut short (see docs/ckb.md); so does
    this one, unless it is *corrected*: then a script that was cut, suspended and resumed anywhere
    ends with the cycles of one that was not.

    One thread at a time may use it, else `MachineBusy`; a `PauseSignal` is for any thread. Raises
    `ConfigError`, `EngineUnavailable`.
    """

    def __init__(
        self,
        data_source: DataSource | bytes,
        *,
        version: int | None = None,
        isa: str | None = None,
        args: Sequence[bytes] = (),
        engine: str = DEFAULT_ENGINE,
        debug: Sink = discard,
        observer: Observer | None = None,
        step: StepObserver | None = None,
        syscalls: Mapping[int, Callable[[Call], CallOutcome]] | None = None,
        host: Host | None = None,
        corrected: bool = False,
        cache: bool = True,
    ) -> None:
        if isinstance(data_source, bytes):
            data_source = DataPieces({PROGRAM: data_source})
        if version is None:
            version = data_source.version if isinstance(data_source, TransactionContext) else 2
        check_handlers(syscalls or {})
        profile = Profile("ckb", isa=isa, vm_version=version)
        self.version = version
        self.corrected = corrected
        self._args = tuple(args)
        self._host = Host() if host is None else host
        self._host.debug, self._host.vm_version = debug, version
        handlers = of_tables(version, self._host) | OF_DATA
        if version == 1:
            handlers[EXEC] = exec_at_once
        if isinstance(data_source, TransactionContext):
            handlers |= of_transaction(data_source, version)
        for number, handler in (syscalls or {}).items():
            handlers[number] = adapt(number, handler, self._host)
        self._account = account = Account(observer)
        self._vms = vms = Population(
            data_source, Machines(profile, engine, cache=cache), version, account
        )
        self._pipes = Pipes()
        self._states: dict[int, State] = {}  # ascending: ids are never used again
        self._terminated: dict[int, int] = {}
        self._replies = Replies(vms, self._pipes, self._states, self._terminated, account)
        self._runner = Runner(handlers, step)
        self._lock = threading.Lock()
        self._io_pending = False  # a limit came before pipes were looked at; `corrected` only
        self._exit_code = 0
        self._closed = False

    @classmethod
    def resume(
        cls, data_source: DataSource | bytes, state: FullSuspendedState, **options: Any
    ) -> Scheduler:
        """Make a scheduler that goes on where *state* was taken, with the same data.

        *options* are those of the class; version and *corrected* are the state's. Raises
        `SnapshotMismatch` where data or machine are others.
        """
        unknown = {"version", "corrected", "args"} & set(options)
        if unknown:
            raise ConfigError(f"{', '.join(sorted(unknown))}: come from the suspended state")
        made = cls(data_source, version=state.version, corrected=state.corrected, **options)
        made._restore(state)
        return made

    # What one can see.

    @property
    def consumed_cycles(self) -> int:
        """Cycles charged up to the end of the last iteration."""
        return self._account.total

    @property
    def terminated(self) -> bool:
        """Whether the script has ended."""
        return isinstance(self._states.get(ROOT), Terminated)

    @property
    def vm_ids(self) -> list[int]:
        """Ids of the VMs that there are, ascending."""
        return list(self._states)

    @property
    def instantiated_ids(self) -> list[int]:
        """Ids of the VMs that have a machine now, ascending."""
        return sorted(self._vms.live)

    def state(self, vm_id: int) -> State | None:
        """Return what a VM does or waits for; None where there is no such VM."""
        return self._states.get(vm_id)

    def peek(self, vm_id: int, look: Callable[[Machine], _T]) -> _T:
        """Return what *look* says of a VM's machine, which it may not change.

        For a VM that is a snapshot a machine is made for the moment. Nothing is charged. Raises
        `ConfigError` where there is no such VM.
        """
        with self._alone():
            guest = self._vms.live.get(vm_id)
            if guest is not None:
                return look(guest.machine)
            if vm_id not in self._vms.suspended:
                raise ConfigError(f"there is no VM {vm_id}: there are {self.vm_ids}")
            with self._vms.revived(vm_id) as guest:
                return look(guest.machine)

    def symbol_at(self, vm_id: int, address: int) -> tuple[str, int] | None:
        """Return the symbol around *address* in a VM's program and the offset into it, or None."""
        return self._vms.program_of(vm_id).symbols.find(address)

    # Running.

    def run(self, mode: RunMode | int | None = None) -> TerminatedResult:
        """Run until the root VM has ended; an int is a limit of cycles, None is no limit.

        A limit is for this call alone. Raises `CyclesExceeded` and `ScriptPaused`, after which
        `run` goes on and `suspend` can be used, and `ScriptError` for every other end, `Deadlock`
        among them.
        """
        if mode is None or isinstance(mode, int):
            mode = LimitCycles(MAX_CYCLES if mode is None else mode)
        limit = mode.cycles
        if not 0 <= limit <= MAX_CYCLES:
            raise ConfigError(f"limit of {limit} cycles: must be between 0 and 2**64 - 1")
        pause = mode.signal if isinstance(mode, PauseOrLimit) else None
        with self._alone(), self._runner.listening():
            try:
                self._boot_root()
                while self._states[ROOT] is not TERMINATED:
                    _, limit = self._iterate(pause, limit)
            finally:
                if pause is not None:
                    pause.attach(None)
        return TerminatedResult(self._exit_code, self._account.total)

    def iterate(self) -> IterationResult:
        """Run one VM up to its next request or its end, and deal with that. Raises as `run` does.

        Once the script has ended this says so again.
        """
        with self._alone(), self._runner.listening():
            self._boot_root()
            executed = ROOT
            if not self.terminated:
                executed, _ = self._iterate(None, MAX_CYCLES)
        result = TerminatedResult(self._exit_code, self._account.total)
        return IterationResult(executed, result if self.terminated else None)

    def close(self) -> None:
        """Free machines and compiled code; the scheduler cannot be used any more."""
        if self._closed:
            return
        with self._alone():
            self._vms.close()
            self._closed = True

    def _boot_root(self) -> None:
        if not self._states:
            self._vms.next_id = ROOT  # an earlier run may have failed to boot it
            self._vms.boot(ROOT_LOCATION, self._args)
            self._states[ROOT] = RUNNABLE

    def _iterate(self, pause: PauseSignal | None, limit: int) -> tuple[int, int]:
        """Run one VM and account for it; return its id and what is left of *limit*."""
        account = self._account
        if self._io_pending:
            self._io_pending = False
            self._process_io()
        self._cut = False
        vm_id, failure = ROOT, None
        try:
            vm_id = self._run_one(pause, limit)
        except ScriptError as error:
            failure = error
        if self._cut:
            assert failure is not None
            raise failure
        account.total += account.iteration
        if account.total > MAX_CYCLES:
            raise CyclesExceeded(vm_id)
        left = limit - account.iteration
        if left < 0:
            # CKB leaves at once: pipes are not looked at, and the next run counts these cycles
            # again (CKB-FACTS 8.10, defects d and f).
            if self.corrected:
                account.iteration = 0
                self._io_pending = True
                if failure is not None:
                    raise failure
            raise CyclesExceeded(vm_id)
        account.iteration = 0
        self._process_io()
        if failure is not None:
            raise failure
        return vm_id, left

    def _run_one(self, pause: PauseSignal | None, limit: int) -> int:
        """Run the newest VM that can run, and deal with what it wants; return its id."""
        account = self._account
        vm_id = self._choose()
        guest = self._vms.live.get(vm_id) or self._vms.get(vm_id)
        self._host.earlier_cycles = account.total
        outcome: RunOutcome | None = None
        failure: ScriptError | None = None
        try:
            outcome = self._runner.run(guest, limit, pause)
        except ScriptError as error:
            failure = error
        cycles = guest.take_cycles()
        self._cut = self.corrected and isinstance(failure, CyclesExceeded | ScriptPaused)
        if self._cut:
            # The iteration goes on in a later run, and so do the scheduler's charges for it.
            account.total += cycles
        else:
            account.charge(cycles)
        if account.observer is not None:
            account.tell("ran", vm_id, cycles=cycles, end=_end_of(outcome, failure))
        if failure is not None:
            raise failure
        assert outcome is not None
        try:
            if isinstance(outcome, Exited):
                self._end(vm_id, outcome.code)
            else:
                self._replies.reply(guest, outcome)
        except GuestFault as fault:
            raise as_script_error(fault, vm_id) from fault
        return vm_id

    def _process_io(self) -> None:
        try:
            self._pipes.process(self._states, self._vms, self._account)
        except GuestFault as fault:
            raise as_script_error(fault) from fault

    def _choose(self) -> int:
        for vm_id in reversed(self._states):
            if self._states[vm_id] is RUNNABLE:
                return vm_id
        raise Deadlock({vm_id: describe(state) for vm_id, state in self._states.items()})

    def _end(self, vm_id: int, code: int) -> None:
        """Note that a VM has ended; the end of the root is the end of all."""
        self._account.tell("exited", vm_id, code=code)
        self._terminated[vm_id] = code
        states, vms = self._states, self._vms
        if vm_id == ROOT:
            self._exit_code = code
            vms.ensure(ROOT)
            for other in states:
                if other != ROOT:
                    vms.drop(other)
            states.clear()
            states[ROOT] = TERMINATED
            return
        for waiter, state in list(states.items()):
            if isinstance(state, Waiting) and state.target == vm_id:
                guest = vms.get(waiter)
                guest.memory.write_int(state.code_address, code, 1)
                guest.answer(SUCCESS)
                states[waiter] = RUNNABLE
        self._pipes.close_all_of(vm_id)
        del states[vm_id]
        self._replies.forget(vm_id)
        vms.drop(vm_id)

    # At rest.

    def suspend(self) -> FullSuspendedState:
        """Return the whole script at rest; nothing changes, and this scheduler can go on, too.

        Raises `ConfigError` before the first run.
        """
        with self._alone():
            if not self._states:
                raise ConfigError("suspend() of a script that has not begun")
            account, vms = self._account, self._vms
            iteration = account.iteration
            if not self.corrected:
                iteration += SWAP_CYCLES * len(vms.live)  # CKB evicts them; its resume forgets it
            rows = (
                VmAtRest(vm_id, state, vms.at_rest(vm_id)) for vm_id, state in self._states.items()
            )
            return FullSuspendedState(
                version=self.version,
                corrected=self.corrected,
                total_cycles=account.total,
                iteration_cycles=iteration,
                io_pending=self._io_pending,
                next_vm_id=vms.next_id,
                next_fd_slot=self._pipes.next_fd,
                vms=tuple(rows),
                fds=tuple(sorted(self._pipes.owners.items())),
                inherited_fd=tuple(sorted(self._replies.inherited.items())),
                terminated_vms=tuple(sorted(self._terminated.items())),
                instantiated_ids=tuple(sorted(vms.live)),
            )

    def _restore(self, state: FullSuspendedState) -> None:
        account, vms = self._account, self._vms
        account.total = state.total_cycles
        self._io_pending = state.io_pending
        vms.next_id = state.next_vm_id
        self._pipes.next_fd = state.next_fd_slot
        self._pipes.owners.update(state.fds)
        self._replies.inherited = dict(state.inherited_fd)
        self._terminated.update(state.terminated_vms)
        for vm in state.vms:
            self._states[vm.id] = vm.state
            if vm.id in state.instantiated_ids:
                vms.live[vm.id] = vms.revive(vm.id, vm.suspended)
            else:
                vms.suspended[vm.id] = vm.suspended
        if self.corrected:
            account.iteration = state.iteration_cycles
            self._exit_code = self._terminated.get(ROOT, 0)
        # Otherwise, as in CKB, charges of the last look at pipes are lost, and so is the exit code
        # of a script that had ended (CKB-FACTS 8.10).

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._lock.acquire(blocking=False):
            raise MachineBusy("another thread is running this script; use a PauseSignal first")
        try:
            if self._closed:
                raise ConfigError("this script was closed")
            yield
        finally:
            self._lock.release()


def _end_of(outcome: RunOutcome | None, failure: ScriptError | None) -> str:
    """Say for an event why a VM stopped."""
    if failure is not None:
        return failure.name
    return "exit" if isinstance(outcome, Exited) else "yield"

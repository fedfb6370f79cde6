"""VM: one guest program, its machine, its engine and its connections to the host."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

from rvjit import engines
from rvjit.bits import MASK64, to_signed
from rvjit.codegen.cache import NO_CACHE, code_cache
from rvjit.codegen.digests import digest
from rvjit.errors import (
    ConfigError,
    GuestFault,
    LoadError,
    MemoryFault,
    UnknownSymbol,
)
from rvjit.isa.cost import Cost
from rvjit.isa.registers import A0, A7, RA, SP
from rvjit.loader.install import Image, install_linux
from rvjit.loader.kept import load_linux_once
from rvjit.loader.program import Program
from rvjit.machine.layout import NO_LIMIT
from rvjit.machine.machine import Machine
from rvjit.machine.pristine import Pristine
from rvjit.machine.stop import Stop
from rvjit.machine.turns import Turns
from rvjit.syscalls import (
    Call,
    Directory,
    Exit,
    Host,
    Outcome,
    ProcessImage,
    Raise,
    Restart,
    make_host,
    table,
)
from rvjit.syscalls.errnos import EFAULT
from rvjit.syscalls.streams import Sink, Source
from rvjit.values import later
from rvjit.vm.entry import Entry
from rvjit.vm.interrupts import Interruptible
from rvjit.vm.profile import Profile
from rvjit.vm.result import CKB_STOPS, RunResult, ckb_view
from rvjit.vm.timer import Deadline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from rvjit.machine.engine import Engine
    from rvjit.vm.backtrace import Frame
    from rvjit.vm.calls import Calls
    from rvjit.vm.clones import Clones
    from rvjit.vm.rounds import Rounds
    from rvjit.vm.snapshots import Snapshots
    from rvjit.vm.views import MemoryView, Registers

    _Bound = TypeVar("_Bound")
else:  # few runs use any of it
    Calls = later("rvjit.vm.calls", "Calls", ("call",))
    Clones = later("rvjit.vm.clones", "Clones", ("clone",))
    Rounds = later("rvjit.vm.rounds", "Rounds", ("run_each",))
    Snapshots = later(
        "rvjit.vm.snapshots",
        "Snapshots",
        (
            "_check_alone",
            "_checkpoint",
            "_new_checkpoint",
            "_no_checkpoint",
            "add_host_state",
            "apply_snapshot",
            "checkpoint",
            "exclusive",
            "from_snapshot",
            "parts",
            "pop",
            "push",
            "restore",
            "save_snapshot",
            "snapshot",
            "verify",
        ),
    )

Handler = Callable[[Call], Outcome]
Text = str | bytes
DEFAULT_ENGINE = "tiered"
_NOWHERE: frozenset[int] = frozenset()
_OUTCOMES = (int, Exit, Raise, Restart)

_ECALL_LENGTH = 4


class VM(Calls, Rounds, Clones, Snapshots):
    """A loaded program and everything it needs to run. Make one with `VM.from_elf`.

    One thread at a time may run a VM, else `MachineBusy`; `pause` may be called from any thread.
    Several VMs may run on several threads at once.
    """

    def __init__(
        self,
        machine: Machine,
        image: Image,
        host: Host,
        profile: Profile,
        engine: str = DEFAULT_ENGINE,
    ) -> None:
        self.profile = profile
        self.image = image
        self.host = host
        self.machine = machine
        self.engine_name = engine
        self.exit_code: int | None = None
        assert profile.syscalls is not None
        self._table = table(profile.syscalls).for_version(profile.vm_version)
        self._ending = self._table.ending
        self._syscalls: dict[int, Handler] = {}
        self._host_functions: dict[int, Handler] = {}
        self._hosted: frozenset[int] = frozenset()  # where they are
        self._pristine: Pristine | None = None  # how the program was loaded
        self._deadline: Deadline | None = None  # of the innermost run
        self._entry = Entry(machine)
        self._turns = Turns()

    @classmethod
    def from_elf(
        cls,
        program: str | os.PathLike[str] | bytes,
        *,
        args: Sequence[Text] = (),
        env: Mapping[str, Text] | Mapping[bytes, Text] | None = None,
        profile: Profile | str = "linux",
        memory_size: int | None = None,
        stack_size: int | None = None,
        engine: str = DEFAULT_ENGINE,
        name: str | None = None,
        stdin: Source = None,
        stdout: Sink | None = None,
        stderr: Sink | None = None,
        directories: Iterable[Directory] = (),
        seed: int = 0,
        real_time: bool = False,
        tty: bool = False,
        cache: bool = True,
    ) -> VM:
        """Load a static RISC-V ELF, given by path or as its bytes.

        Under `linux` *args* follow argv[0], which is *name* or the path; under `ckb` argv is
        exactly *args*. *env* is the whole environment (none by default, so that a run depends on
        nothing unseen). *memory_size* in bytes overrides the profile's; *stack_size* in bytes is
        taken out of it, by default a quarter, at most 8 MiB. `ckb` has no environment, and a stack
        of a quarter of memory: both are refused there.

        *stdin* is bytes, a binary file, a descriptor, or None for no input. *stdout* and *stderr*
        are called with the bytes that the guest writes; by default they go to this process's own.
        *directories* are (host path, guest path, writable): the only files a guest can open.
        *seed* starts its random numbers; with *real_time* it sees the host's clock; with *tty* its
        streams look like terminals. Without *cache* native code is neither kept on disk nor
        shared with other VMs of the program.

        Raises `ElfError`, `ConfigError`, `EngineUnavailable`, and `LoadError` for a file that
        cannot be read.
        """
        chosen = Profile(profile) if isinstance(profile, str) else profile
        if not isinstance(chosen, Profile):
            raise ConfigError(f"profile {profile!r}: must be a name or a Profile")
        if isinstance(args, str | bytes):
            raise ConfigError(f"args {args!r}: must be a sequence of arguments")
        chosen = chosen.with_memory(memory_size)
        if chosen.is_ckb and (env or stack_size is not None):
            unused = "env" if env else "stack_size"
            raise ConfigError(f"{unused}: programs under ckb have no environment and a fixed stack")
        file, shown = _read_program(program, name)
        memory = chosen.make_memory()
        machine = Machine(memory, chosen.rules)
        machine.program_key = digest(file)
        machine.keeps_code = cache
        argv = [_bytes(arg) for arg in args]
        host = make_host(
            chosen.vm_version,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            directories=directories,
            real_time=real_time,
            seed=seed,
            tty=tty,
        )
        if chosen.is_ckb:
            from rvjit.loader.install_ckb import install_ckb

            image = install_ckb(file, memory, argv, chosen.vm_version, name=shown)
        else:
            loaded = load_linux_once(
                file,
                machine.program_key,
                code_cache() if cache else NO_CACHE,
                window_base=memory.base,
                window_size=memory.size,
                stack_size=stack_size,
                name=shown,
            )
            pairs = [_bytes(key) + b"=" + _bytes(value) for key, value in (env or {}).items()]
            argv.insert(0, os.fsencode(shown))
            random16 = host.entropy.take(16)
            image = install_linux(loaded, memory, argv, pairs, random16, stack_size=stack_size)
        host.attach(memory, ProcessImage(image.brk, image.mmap_top, image.stack_low))
        machine.pc = image.pc
        machine.x[SP] = image.sp
        vm = cls(machine, image, host, chosen, engine)
        _ = vm.engine  # mistakes are told now
        vm._pristine = Pristine(machine, image.page)
        return vm

    @cached_property
    def engine(self) -> Engine:
        """What runs it; made when it is asked for. Raises `EngineUnavailable`, `ConfigError`."""
        return engines.make(self.engine_name, self.machine)

    # Looking at it.

    @cached_property
    def registers(self) -> Registers:
        """The registers, by number or name."""
        from rvjit.vm.views import Registers

        return Registers(self.machine)

    @cached_property
    def memory(self) -> MemoryView:
        """Guest memory, by the guest's addresses."""
        from rvjit.vm.views import MemoryView

        return MemoryView(self.machine)

    @property
    def pc(self) -> int:
        """Address of the next instruction."""
        return self.machine.pc

    @pc.setter
    def pc(self, value: int) -> None:
        self.machine.pc = value & MASK64

    @property
    def cycles(self) -> int:
        """Cycles charged so far."""
        return self.machine.cycles

    @property
    def program(self) -> Program:
        """The loaded program: segments, symbols, digest."""
        return self.image.program

    def address_of(self, where: str | int) -> int:
        """Return the address of a symbol; an int is returned as it is. Raises `UnknownSymbol`."""
        if isinstance(where, int):
            return where
        try:
            return self.program.symbols.address(where)
        except KeyError:
            raise UnknownSymbol(where, self.program.name) from None

    def backtrace(self, limit: int = 64) -> list[Frame]:
        """Return where the guest is: its frames, innermost first, as far as symbols allow.

        At most *limit* of them (at least 1).
        """
        from rvjit.vm.backtrace import backtrace

        return backtrace(self.machine, self.program.symbols, limit)

    def fault_report(self, result: RunResult) -> str:
        """Describe a stop for people: the fault, where it is, and how the guest got there."""
        from rvjit.vm.backtrace import report

        head = str(result.fault) if result.fault is not None else f"stopped: {result.stop.value}"
        frames = report(self.machine, self.program.symbols)
        return "\n".join([f"{head}, after {result.cycles} cycles", *frames])

    # Running it.

    def run(
        self,
        *,
        cycle_limit: int | None = None,
        timeout: float | None = None,
        until: str | int | Iterable[str | int] = (),
    ) -> RunResult:
        """Run until the guest exits or faults, or one of the bounds is met.

        *cycle_limit* is absolute: `cycles` never passes it. *timeout* is wall time in seconds.
        *until* are addresses or symbols; the run stops before the instruction there, but one at the
        current pc is run first. All stops are exact and can be gone on from with another `run`,
        which counts and charges as if there had been no stop. Once the guest has exited every run
        returns that again.

        Ctrl-C stops the guest exactly and then raises `KeyboardInterrupt`. Raises `ConfigError` for
        impossible bounds, `MachineBusy` where another thread runs this VM.
        """
        limit = NO_LIMIT if cycle_limit is None else cycle_limit
        addresses = _NOWHERE if until == () else self._addresses(until)
        machine = self.machine
        with self._entry:
            if self._entry.depth > 1:  # a handler's run is inside the limit of the one around it
                limit = min(limit, machine.cycle_limit)
            if limit != machine.cycle_limit:
                machine.cycle_limit = limit
            outer = self._deadline
            if timeout is None and outer is None:
                return self._result(self._interruptible(self._run_engine, addresses))
            try:
                with Deadline(machine, timeout, outer) as self._deadline:
                    return self._result(self._interruptible(self._run_engine, addresses))
            finally:
                self._deadline = outer

    def _addresses(self, until: str | int | Iterable[str | int]) -> frozenset[int]:
        places = [until] if isinstance(until, str | int) else until
        return frozenset(self.address_of(place) for place in places)

    def step(self, count: int = 1) -> RunResult:
        """Run *count* instructions (at least 1), less where another stop comes first.

        Instructions that are fused count as one. A system call is carried out by the step that
        reaches it. The cycle limit of earlier runs does not matter.
        """
        if count < 1:
            raise ConfigError(f"step count {count}: must be at least 1")
        with self._entry:
            self.machine.cycle_limit = NO_LIMIT
            return self._result(self._interruptible(self._step_engine, [count]))

    def pause(self) -> None:
        """Ask a run on another thread to stop soon with `Stop.PAUSE`; it can then go on.

        Where nothing runs, the next run stops before its first instruction.
        """
        self.machine.request(Stop.PAUSE)

    def reset(self) -> None:
        """Go back to the moment right after loading, so that `run` runs the program anew.

        Registers, cycles, memory with its page flags, heap and mappings, descriptors, clock and
        random numbers are as after `from_elf`; handlers, host functions and requests to pause stay.
        Compiled code stays, too, where the code in memory is what it was. It takes time for the
        pages written since, and no others. What the guest did to files of the host stays done; an
        input other than bytes goes on where it is.

        Raises `ConfigError` inside a handler, `MachineBusy` where another thread runs this VM.
        """
        with self._entry:
            if self._entry.depth > 1:
                raise ConfigError("reset() inside a handler: the run that called it is not over")
            if self._pristine is None:
                raise ConfigError("reset() of a VM that from_elf did not load")
            self._pristine.restore()
            self.host.reset()
            self.machine.host_calls += 1
            self.exit_code = None

    def close(self) -> None:
        """Close what the guest has open and free compiled code; the VM cannot run again."""
        if self._entry.closed:
            return
        with self._entry:
            if self._entry.depth > 1:
                raise ConfigError("close() inside a handler: the run that called it is not over")
            self._entry.closed = True
            self.host.close()
            if "engine" in vars(self):
                self.engine.close()

    # Extending it.

    def syscall(self, number: int) -> Callable[[Handler], Handler]:
        """Handle system call *number* (a7) by the decorated function, before the profile's own.

        It gets a `Call` and returns an int for a0, or None to leave the registers alone.
        """

        def register(handler: Handler) -> Handler:
            self._syscalls[number] = handler
            return handler

        return register

    def host_function(self, function: str | int) -> Callable[[Handler], Handler]:
        """Run the decorated function instead of a guest function, given by symbol or address.

        It gets a `Call` whose *args* are a0..a5, and returns an int for a0 or None; the guest goes
        on at its return address. It costs no cycles.
        """
        address = self.address_of(function)

        def register(handler: Handler) -> Handler:
            self._host_functions[address] = handler
            self._hosted = frozenset(self._host_functions)
            return handler

        return register

    # How a run works.

    def _interruptible(self, run: Callable[[_Bound], Stop], bound: _Bound) -> Stop:
        """Run up to *bound*, and on where the user's handler of Ctrl-C wants that."""
        while True:
            guard = Interruptible(self.machine)
            with guard:
                stop = run(bound)
            if guard.seen or stop is Stop.INTERRUPT:
                guard.deliver()
            if stop is not Stop.INTERRUPT:
                return stop

    def _run_engine(self, until: frozenset[int]) -> Stop:
        machine = self.machine
        while self.exit_code is None:
            hosted = self._hosted
            machine.breakpoints = until | hosted if hosted else until
            stop: Stop | None
            if hosted and machine.pc in hosted:
                stop = self._run_host_function()
            else:
                stop = self.engine.run()
                if stop is Stop.BREAKPOINT and machine.pc not in until:
                    continue  # at a host function
                if stop is Stop.SYSCALL:
                    stop = self._run_syscall()
                self._turns.count()
            if stop is None and machine.pc in until:
                stop = Stop.BREAKPOINT  # the engine would step over it now
            if stop is not None:
                return stop
        return Stop.EXIT

    def _step_engine(self, left: list[int]) -> Stop:
        """Run ``left[0]`` instructions, counting them off, so that it can be called again."""
        while left[0]:
            if self.exit_code is not None:
                return Stop.EXIT
            stop: Stop | None
            if self.machine.pc in self._host_functions:
                stop = self._run_host_function()
            else:
                stop = self.engine.step(1)
            if stop is Stop.SYSCALL:
                stop = self._run_syscall()
            if stop not in (None, Stop.STEP):
                assert stop is not None
                return stop
            left[0] -= 1
        return Stop.STEP

    def _run_syscall(self) -> Stop | None:
        """Carry out the call that the engine stopped behind; None to go on."""
        machine = self.machine
        number = machine.x[A7]
        if number in self._ending and number not in self._syscalls:
            return self._exit(machine.x[A0])
        call = Call.at_ecall(machine, self.host)
        handler = self._syscalls.get(call.number, self._table.dispatch)
        machine.host_calls += 1
        try:
            outcome = handler(call)
        except GuestFault as fault:  # of a handler of the user's; the table answers its own
            bad_pointer = isinstance(fault, MemoryFault) and self._table.bad_pointer == "efault"
            outcome = -EFAULT if bad_pointer else Raise(fault)
        except BaseException:
            # The caller's own sink or handler failed; a further run makes the call again.
            self._go_before(call)
            raise
        answer: object = outcome  # whatever a handler of the caller's returned
        if answer is not None and not isinstance(answer, _OUTCOMES):
            self._go_before(call)
            raise ConfigError(
                f"system call {call.number}: a handler returns an int or None, not {answer!r}"
            )
        if isinstance(outcome, Restart):
            self._go_before(call)
            return machine.take_request()
        if isinstance(outcome, Raise):
            outcome.fault.pc = call.pc  # which is relative to the machine's
            machine.pc = outcome.fault.pc
            machine.fault = outcome.fault
            return Stop.FAULT
        if isinstance(outcome, Exit):
            return self._exit(outcome.code)
        if outcome is not None:
            machine.x[A0] = outcome & MASK64
        return Stop.CYCLE_LIMIT if machine.cycles > machine.cycle_limit else None

    def _exit(self, code: int) -> Stop:
        self.exit_code = self._exit_code_of(code)
        return Stop.EXIT

    def _exit_code_of(self, code: int) -> int:
        """Return what the argument of an exit is to the guest's profile."""
        code &= 0xFF
        return to_signed(code, 8) if self.profile.is_ckb else code

    def _go_before(self, call: Call) -> None:
        """Put pc and cycles back before the ecall of *call*."""
        self.machine.pc = call.pc
        self.machine.cycles -= self.machine.rules.prices[Cost.SYSTEM]

    def _run_host_function(self) -> Stop | None:
        """Carry out the host function at pc; None to go on."""
        machine = self.machine
        machine.host_calls += 1
        arguments = tuple(machine.x[A0 : A0 + 6])
        try:
            outcome = self._host_functions[machine.pc](
                Call(machine, self.host, machine.x[A7], arguments)
            )
        except GuestFault as fault:
            fault.pc = machine.pc
            machine.fault = fault
            return Stop.FAULT
        if isinstance(outcome, int):
            machine.x[A0] = outcome & MASK64
        elif outcome is not None:
            raise ConfigError(f"a host function returns an int or None, not {outcome!r}")
        machine.pc = machine.x[RA] & ~1
        return None

    def _result(self, stop: Stop) -> RunResult:
        machine = self.machine
        if stop is Stop.EXIT:
            return RunResult(stop, machine.cycles, machine.pc, self.exit_code)
        if stop is not Stop.FAULT:
            if self.profile.is_ckb and stop in CKB_STOPS:
                pc = machine.pc
                return RunResult(stop, machine.cycles, pc, None, None, CKB_STOPS[stop], pc)
            return RunResult(stop, machine.cycles, machine.pc)
        fault = machine.take_fault()
        error, error_pc = None, None
        if self.profile.is_ckb:
            error, error_pc = ckb_view(fault, self._length_at(machine.pc))
        return RunResult(stop, machine.cycles, machine.pc, None, fault, error, error_pc)

    def _length_at(self, pc: int) -> int:
        from rvjit.machine.fetch import fetch

        try:
            return fetch(self.machine.memory, self.machine.rules.isa, pc).length
        except GuestFault:
            return _ECALL_LENGTH


def _read_program(program: str | os.PathLike[str] | bytes, name: str | None) -> tuple[bytes, str]:
    if isinstance(program, bytes | bytearray | memoryview):
        return bytes(program), name or "program"
    try:
        with open(program, "rb") as file:
            return file.read(), name or str(program)
    except OSError as error:
        raise LoadError(f"cannot read {program}: {error.strerror}") from error


def _bytes(text: Text) -> bytes:
    if not isinstance(text, str | bytes):
        raise ConfigError(f"{text!r}: arguments and environment are str or bytes")
    data = os.fsencode(text) if isinstance(text, str) else text
    if b"\0" in data:
        raise ConfigError(f"{text!r} contains a NUL byte")
    return data

"""Many short runs from one checkpoint, each with its own input: what a fuzzer does all day.

A base class of `rvjit.vm.vm.VM`, and how the runs ended. As long as guest code does nothing but
compute and end itself, a run, its input and the way back are one turn of a native loop.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, overload

from rvjit.codegen.rounds import CLASSES, ROUND, Ended, Need
from rvjit.errors import ConfigError
from rvjit.isa.registers import A0, register_number
from rvjit.machine.layout import NO_LIMIT, word_of
from rvjit.machine.stop import Exit, Stop
from rvjit.vm.result import RunResult

if TYPE_CHECKING:
    from typing import Any

    from rvjit.machine.machine import Machine
    from rvjit.vm.snapshots import Snapshots
else:
    Snapshots = object

_EXIT_REASON = word_of("exit_reason")
_ON_REQUEST = (Stop.PAUSE, Stop.TIMEOUT, Stop.INTERRUPT)
_NO_CALL = (1 << 64) - 1
_MOST_EXITS = 2  # system calls that the native loop knows as the guest's end


class Coverage:
    """Counters in guest memory that tell what a run did, as compilers can put into a program.

    *where* is a symbol or an address, *size* how many counters of one byte there are; both are
    multiples of 8. `seen` has a byte for each, with a bit for every class of counts that it has
    ever had after a run: 1, 2, 3, 4-7, 8-15, 16-31, 32-127, 128-255. It may be used for any number
    of batches, and be saved and set.
    """

    def __init__(self, where: str | int, size: int) -> None:
        if size <= 0 or size % 8:
            raise ConfigError(f"{size} counters: must be a positive multiple of 8")
        self.where = where
        self.size = size
        self.seen = bytearray(size)

    def add(self, counters: bytes) -> bool:
        """Note the counters after a run; whether any of them had a count of a new class."""
        seen = int.from_bytes(self.seen, "little")
        after = seen | int.from_bytes(counters.translate(CLASSES), "little")
        self.seen[:] = after.to_bytes(self.size, "little")
        return after != seen


class Runs(Sequence[RunResult]):
    """How the runs of a batch ended, in the order of their inputs.

    `cycles`, `pcs` and `values` (a0 at the end) have a number for each. `fresh` are the numbers of
    the runs that showed new coverage, ascending.
    """

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self.cycles: Sequence[int] = batch.cycles[: batch.at]
        self.pcs: Sequence[int] = batch.pcs[: batch.at]
        self.values: Sequence[int] = batch.values[: batch.at]
        self.fresh = [number for number, new in enumerate(batch.fresh[: batch.at]) if new]

    def __len__(self) -> int:
        return len(self.cycles)

    @overload
    def __getitem__(self, index: int) -> RunResult: ...

    @overload
    def __getitem__(self, index: slice) -> list[RunResult]: ...

    def __getitem__(self, index: int | slice) -> RunResult | list[RunResult]:
        """Return how a run ended."""
        if isinstance(index, slice):
            return [self._batch.result(number) for number in range(len(self))[index]]
        return self._batch.result(range(len(self))[index])

    def __repr__(self) -> str:
        return f"<{len(self)} runs, {len(self.fresh)} of them fresh>"

    @property
    def unusual(self) -> list[int]:
        """Numbers of the runs that neither ended themselves nor came to an address of *until*."""
        usual = (Stop.EXIT, Stop.BREAKPOINT)
        return sorted(n for n, each in self._batch.others.items() if each.stop not in usual)


class Batch:
    """The inputs and what comes of them; shared with native code.

    Inputs go to byte *offset* of guest memory, their sizes to *register* if it is not 0. A run
    ends at the pcs *until*, too. *coverage* has its counters at byte *cover* of guest memory.
    """

    def __init__(
        self,
        machine: Machine,
        inputs: Sequence[bytes],
        *,
        offset: int,
        register: int,
        until: frozenset[int],
        coverage: tuple[Coverage, int] | None,
    ) -> None:
        count = len(inputs)
        self.inputs = inputs
        self.until = until
        self.inside = False  # run number `at` has begun
        self.native = True  # whether native code can do any of it
        self.start = 0  # cycles at the checkpoint
        self.others: dict[int, RunResult] = {}  # how runs ended that native code did not finish
        self.exit_code_of: Callable[[int], int] = int  # from a0
        self.stops, self.fresh = bytearray(count), bytearray(count)
        self.cycles, self.pcs, self.values = (array("Q", bytes(8 * count)) for _ in range(3))
        self._machine = machine
        self._offset = offset
        self._register = register
        self._coverage = coverage
        self._bytes = b"".join(inputs)
        self._ends = array("Q", accumulate(map(len, inputs), initial=0))
        self._untils = array("Q", sorted(until))
        self._spare = ctypes.c_uint64()
        size_at = ctypes.addressof(machine.state) + 8 * register
        self._words = (ctypes.c_uint64 * len(ROUND))()
        self.address = ctypes.addressof(self._words)
        self.set(
            count=count,
            inputs=_address_of_bytes(self._bytes),
            ends=self._ends.buffer_info()[0],
            offset=offset,
            size_at=size_at if register else ctypes.addressof(self._spare),
            untils=self._untils.buffer_info()[0],
            until_count=len(self._untils),
            stops=_address(self.stops),
            cycles=self.cycles.buffer_info()[0],
            pcs=self.pcs.buffer_info()[0],
            values=self.values.buffer_info()[0],
            fresh=_address(self.fresh),
            classes=_address_of_bytes(CLASSES),
        )
        if coverage is not None:
            counters, cover = coverage
            self._seen = ctypes.c_char.from_buffer(counters.seen)  # keeps its size as it is
            seen = ctypes.addressof(self._seen)
            self.set(cover=cover, cover_size=counters.size, seen=seen)

    def set(self, **fields: int) -> None:
        """Set words of the structure that native code works on."""
        for name, value in fields.items():
            self._words[ROUND.index(name)] = value

    @property
    def at(self) -> int:
        """Number of the run that is next, or going on."""
        return self._words[_NEXT]

    def write_input(self) -> None:
        """Give the guest the input of run number `at`."""
        data = self.inputs[self.at]
        machine = self._machine
        machine.memory.write(machine.memory.base + self._offset, data)
        if self._register:
            machine.x[self._register] = len(data)

    def note(self, result: RunResult) -> None:
        """Note how run number `at` ended, and go over to the next."""
        at, machine = self.at, self._machine
        self.others[at] = result
        self.cycles[at], self.pcs[at], self.values[at] = result.cycles, result.pc, machine.x[A0]
        if self._coverage is not None:
            coverage, cover = self._coverage
            self.fresh[at] = coverage.add(
                bytes(machine.memory.buffer[cover : cover + coverage.size])
            )
        self.inside = False
        self.set(next=at + 1)

    def result(self, number: int) -> RunResult:
        """Return how a run ended."""
        found = self.others.get(number)
        if found is not None:
            return found
        cycles, pc = self.cycles[number], self.pcs[number]
        if self.stops[number] == Ended.UNTIL:
            return RunResult(Stop.BREAKPOINT, cycles, pc)
        return RunResult(Stop.EXIT, cycles, pc, self.exit_code_of(self.values[number]))


_NEXT = ROUND.index("next")


class Rounds(Snapshots):
    """Running a guest from its newest checkpoint for every one of many inputs."""

    _hosted: frozenset[int]
    _ending: frozenset[int]
    _syscalls: dict[int, Any]

    def run_each(
        self,
        inputs: Iterable[bytes],
        *,
        at: str | int,
        size_register: str | int | None = None,
        cycle_limit: int | None = None,
        until: str | int | Iterable[str | int] = (),
        coverage: Coverage | None = None,
    ) -> Runs:
        """Run once for each of *inputs* from the newest level of the newest checkpoint.

        Each time the guest is restored, the input is written at *at*, a symbol or an address, its
        size goes to *size_register*, and the guest runs as by `run`, with the same meaning of
        *cycle_limit* and *until*. Afterwards it stands where the last run ended. With *coverage*
        the counters there are looked at after every run.

        `pause` ends it early: runs that have ended are in the answer, the one that was interrupted
        is not. Raises `SnapshotError` without a checkpoint or inside a handler, `OutOfBounds` and
        `PermissionDenied` where an input cannot be written, `ConfigError`, `UnknownSymbol`,
        `MachineBusy`, and what handlers raise; Ctrl-C raises `KeyboardInterrupt`.
        """
        machine, memory = self.machine, self.machine.memory
        with self._entry:
            self._check_alone("run_each()", 1)
            checkpoint = self._checkpoint or self._no_checkpoint()
            data = [bytes(each) for each in inputs]
            longest = max(map(len, data), default=0)
            batch = Batch(
                machine,
                data,
                offset=memory.offset(self.address_of(at), longest, "store"),
                register=0 if size_register is None else _number_of(size_register),
                until=self._addresses(until),
                coverage=None if coverage is None else (coverage, self._counters(coverage)),
            )
            batch.exit_code_of = self._exit_code_of
            machine.cycle_limit = NO_LIMIT if cycle_limit is None else cycle_limit
            checkpoint.go_back()
            batch.start = machine.cycles
            ending = sorted(self._ending - self._syscalls.keys())
            batch.native = (
                machine.pc not in batch.until | self._hosted
                and self.exit_code is None
                and len(ending) <= _MOST_EXITS
            )
            exits = [*ending, _NO_CALL, _NO_CALL]
            batch.set(exit_one=exits[0], exit_two=exits[1])
            self._interruptible(self._run_batch, batch)
            return Runs(batch)

    def _counters(self, coverage: Coverage) -> int:
        """Return the offset of the counters."""
        address = self.address_of(coverage.where)
        if address % 8:
            raise ConfigError(f"counters at {address:#x}: must be at a multiple of 8")
        return self.machine.memory.offset(address, coverage.size, "load")

    def _run_batch(self, batch: Batch) -> Stop:
        while batch.at < len(batch.inputs):
            stop: Stop | None = None
            if not batch.inside:
                need = self._run_natively(batch)
                if need is Need.NOTHING:
                    break
                batch.inside = True
                if need is Need.BEGIN:
                    assert self._checkpoint is not None
                    self._checkpoint.go_back()
                    batch.write_input()
                elif self.machine.words[_EXIT_REASON] == Exit.SYSCALL:
                    stop = self._run_syscall()
                    if stop is None and self.machine.pc in batch.until:
                        stop = Stop.BREAKPOINT
            stop = stop or self._run_engine(batch.until)
            if stop in _ON_REQUEST:
                return stop
            batch.note(self._result(stop))
        return Stop.STEP

    def _run_natively(self, batch: Batch) -> Need:
        """Do rounds in native code as far as that goes."""
        checkpoint, machine = self._checkpoint, self.machine
        assert checkpoint is not None
        if not batch.native:
            return Need.BEGIN
        if checkpoint.native is None:
            checkpoint.go_back()  # after system calls of the last run, most likely
        native = checkpoint.native
        machine.breakpoints = batch.until | self._hosted
        run = None if native is None or native.rounds is None else self.engine.native_run()
        if native is None or native.rounds is None or run is None:
            batch.native = False
            return Need.BEGIN
        address, first, second, third = run
        batch.set(tracker=native.tracker, run=address, first=first, second=second, third=third)
        begun = batch.at
        need = Need(native.rounds(batch.address))
        ended = batch.at
        cycles = sum(batch.cycles[begun:ended]) - (ended - begun) * batch.start
        if need is Need.GO_ON:
            cycles += machine.cycles - batch.start
        self.engine.ran(cycles)
        at_exit = need is Need.NOTHING and ended > begun and batch.stops[ended - 1] == Ended.EXIT
        self.exit_code = self._exit_code_of(batch.values[ended - 1]) if at_exit else None
        return need

    if TYPE_CHECKING:  # what a VM has

        def address_of(self, where: str | int) -> int:
            """Return the address of a symbol."""

        def _addresses(self, until: str | int | Iterable[str | int]) -> frozenset[int]: ...
        def _interruptible(self, run: Any, bound: Batch) -> Stop: ...
        def _run_engine(self, until: frozenset[int]) -> Stop: ...
        def _run_syscall(self) -> Stop | None: ...
        def _exit_code_of(self, code: int) -> int: ...
        def _result(self, stop: Stop) -> RunResult: ...


def _number_of(register: str | int) -> int:
    try:
        number = register_number(register)
    except KeyError:
        raise ConfigError(f"there is no register {register!r}") from None
    if not number:
        raise ConfigError("x0 cannot hold a size: it is always 0")
    return number


def _address(data: bytearray) -> int:
    return ctypes.addressof((ctypes.c_char * len(data)).from_buffer(data)) if data else 0


def _address_of_bytes(data: bytes) -> int:
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0

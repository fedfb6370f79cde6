"""The protocol between a machine and whoever runs it."""

from __future__ import annotations

from typing import Protocol

from rvjit.machine.stop import Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rvjit.machine.statistics import Statistics


# Address of a native function in the C convention, and three words to call it with.
NativeRun = tuple[int, int, int, int]


class CodeObserver(Protocol):
    """Somebody who wants to know what native code there is."""

    def region(self, pc: int, address: int, size: int) -> None:
        """Guest code that is entered at *pc* has become *size* bytes of host code at *address*."""

    def support(self, name: str, address: int, size: int) -> None:
        """There is host code around guest code."""


class Engine(Protocol):
    """Runs one machine.

    The contract, the same for every engine: before an instruction runs its price is added; if that
    would pass the cycle limit the run stops with CYCLE_LIMIT, pc at that instruction, nothing of it
    done or charged. A fault charges the instruction (a fetch or decode fault charges nothing),
    leaves pc at it and undoes everything else of it. All state is in the buffers on return. Here
    and below, instructions that are fused are one instruction.
    """

    name: str

    @property
    def statistics(self) -> Statistics:
        """What it did so far."""

    @property
    def entries(self) -> list[int]:
        """Where compiled regions begin now, ascending."""

    def observe(self, observer: CodeObserver) -> None:
        """Tell *observer* of the native code that there is, and of what comes."""

    def run(self) -> Stop:
        """Run until a stop; never EXIT or STEP. `Machine.fault` is set for FAULT.

        A breakpoint at the current pc is stepped over first.
        """

    def step(self, count: int) -> Stop:
        """Run up to *count* instructions exactly; STEP when all were run.

        An ecall ends it with SYSCALL and counts as run; other stops as in `run`.
        """

    def native_run(self) -> NativeRun | None:
        """Make ready for `run` on this thread and return what runs natively instead, once or often.

        That comes back with an `Exit` and everything in the buffers; `ran` has to be called then. A
        `run` goes on from there, but a system call is its caller's to do. There must be no
        breakpoint at pc. None where guest code does not run natively.
        """

    def ran(self, cycles: int) -> None:
        """Take note of native runs, of all their *cycles* and of the last one's exit."""

    def close(self) -> None:
        """Give back what was decoded or compiled."""


class ExactEngine(Engine, Protocol):
    """An engine that others leave single instructions, faults and budgets' tails to."""

    def advance(self, count: int) -> Stop:
        """As `step`, but stop at a breakpoint, the one at pc included."""

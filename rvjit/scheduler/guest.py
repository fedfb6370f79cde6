"""Guest: one VM of a script while it has a machine."""

from __future__ import annotations

from rvjit.bits import MASK64
from rvjit.errors import ScriptError
from rvjit.isa.registers import A0
from rvjit.machine.layout import NO_LIMIT, word_of
from rvjit.scheduler.machines import Hardware
from rvjit.scheduler.program import ScriptProgram
from rvjit.snapshot.sourced import SourcedContext

_CYCLES = word_of("cycles")
_CYCLE_LIMIT = word_of("cycle_limit")


class Guest:
    """A VM with a machine, the pages it has from the data source, and the program it runs."""

    __slots__ = (
        "context", "engine", "hardware", "id", "limit", "machine", "memory", "program", "words", "x"
    )  # fmt: skip

    def __init__(
        self, vm_id: int, hardware: Hardware, context: SourcedContext, program: ScriptProgram
    ) -> None:
        self.id = vm_id
        self.hardware = hardware
        self.machine = hardware.machine
        self.engine = hardware.engine
        self.memory = hardware.machine.memory
        self.words = hardware.machine.words
        self.x = hardware.machine.x
        self.context = context
        self.program = program
        self.limit = MASK64  # as CKB counts it

    def set_limit(self, limit: int) -> None:
        """Set the limit of cycles, at most 2**64 - 1."""
        self.limit = limit
        self.words[_CYCLE_LIMIT] = min(limit, NO_LIMIT)  # engines arm it when they start

    def take_cycles(self) -> int:
        """Return the cycles since the last time."""
        cycles = self.words[_CYCLES]
        self.words[_CYCLES] = 0
        return cycles

    def charge(self, cycles: int) -> None:
        """Add *cycles*, whatever the limit."""
        total = self.words[_CYCLES] + cycles
        if total > MASK64:
            raise ScriptError("CyclesOverflow", None, self.id)
        self.words[_CYCLES] = total

    def answer(self, code: int) -> None:
        """Give the guest the result of its system call."""
        self.x[A0] = code

"""What the oracles and the engines are all given, and what is compared afterwards."""

from __future__ import annotations

from dataclasses import dataclass

CODE_BASE = 0x100000
DATA_BASE = 0x20000
DATA_SIZE = 0x4000

GP = 3  # never an operand in a `GuestProgram`: harnesses without other means may use it
REGISTERS = 32


@dataclass(frozen=True)
class GuestProgram:
    """Code that starts at *base* and ends at the one ecall at *end*, its registers and its data.

    The code reads and writes nothing but ``[data_base, data_base + len(data))`` and never names
    gp. *reproduce* is one line that makes the same program again.
    """

    code: bytes
    end: int
    registers: tuple[int, ...]
    data: bytes
    reproduce: str
    base: int = CODE_BASE
    data_base: int = DATA_BASE


@dataclass(frozen=True)
class Outcome:
    """Registers (gp as it was at the start) and data where the program ended."""

    registers: tuple[int, ...]
    data: bytes

    def difference(self, other: Outcome, base: int = DATA_BASE) -> str | None:
        """Say where two outcomes differ first, self's value first; None if nowhere."""
        for number, (mine, theirs) in enumerate(zip(self.registers, other.registers, strict=True)):
            if mine != theirs and number != GP:
                return f"x{number}: {mine:#x} and {theirs:#x}"
        for offset, (mine, theirs) in enumerate(zip(self.data, other.data, strict=True)):
            if mine != theirs:
                return f"byte at {base + offset:#x}: {mine:#x} and {theirs:#x}"
        return None

"""A function's IR as text with numbered values, which parse faster than named ones."""

from __future__ import annotations

from rvjit.machine.layout import offset_of


def signed(value: int) -> int:
    """Write a 64-bit value as LLVM reads constants."""
    return value - (1 << 64) if value >> 63 else value


class FunctionText:
    """Collects the lines of one LLVM function. Values are numbered in the order of emission."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.here = "entry"  # label of the block being written
        self._next = 0
        self._label = 0

    def value(self, instruction: str) -> str:
        """Emit *instruction* and return the name of its result."""
        name = f"%{self._next}"
        self._next += 1
        self.lines.append(f"  {name} = {instruction}")
        return name

    def emit(self, instruction: str) -> None:
        """Emit an instruction without a result."""
        self.lines.append(f"  {instruction}")

    def new_label(self) -> str:
        """Return a fresh label name (without %)."""
        self._label += 1
        return f"l{self._label}"

    def start(self, label: str) -> None:
        """Start the block *label*."""
        self.lines.append(f"{label}:")
        self.here = label

    def slot(self, field: str) -> str:
        """Address of a state field."""
        return self.value(f"getelementptr inbounds i8, ptr %st, i64 {offset_of(field)}")

"""A function's IR as text with numbered values, which parse faster than named ones."""

from __future__ import annotations

from rvjit.bits import MASK64
from rvjit.machine.layout import offset_of

_HALF = 32


def signed(value: int) -> int:
    """Write a 64-bit value as LLVM reads constants."""
    return value - (1 << 64) if value >> 63 else value


class FunctionText:
    """Collects the lines of one LLVM function. Values are numbered in the order of emission.

    What takes LLVM long to find out, and is seen at once while writing, is not written: sums of
    sums with constants, and the low half of what was made from a half. A sum is written anew in
    each block that uses it, where it becomes a part of an address.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.here = "entry"  # label of the block being written
        self._next = 0
        self._label = 0
        self._sums: dict[str, tuple[str, int]] = {}
        self._made: dict[tuple[str, int], str] = {}  # the same, the other way, in this block
        self._halves: dict[str, str] = {}

    def value(self, instruction: str) -> str:
        """Emit *instruction* and return the name of its result."""
        name = f"%{self._next}"
        self._next += 1
        self.lines.append(f"  {name} = {instruction}")
        return name

    def sum(self, name: str, distance: int) -> str:
        """Return the 64-bit *name*, a name or constant, plus a constant."""
        if not name.startswith("%"):
            return str(signed(int(name) + distance & MASK64))
        first, before = self._sums.get(name, (name, 0))
        distance = signed(before + distance & MASK64)
        if not distance:
            return first
        found = self._made.get((first, distance))
        if found is None:
            found = self.value(f"add i64 {first}, {distance}")
            self._sums[found] = first, distance
            self._made[first, distance] = found
        return found

    def extend(self, how: str, width: int, name: str, to: int) -> str:
        """Return *name* of *width* bits with zeros or its sign above (*how*: zext or sext)."""
        found = self.value(f"{how} i{width} {name} to i{to}")
        if width == _HALF:
            self._halves[found] = name
        return found

    def truncate(self, width: int, name: str, to: int) -> str:
        """Return the low *to* of the *width* bits of *name*."""
        if to == _HALF and name in self._halves:
            return self._halves[name]
        return self.value(f"trunc i{width} {name} to i{to}")

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
        self._made.clear()

    def slot(self, field: str, extra: int = 0) -> str:
        """Address of a state field."""
        return self.value(f"getelementptr inbounds i8, ptr %st, i64 {offset_of(field) + extra}")

    def register(self, number: int) -> str:
        """Address of a guest register in the state."""
        return self.slot("x", 8 * number)

    def limit(self) -> str:
        """Load the limit word, which others may lower at any time."""
        return self.value(f"load atomic i64, ptr {self.slot('limit_word')} monotonic, align 8")

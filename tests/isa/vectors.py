"""Reading ``tests/vectors/*.txt``: one instruction a line, typed from the manual.

    word  text | before | after

*before* and *after* name registers (``a0=-1``), little-endian cells of memory
(``[address]=size:value``) and the reservation (``resv=address:size``, ``resv=-``). Whatever *after*
does not name is as before; pc goes to the next instruction unless ``pc=+8``, ``pc=-8`` or
``pc=address`` says otherwise. A register may hold ``pc+4``. ``stop=`` names a stop other than the
end of one step, ``fault=`` a fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rvjit.isa.registers import NUMBERS

FOLDER = Path(__file__).parent.parent / "vectors"
CODE = 0x40000  # where the instruction stands
_MASK = (1 << 64) - 1
_LINE = re.compile(r"^(?P<word>[0-9a-f]{8}|[0-9a-f]{4})\s+(?P<text>[^|]*[^| ]) \|(?P<rest>.*)$")
_CELL = re.compile(r"^\[(\w+)\]$")


@dataclass(frozen=True)
class State:
    """One side of a vector; *pc* and *reservation* are None where the line says nothing."""

    registers: dict[int, int] = field(default_factory=dict)
    cells: tuple[tuple[int, int, int], ...] = ()  # address, size, value
    reservation: tuple[int, int] | None = None
    reserved: bool = False  # whether the line names the reservation
    pc: int | None = None
    stop: str = "step"
    fault: str | None = None


@dataclass(frozen=True)
class Vector:
    """One line."""

    name: str  # file:line
    word: int
    text: str
    before: State
    after: State

    @property
    def length(self) -> int:
        """Bytes of the instruction."""
        return 4 if self.word & 3 == 3 else 2

    @property
    def pc_after(self) -> int:
        """Where pc is afterwards."""
        return CODE + self.length if self.after.pc is None else self.after.pc


def _number(text: str) -> int:
    if text.startswith("pc"):
        return (CODE + int(text[2:], 0)) & _MASK
    return int(text, 0) & _MASK


def _state(text: str) -> State:
    registers: dict[int, int] = {}
    cells = []
    rest: dict[str, object] = {}
    for item in text.split():
        key, value = item.split("=")
        cell = _CELL.match(key)
        if cell:
            size, content = value.split(":")
            cells.append((int(cell[1], 0), int(size), int(content, 0)))
        elif key == "resv":
            rest["reserved"] = True
            if value != "-":
                address, size = value.split(":")
                rest["reservation"] = int(address, 0), int(size)
        elif key == "pc":
            rest["pc"] = CODE + int(value) & _MASK if value[0] in "+-" else int(value, 0)
        elif key == "fault":
            rest |= {"fault": value, "stop": "fault"}
        elif key == "stop":
            rest["stop"] = value
        else:
            registers[NUMBERS[key]] = _number(value)
    return State(registers, tuple(cells), **rest)  # type: ignore[arg-type]


def parse(line: str, name: str) -> Vector:
    """Parse one line. Raises `ValueError` with *name* where it is malformed."""
    found = _LINE.match(line)
    if found is None:
        raise ValueError(f"{name}: cannot read {line!r}")
    before, after = found["rest"].split("|")
    return Vector(name, int(found["word"], 16), found["text"], _state(before), _state(after))


def load() -> Iterator[Vector]:
    """Every vector of every file."""
    for path in sorted(FOLDER.glob("*.txt")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line and not line.startswith("#"):
                yield parse(line, f"{path.name}:{number}")

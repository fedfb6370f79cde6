"""The vectors as cases of a batch, for judges that run programs: QEMU, compiled code."""

from __future__ import annotations

from dataclasses import dataclass

from rvjit.isa import Isa
from rvjit.isa.spec import Atomic
from tests.isa.vectors import State, Vector, load
from tests.oracle.batch import Case

ISA = Isa.parse("imcba_zicond")
_DATA = 0x20000
_SIZE = 0x4000

Result = tuple[dict[int, int], tuple[int, ...]]


@dataclass(frozen=True)
class Expectation:
    """A vector as a case, and the registers and cells after it."""

    case: Case
    result: Result
    size_differs: bool  # an SC whose reservation is of another size


def straight_vectors() -> list[Expectation]:
    """Every vector that goes on to the next instruction wherever it stands."""
    found = []
    for vector in load():
        insn = ISA.decoder.decode(vector.word)
        assert insn is not None, vector.name
        if insn.spec.effects.ends_block or vector.after.fault or insn.spec.name == "auipc":
            continue
        found.append(_expectation(vector))
    return found


def disagreements(expected: list[Expectation], results: list[Result]) -> list[str]:
    """One line for each result that is not the expected one."""
    return [
        f"{each.case.name}: {got} not {each.result}"
        for each, got in zip(expected, results, strict=True)
        if got != each.result
    ]


def _expectation(vector: Vector) -> Expectation:
    insn = ISA.decoder.decode(vector.word)
    assert insn is not None
    touched = vector.before.cells + vector.after.cells
    words = sorted(
        {at & -8 for address, size, _ in touched for at in (address, address + size - 1)}
    )
    before = _image(vector.before)
    after = _image(vector.before, vector.after)
    registers = {number: value for number, value in vector.before.registers.items() if number}
    if insn.rd:
        registers.setdefault(insn.rd, 0)
    cells = tuple((at, _word(before, at)) for at in words)
    case = Case(insn, registers, cells, vector.before.reservation, vector.name)
    expected = {number: registers.get(number, 0) for number in case.observed}
    expected |= vector.after.registers
    store = insn.spec.effects.store
    size_differs = (
        insn.spec.effects.atomic is Atomic.SC
        and vector.before.reservation is not None
        and store is not None
        and vector.before.reservation[1] != store.size
    )
    return Expectation(case, (expected, tuple(_word(after, at) for at in words)), size_differs)


def _image(*states: State) -> bytes:
    image = bytearray(_SIZE)
    for state in states:
        for address, size, value in state.cells:
            image[address - _DATA : address - _DATA + size] = value.to_bytes(size, "little")
    return bytes(image)


def _word(image: bytes, address: int) -> int:
    return int.from_bytes(image[address - _DATA : address - _DATA + 8], "little")

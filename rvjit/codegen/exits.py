"""The ways out of a region, gathered while it is written and closed at its end.

Exits that store the same registers share one block of IR. Each has a small block of its own before,
where its constants are stored: as phi nodes of the shared block they would be put into registers on
the path that does not leave.
"""

from __future__ import annotations

from dataclasses import dataclass

from rvjit.codegen import abi
from rvjit.codegen.text import FunctionText, signed
from rvjit.machine.layout import NOT_A_PC
from rvjit.machine.stop import Exit


@dataclass(frozen=True)
class ResumePoint:
    """A place that a failing check goes back to: nothing behind it has had an effect yet.

    The count there is *cycles*, a name, plus *charged*. Of the *dirty* registers there, *kept* are
    the values of those that are written before the last check that comes back.
    """

    label: str
    pc: int
    cycles: str
    charged: int
    dirty: int
    kept: dict[int, str]


@dataclass(frozen=True)
class _Way:
    """One exit that stores pc, cycles and reason itself, from the block *label* on."""

    label: str
    pc: str
    cycles: str
    reason: Exit


class Exits:
    """Collects edges out of the region; every method returns the label to branch to.

    *here* is the label of the block that branches, *dirty* the registers to store as a mask, *pc*
    a name or a signed constant.
    """

    def __init__(self, text: FunctionText) -> None:
        self._text = text
        self._jumps: dict[int, list[tuple[str, str, str]]] = {}
        self._others: dict[int, list[_Way]] = {}
        self._resumes: dict[str, ResumePoint] = {}

    def jump(self, here: str, pc: str, cycles: str, dirty: int) -> str:
        """Leave by a jump to *pc*."""
        dirty &= ~abi.HOT_MASK  # which are returned
        self._jumps.setdefault(dirty, []).append((here, pc, cycles))
        return f"jump{dirty:x}"

    def other(self, pc: str, cycles: str, reason: Exit, dirty: int) -> str:
        """Leave for another reason, with pc and cycles stored."""
        way = _Way(self._text.new_label(), pc, cycles, reason)
        self._others.setdefault(dirty, []).append(way)
        return way.label

    def leave_if(self, condition: str, pc: int, cycles: str, reason: Exit, dirty: int) -> None:
        """Leave where the one-bit *condition* holds, which is unlikely; else go on here."""
        text = self._text
        go_on = text.new_label()
        label = self.other(str(signed(pc)), cycles, reason, dirty)
        text.emit(f"br i1 {condition}, label %{label}, label %{go_on}, {abi.UNLIKELY}")
        text.start(go_on)

    def exact(self, point: ResumePoint) -> str:
        """Leave to the exact engine, with the state at *point*."""
        self._resumes[point.label] = point
        return point.label

    def close(self) -> None:
        """Write the blocks that all those branches lead to."""
        text = self._text
        for point in self._resumes.values():
            text.start(point.label)
            for number, value in point.kept.items():
                text.emit(f"store i64 {value}, ptr %x{number}")
            cycles = text.value(f"add i64 {point.cycles}, {point.charged}")
            pc = str(signed(point.pc))
            label = self.other(pc, cycles, Exit.EXACT, point.dirty)
            text.emit(f"br label %{label}")
        for dirty, jumps in self._jumps.items():
            text.start(f"jump{dirty:x}")
            pc = self._phi([(label, pc) for label, pc, _ in jumps])
            cycles = self._phi([(label, cycles) for label, _, cycles in jumps])
            self._store(dirty)
            result = "poison"
            hot = [text.value(f"load i64, ptr %x{number}") for number in abi.HOT]
            for index, value in enumerate([pc, cycles, *hot]):
                result = text.value(
                    f"insertvalue {abi.REGION_RESULT} {result}, i64 {value}, {index}"
                )
            text.emit(f"ret {abi.REGION_RESULT} {result}")
        for dirty, ways in self._others.items():
            for way in ways:
                text.start(way.label)
                text.emit(f"store i64 {way.pc}, ptr {text.slot('pc')}")
                text.emit(f"store i64 {int(way.reason)}, ptr {text.slot('exit_reason')}")
                text.emit(f"br label %exit{dirty:x}")
            text.start(f"exit{dirty:x}")
            cycles = self._phi([(way.label, way.cycles) for way in ways])
            self._store(dirty)
            text.emit(f"store i64 {cycles}, ptr {text.slot('cycles')}")
            stopped = text.value(
                f"insertvalue {abi.REGION_RESULT} poison, i64 {signed(NOT_A_PC)}, 0"
            )
            text.emit(f"ret {abi.REGION_RESULT} {stopped}")

    def _store(self, dirty: int) -> None:
        for number in range(1, 32):
            if dirty >> number & 1:
                value = self._text.value(f"load i64, ptr %x{number}")
                self._text.emit(f"store i64 {value}, ptr %s{number}")

    def _phi(self, edges: list[tuple[str, str]]) -> str:
        incoming = ", ".join(f"[ {value}, %{label} ]" for label, value in edges)
        return self._text.value(f"phi i64 {incoming}")

"""The ways out of a region, gathered while it is written and closed at its end.

Exits that store the same registers share one block of IR. Each has a small block of its own before,
where its pc is stored: as a phi node of the shared block it would be put into a register on the
path that does not leave. Why a check failed is found out behind, once for the region.
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


# By registers to store: the count of cycles, a name, and the label of each block that comes there.
_Edges = dict[int, list[tuple[str, str]]]


class Exits:
    """Collects edges out of the region; every method returns the label to branch to.

    *here* is the label of the block that branches, *dirty* the registers to store as a mask, *pc*
    a name or a signed constant.
    """

    def __init__(self, text: FunctionText) -> None:
        self._text = text
        self._jumps: dict[int, list[tuple[str, str, str]]] = {}
        self._syscalls: list[tuple[str, int, str, int]] = []
        self._resumes: dict[str, ResumePoint] = {}

    def jump(self, here: str, pc: str, cycles: str, dirty: int) -> str:
        """Leave by a jump to *pc*."""
        dirty &= ~abi.HOT_MASK  # which are returned
        self._jumps.setdefault(dirty, []).append((here, pc, cycles))
        return f"jump{dirty:x}"

    def syscall(self, pc: int, cycles: str, dirty: int) -> str:
        """Leave to the host, to go on at *pc*."""
        label = self._text.new_label()
        self._syscalls.append((label, pc, cycles, dirty))
        return label

    def leave_if(self, condition: str, point: ResumePoint) -> None:
        """Leave with the state at *point* if the one-bit *condition* holds, which is unlikely."""
        text = self._text
        go_on = text.new_label()
        label = self.resume(point)
        text.emit(f"br i1 {condition}, label %{label}, label %{go_on}, {abi.UNLIKELY}")
        text.start(go_on)

    def resume(self, point: ResumePoint) -> str:
        """Leave to the exact engine, with the state at *point*."""
        self._resumes[point.label] = point
        return point.label

    def close(self, bound: int) -> None:
        """Write the blocks that all those branches lead to.

        *bound* is the greatest of the region's checkpoints: with less than that left a check that
        failed is taken for one of the limit, whichever it was. The exact engine sees to both.
        """
        text = self._text
        for dirty, jumps in self._jumps.items():
            text.start(f"jump{dirty:x}")
            pc = self._phi([(pc, label) for label, pc, _ in jumps])
            cycles = self._phi([(cycles, label) for label, _, cycles in jumps])
            self._store(dirty)
            result = "poison"
            hot = [text.value(f"load i64, ptr %x{number}") for number in abi.HOT]
            for index, value in enumerate([pc, cycles, *hot]):
                result = text.value(abi.result_with(result, index, value))
            text.emit(f"ret {abi.REGION_RESULT} {result}")
        checks: _Edges = {}
        for point in self._resumes.values():
            text.start(point.label)
            for number, value in point.kept.items():
                text.emit(f"store i64 {value}, ptr %x{number}")
            cycles = text.sum(point.cycles, point.charged)
            self._stop_at(point.pc, f"check{point.dirty:x}")
            checks.setdefault(point.dirty, []).append((cycles, point.label))
        if checks:
            cycles = self._gather("check", checks)
            limit = text.limit()
            need = text.value(f"add i64 {cycles}, {bound}")
            over = text.value(f"icmp ugt i64 {need}, {limit}")
            both = f"i64 {int(Exit.LIMIT)}, i64 {int(Exit.EXACT)}"
            self._stop(cycles, text.value(f"select i1 {over}, {both}"))
        syscalls: _Edges = {}
        for label, next_pc, cycles, dirty in self._syscalls:
            text.start(label)
            self._stop_at(next_pc, f"syscall{dirty:x}")
            syscalls.setdefault(dirty, []).append((cycles, label))
        if syscalls:
            self._stop(self._gather("syscall", syscalls), str(int(Exit.SYSCALL)))

    def _stop_at(self, pc: int, label: str) -> None:
        self._text.emit(f"store i64 {signed(pc)}, ptr {self._text.slot('pc')}")
        self._text.emit(f"br label %{label}")

    def _gather(self, name: str, edges: _Edges) -> str:
        """Store registers where edges come in that have to, then bring all together.

        Returns the name of the count of cycles.
        """
        text = self._text
        ends = []
        for dirty, ways in edges.items():
            label = f"{name}{dirty:x}"
            text.start(label)
            ends.append((self._phi(ways), label))
            self._store(dirty)
            text.emit(f"br label %{name}s")
        text.start(f"{name}s")
        return self._phi(ends)

    def _stop(self, cycles: str, reason: str) -> None:
        text = self._text
        text.emit(f"store i64 {cycles}, ptr {text.slot('cycles')}")
        text.emit(f"store i64 {reason}, ptr {text.slot('exit_reason')}")
        stopped = text.value(abi.result_with("poison", 0, str(signed(NOT_A_PC))))
        text.emit(f"ret {abi.REGION_RESULT} {stopped}")

    def _store(self, dirty: int) -> None:
        for number in range(1, 32):
            if dirty >> number & 1:
                value = self._text.value(f"load i64, ptr %x{number}")
                self._text.emit(f"store i64 {value}, ptr {self._text.register(number)}")

    def _phi(self, edges: list[tuple[str, str]]) -> str:
        incoming = ", ".join(f"[ {value}, %{label} ]" for value, label in edges)
        return self._text.value(f"phi i64 {incoming}")

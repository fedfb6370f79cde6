"""Replayer: does a recorded run again, the last part of it with a trace.

It needs no VM and no host: a machine that is what it was at a checkpoint, and what a `Recorder`
noted since. It runs exact engines only, so that a mistake of compiled code is not repeated.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from rvjit import __version__
from rvjit.engines.compare import new_like
from rvjit.interp.engine import Interpreter
from rvjit.isa.registers import ABI_NAMES
from rvjit.machine.engine import Engine
from rvjit.machine.layout import NO_LIMIT, word_of
from rvjit.machine.machine import Machine
from rvjit.machine.pages import PAGE_SIZE, SAVED_FLAGS
from rvjit.machine.stop import Stop
from rvjit.replay.recorder import Change, assign_flags, registers_of, set_registers
from rvjit.replay.tracer import TraceEntry, Tracer
from rvjit.values import dataclass

_SLICE = 100_000_000  # cycles until Python may hear Ctrl-C
_PC, _CYCLES = word_of("pc"), word_of("cycles")
_SAVED = bytes(flags & SAVED_FLAGS for flags in range(256))


@dataclass(frozen=True)
class Plan:
    """What is to be done again, and what for.

    *changes* are those since the checkpoint, *end* the cycle and, if *registers* are not None, the
    registers at which the failing run stood. *fault* is the fault that ended it. With *beyond* one
    more instruction is traced. *last* is how many cycles at the end are traced; None for all.
    *reason* and *detail* say what failed, in a word and in text.
    """

    reason: str
    detail: str
    changes: Sequence[Change]
    end: int
    registers: bytes | None
    fault: str | None
    beyond: bool
    last: int | None


@dataclass(frozen=True)
class Outcome:
    """What a replay found.

    It began at cycle *checkpoint*, traced from cycle *traced_from* to *end*, *instructions* in all.
    *reproduced* is whether it came to the failing run's registers, cycle and fault; None where
    these are not what an exact run comes to (a difference that lockstep found).
    """

    checkpoint: int
    traced_from: int
    end: int
    instructions: int
    reproduced: bool | None


class _Diverged(Exception):
    """The replay does not come to where the run was."""


class Replayer:
    """Replays on *machine*, which stands at a checkpoint; *native* is for what is not traced."""

    def __init__(self, machine: Machine, *, native: bool) -> None:
        self._machine = machine
        exact = Interpreter(machine)
        self._quick: Engine = exact
        self._slice = _SLICE
        if native:
            from rvjit.threaded.engine import Threaded

            self._quick = Threaded(machine)
        self._tracer = Tracer(machine, exact)
        self._instructions = 0
        self._traced_from = 0
        self._fault: str | None = None
        self._write: Callable[[str], object] = _discard

    def run(self, plan: Plan, write: Callable[[str], object]) -> Outcome:
        """Replay, and *write* the trace as lines of JSON: a head, the entries, the end."""
        machine = self._machine
        machine.breakpoints = frozenset()
        while machine.take_request() is not None:
            pass  # of the run that failed
        self._write = lambda line: write(line + "\n")
        begin = machine.cycles
        head = {
            "trace": "rvjit",
            "version": __version__,
            "reason": plan.reason,
            "detail": plan.detail,
            "checkpoint": begin,
            "end": plan.end,
        }
        self._write(json.dumps(head))
        skipped = 0 if plan.last is None else max(_length(begin, plan) - plan.last, 0)
        reproduced: bool | None = True
        try:
            for change in plan.changes:
                skipped = self._part(change.at, skipped)
                self._apply(change, shown=not skipped)
            self._part(plan.end, skipped)
            self._finish(plan)
        except _Diverged:
            reproduced = False
        if plan.registers is None:
            reproduced = None
        elif registers_of(machine) != plan.registers or self._fault != plan.fault:
            reproduced = False
        outcome = Outcome(begin, self._traced_from, machine.cycles, self._instructions, reproduced)
        end = {"cycle": machine.cycles, "pc": hex(machine.pc), "fault": self._fault}
        end |= {"instructions": self._instructions, "reproduced": reproduced}
        self._write(json.dumps({"end": end}))
        return outcome

    def _part(self, target: int, skipped: int) -> int:
        """Go on to cycle *target*, *skipped* cycles of it, or of what follows, without a trace.

        Returns how many are still to be skipped.
        """
        machine = self._machine
        here = machine.cycles
        if skipped:
            self._run_to(min(here + skipped, target), target)
            if machine.cycles >= target:
                return max(skipped - (target - here), 0)
        if not self._instructions:
            self._traced_from = machine.cycles
        self._trace_to(target)
        return 0

    def _run_to(self, wanted: int, target: int) -> None:
        """Run without a trace to *wanted*, or to the last stop before it that there can be."""
        machine = self._machine
        while machine.cycles < wanted:
            before = machine.cycles
            machine.cycle_limit = min(wanted, before + self._slice)
            self._note_fault(self._quick.run())
            if machine.cycles == before:  # the next instruction costs more than that
                if machine.cycle_limit < wanted:
                    self._slice *= 16
                elif wanted < target:
                    return
                else:
                    raise _Diverged

    def _trace_to(self, target: int) -> None:
        machine = self._machine
        machine.cycle_limit = max(target, machine.cycles)
        while machine.cycles < target:
            stop, entry = self._tracer.step()
            if entry is None or machine.cycles == entry.cycle:
                raise _Diverged
            self._show(entry)
            self._note_fault(stop)

    def _finish(self, plan: Plan) -> None:
        """Trace what the run's last stop did beyond cycles: a fault in a fetch costs nothing."""
        machine = self._machine
        if machine.cycles != plan.end:
            raise _Diverged
        if plan.beyond or self._fault != plan.fault:
            machine.cycle_limit = NO_LIMIT
            stop, entry = self._tracer.step()
            if entry is not None:
                self._show(entry)
            self._note_fault(stop)

    def _apply(self, change: Change, *, shown: bool) -> None:
        machine = self._machine
        if machine.cycles != change.at:
            raise _Diverged
        before = memoryview(registers_of(machine)).cast("Q")
        change.apply(machine)
        self._fault = None
        if shown:
            self._write(json.dumps(_described(change, before, machine)))

    def _show(self, entry: TraceEntry) -> None:
        self._write(entry.line())
        self._instructions += 1

    def _note_fault(self, stop: Stop) -> None:
        self._fault = str(self._machine.fault) if stop is Stop.FAULT else None


def _discard(line: str) -> None:
    """Write nothing."""


def _length(begin: int, plan: Plan) -> int:
    """Return how many cycles the replay runs; changes may set the counter back."""
    total, here = 0, begin
    for change in plan.changes:
        total += change.at - here
        here = memoryview(change.registers).cast("Q")[_CYCLES]
    return total + plan.end - here


def _described(change: Change, before: memoryview, machine: Machine) -> dict[str, object]:
    """Return for JSON what came from outside."""
    after = memoryview(change.registers).cast("Q")
    base = machine.memory.base
    registers = {
        ABI_NAMES[number]: hex(after[number])
        for number in range(32)
        if after[number] != before[number]
    }
    found: dict[str, object] = {"registers": registers}
    if after[_PC] != before[_PC]:
        found["pc"] = hex(after[_PC])
    if after[_CYCLES] != before[_CYCLES]:
        found["cycle"] = after[_CYCLES]
    if change.writes:
        found["memory"] = [
            {"address": hex(base + at), "size": data if isinstance(data, int) else len(data)}
            for at, data in change.writes
        ]
    if change.flags:
        found["permissions"] = [
            {"address": hex(base + first * PAGE_SIZE), "size": len(flags) * PAGE_SIZE}
            for first, flags in change.flags
        ]
    return {"cycle": change.at, "host": found}


def temporary_of(path: Path, process: int) -> Path:
    """Return where *process* writes a trace that is to be at *path*."""
    return path.with_name(f".{path.name}.{process}.tmp")


def write_trace(replayer: Replayer, plan: Plan, path: Path) -> Outcome:
    """Replay with a trace to a file, which appears when it is complete. Raises `OSError`."""
    temporary = temporary_of(path, os.getpid())
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            outcome = replayer.run(plan, file.write)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    return outcome


def machine_with(
    like: Machine, registers: bytes, flags: bytearray, clean_pages: Iterable[int]
) -> Machine:
    """Return a new machine with the window and rules of *like*, to be replayed on.

    It has *registers* (`registers_of`) and *flags*, a byte for each page of which SAVED_FLAGS
    count. The caller fills its pages in use: those that are DIRTY, and *clean_pages*.
    """
    found = new_like(like)
    found.keeps_code = like.keeps_code
    found.memory.clean_pages.update(clean_pages)
    assign_flags(found.memory, 0, bytes(flags).translate(_SAVED))
    set_registers(found, registers)
    return found

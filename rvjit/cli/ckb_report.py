"""What is said about a script: how it ended, and where its VMs stand if it failed."""

from __future__ import annotations

from typing import Any, NamedTuple, TextIO

from rvjit.cli import output
from rvjit.errors import ScriptError
from rvjit.isa.registers import ABI_NAMES
from rvjit.machine.machine import Machine
from rvjit.scheduler.guest import Guest
from rvjit.scheduler.requests import describe
from rvjit.scheduler.runner import StepObserver
from rvjit.scheduler.scheduler import Scheduler, TerminatedResult

_IN_ROW = 4  # registers


class End(NamedTuple):
    """A script after its run; *seconds* is the wall time of that."""

    scheduler: Scheduler
    result: TerminatedResult | None
    error: ScriptError | None
    seconds: float


def say(end: End) -> None:
    """Print how a script ended, and where its VMs are if it did not end itself."""
    cycles = end.scheduler.consumed_cycles
    if end.result is not None:
        output.say(f"exit {end.result.exit_code}: {cycles:,} cycles in {end.seconds:.3f} s")
        return
    assert end.error is not None
    output.say(f"{end.error}, after {cycles:,} cycles")
    for line in _where(end):
        output.say(line)


def as_dict(end: End) -> dict[str, Any]:
    """Return the JSON report; addresses and registers are '0x…' strings."""
    scheduler, error = end.scheduler, end.error
    return {
        "exit_code": None if end.result is None else end.result.exit_code,
        "cycles": scheduler.consumed_cycles,
        "error": None if error is None else error.name,
        "detail": None if error is None else error.detail,
        "vm": None if error is None else error.vm_id,
        "pc": None if error is None or error.pc is None else hex(error.pc),
        "vm_version": scheduler.version,
        "corrected": scheduler.corrected,
        "seconds": round(end.seconds, 6),
        "vms": [
            {
                "id": vm_id,
                "state": _state(scheduler, vm_id),
                "pc": hex(pc),
                "registers": [hex(value) for value in registers],
            }
            for vm_id in scheduler.vm_ids
            for pc, registers in [scheduler.peek(vm_id, _look)]
        ],
    }


def log_steps(target: TextIO) -> StepObserver:
    """Return what writes VM and pc before each instruction."""

    def log(guest: Guest) -> None:
        target.write(f"{guest.id} {guest.machine.pc:#x}\n")

    return log


def _state(scheduler: Scheduler, vm_id: int) -> str:
    state = scheduler.state(vm_id)
    assert state is not None
    return describe(state)


def _look(machine: Machine) -> tuple[int, list[int]]:
    return machine.pc, list(machine.x)


def _where(end: End) -> list[str]:
    scheduler = end.scheduler
    lines = []
    for vm_id in scheduler.vm_ids:
        pc, registers = scheduler.peek(vm_id, _look)
        found = scheduler.symbol_at(vm_id, pc)
        place = "" if found is None else f" ({found[0]} + {found[1]:#x})"
        lines.append(f"VM {vm_id}: {_state(scheduler, vm_id)}, pc {pc:#x}{place}")
        if end.error is not None and end.error.vm_id == vm_id and end.error.pc is not None:
            cells = [
                f"{name:>4} {value:#018x}" for name, value in zip(ABI_NAMES, registers, strict=True)
            ]
            lines += ["  ".join(cells[at : at + _IN_ROW]) for at in range(0, len(cells), _IN_ROW)]
    return lines

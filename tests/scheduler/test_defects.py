"""CKB's known defects that the chain depends on are there: what eviction makes of some pages."""

from __future__ import annotations

import pytest

from rvjit.errors import CyclesExceeded, ScriptError
from rvjit.machine.pages import PAGE_SIZE
from rvjit.scheduler.data import DataPieces
from rvjit.scheduler.scheduler import Scheduler
from rvjit.scheduler.suspended import FullSuspendedState
from tests.engines.assemble import R, X, assemble, elf

# Makes 0x2000 bytes of code of the first 8 of a cell, spends some cycles, looks behind them.
TAIL = """
    _start: li a0, 0x200000
            li a1, 0x2000
            li a2, 0
            li a3, 8
            li a4, 1
            li a5, 3
            li a7, 2091
            ecall
            li a1, 1000
    spend:  addi a1, a1, -1
            bnez a1, spend
            li a2, 0x201000
            lbu a0, 0(a2)
            li a7, 93
            ecall
"""


def run_through_bytes(source: str, cell: bytes, limit: int, version: int = 2) -> int:
    """Run a script, with a rest in the form of bytes once *limit* is reached."""
    file = elf(assemble(source), R | X)
    pieces = DataPieces({"program": file, "cell_dep/1": cell})
    scheduler = Scheduler(pieces, engine="threaded", version=version)
    try:
        return scheduler.run(limit).exit_code
    except CyclesExceeded:
        state = FullSuspendedState.from_bytes(scheduler.suspend().to_bytes())
        return Scheduler.resume(pieces, state, engine="threaded").run().exit_code


def test_pages_behind_code_come_back_from_the_cell() -> None:
    """CKB-VM tracks all of the memory, though only its start came from the cell (7.3, a)."""
    cell = bytes(PAGE_SIZE) + b"\x2a" * PAGE_SIZE
    assert run_through_bytes(TAIL, cell, 10**9) == 0
    assert run_through_bytes(TAIL, cell, 4000) == 42


def test_pages_behind_code_that_the_cell_has_not_got() -> None:
    with pytest.raises(ScriptError) as caught:
        run_through_bytes(TAIL, bytes(PAGE_SIZE + 100), 4000)
    assert caught.value.name == "MemPageUnalignedAccess"


# Version 1: code of a cell in two pages, then exec of a program that spends cycles and looks there.
OLD = """
    _start: li a0, 0x200000
            li a1, 0x1000
            li a2, 0
            li a3, 4096
            li a4, 1
            li a5, 3
            li a7, 2091
            ecall
            li a0, 2
            li a1, 3
            li a2, 0
            li a3, 0
            li a4, 0
            li a5, 0
            li a7, 2043
            ecall
"""
NEW = """
    _start: li a1, 1000
    spend:  addi a1, a1, -1
            bnez a1, spend
            li a2, 0x200000
            lbu a0, 0(a2)
            li a7, 93
            ecall
"""


@pytest.mark.parametrize(("limit", "code"), [(10**9, 0), (5000, 42)])
def test_pages_of_the_old_program_come_back_after_exec_of_version_1(limit: int, code: int) -> None:
    """It leaves the list of tracked pages alone (7.3, b)."""
    pieces = DataPieces(
        {
            "program": elf(assemble(OLD), R | X),
            "cell_dep/1": b"\x2a" * PAGE_SIZE,
            "cell_dep/2": elf(assemble(NEW), R | X),
        }
    )
    scheduler = Scheduler(pieces, engine="interp", version=1)
    try:
        found = scheduler.run(limit).exit_code
    except CyclesExceeded:
        state = FullSuspendedState.from_bytes(scheduler.suspend().to_bytes())
        found = Scheduler.resume(pieces, state, engine="threaded").run().exit_code
    assert found == code

"""CKB's scheduler: scripts that are many VMs, run deterministically and metered to the cycle.

`scheduler` is the loop; `runner` runs one VM, `calls` and `loads` are its system calls, `replies`
and `pipes` what the scheduler does about them, `population` which VMs have a machine, `suspended`
all of it at rest.
"""

from __future__ import annotations

from rvjit.scheduler.data import DataPieces
from rvjit.scheduler.events import Event, write_lines
from rvjit.scheduler.mock import MockTransactionError, load_mock, parse_mock
from rvjit.scheduler.molecule import (
    Cell,
    CellDep,
    Header,
    Input,
    OutPoint,
    Output,
    Script,
    Transaction,
    ckb_hash,
)
from rvjit.scheduler.offchain import OffChain
from rvjit.scheduler.runner import PauseSignal
from rvjit.scheduler.scheduler import (
    IterationResult,
    LimitCycles,
    PauseOrLimit,
    Scheduler,
    TerminatedResult,
)
from rvjit.scheduler.suspended import FullSuspendedState
from rvjit.scheduler.timeline import Timeline
from rvjit.scheduler.transaction import ScriptGroup, TransactionContext

__all__ = [
    "Cell",
    "CellDep",
    "DataPieces",
    "Event",
    "FullSuspendedState",
    "Header",
    "Input",
    "IterationResult",
    "LimitCycles",
    "MockTransactionError",
    "OffChain",
    "OutPoint",
    "Output",
    "PauseOrLimit",
    "PauseSignal",
    "Scheduler",
    "Script",
    "ScriptGroup",
    "TerminatedResult",
    "Timeline",
    "Transaction",
    "TransactionContext",
    "ckb_hash",
    "load_mock",
    "parse_mock",
    "write_lines",
]

"""What the process's exit status says: the one table of our own statuses."""

from __future__ import annotations

from rvjit.errors import (
    ConfigError,
    EngineUnavailable,
    InternalError,
    LoadError,
    RvjitError,
    SnapshotError,
    UnknownSymbol,
)
from rvjit.machine.stop import Stop
from rvjit.vm.result import RunResult


class Status:
    """Statuses that do not come from the guest. A guest may use the same numbers: see --json."""

    USAGE = 120
    LOAD = 121
    FAULT = 122
    CYCLE_LIMIT = 123
    TIMEOUT = 124
    INTERNAL = 125
    HOST = 126
    STOPPED = 127
    INTERRUPT = 130


MEANINGS: dict[int, str] = {
    Status.USAGE: "the command line is wrong",
    Status.LOAD: "the program or snapshot cannot be read, or does not fit",
    Status.FAULT: "the guest did something illegal, or ended itself by a signal",
    Status.CYCLE_LIMIT: "the cycle limit was reached",
    Status.TIMEOUT: "the time was over",
    Status.INTERNAL: "a bug of rvjit; lockstep found a difference",
    Status.HOST: "this machine cannot do it: engine unavailable, no memory, no output file",
    Status.STOPPED: "paused, as nobody reads the guest's output any more",
    Status.INTERRUPT: "Ctrl-C",
}

OF_STOP: dict[Stop, int] = {
    Stop.FAULT: Status.FAULT,
    Stop.CYCLE_LIMIT: Status.CYCLE_LIMIT,
    Stop.TIMEOUT: Status.TIMEOUT,
    Stop.PAUSE: Status.STOPPED,
    Stop.INTERRUPT: Status.INTERRUPT,
}

# The first class that fits counts.
_OF_ERROR: tuple[tuple[type[BaseException], int], ...] = (
    (ConfigError, Status.USAGE),
    (UnknownSymbol, Status.USAGE),
    (LoadError, Status.LOAD),
    (SnapshotError, Status.LOAD),
    (EngineUnavailable, Status.HOST),
    (ImportError, Status.HOST),
    (MemoryError, Status.HOST),
    (OSError, Status.HOST),
    (InternalError, Status.INTERNAL),
)


class CommandError(RvjitError):
    """A command cannot do what was asked; the process ends with *status*."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def of_error(error: BaseException) -> int:
    """Return the status for an exception that ended a command."""
    if isinstance(error, CommandError):
        return error.status
    return next((status for kind, status in _OF_ERROR if isinstance(error, kind)), Status.INTERNAL)


def of_result(result: RunResult) -> int:
    """Return the status for a run: the guest's own code (its low 8 bits) where it exited."""
    if result.exit_code is not None:
        return result.exit_code & 0xFF
    return OF_STOP[result.stop]


def table() -> str:
    """Return the statuses and their meanings, a line each."""
    rows = [f"  {status}  {meaning}" for status, meaning in MEANINGS.items()]
    return "\n".join(["exit status: the guest's own (modulo 256), or", *rows])

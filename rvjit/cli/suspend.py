"""Where runs that stop before their end are kept."""

from __future__ import annotations

import os
from pathlib import Path

from rvjit import VM, RunResult, Stop
from rvjit.cli import output, status

_OVER = (Stop.EXIT, Stop.FAULT)


def check(path: str) -> None:
    """Raise `CommandError` where no file can be made, before the run is done for nothing."""
    folder = Path(path).parent
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        message = f"cannot write {path}: {folder} is no directory that can be written to"
        raise status.CommandError(message, status.Status.HOST)


def save(vm: VM, result: RunResult, path: str) -> None:
    """Write a snapshot of a guest that can go on; say so."""
    if result.stop in _OVER:
        output.say(f"the run is over: {path} was not written")
        return
    vm.save_snapshot(path)
    output.say(f"suspended at cycle {result.cycles}: go on with rvjit resume {path}")

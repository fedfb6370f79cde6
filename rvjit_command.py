"""The console script `rvjit`, outside the package: Ctrl-C is heard while that is imported."""

from __future__ import annotations

import gc

_INTERRUPTED = 130  # rvjit.cli.status.Status.INTERRUPT, which is not there yet


def main() -> int:
    """Be the process `rvjit`; return only where Ctrl-C came before there was a command line."""
    # Nothing of what a start makes is garbage, and looking for it takes 1 to 2 ms. `rvjit.cli.run`
    # has it looked for as soon as the guest runs.
    gc.disable()
    try:
        from rvjit.cli import process
    except KeyboardInterrupt:
        return _INTERRUPTED
    return process()

"""The console script `rvjit`, outside the package: Ctrl-C is heard while that is imported."""

from __future__ import annotations

_INTERRUPTED = 130  # rvjit.cli.status.Status.INTERRUPT, which is not there yet


def main() -> int:
    """Be the process `rvjit`; return only where Ctrl-C came before there was a command line."""
    try:
        from rvjit.cli import process
    except KeyboardInterrupt:
        return _INTERRUPTED
    return process()

"""What a guest is connected to when the caller does not say."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from rvjit.syscalls import Host
from rvjit.syscalls.streams import Sink, Source
from rvjit.vm.profile import Profile

Directory = tuple[str | os.PathLike[str], str, bool]


def make_host(
    profile: Profile,
    *,
    stdin: Source = None,
    stdout: Sink | None = None,
    stderr: Sink | None = None,
    directories: Iterable[Directory] = (),
    seed: int = 0,
    real_time: bool = False,
    tty: bool = False,
) -> Host:
    """Make the host of a guest; its output goes to this process's own where nothing is given.

    Raises `ConfigError` where a directory cannot be opened.
    """
    return Host(
        stdin=stdin,
        stdout=_own_stdout if stdout is None else stdout,
        stderr=_own_stderr if stderr is None else stderr,
        debug=_debug_to(stdout),
        directories=directories,
        real_time=real_time,
        seed=seed,
        tty=tty,
        vm_version=profile.vm_version,
    )


def _own_stdout(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _own_stderr(data: bytes) -> None:
    sys.stderr.buffer.write(data)
    sys.stderr.buffer.flush()


def _debug_to(stdout: Sink | None) -> Sink:
    """CKB's debug prints are lines of their own, on the guest's standard output."""
    sink = _own_stdout if stdout is None else stdout
    return lambda data: sink(data + b"\n")

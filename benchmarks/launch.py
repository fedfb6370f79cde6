"""Run one process and say what it used."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_FIRST_NAP, _LONGEST_NAP = 0.001, 0.02
_WATCHED_SECONDS = 0.1  # a process that lived shorter was looked at too early to know its peak


class RunFailed(Exception):
    """A process failed or took too long; the message says which and how."""


@dataclass(frozen=True)
class Sample:
    """What one run took. *cpu_seconds* is user and system time of the whole process.

    What the process said about itself is None where it did not: *run_seconds* is CPU time of the
    guest alone, without imports and loading; *compile_seconds* CPU time spent in the compiler.
    *exact_instructions* are those of *instructions* that compiled code did not run. *peak_bytes* is
    None where a process without a report was gone before one could look at it properly.
    """

    cpu_seconds: float
    wall_seconds: float
    output_digest: str
    round: int = 0
    instructions: int | None = None
    exact_instructions: int | None = None
    run_seconds: float | None = None
    compile_seconds: float | None = None
    compiled_instructions: int | None = None
    regions: int | None = None
    kept_regions: int | None = None
    peak_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields that are set."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def run_process(
    command: Sequence[str],
    *,
    report: Path,
    environment: Mapping[str, str],
    timeout: float,
    round_number: int = 0,
) -> Sample:
    """Run *command* to its end; *report* is the file where it may leave what it measured itself.

    Raises `RunFailed` for an exit status other than 0 and after *timeout* seconds.
    """
    report.unlink(missing_ok=True)
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment)
        nap, peak = _FIRST_NAP, None
        # wait4 instead of Popen's own wait because it tells the usage of this one child. In between
        # the peak is read, which is gone once the process has ended.
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                wall_seconds = time.monotonic() - started
                process.returncode = os.waitstatus_to_exitcode(status)
                break
            if time.monotonic() > started + timeout:
                process.kill()
                process.wait()
                raise RunFailed(f"{command[0]}: not done after {timeout:.0f} s")
            peak = _peak_of(process.pid) or peak
            time.sleep(nap)
            nap = min(nap * 1.5, _LONGEST_NAP)
        output.seek(0)
        digest = hashlib.sha256(output.read()).hexdigest()
        if process.returncode != 0:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines()
            raise RunFailed(f"status {process.returncode}: {lines[-1] if lines else 'no message'}")
    fields: dict[str, Any] = {"peak_bytes": peak if wall_seconds > _WATCHED_SECONDS else None}
    if report.exists():
        for line in report.read_text(encoding="ascii").splitlines():
            name, value = line.split()
            fields[name] = float(value) if "." in value or "e" in value else int(value)
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return Sample(cpu_seconds, wall_seconds, digest, round_number, **fields)


def _peak_of(pid: int) -> int | None:
    """Return the high-water mark of a living process in bytes.

    Unlike getrusage's maximum it does not count what the parent had when it forked.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None

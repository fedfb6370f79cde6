"""Ways to run the command line: in this process, and as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

GUESTS = Path(__file__).parents[1] / "guests"

# A shell's background job ignores SIGINT, and so would what it starts.
_MAIN = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from rvjit.cli import main; sys.exit(main())"
)
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def guest() -> Callable[[str], str]:
    return lambda name: str(GUESTS / f"{name}.elf")


@pytest.fixture
def start() -> Start:
    """Start `rvjit` with some arguments; what still runs at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start_one(*arguments: str, **options: object) -> subprocess.Popen[bytes]:
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | options
        process = subprocess.Popen([sys.executable, "-c", _MAIN, *arguments], **streams)
        started.append(process)
        return process

    yield start_one
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()

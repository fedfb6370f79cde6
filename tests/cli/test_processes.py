"""`rvjit` as a process: Ctrl-C, pipes, terminals, and what it does not import."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rvjit.cli.status import Status

COMMAND = Path(__file__).parent.parent.parent / "rvjit_command.py"

ENGINES = ("interp", "jit")
WAIT = 60  # seconds, for machines that are busy with something else


def wait_for(condition):
    """Wait until *condition* holds."""
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def interrupt_when_running(process, report):
    """Send SIGINT once the process runs its guest; *report* is made right before that."""
    wait_for(report.exists)
    time.sleep(0.4)
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=WAIT)


@pytest.mark.parametrize("engine", ENGINES)
def test_ctrl_c_stops_exactly(engine, start, guest, tmp_path):
    path = tmp_path / "out.json"
    process = start("run", "--engine", engine, "--json", str(path), guest("forever"))
    out, err = interrupt_when_running(process, path)
    assert process.returncode == Status.INTERRUPT
    assert out == b""
    assert b"Traceback" not in err
    found = json.loads(path.read_text())
    assert (found["stop"], found["exit_code"], found["fault"]) == ("interrupt", None, None)
    assert f"interrupted at pc {found['pc']} _start+0x".encode() in err
    assert f"after {found['cycles']} cycles".encode() in err
    # Three instructions a turn: s1 says how many turns there were.
    turns = int(found["registers"][9], 16)
    assert 0 <= found["cycles"] - 3 * turns < 10


@pytest.mark.parametrize("module", ["rvjit", "rvjit.vm.vm", "rvjit.cli.status", "rvjit.cli.run"])
def test_ctrl_c_while_the_package_is_imported(module):
    """From the command's script; `python -m` imports before we run."""
    script = (
        "import os, runpy, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        f"runpy.run_path({str(COMMAND)!r}, run_name='__main__')\n"
    )
    command = [sys.executable, "-c", script, "run", "example:hello"]
    found = subprocess.run(command, capture_output=True, timeout=WAIT, check=False)
    assert (found.returncode, found.stdout) == (Status.INTERRUPT, b"")
    assert found.stderr in (b"", b"rvjit: interrupted\n")


def test_ctrl_c_while_the_guest_waits_for_input(start, guest):
    process = start("run", "--engine", "interp", guest("echo"))
    assert process.stdout.readline() == b"argc: 1\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WAIT)
    assert process.returncode == Status.INTERRUPT
    assert b"interrupted at pc" in err


def test_ctrl_c_while_progress_is_shown(start, guest, tmp_path):
    path = tmp_path / "out.json"
    process = start("run", "--progress", "--json", str(path), guest("forever"))
    _, err = interrupt_when_running(process, path)
    assert process.returncode == Status.INTERRUPT
    assert b"Traceback" not in err


def test_ctrl_c_and_timeout_while_nobody_takes_the_output(start):
    process = start("run", "--timeout", "0.6", "example:hello", "1000000")
    process.wait(timeout=WAIT)
    assert process.returncode == Status.TIMEOUT
    process = start("run", "example:hello", "1000000")
    select.select([process.stdout], [], [], WAIT)
    time.sleep(0.4)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=WAIT) == Status.INTERRUPT


def test_stdin_is_the_guests(start, guest):
    process = start("run", guest("echo"))
    out, err = process.communicate(b"in\nput\0\xff", timeout=WAIT)
    assert process.returncode == 0
    assert out.endswith(b"in\nput\0\xff")
    assert err == b""


def test_streams_that_are_closed_from_the_start(guest):
    for closed in ("<&-", ">&-", "2>&-"):
        command = f'exec "$0" -m rvjit run "$1" {closed}'
        shell = ["/bin/sh", "-c", command, sys.executable, guest("echo")]
        found = subprocess.run(
            shell, stdin=subprocess.DEVNULL, capture_output=True, timeout=WAIT, check=False
        )
        assert found.returncode == 0, closed
        assert found.stderr == b"", closed


def test_a_reader_that_leaves_stops_the_guest(start, tmp_path):
    path = tmp_path / "out.json"
    process = start("run", "--json", str(path), "example:hello", "1000000")
    assert process.stdout.readline() == b"Hello from a RISC-V guest!\n"
    process.stdout.close()
    assert process.wait(timeout=WAIT) == Status.STOPPED
    assert process.stderr.read() == b""
    assert json.loads(path.read_text())["stop"] == "pause"


def test_a_reader_that_leaves_ends_a_listing(guest):
    command = f'"{sys.executable}" -m rvjit disasm "{guest("musl_stdio")}" | head -n 1'
    shell = ["/bin/sh", "-c", command]
    found = subprocess.run(shell, capture_output=True, timeout=WAIT, check=False)
    assert found.stderr == b""
    assert found.stdout.count(b"\n") == 1


def run_on_a_terminal(start, *arguments):
    """Run with stderr, and nothing else, on a terminal; return status and what it showed."""
    ours, theirs = pty.openpty()
    process = start(*arguments, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the last user of the other end has gone
            break
        shown += part
    os.close(ours)
    return process.wait(timeout=WAIT), shown


def test_a_terminal_gets_a_summary_unless_quiet(start):
    status, shown = run_on_a_terminal(start, "run", "example:hello")
    assert status == 0
    assert b"rvjit: exit 0: " in shown
    assert b"MIPS" in shown
    assert run_on_a_terminal(start, "run", "--quiet", "example:hello") == (0, b"")


def test_progress_on_a_terminal_is_a_live_line(start, guest, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    arguments = ["run", "--progress", "--timeout", "1", "--cycles", "9e15".replace("e15", "0" * 15)]
    status, shown = run_on_a_terminal(start, *arguments, guest("forever"))
    assert status == Status.TIMEOUT
    assert shown.count(b"MIPS") >= 3
    assert b"\x1b[2K" in shown  # the line is erased for the next


def test_a_command_imports_only_what_it_needs():
    code = (
        "import sys; from rvjit.cli import main; main({!r}); "
        "print([n for n in ('rich', 'json', 'msgpack', 'llvmlite', 'importlib.metadata') "
        "if n in sys.modules], file=sys.stderr)"
    )
    for arguments in (["run", "--engine", "interp", "example:hello"], ["examples"]):
        command = [sys.executable, "-c", code.format(arguments)]
        found = subprocess.run(command, capture_output=True, timeout=WAIT, check=False)
        assert found.stderr.strip() == b"[]", arguments


def test_the_package_runs_as_a_module():
    command = [sys.executable, "-m", "rvjit", "run", "example:hello"]
    found = subprocess.run(command, capture_output=True, timeout=WAIT, check=False)
    expected = Path(__file__).parents[1] / "examples" / "expected" / "hello-1.txt"
    assert (found.returncode, found.stdout) == (0, expected.read_bytes())

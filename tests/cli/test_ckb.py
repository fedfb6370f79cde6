"""`rvjit ckb run` on the guests of tests/guests/ckb."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from rvjit.cli import main
from tests.scheduler.scripts import FOLDER
from tests.scheduler.test_transaction import mock


@dataclass
class Done:
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run a command line in this process."""

    def run_one(*words: str) -> Done:
        capfd.readouterr()
        status = main(words)
        return Done(status, *capfd.readouterr())

    return run_one


def guest(name: str) -> str:
    return str(FOLDER / f"{name}.elf")


def run(cli, *words: str):
    return cli("ckb", "run", "--engine", "threaded", *words)


def test_a_script_runs_and_says_what_it_cost(cli) -> None:
    done = run(cli, guest("pingpong"), "3")
    assert (done.status, done.stdout) == (0, "")
    assert "exit 0: 126,5" in done.stderr
    assert run(cli, "--quiet", guest("passing")).stderr == ""
    assert run(cli, guest("passing")).status == 13


def test_reports(cli, tmp_path: Path) -> None:
    trace, timeline = tmp_path / "trace", tmp_path / "timeline.json"
    steps, report = tmp_path / "steps", tmp_path / "report.json"
    done = run(
        cli, "--trace", str(trace), "--timeline", str(timeline), "--step-log", str(steps),
        "--json", str(report), guest("passing"),
    )  # fmt: skip
    assert done.status == 13
    events = [json.loads(line) for line in trace.read_text().splitlines()]
    assert [event["event"] for event in events[:3]] == ["booted", "ran", "request"]
    assert events[-1] == {"event": "exited", "vm": 0, "at": events[-1]["at"], "code": 13}
    found = json.loads(report.read_text())
    assert (found["exit_code"], found["error"], found["cycles"]) == (13, None, events[-1]["at"])
    rows = json.loads(timeline.read_text())["traceEvents"]
    slices = [row for row in rows if row["ph"] == "X"]
    assert {row["tid"] for row in slices} == {0, 1, 2, 3}
    ran = sum(event["cycles"] for event in events if event["event"] == "ran")
    assert sum(row["dur"] for row in slices) == ran
    assert sum(row["ph"] == "s" for row in rows) == sum(row["ph"] == "f" for row in rows) == 1
    lines = steps.read_text().splitlines()
    assert lines[0] == "0 0x10000"
    assert {line.split()[0] for line in lines} == {"0", "1", "2", "3"}
    assert run(cli, guest("passing")).stderr.split(" in ")[0] == done.stderr.split(" in ")[0]


def test_a_failure_shows_where_each_vm_is(cli, tmp_path: Path) -> None:
    done = run(cli, guest("deadlock"), "two")
    assert done.status == 122
    assert "VM 1: reads from fd 2, pc 0x" in done.stderr
    report = tmp_path / "report.json"
    done = run(cli, "--json", str(report), guest("hostile"), "4000")
    assert done.status == 122
    assert "InvalidEcall: 4000 (VM 0, pc 0x" in done.stderr
    assert "a7 0x0000000000000fa0" in done.stderr
    found = json.loads(report.read_text())
    assert (found["error"], found["detail"], found["vm"]) == ("InvalidEcall", "4000", 0)
    assert found["vms"][0]["registers"][17] == "0xfa0"


def test_a_script_is_suspended_and_goes_on(cli, tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    whole = run(cli, guest("passing")).stderr.split(" in ")[0]
    done = run(cli, "--corrected", "--cycles", "150000", "--suspend", state, guest("passing"))
    assert done.status == 123
    assert "CyclesExceeded" in done.stderr
    done = run(cli, "--resume", state, guest("passing"))
    assert (done.status, done.stderr.split(" in ")[0]) == (13, whole)
    assert run(cli, "--resume", state, "--corrected", guest("passing")).status == 120
    assert run(cli, "--resume", state, guest("tree")).status == 121
    assert run(cli, "--resume", guest("tree"), guest("tree")).status == 121


def test_a_mock_transaction(cli, tmp_path: Path) -> None:
    for name in ("pingpong", "tree"):
        (tmp_path / f"{name}.elf").write_bytes(Path(guest(name)).read_bytes())
    path = tmp_path / "tx.json"
    path.write_text(json.dumps(mock()))
    assert run(cli, "--tx", str(path)).status == 0
    assert run(cli, "--tx", str(path), "--script", "input.0.lock", guest("hostile")).status == 122
    assert run(cli, "--tx", str(path), "--script", "output.0.type").status == 120
    path.write_text("{}")
    done = run(cli, "--tx", str(path))
    assert (done.status, "has no 'mock_info'" in done.stderr) == (121, True)


def test_files_off_the_chain(cli, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("012345678")
    (tmp_path / "content").write_text("content"[:7])
    done = run(
        cli, "--dir", f"{tmp_path}:/data:rw", "--read-file", str(tmp_path / "content"),
        guest("files"),
    )  # fmt: skip
    assert (done.status, done.stdout) == (0, "printed\n")
    assert (tmp_path / "new.txt").read_text() == "written more"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ((), 120),
        (("walk",), 120),
        (("run",), 120),
        (("run", "no-such-file"), 121),
        (("run", "--tx", "no-such-file"), 121),
        (("run", "--vm-version", "3", guest("tree")), 120),
        (("run", "--trace", "/no/such/folder/file", guest("tree")), 126),
        (("run", "--resume", "/no/such/file", guest("tree")), 126),
    ],
)
def test_mistakes(cli, words: tuple[str, ...], status: int) -> None:
    done = cli("ckb", *words)
    assert (done.status, done.stdout) == (status, "")
    assert done.stderr.startswith("rvjit: error: ")


def test_help(cli) -> None:
    done = cli("ckb", "run", "--help")
    assert done.status == 0
    assert "--timeline" in done.stdout
    assert cli("ckb", "--help").stdout == done.stdout


def test_a_timeout(cli, tmp_path: Path) -> None:
    forever = Path(__file__).parent.parent / "guests" / "forever.elf"
    done = run(cli, "--timeout", "0.2", "--suspend", str(tmp_path / "state"), str(forever))
    assert done.status == 124
    assert (tmp_path / "state").exists()

"""`rvjit run --on-failure`: the trace, what is said of it, and options that make no sense."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rvjit.cli.status import Status
from rvjit.replay import forked

WAIT = 60
KINDS = ["memory", "fork"] if forked.unavailable() is None else ["memory"]


def rvjit(*arguments: object, data: bytes = b"", **options: Any) -> tuple[int, bytes, str]:
    """Run the command; return its status, standard output and errors."""
    command = [sys.executable, "-m", "rvjit", "run", *map(str, arguments)]
    done = subprocess.run(
        command, input=data, capture_output=True, check=False, timeout=WAIT, **options
    )
    return done.returncode, done.stdout, done.stderr.decode()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault(kind: str, guest: Any, tmp_path: Path) -> None:
    file, report = tmp_path / "trace.jsonl", tmp_path / "report.json"
    status, output, said = rvjit(
        "--on-failure", file, "--checkpoint-every", 100, "--checkpoints", 3, "--checkpoint-kind",
        kind, "--trace-last", "all", "--json", report, guest("wild"), "load-at", "0x8",
    )  # fmt: skip
    assert (status, output) == (Status.FAULT, b"load-at\n")
    head, *entries, end = lines(file)
    found = json.loads(report.read_text())
    cycles = found["cycles"]
    assert head["checkpoint"] == cycles // 100 * 100 - 200
    assert f"replayed from cycle {head['checkpoint']}: {file} has what the last" in said
    assert "load of 8 bytes at 0x8" in said
    assert entries[-1]["pc"] == found["pc"] == found["fault"]["pc"]
    assert end["end"]["reproduced"] is True
    assert found["replay"] == {
        "reason": "fault",
        "detail": found["fault"]["message"],
        "path": str(file),
        "checkpoint": head["checkpoint"],
        "traced_from": head["checkpoint"],
        "end": cycles,
        "instructions": cycles - head["checkpoint"],
        "reproduced": True,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_input_and_output_pass_once(kind: str, guest: Any, tmp_path: Path) -> None:
    data = bytes(range(256)) * 30
    options = ("--failure", "cycle_limit", "--cycles", 400, "--checkpoint-every", "60")
    file = tmp_path / "trace"
    whole = rvjit("--cycles", 400, guest("echo"), data=data)[1]
    status, output, _ = rvjit(
        "--on-failure", file, *options, "--checkpoint-kind", kind, guest("echo"), data=data
    )
    assert status == Status.CYCLE_LIMIT
    assert output == whole
    assert len(output) > 1000
    assert lines(file)[-1]["end"]["reproduced"] is True


def test_nothing_fails(tmp_path: Path) -> None:
    file, report = tmp_path / "trace", tmp_path / "report"
    status, output, said = rvjit("--on-failure", file, "--json", report, "example:hello")
    assert (status, said) == (0, "")
    assert output
    assert not file.exists()
    assert json.loads(report.read_text())["replay"] is None


def test_a_time_out_with_progress(guest: Any, tmp_path: Path) -> None:
    file = tmp_path / "trace"
    status, _, said = rvjit(
        "--on-failure", file, "--timeout", 0.4, "--progress", "--trace-last", 10,
        "--checkpoint-every", "100ms", guest("forever"),
    )  # fmt: skip
    assert status == Status.TIMEOUT
    assert "replayed from cycle" in said
    assert len(lines(file)) == 12


def test_wrong_options(guest: Any, tmp_path: Path) -> None:
    for options, words in (
        (["--checkpoints", 3], "--checkpoints has no meaning without --on-failure"),
        (["--trace-last", "all"], "--trace-last has no meaning"),
        (["--failure", "interrupt"], "--failure has no meaning"),
        (["--on-failure", tmp_path / "t", "--checkpoint-every", "0s"], "more than 0"),
        (["--on-failure", tmp_path / "t", "--checkpoint-every", "0"], "at least 1"),
        (["--on-failure", tmp_path / "t", "--trace-last", "2s"], "no number of cycles"),
    ):
        status, _, said = rvjit(*options, guest("echo"))
        assert status == Status.USAGE
        assert words in said
    status, _, said = rvjit("--on-failure", tmp_path / "none" / "t", guest("echo"))
    assert status == Status.HOST
    assert "no directory that can be written to" in said


def test_a_resumed_run(guest: Any, tmp_path: Path) -> None:
    state, file = tmp_path / "state", tmp_path / "trace"
    rvjit("--cycles", 100, "--suspend", state, guest("wild"), "ebreak")
    command = [sys.executable, "-m", "rvjit", "resume", "--on-failure", str(file), str(state)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=WAIT)
    assert done.returncode == Status.FAULT
    assert lines(file)[0]["checkpoint"] == 100
    assert lines(file)[-1]["end"]["reproduced"] is True

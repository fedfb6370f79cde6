"""`rvjit cache`, `--no-cache`, and what the first start says."""

from __future__ import annotations

import json
import os
import pty
import sys
from pathlib import Path

import pytest

from rvjit.cli import main
from rvjit.cli.status import Status
from rvjit.jit import engine


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setenv("RVJIT_CACHE_DIR", str(path))
    return path


def facts(capfd: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert main(["cache", "info", "--json"]) == 0
    return json.loads(capfd.readouterr().out)


def test_info_and_clear(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert facts(capfd) == {
        "path": str(folder), "limit": 512 << 20, "files": 0, "bytes": 0,
        "current_files": 0, "current_bytes": 0, "problem": None,
    }  # fmt: skip
    assert main(["run", "--engine", "jit", "example:hello"]) == 0
    capfd.readouterr()
    found = facts(capfd)
    assert found["files"] == found["current_files"] != 0
    assert found["bytes"] == sum(
        path.stat().st_size for path in folder.glob("*/*") if path.name != "lock"
    )
    assert main(["cache", "info"]) == 0
    out = capfd.readouterr().out
    assert str(folder) in out
    assert "usable            yes" in out
    assert main(["cache", "clear"]) == 0
    assert f"removed {found['files']} file" in capfd.readouterr().out
    assert facts(capfd)["files"] == 0
    assert main(["cache", "clear", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == {"removed_files": 0, "removed_bytes": 0}


def test_info_says_what_is_wrong(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    assert main(["run", "--engine", "jit", "example:hello"]) == 0  # no reason to fail
    assert capfd.readouterr().err == ""
    assert facts(capfd)["problem"] == f"{folder}: other users may write it"
    assert main(["cache", "info"]) == 0
    assert "no: " in capfd.readouterr().out


def test_no_cache_leaves_no_trace(folder: Path) -> None:
    assert main(["run", "--no-cache", "--engine", "jit", "example:hello"]) == 0
    assert not list(folder.rglob("*"))


def test_wrong_command_lines(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments in (["cache"], ["cache", "burn"]):
        assert main(arguments) == Status.USAGE
    monkeypatch.setenv("RVJIT_CACHE_SIZE", "lots")
    assert main(["cache", "info"]) == Status.USAGE
    assert "RVJIT_CACHE_SIZE=lots" in capfd.readouterr().err


def test_the_first_start_says_on_a_terminal_what_takes_so_long(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal, os.fdopen(leader, "rb", buffering=0) as screen:
        monkeypatch.setattr(sys, "stderr", terminal)
        shown = []
        for _ in range(2):
            monkeypatch.setattr(engine, "_runtime", None)  # as in a new process
            assert main(["run", "--engine", "jit", "example:hello"]) == 0
            shown.append(screen.read(10_000).decode())
            capfd.readouterr()
    assert "rvjit: preparing native code for this machine" in shown[0]
    assert shown[0].count("preparing") == 1
    assert "preparing" not in shown[1]

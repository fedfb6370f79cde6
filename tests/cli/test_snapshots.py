"""`rvjit run --suspend`, `rvjit resume` and `rvjit snapshot`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rvjit import Snapshot
from rvjit.cli.status import Status

TEXT = bytes(range(32, 127)) * 40


def rvjit(*arguments: object, status: int = 0, data: bytes = b"", stdin: Path | None = None):
    """Run the command and return its standard output and errors."""
    command = [sys.executable, "-m", "rvjit", *map(str, arguments)]
    if stdin is None:
        done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=60)
    else:
        with stdin.open("rb") as file:
            done = subprocess.run(command, stdin=file, capture_output=True, check=False, timeout=60)
    assert done.returncode == status, done.stderr.decode()
    return done.stdout, done.stderr.decode()


def test_a_suspended_run_comes_to_the_same_end(tmp_path: Path) -> None:
    file, report = tmp_path / "s", ("--json", tmp_path / "r.json", "--digest")
    whole, _ = rvjit("run", *report, "example:json", 10)
    wanted = json.loads((tmp_path / "r.json").read_text())
    limit = wanted["cycles"] // 3
    first, said = rvjit(
        "run", "--cycles", limit, "--suspend", file, "example:json", 10, status=Status.CYCLE_LIMIT
    )
    assert f"suspended at cycle {limit}: go on with rvjit resume {file}" in said
    second, _ = rvjit(
        "resume", "--cycles", 2 * limit, "--suspend", file, "--engine", "interp", file,
        status=Status.CYCLE_LIMIT,
    )  # fmt: skip
    third, _ = rvjit("resume", *report, file)
    assert first + second + third == whole
    found = json.loads((tmp_path / "r.json").read_text())
    for key in ("stop", "exit_code", "cycles", "pc", "registers", "program_sha256", "isa"):
        assert found[key] == wanted[key]
    for key in ("registers", "memory"):
        assert found["digest"][key] == wanted["digest"][key]


@pytest.mark.parametrize("from_file", [False, True])
def test_input_goes_on_where_it_was(guest, tmp_path: Path, from_file: bool) -> None:
    """From a file it is wound; from a pipe the rest is expected, behind what was taken."""
    file, source = tmp_path / "s", tmp_path / "input"
    source.write_bytes(TEXT)
    options = {"stdin": source} if from_file else {"data": TEXT}
    whole, _ = rvjit("run", guest("echo"), **options)
    stop = {"status": Status.CYCLE_LIMIT}
    first, _ = rvjit("run", "--cycles", 400, "--suspend", file, guest("echo"), **options, **stop)
    rest = options if from_file else {}  # the pipe was taken whole
    second, _ = rvjit("resume", file, **rest)
    assert first + second == whole


def test_a_run_that_ends_is_not_suspended(tmp_path: Path) -> None:
    _, said = rvjit("run", "--suspend", tmp_path / "s", "example:hello")
    assert "the run is over" in said
    assert not (tmp_path / "s").exists()
    _, said = rvjit("run", "--suspend", tmp_path / "no" / "s", "example:hello", status=Status.HOST)
    assert "is no directory" in said


def test_snapshots_at_a_cycle(tmp_path: Path) -> None:
    full, dirty = tmp_path / "full", tmp_path / "dirty"
    rvjit("snapshot", "--at", 4000, "-o", full, "example:sieve", 1)
    rvjit("snapshot", "--at", 4000, "-o", dirty, "--kind", "dirty", "example:sieve", 1)
    assert dirty.stat().st_size < full.stat().st_size
    assert Snapshot.load(full).cpu == Snapshot.load(dirty).cpu
    whole, _ = rvjit("run", "example:sieve", 1)
    assert rvjit("resume", full)[0] == whole
    assert rvjit("resume", "--program", "example:sieve", dirty)[0] == whole
    _, said = rvjit("resume", dirty, status=Status.LOAD)
    assert "the program is example:sieve in it, here not given" in said
    _, said = rvjit("snapshot", "--at", 10**9, "-o", full, "example:hello", status=Status.USAGE)
    assert "before 1000000000" in said
    _, said = rvjit("snapshot", "example:hello", status=Status.USAGE)
    assert "give --at CYCLES and -o FILE" in said


def test_options_may_follow_the_program(tmp_path: Path) -> None:
    before, behind, dashes = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    rvjit("snapshot", "--at", 5000, "-o", before, "--kind", "dirty", "example:json", 10)
    rvjit("snapshot", "example:json", "--at", 5000, "-o", behind, "--kind", "dirty", 10)
    rvjit("snapshot", "--at", 5000, "example:json", "-o", dashes, "--kind=dirty", "--", 10)
    assert before.read_bytes() == behind.read_bytes() == dashes.read_bytes()
    _, said = rvjit("snapshot", "example:json", "--at", 5000, status=Status.USAGE)
    assert "give --at CYCLES and -o FILE" in said
    # What stands behind a program that has all of its options is the guest's.
    rvjit("snapshot", "--at", 500, "-o", before, "example:json", "--at", "x")


def test_info_diff_and_verify(tmp_path: Path) -> None:
    files = [tmp_path / name for name in "abc"]
    for file, cycles in zip(files, (2000, 2000, 2500), strict=True):
        rvjit("snapshot", "--at", cycles, "-o", file, "example:quicksort", 50)
    text, _ = rvjit("snapshot", "info", files[0])
    assert b"cycles" in text
    assert b"2,000" in text
    facts = json.loads(rvjit("snapshot", "info", "--json", "-", files[0])[0])
    assert (facts["kind"], facts["cycles"], facts["profile"]) == ("full", 2000, "linux")
    assert facts["program"] == "example:quicksort"
    assert len(facts["registers"]) == 32
    assert rvjit("snapshot", "diff", files[0], files[1]) == (b"", "")
    text, _ = rvjit("snapshot", "diff", files[0], files[2], status=1)
    assert b"register cycles: 0x7d0, 0x9c4" in text
    found = json.loads(rvjit("snapshot", "diff", "--json", "-", files[0], files[2], status=1)[0])
    assert {"name": "cycles", "first": "0x7d0", "second": "0x9c4"} in found["registers"]
    assert found["memory"]
    good, _ = rvjit("snapshot", "verify", *files)
    assert good.count(b"good") == 3
    data = bytearray(files[1].read_bytes())
    data[len(data) // 2] ^= 1
    files[1].write_bytes(data)
    _, said = rvjit("snapshot", "verify", *files, status=Status.LOAD)
    assert f"{files[1]}: snapshot, section 'data'" in said
    _, said = rvjit("resume", files[1], status=Status.LOAD)
    assert "checksum of its contents is wrong" in said
    _, said = rvjit("snapshot", "diff", files[0], status=Status.USAGE)
    assert "FILE" in said

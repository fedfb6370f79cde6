"""What `rvjit run` shows of compiled code: --dump-ir, --perf-map, and that perf understands it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import rvjit
from rvjit import VM, ConfigError
from rvjit.cli import main
from rvjit.cli.status import Status
from rvjit.codegen import arena
from rvjit.jit.dump import dump_region
from rvjit.vm import perf_map
from rvjit.vm.perf_map import PerfMap

HEADS = ("; guest code", "; LLVM IR as it is written", "; LLVM IR after the passes", "; host code")


def sections(text: str) -> dict[str, str]:
    """The four texts of one region, by heading."""
    parts = re.split("|".join(f"({re.escape(head)})\n" for head in HEADS), text)
    found = [part for part in parts if part]
    return dict(zip(found[1::2], found[2::2], strict=True))


@pytest.mark.parametrize("engine", ["jit", "tiered", "interp"])
def test_a_region_by_symbol(engine, guest, capfd):
    assert main(["run", "--engine", engine, "--dump-ir", "add", guest("callee")]) == 0
    err = capfd.readouterr().err
    assert re.match(r"; region 0x[0-9a-f]+ <add>: 9 instructions, 1 blocks\n", err)
    found = sections(err)
    assert list(found) == list(HEADS)
    assert "c.add a0, a1" in found["; guest code"]
    assert "checkpoint, 9 cycles at most" in found["; guest code"]
    before, after = found["; LLVM IR as it is written"], found["; LLVM IR after the passes"]
    for text in (before, after):
        assert len(re.findall(r"^define ", text, re.MULTILINE)) == 1
    assert "alloca" in before
    assert "alloca" not in after
    assert re.search(r"^\s+ret", found["; host code"], re.MULTILINE)


def test_calls_and_loops_are_named(guest, capfd):
    assert main(["run", "--engine", "jit", "--dump-ir", "fact", guest("callee")]) == 0
    code = sections(capfd.readouterr().err)["; guest code"]
    assert re.search(r"calls 0x[0-9a-f]+ <fact>;", code)
    assert main(["run", "--cycles", "5", "--dump-ir", "0x10000", "example:hello"]) != 0


def test_all_regions(guest, capfd):
    arguments = ["--engine", "jit", "--stats", "--dump-ir", "all", guest("callee")]
    assert main(["run", *arguments]) == 0
    err = capfd.readouterr().err
    regions = int(re.search(r"regions +(\d+)\n", err)[1])
    assert len(re.findall(r"^; region ", err, re.MULTILINE)) == regions > 3
    assert main(["run", "--engine", "interp", "--dump-ir", "all", guest("callee")]) == 0
    assert "no region was compiled" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("nosuch", ["no symbol 'nosuch'"]),
        ("0x3", ["no region begins at 0x3"]),
        ("0xffffffffffffffffff", ["no region begins at 0xffffffffffffffffff"]),
        ("counter", ["no region begins at", "<counter>"]),
    ],
)
def test_what_has_no_region(where, words, guest, capfd):
    arguments = ["--engine", "interp", "--cycles", "10", "--dump-ir", where, guest("forever")]
    assert main(["run", *arguments]) == Status.USAGE
    err = capfd.readouterr().err
    for word in words:
        assert word in err


def test_a_dump_changes_nothing(guest):
    vm = VM.from_elf(guest("callee"), engine="threaded", stdout=lambda data: None)
    flags = vm.machine.memory.flags.tobytes()
    text = dump_region(vm.machine, vm.address_of("main"))
    assert text == dump_region(vm.machine, vm.address_of("main"))
    assert vm.machine.memory.flags.tobytes() == flags
    assert vm.run().exit_code == 0
    with pytest.raises(ConfigError, match="no region begins at 0x1"):
        dump_region(vm.machine, 1)


# perf.


def read_map(path: Path) -> dict[str, tuple[int, int]]:
    lines = [line.split(" ", 2) for line in path.read_text().splitlines()]
    return {name: (int(address, 16), int(size, 16)) for address, size, name in lines}


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(perf_map, "_FOLDER", tmp_path)
    monkeypatch.setattr(arena, "_anonymous", False)
    return tmp_path


@pytest.mark.parametrize("engine", ["jit", "threaded", "tiered", "lockstep", "interp"])
def test_the_map_names_what_runs(engine, folder, guest, capfd):
    assert main(["run", "--engine", engine, "--perf-map", guest("callee")]) == 0
    found = read_map(folder / f"perf-{os.getpid()}.map")
    assert ("rvjit_runtime" in found) == (engine in ("jit", "tiered", "lockstep"))
    assert ("rvjit_threaded" in found) == (engine in ("threaded", "tiered"))
    if engine in ("jit", "lockstep"):
        assert {"main", "_start"} <= found.keys()
        assert all(size > 0 for _, size in found.values())
        ranges = sorted(found.values())
        for (address, size), (following, _) in pairwise(ranges):
            assert address + size <= following  # nothing was dropped


def test_regions_that_are_there_already_are_named_too(folder):
    vm = VM.from_elf(rvjit.example("fib"), args=["5"], engine="jit", stdout=lambda data: None)
    vm.run()
    found = PerfMap()
    found.attach(vm)
    assert len(read_map(found.path)) >= len(vm.engine.entries)
    found.close()
    found.write("late", 16, 16)
    assert "late" not in read_map(found.path)


def test_the_file_of_somebody_else_is_left_alone(folder, guest, capfd):
    other = folder / "other"
    other.write_text("precious")
    (folder / f"perf-{os.getpid()}.map").symlink_to(other)
    assert main(["run", "--perf-map", guest("callee")]) == Status.USAGE
    assert "perf-" in capfd.readouterr().err
    assert other.read_text() == "precious"


def test_perf_report_names_guest_functions(tmp_path):
    perf = shutil.which("perf")
    if perf is None:
        pytest.skip("perf is not installed")
    data = str(tmp_path / "perf.data")
    recorder = [perf, "record", "-q", "-e", "cpu-clock", "-o", data, "--"]
    probe = subprocess.run([*recorder, "true"], capture_output=True, timeout=60, check=False)
    if probe.returncode != 0:
        pytest.skip("perf may not record here")
    command = [sys.executable, "-m", "rvjit", "run", "--engine", "jit", "--perf-map"]
    process = subprocess.Popen(
        [*recorder, *command, "example:fib", "33"], stdout=subprocess.DEVNULL
    )
    assert process.wait(timeout=120) == 0
    report = [perf, "report", "-q", "--stdio", "-i", data, "--sort", "comm,dso,symbol"]
    found = subprocess.run(report, capture_output=True, text=True, timeout=120, check=True).stdout
    named = re.findall(r"\[JIT\] tid (\d+) +\[\.\] (\S+)", found)
    for process_id in {found for found, _ in named}:
        (Path("/tmp") / f"perf-{process_id}.map").unlink()
    assert "fib" in {name for _, name in named}


def test_fused_cycles_are_no_instructions(tmp_path, capfd):
    for isa, unit in (("imcba_zicond", "MIPS"), ("imcba_zicond_mop", "million cycles/s")):
        path = tmp_path / f"{isa}.json"
        status = main(["run", "--isa", isa, "--stats", "--json", str(path), "example:hello"])
        assert status == 0
        found = json.loads(path.read_text())
        assert (found["mips"] is None) == (isa != "imcba_zicond")
        assert f" {unit}" in capfd.readouterr().err

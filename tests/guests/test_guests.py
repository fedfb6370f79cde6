"""The committed guests are what their sources say and print under QEMU what is recorded."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

GUESTS = Path(__file__).parent
EXPECTED = GUESTS / "expected"
CASES: list[dict[str, Any]] = json.loads((EXPECTED / "cases.json").read_text())


def load_build_script() -> Any:
    """Import `build.py`, which belongs to no package."""
    spec = importlib.util.spec_from_file_location("rvjit_guests_build", GUESTS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_rebuilt_guests_have_the_committed_bytes() -> None:
    script = load_build_script()
    build = script.load_examples_script()
    problem = build.why_ziglang_is_unusable()
    if problem is not None:
        pytest.skip(problem)
    recipes = script.guests(build)
    for name in ("wild", "callee"):
        assert recipes[name].is_current(), name


def test_every_case_names_a_guest_and_has_its_output() -> None:
    for case in CASES:
        assert (GUESTS / f"{case['guest']}.elf").is_file()
        assert (EXPECTED / f"{case['name']}.txt").is_file()
    recorded = sorted(path.stem for path in EXPECTED.glob("*.txt"))
    assert recorded == sorted(case["name"] for case in CASES)


def one_instruction_at_a_time(qemu: str) -> str:
    """Return the option that makes *qemu* see every store to code at the next instruction."""
    shown = subprocess.run([qemu, "-h"], capture_output=True, text=True, check=False).stdout
    return "-one-insn-per-tb" if "-one-insn-per-tb" in shown else "-singlestep"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_guest_prints_under_qemu_what_is_recorded(case: dict[str, Any]) -> None:
    qemu = shutil.which("qemu-riscv64")
    if qemu is None:
        pytest.skip("qemu-riscv64 is not installed")
    done = subprocess.run(
        [qemu, one_instruction_at_a_time(qemu), f"{case['guest']}.elf", *case["args"]],
        cwd=GUESTS,
        env=case["env"],
        input=case["stdin"].encode(),
        capture_output=True,
        check=False,
    )
    status = done.returncode if done.returncode >= 0 else 128 - done.returncode
    assert done.stdout == (EXPECTED / f"{case['name']}.txt").read_bytes()
    assert status == case["exit"]

"""The examples print the recorded results, in the guest under QEMU and built for the host."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from rvjit.examples import EXAMPLES, path

SOURCES = path("hello").parent / "src"
EXPECTED = Path(__file__).parent / "expected"


def recorded(name: str) -> dict[str, bytes]:
    """Return the recorded output of the example by size."""
    return {
        file.stem.removeprefix(f"{name}-"): file.read_bytes()
        for file in EXPECTED.glob(f"{name}-*.txt")
    }


def run(command: list[str]) -> bytes:
    return subprocess.run(command, capture_output=True, check=True).stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_the_guest_prints_under_qemu_what_is_recorded(example) -> None:
    qemu = shutil.which("qemu-riscv64")
    if qemu is None:
        pytest.skip("qemu-riscv64 is not installed")
    elf = str(path(example.name))
    outputs = recorded(example.name)
    for size, output in outputs.items():
        assert run([qemu, elf, size]) == output, size
    assert run([qemu, elf]) == outputs[str(example.default_size)]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_the_host_build_prints_what_is_recorded(example, tmp_path: Path) -> None:
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("gcc is not installed")
    program = tmp_path / example.name
    sources = [str(SOURCES / f"{example.name}.c"), str(SOURCES / "runtime.c")]
    run([gcc, "-std=c11", "-O2", "-Wall", "-Wextra", *sources, "-o", str(program)])
    for size, output in recorded(example.name).items():
        assert run([str(program), size]) == output, size

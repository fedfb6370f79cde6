"""One adapter per engine: whether it is here, which version, and the command that runs a guest."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
EXAMPLES = ROOT / "rvjit" / "examples"
SOURCES = EXAMPLES / "src"
IMAC_GUESTS = HERE / "guests"
NATIVE_FLAGS = ("-std=c11", "-O2")


@dataclass(frozen=True)
class Task:
    """One guest to run: *program* with *size* as its argument.

    *work* is a folder for what is built, *report* the file for what the process measures itself.
    """

    program: str
    size: int
    warm_up: int
    work: Path
    report: Path


class Backend(ABC):
    """One engine. *uses_bits* tells whether its guests are built with Zba, Zbb and Zbs."""

    name: str
    title: str
    uses_bits = True

    @abstractmethod
    def missing(self) -> str | None:
        """Say why the engine cannot run here; None if it can."""

    @abstractmethod
    def version(self) -> str:
        """Return the version, in one line."""

    @abstractmethod
    def command(self, task: Task) -> list[str]:
        """Return the command that runs *task*."""

    def prepare(self, program: str, work: Path) -> None:  # noqa: B027 - most need nothing
        """Build what `command` needs for *program*."""


def _guest(program: str, *, bits: bool) -> str:
    return str((EXAMPLES if bits else IMAC_GUESTS) / f"{program}.elf")


class PythonBackend(Backend):
    """An engine that is a Python package, run by `child.py`."""

    def __init__(self, name: str, title: str, package: str, *, bits: bool) -> None:
        self.name, self.title, self._package, self.uses_bits = name, title, package, bits

    def missing(self) -> str | None:
        """Look for the package, without importing it."""
        if importlib.util.find_spec(self._package) is None:
            return f"the package {self._package} is not installed"
        if not Path(_guest("hello", bits=self.uses_bits)).is_file():
            return "its guests are not built; run benchmarks/guests/build.py"
        return None

    def version(self) -> str:
        """Ask the package's metadata; ours may run from a checkout that is not installed."""
        try:
            return f"{self._package} {importlib.metadata.version(self._package)}"
        except importlib.metadata.PackageNotFoundError:
            module = importlib.import_module(self._package)
            return f"{self._package} {getattr(module, '__version__', '(checkout)')}"

    def command(self, task: Task) -> list[str]:
        """Run `child.py`."""
        guest = _guest(task.program, bits=self.uses_bits)
        return [
            sys.executable, str(HERE / "child.py"), self.name, guest,
            str(task.size), str(task.warm_up), str(task.report),
        ]  # fmt: skip


class BarePython(Backend):
    """Python that starts and ends: the floor under every engine that is a Python package."""

    name, title = "python", "bare Python"

    def missing(self) -> str | None:
        """It is running."""
        return None

    def version(self) -> str:
        """Return Python's version."""
        return f"Python {sys.version.split()[0]}"

    def command(self, task: Task) -> list[str]:  # noqa: ARG002
        """Do nothing."""
        return [sys.executable, "-c", "pass"]


class Qemu(Backend):
    """QEMU's user mode."""

    name, title = "qemu", "qemu-riscv64"

    def missing(self) -> str | None:
        """Look on the path."""
        return None if shutil.which("qemu-riscv64") else "qemu-riscv64 is not installed"

    def version(self) -> str:
        """Return the first line it prints."""
        return _first_line(["qemu-riscv64", "--version"])

    def command(self, task: Task) -> list[str]:
        """Run the same ELF as our engines."""
        return ["qemu-riscv64", _guest(task.program, bits=True), str(task.size)]


class Native(Backend):
    """The same C for the host."""

    name, title = "native", f"native gcc {NATIVE_FLAGS[-1]}"

    def missing(self) -> str | None:
        """Look on the path."""
        return None if shutil.which("gcc") else "gcc is not installed"

    def version(self) -> str:
        """Return the first line it prints, and the flags."""
        return f"{_first_line(['gcc', '--version'])}, {' '.join(NATIVE_FLAGS)}"

    def command(self, task: Task) -> list[str]:
        """Run what `prepare` built."""
        return [str(task.work / task.program), str(task.size)]

    def prepare(self, program: str, work: Path) -> None:
        """Compile the program with libc in the runtime's place."""
        sources = [str(SOURCES / f"{program}.c"), str(SOURCES / "runtime.c")]
        subprocess.run(
            ["gcc", *NATIVE_FLAGS, *sources, "-o", str(work / program)],
            check=True, capture_output=True,
        )  # fmt: skip


def _first_line(command: list[str]) -> str:
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return shown.splitlines()[0] if shown else "unknown"


BACKENDS: tuple[Backend, ...] = (
    BarePython(),
    PythonBackend("interp", "rvjit interp", "rvjit", bits=True),
    PythonBackend("jit", "rvjit jit", "rvjit", bits=True),
    PythonBackend("unicorn", "Unicorn", "unicorn", bits=False),
    Qemu(),
    Native(),
)
BY_NAME = {backend.name: backend for backend in BACKENDS}

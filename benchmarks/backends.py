"""One adapter per backend: whether it is here, which version, and the command that runs a guest."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from benchmarks.guests import build
from benchmarks.lineup import State

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CACHE_VARIABLE = "RVJIT_CACHE_DIR"


@dataclass(frozen=True)
class Task:
    """One guest to run: *program* with *size* as its argument, with a cache in *state*.

    *cache* is the folder of that cache, *work* one for what is built, *report* the file for what
    the process measures itself. While a cache is being *filled* nothing is measured.
    """

    program: str
    size: int
    state: State
    cache: Path
    work: Path
    report: Path
    filling: bool = False


class Backend(ABC):
    """One engine. *kind* is the folder of its guests, empty if they are not built beforehand.

    *keeps_own_code* says that what hello leaves in its cache is code of the engine itself.
    """

    name: str
    title: str
    kind = "rv64"
    keeps_own_code = False

    def missing(self) -> str | None:
        """Say why the engine cannot run here; None if it can."""
        if self.kind and not self.guest("hello").is_file():
            return "its guests are not built; run benchmarks/guests/build.py"
        return self.absent()

    @abstractmethod
    def absent(self) -> str | None:
        """Say what is not installed; None if all is."""

    @abstractmethod
    def version(self) -> str:
        """Return the version, in one line."""

    @abstractmethod
    def command(self, task: Task) -> list[str]:
        """Return the command that runs *task*."""

    def guest(self, program: str) -> Path:
        """Return the file that is run for *program*."""
        return build.HERE / self.kind / f"{program}{build.KINDS[self.kind]}"

    def environment(self, task: Task) -> dict[str, str]:  # noqa: ARG002
        """Return what the process needs in its environment."""
        return {}

    def prepare(self, program: str, work: Path) -> None:  # noqa: B027 - most need nothing
        """Build what `command` needs for *program*."""


class PythonBackend(Backend):
    """An engine that is a Python package, run by `child.py`."""

    def __init__(self, name: str, title: str, package: str, kind: str) -> None:
        self.name, self.title, self._package, self.kind = name, title, package, kind
        self.keeps_own_code = package == "rvjit"

    def absent(self) -> str | None:
        """Look for the package, without importing it."""
        if importlib.util.find_spec(self._package) is None:
            return f"the package {self._package} is not installed"
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
        state = "filling" if task.filling else task.state.value
        return [
            sys.executable, str(HERE / "child.py"), self.name, str(self.guest(task.program)),
            str(task.size), state, str(task.cache), str(task.report),
        ]  # fmt: skip

    def environment(self, task: Task) -> dict[str, str]:
        """Say where our code cache is."""
        return {CACHE_VARIABLE: str(task.cache)}


class Command(PythonBackend):
    """`rvjit run`, as a user would start it."""

    def __init__(self) -> None:
        super().__init__("command", "rvjit run", "rvjit", "rv64")

    def command(self, task: Task) -> list[str]:
        """Run the command line."""
        guest = str(self.guest(task.program))
        options = ["run", "--quiet", "--engine", "tiered"]
        return [str(Path(sys.executable).with_name("rvjit")), *options, guest, str(task.size)]


class BarePython(Backend):
    """Python that starts and ends: the floor under every engine that is a Python package."""

    name, title, kind = "python", "bare Python", ""

    def absent(self) -> str | None:
        """It is running."""
        return None

    def version(self) -> str:
        """Return Python's version."""
        return f"Python {sys.version.split()[0]}"

    def command(self, task: Task) -> list[str]:  # noqa: ARG002
        """Do nothing."""
        return [sys.executable, "-c", "pass"]


class Qemu(Backend):
    """QEMU's user mode, with the same ELF as our engines."""

    name, title = "qemu", "qemu-riscv64"

    def absent(self) -> str | None:
        """Look on the path."""
        return None if shutil.which("qemu-riscv64") else "qemu-riscv64 is not installed"

    def version(self) -> str:
        """Return the first line it prints."""
        return _first_line(["qemu-riscv64", "--version"])

    def command(self, task: Task) -> list[str]:
        """Run it."""
        return ["qemu-riscv64", str(self.guest(task.program)), str(task.size)]


class Native(Backend):
    """The same C for the host."""

    name, title, kind = "native", "native gcc -O2", ""

    def absent(self) -> str | None:
        """Look on the path."""
        return None if shutil.which("gcc") else "gcc is not installed"

    def version(self) -> str:
        """Return the first line it prints, and the flags."""
        return f"{_first_line(['gcc', '--version'])}, {' '.join(build.NATIVE)}"

    def command(self, task: Task) -> list[str]:
        """Run what `prepare` built."""
        return [str(task.work / task.program), str(task.size)]

    def prepare(self, program: str, work: Path) -> None:
        """Compile the program."""
        build.build_native(program, work / program)


def _first_line(command: list[str]) -> str:
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return shown.splitlines()[0] if shown else "unknown"


BACKENDS: tuple[Backend, ...] = (
    BarePython(),
    Native(),
    PythonBackend("tiered", "rvjit tiered", "rvjit", "rv64"),
    Command(),
    PythonBackend("jit", "rvjit jit", "rvjit", "rv64"),
    PythonBackend("threaded", "rvjit threaded", "rvjit", "rv64"),
    PythonBackend("wasmtime", "wasmtime with fuel", "wasmtime", "wasm"),
    Qemu(),
    PythonBackend("unicorn", "Unicorn", "unicorn", "imac"),  # it lacks Zba, Zbb, Zbs
)
BY_NAME = {backend.name: backend for backend in BACKENDS}
OPTIONAL = ("jit",)  # measured only if asked for: in steady state it is the tiered engine

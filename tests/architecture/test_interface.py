"""What users see: the pinned names, a light import, and a wheel that type checkers understand."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

import rvjit
from rvjit.vm.calls import Calls
from rvjit.vm.clones import Clones
from rvjit.vm.rounds import Rounds
from rvjit.vm.snapshots import Snapshots

ROOT = Path(__file__).parent.parent.parent
COMMAND = ROOT / "rvjit_command.py"

NAMES = """
    Aborted BadSyscall Breakpoint CKB_PRICES Call CallStopped CheckpointRing ConfigError Cost
    Coverage ElfError EngineMismatch EngineUnavailable Exit Frame GuestFault IllegalInstruction
    InternalError Isa LoadError MachineBusy MemoryFault Misaligned OutOfBounds PermissionDenied
    PriceModel Profile Replay RunResult Runs RvjitError Snapshot SnapshotError SnapshotFormatError
    SnapshotMismatch Stop UNIT_PRICES UnknownSymbol UnknownSyscall VM example
"""

HEAVY = ("llvmlite", "elftools", "msgpack", "rich", "importlib.metadata", "numpy")


def test_the_names_are_pinned() -> None:
    """A name that is added or taken away is a decision: change it here too."""
    assert sorted(rvjit.__all__) == sorted(NAMES.split())
    assert len(set(rvjit.__all__)) == len(rvjit.__all__)
    for name in rvjit.__all__:
        assert getattr(rvjit, name) is not None


def test_every_public_name_is_documented() -> None:
    for name in rvjit.__all__:
        value = getattr(rvjit, name)
        if isinstance(value, type) or callable(value):
            assert value.__doc__, name
    for name, method in vars(rvjit.VM).items():
        if not name.startswith("_"):
            assert method.__doc__, name


def test_errors_are_one_tree() -> None:
    errors = [getattr(rvjit, name) for name in rvjit.__all__]
    errors = [each for each in errors if isinstance(each, type) and issubclass(each, Exception)]
    assert len(errors) > 15
    for error in errors:
        assert issubclass(error, rvjit.RvjitError)
    assert issubclass(rvjit.ConfigError, ValueError)
    assert issubclass(rvjit.UnknownSymbol, KeyError)


def loaded_by(script: str) -> set[str]:
    """Names of the modules that a fresh interpreter has after *script*."""
    done = subprocess.run(
        [sys.executable, "-c", f"{script}\nimport json, sys\nprint(json.dumps([*sys.modules]))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_is_light() -> None:
    bare = loaded_by("")
    loaded = loaded_by("import rvjit")
    assert not (loaded - bare) & set(HEAVY)
    assert "rvjit.codegen.llvm" not in loaded


def test_a_warm_run_is_lighter_still() -> None:
    """A program that was run before needs no compiler, no ELF parser, no decoder; see values.py."""
    script = (
        "from rvjit.cli import main\n"
        "assert main(['run', '--quiet', 'example:hello']) == 0\n"
    )  # fmt: skip
    loaded_by(script)
    loaded = loaded_by(script) - loaded_by("")
    needless = {
        *HEAVY,
        *("dataclasses", "inspect", "typing", "pathlib", "hashlib", "socket", "urllib", "shutil"),
        *("rvjit.isa.spec", "rvjit.isa.decode", "rvjit.codegen.blocks", "rvjit.interp"),
        *("rvjit.loader.elf", "rvjit.loader.ckb", "rvjit.engines.worker", "rvjit.cli.report"),
        *(f"rvjit.vm.{part}" for part in ("calls", "clones", "rounds", "snapshots")),
        *("rvjit.snapshot", "rvjit.machine.image", "rvjit.syscalls.state"),
        *("rvjit.replay", "rvjit.cli.failure"),
    }
    assert not loaded & needless


@pytest.mark.parametrize("base", [Calls, Clones, Rounds, Snapshots])
def test_what_a_vm_imports_later_is_there(base: type) -> None:
    """Each public name of the class is one that stands in for it."""
    names = [name for name in vars(base) if not name.startswith("_")]
    assert names
    script = f"import rvjit\nassert set({names}) <= set(dir(rvjit.VM))"
    assert base.__module__ not in loaded_by(script)
    assert base.__module__ in loaded_by(f"{script}\nassert rvjit.VM.{names[-1]}.__doc__")


def test_the_reference_runs_without_llvm() -> None:
    script = (
        "import rvjit\n"
        "hello = rvjit.example('hello')\n"
        "vm = rvjit.VM.from_elf(hello, engine='interp', stdout=lambda data: None)\n"
        "assert vm.run().exit_code == 0\n"
    )
    assert "llvmlite" not in loaded_by(script)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own in which the wheel, and only that, is installed."""
    if find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed: the wheel cannot be built")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    packages = Path(
        sysconfig.get_path("purelib", "venv", {"base": str(environment), "platbase": ""})
    )
    zipfile.ZipFile(wheel).extractall(packages)
    return packages


def test_the_wheel_is_complete(site: Path) -> None:
    package = site / "rvjit"
    assert (package / "py.typed").is_file()
    source = ROOT / "rvjit"
    wanted = {
        path.relative_to(source)
        for pattern in ("*.py", "*.elf", "py.typed")
        for path in source.rglob(pattern)
    }
    assert wanted <= {path.relative_to(package) for path in package.rglob("*")}
    assert not list(site.glob("tests"))
    (info,) = site.glob("rvjit-*.dist-info")
    metadata = (info / "METADATA").read_text()
    assert f"Version: {rvjit.__version__}" in metadata
    assert "License-Expression: MIT" in metadata
    (command,) = site.glob("rvjit-*.data/scripts/rvjit")
    first, *rest = command.read_text().splitlines()
    assert first == "#!python"  # installers put the environment's there
    assert rest == COMMAND.read_text().splitlines()[1:]
    assert os.access(COMMAND, os.X_OK)  # which the wheel and the installed script have too


def test_the_wheel_runs_a_program(site: Path, tmp_path: Path) -> None:
    """On the reference, which needs nothing but pyelftools for loading."""
    import elftools

    shutil.copytree(Path(elftools.__file__).parent, tmp_path / "elftools")
    python = site.parent.parent.parent / "bin" / "python"
    script = (
        "import sys, rvjit\n"
        f"assert rvjit.__file__.startswith({str(site)!r}), rvjit.__file__\n"
        "vm = rvjit.VM.from_elf(rvjit.example('hello'), engine='interp')\n"
        "raise SystemExit(vm.run().exit_code)\n"
    )
    done = subprocess.run(
        [str(python), "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


def test_the_wheel_is_typed(site: Path, tmp_path: Path) -> None:
    if find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    shutil.copy(ROOT / "tests" / "typing" / "api.py", tmp_path / "api.py")
    python = site.parent.parent.parent / "bin" / "python"

    def check() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable, "-m", "mypy", "--strict", "--warn-unreachable",
                "--config-file", "", "--cache-dir", str(tmp_path / "cache"),
                "--python-executable", str(python), "api.py",
            ],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip

    done = check()
    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "api.py").open("a") as file:
        file.write("\nwrong: str = rvjit.VM.run\n")
    assert "Incompatible types" in check().stdout  # it did look at the wheel's types

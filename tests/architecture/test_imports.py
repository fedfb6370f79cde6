"""The quick finder finds what Python finds, or nothing."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import inspect
import os
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rvjit.imports import _Finder

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(params=["module", "package"])
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module, or a package, `found` in the test's folder, with bytecode."""
    monkeypatch.setattr(sys, "pycache_prefix", None)
    path = tmp_path / ("found.py" if request.param == "module" else "found/__init__.py")
    path.parent.mkdir(exist_ok=True)
    path.write_text("def answer():\n    return 42\n")
    py_compile.compile(str(path), doraise=True)
    return path


def find(tmp_path: Path) -> importlib.machinery.ModuleSpec | None:
    return _Finder.find_spec("rvjit.found", [str(tmp_path)])


def test_it_is_what_python_finds(source: Path, tmp_path: Path) -> None:
    spec = find(tmp_path)
    assert spec is not None
    usual = importlib.machinery.PathFinder.find_spec("rvjit.found", [str(tmp_path)])
    assert usual is not None
    for name in ("name", "origin", "cached", "has_location", "parent"):
        assert getattr(spec, name) == getattr(usual, name)
    assert spec.submodule_search_locations == usual.submodule_search_locations
    assert isinstance(spec.loader, type(usual.loader))
    module = importlib.util.module_from_spec(spec)
    for _ in range(2):  # the second time as a reload does
        spec.loader.exec_module(module)
        assert module.answer() == 42
    assert module.__file__ == str(source)
    assert inspect.getsource(module.answer) == source.read_text()


def test_bytecode_that_is_older_or_newer_does_not_count(source: Path, tmp_path: Path) -> None:
    facts = source.stat()
    for seconds in (-5, 5):
        os.utime(source, (facts.st_atime, facts.st_mtime + seconds))
        assert find(tmp_path) is None
    os.utime(source, (facts.st_atime, facts.st_mtime))
    assert find(tmp_path) is not None
    source.write_text("def answer():\n    return 4242\n")
    os.utime(source, (facts.st_atime, facts.st_mtime))
    assert find(tmp_path) is None


def test_other_bytecode_is_left_to_python(source: Path, tmp_path: Path) -> None:
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    made = py_compile.compile(str(source), doraise=True, invalidation_mode=mode)
    assert find(tmp_path) is None
    Path(made).write_bytes(b"from another version of Python")
    assert find(tmp_path) is None
    Path(made).unlink()
    assert find(tmp_path) is None


def test_a_folder_that_was_moved_is_left_to_python(source: Path, tmp_path: Path) -> None:
    """Tracebacks would name files that are gone."""
    moved = tmp_path.rename(tmp_path.with_name(tmp_path.name + "-moved"))
    assert find(moved) is None


def test_other_packages_are_not_looked_for(source: Path, tmp_path: Path) -> None:
    assert _Finder.find_spec("rvjitty.found", [str(tmp_path)]) is None
    assert _Finder.find_spec("rvjit.found", None) is None
    assert _Finder.find_spec("rvjit.found", [str(tmp_path), str(tmp_path)]) is None
    assert _Finder.find_spec("rvjit.missing", [str(tmp_path)]) is None


PROCESS = """
import runpy, sys, os
def report(status):
    for name, module in sys.modules.items():
        if name.startswith("rvjit."):
            print(name, type(module.__spec__.loader).__name__)
    sys.stdout.flush()
    end(status)
end, os._exit = os._exit, report
sys.argv = ["rvjit", "--version"]
runpy.run_path(COMMAND)
"""


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_command_uses_it_unless_bytecode_is_elsewhere(elsewhere: bool, tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "*.elf")
    shutil.copytree(ROOT / "rvjit", tmp_path / "rvjit", ignore=ignored)
    code = PROCESS.replace("COMMAND", repr(str(ROOT / "rvjit_command.py")))
    environment = {name: each for name, each in os.environ.items() if "PYTHON" not in name}
    if elsewhere:
        environment["PYTHONPYCACHEPREFIX"] = str(tmp_path / "elsewhere")
    command = [sys.executable, "-c", code]
    seen: dict[str, str] = {}
    for _ in range(2):  # the first writes bytecode
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        seen = dict(line.split() for line in done.stdout.splitlines() if line.startswith("rvjit."))
    del seen["rvjit.imports"], seen["rvjit.errors"]  # before it is there
    assert len(seen) > 3
    assert set(seen.values()) == {"SourceFileLoader" if elsewhere else "_Loader"}

"""The shape of the source: sizes, names, docstrings, who imports what, and what prose names."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "rvjit"
MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = [*MODULES, *sorted((ROOT / "tests").rglob("*.py")), *(ROOT / "benchmarks").rglob("*.py")]

MAX_LINES = 600
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
# Who may import what is heavy or foreign; everything else may not at all.
FOREIGN = {
    "llvmlite": ("codegen",),
    "elftools": ("loader", "cli"),
    "msgpack": ("snapshot", "scheduler"),
    "zstandard": ("snapshot",),
    "rich": ("cli",),
}
STANDARD = set(sys.stdlib_module_names)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(tree: ast.AST) -> set[str]:
    """Names of all modules that the source imports, wherever it does."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_are_short_and_well_named(path: Path) -> None:
    lines = path.read_text().count("\n")
    assert lines <= MAX_LINES
    assert not FORBIDDEN_NAMES & set(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_say_what_they_are_for(path: Path) -> None:
    tree = ast.parse(path.read_text())
    docstring = ast.get_docstring(tree)
    assert docstring is not None
    assert len(docstring) > 10
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", path.read_text())


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_foreign_packages_are_imported_where_they_belong(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if "src" in path.parts:
        pytest.skip("builds guests; not imported by the package")
    for module in imports(ast.parse(path.read_text())):
        package = module.split(".")[0]
        if package in STANDARD or package == "rvjit":
            continue
        assert part in FOREIGN.get(package, ()), f"imports {module}"


def test_the_layers_hold() -> None:
    if find_spec("importlinter") is None:
        pytest.skip("import-linter is not installed")
    script = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


# Prose.

PROSE = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_SPAN = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"(?:rvjit|tests|docs|benchmarks|\.ci)/[\w./-]*[\w/]")


def paths_in(text: str, folder: Path) -> set[Path]:
    """Paths that links lead to and that code spans name."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    found = {folder / link for link in _LINK.findall(text) if "://" not in link}
    found |= {ROOT / span for span in _SPAN.findall(text) if _PATH.fullmatch(span)}
    return found


@pytest.mark.parametrize("path", PROSE, ids=name_of)
def test_paths_in_prose_exist(path: Path) -> None:
    missing = [str(each) for each in paths_in(path.read_text(), path.parent) if not each.exists()]
    assert missing == []


def code_blocks() -> list[object]:
    found = []
    for path in PROSE:
        if path.is_file():
            blocks = re.findall(
                r"^```python\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL
            )
            for index, block in enumerate(blocks):
                found.append(pytest.param(block, id=f"{path.name}-{index}"))
    return found


@pytest.mark.parametrize("block", code_blocks())
def test_code_in_prose_runs(block: str, tmp_path: Path) -> None:
    if "import rvjit" not in block:
        pytest.skip("a fragment, not a program")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_readme_gives_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    block = text.split("<!-- commands -->")[1].split("<!-- end of commands -->")[0]
    lines = [line for line in block.splitlines() if line and not line.startswith("```")]
    assert len(lines) == 2
    # The default engine would be done with a picture before anything is compiled.
    assert "rvjit run --engine jit --stats example:" in lines[0]
    assert lines[1].endswith("-m pytest -n auto")

"""Build the benchmark guests: for RV64IMAC with and without Zba, Zbb, Zbs, and for WebAssembly.

    python benchmarks/guests/build.py [--check] [NAME ...]

Some guests are example programs of the package, the others are in `src`; `cold` is written by
`cold.py`. Runtime, start-up and layout are those of `rvjit/examples/src`, the compiler is the
pinned one of `rvjit/examples/src/build.py`. Names are those of the files: rv64/fib.elf.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "src"
EXAMPLES = HERE.parents[1] / "rvjit" / "examples" / "src"
FROM_EXAMPLES = ("bytecode", "coremix", "hello", "json", "matmul", "quicksort", "sha256", "sieve")
GENERATED = "cold"

# Every build has its own string functions and makes no calls of them out of loops, so that no side
# is measured with a library that the other sides lack.
SAME_ON_ALL_SIDES = (
    "-std=c11", "-O2", "-fomit-frame-pointer", "-fno-builtin", "-DSELF_CONTAINED",
)  # fmt: skip
# gcc makes such calls in spite of -fno-builtin.
NATIVE = (*SAME_ON_ALL_SIDES, "-fno-tree-loop-distribute-patterns")
PLAIN_ISA = "generic_rv64+m+a+c"
KINDS = {"rv64": ".elf", "imac": ".elf", "wasm": ".wasm"}
_WASM = (
    "-target", "wasm32-freestanding", "-ffreestanding", "-nostdlib",
    "-Wall", "-Wextra", "-Werror", "-g0", "-fno-stack-protector", "-fno-sanitize=undefined",
    "-Wl,--no-entry", "-Wl,--gc-sections", "-Wl,-z,stack-size=1048576",
)  # fmt: skip


def load(path: Path, name: str) -> ModuleType:
    """Import a script that belongs to no package."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def names() -> list[str]:
    """Return the names of all guests."""
    return sorted([*FROM_EXAMPLES, GENERATED, *(path.stem for path in SOURCES.glob("*.c"))])


def source(name: str, folder: Path) -> Path:
    """Return the C file of a guest; a generated one is written into *folder*."""
    if name == GENERATED:
        written = folder / f"{name}.c"
        written.write_text(load(HERE / "cold.py", "benchmarks_cold").source(), encoding="ascii")
        return written
    return (EXAMPLES if name in FROM_EXAMPLES else SOURCES) / f"{name}.c"


def recipes(build: ModuleType, folder: Path) -> dict[str, Any]:
    """Return the recipes of all builds of all guests; *folder* is for what is generated."""
    example = build.examples()["hello"]
    found = {}
    for name in names():
        # Relative, because the symbol table keeps the name of the file as it was given.
        file = os.path.relpath(source(name, folder), EXAMPLES)
        riscv = (*example.command[:-1], *SAME_ON_ALL_SIDES, "-I.", file)
        plain = tuple(
            word.replace(build.ISA, PLAIN_ISA) if word.startswith("-mcpu=") else word
            for word in riscv
        )
        wasm = (*build.compiler(), *_WASM, *SAME_ON_ALL_SIDES, "-I.", "runtime.c", file)
        for kind, command in (("rv64", riscv), ("imac", plain), ("wasm", wasm)):
            path = HERE / kind / f"{name}{KINDS[kind]}"
            found[f"{kind}/{path.name}"] = dataclasses.replace(example, elf=path, command=command)
    return found


def build_native(name: str, target: Path) -> None:
    """Build a guest for the host with gcc; raises `subprocess.CalledProcessError`."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                "gcc", *NATIVE, f"-I{EXAMPLES}",
                str(source(name, Path(folder))), str(EXAMPLES / "runtime.c"), "-o", str(target),
            ],
            check=True, capture_output=True,
        )  # fmt: skip


def main() -> int:
    """Build or check what the command line names."""
    script = load(EXAMPLES / "build.py", "rvjit_examples_build")
    with tempfile.TemporaryDirectory() as folder:
        status: int = script.main(recipes(script, Path(folder)))
    return status


if __name__ == "__main__":
    raise SystemExit(main())

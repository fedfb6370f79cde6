"""Rebuild the examples for plain RV64IMAC, for emulators that lack Zba, Zbb and Zbs.

    python benchmarks/guests/build.py [--check] [NAME ...]

Sources, compiler and layout are those of `rvjit/examples/src`; only the extensions differ.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
BUILD_SCRIPT = HERE.parents[1] / "rvjit" / "examples" / "src" / "build.py"
ISA = "generic_rv64+m+a+c"


def load_build_script() -> ModuleType:
    """Import the examples' `build.py`, which belongs to no package."""
    spec = importlib.util.spec_from_file_location("rvjit_examples_build", BUILD_SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def recipes(build: ModuleType) -> dict[str, Any]:
    """Return the examples' recipes with another ISA and another place."""
    with_b = f"-mcpu={build.ISA}"
    found = {}
    for name, recipe in build.examples().items():
        assert with_b in recipe.command
        command = tuple(f"-mcpu={ISA}" if word == with_b else word for word in recipe.command)
        found[name] = dataclasses.replace(recipe, elf=HERE / f"{name}.elf", command=command)
    return found


if __name__ == "__main__":
    script = load_build_script()
    raise SystemExit(script.main(recipes(script)))

"""Rebuild the test guests: like `rvjit/examples/src/build.py`, whose options it has.

    python tests/guests/build.py [--check] [NAME ...]

All but one are built by the pinned ziglang; ``picolibc_hello`` needs Debian's
riscv64-unknown-elf-gcc 12.2 with picolibc and is left out where they are absent.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

GUESTS = Path(__file__).resolve().parent
SCRIPTS = GUESTS / "ckb"
EXAMPLES = GUESTS.parents[1] / "rvjit" / "examples" / "src"

PICOLIBC_GCC = "riscv64-unknown-elf-gcc"
PICOLIBC_GCC_VERSION = "12.2.0"

# The examples' runtime, as seen from this folder.
RUNTIME = "../../rvjit/examples/src"


def load_examples_script() -> ModuleType:
    """Import the examples' build script, which belongs to no package."""
    spec = importlib.util.spec_from_file_location("rvjit_examples_build", EXAMPLES / "build.py")
    if spec is None or spec.loader is None:
        raise ImportError("build.py of the examples cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def freestanding(build: ModuleType) -> dict[str, tuple[str, ...]]:
    """Return the commands of the guests that use the examples' runtime."""
    with_script = ("-O2", "-ffunction-sections", "-Wl,--gc-sections")
    plain = (*with_script, f"-Wl,-T,{RUNTIME}/link.ld")
    traceable = ("-O1", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls")
    runtime = ("-I", RUNTIME, f"{RUNTIME}/start.S", f"{RUNTIME}/runtime.c")
    head = (*build.compiler(), *build.FREESTANDING, *build.COMMON)
    return {
        "atomics": (*head, *plain, *runtime, "atomics.c"),
        "callee": (*head, *plain, *traceable, *runtime, "callee.c"),
        "echo": (*head, *plain, *runtime, "echo.c"),
        "forever": (*head, *plain, "forever.S"),
        "recurse": (*head, *plain, *runtime, "recurse.c"),
        "selfmod": (
            *head, *with_script, "-Wl,-T,selfmod.ld", *runtime, "selfmod_code.S", "selfmod.c",
        ),
        "straddle": (*head, *plain, *runtime, "straddle_code.S", "straddle.c"),
        "syscalls": (*head, *plain, *runtime, "syscalls.c"),
        "wild": (*head, *with_script, "-Wl,-T,wild.ld", *runtime, "wild_code.S", "wild.c"),
    }  # fmt: skip


def hosted(build: ModuleType) -> dict[str, tuple[str, ...]]:
    """Return the commands of the guests with musl, fixed at 0x10000 or position-independent."""
    head = (
        *build.compiler(), "-target", "riscv64-linux-musl", "-mcpu=baseline_rv64-f-d", "-static",
        "-O2", *build.COMMON, "-Wl,--strip-debug",
    )  # fmt: skip
    fixed = "-Wl,--image-base=0x10000"
    return {
        "abort_musl": (*head, fixed, "abort_musl.c"),
        "musl_hello": (*head, fixed, "musl_hello.c"),
        "musl_hello_pie": (*head, "-pie", "-fPIE", "musl_hello.c"),
        "musl_stdio": (*head, fixed, "musl_stdio.c"),
        "musl_stdio_pie": (*head, "-pie", "-fPIE", "musl_stdio.c"),
    }


def scripts(build: ModuleType) -> dict[str, tuple[str, ...]]:
    """Return the commands of the scripts for CKB's scheduler, in the folder ``ckb``."""
    head = (
        *build.compiler(), "-target", "riscv64-freestanding-none",
        "-mcpu=generic_rv64+m+c+zba+zbb+zbs", "-ffreestanding", "-nostdlib", "-static",
        *build.COMMON, "-Os", "-fno-builtin", "-ffunction-sections", "-Wl,--gc-sections",
        "-Wl,-T,link.ld",
    )  # fmt: skip
    return {path.stem: (*head, path.name) for path in sorted(SCRIPTS.glob("*.c"))}


def picolibc() -> tuple[str, ...] | None:
    """Return the command for ``picolibc_hello``, None without the compiler that built it."""
    try:
        found = subprocess.run(
            [PICOLIBC_GCC, "-dumpfullversion"], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    if found.stdout.strip() != PICOLIBC_GCC_VERSION:
        return None
    return (
        PICOLIBC_GCC, "--specs=picolibc.specs", "-march=rv64imac", "-mabi=lp64", "-mcmodel=medany",
        "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-g0", "-nostartfiles",
        "-ffunction-sections", "-Wl,--gc-sections", "-Tpicolibc_hello.ld", "-Wl,--strip-debug",
        f"{RUNTIME}/start.S", "picolibc_hello.c",
    )  # fmt: skip


def guests(build: ModuleType) -> dict[str, Any]:
    """Return the recipe of every guest that can be built here, by name."""
    commands = {**freestanding(build), **hosted(build)}
    with_gcc = picolibc()
    if with_gcc is not None:
        commands["picolibc_hello"] = with_gcc
    found = {
        name: build.Recipe(elf=GUESTS / f"{name}.elf", directory=GUESTS, command=command)
        for name, command in sorted(commands.items())
    }
    for name, command in scripts(build).items():
        found[f"ckb/{name}"] = build.Recipe(
            elf=SCRIPTS / f"{name}.elf", directory=SCRIPTS, command=command
        )
    return found


if __name__ == "__main__":
    script = load_examples_script()
    raise SystemExit(script.main(guests(script)))

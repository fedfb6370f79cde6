"""Rebuild the guest programs with a pinned compiler, byte for byte.

    python rvjit/examples/src/build.py [--check] [NAME ...]

Without ``--check`` the ELF files are written beside the package; with it they are built in a
temporary folder and compared. The compiler is clang with lld as packed in ziglang; another
version gives other bytes, so only the pinned one is accepted. `tests/guests/build.py` uses the
functions of this file for programs of its own.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ZIGLANG_VERSION = "0.17.0"

SOURCES = Path(__file__).resolve().parent

ISA = "generic_rv64+m+a+c+zba+zbb+zbs"

FREESTANDING = (
    "-target", "riscv64-freestanding-none", f"-mcpu={ISA}",
    "-ffreestanding", "-nostdlib", "-static",
)  # fmt: skip

COMMON = (
    "-std=c11", "-Wall", "-Wextra", "-Werror",
    "-g0", "-fno-stack-protector", "-fno-sanitize=undefined",
    "-Wl,--build-id=none",
)  # fmt: skip

SCRIPTED = ("-O2", "-ffunction-sections", "-Wl,--gc-sections", "-Wl,-T,link.ld")


class BuildError(Exception):
    """A program could not be built; the message says why."""


@dataclass(frozen=True)
class Recipe:
    """How one ELF comes about: a command run in *directory*, to which ``-o FILE`` is appended."""

    elf: Path
    directory: Path
    command: tuple[str, ...]

    def build(self, target: Path) -> None:
        """Write the program to *target*."""
        done = subprocess.run(
            [*self.command, "-o", str(target)],
            cwd=self.directory, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise BuildError(f"{self.elf.name}: {done.stderr.strip() or done.returncode}")

    def rebuild(self) -> None:
        """Write the program to its place."""
        with tempfile.TemporaryDirectory() as folder:
            built = Path(folder) / self.elf.name
            self.build(built)
            self.elf.write_bytes(built.read_bytes())
            self.elf.chmod(0o755)

    def is_current(self) -> bool:
        """Tell whether a fresh build has the same bytes as the file in its place."""
        with tempfile.TemporaryDirectory() as folder:
            built = Path(folder) / self.elf.name
            self.build(built)
            return self.elf.is_file() and self.elf.read_bytes() == built.read_bytes()


def why_ziglang_is_unusable() -> str | None:
    """Say what is wrong with the installed ziglang, or return None if it is the pinned one."""
    try:
        version = importlib.metadata.version("ziglang")
    except importlib.metadata.PackageNotFoundError:
        return f"ziglang {ZIGLANG_VERSION} is not installed"
    if version != ZIGLANG_VERSION:
        return f"ziglang is {version}, the committed programs were built by {ZIGLANG_VERSION}"
    return None


def compiler() -> tuple[str, ...]:
    """Return the command that compiles and links C and assembly."""
    return (sys.executable, "-m", "ziglang", "cc")


def examples() -> dict[str, Recipe]:
    """Return the recipe of every example by name."""
    names = sorted(path.stem for path in SOURCES.glob("*.c") if path.stem != "runtime")
    return {
        name: Recipe(
            elf=SOURCES.parent / f"{name}.elf",
            directory=SOURCES,
            command=(
                *compiler(), *FREESTANDING, *COMMON, *SCRIPTED,
                "start.S", "runtime.c", f"{name}.c",
            ),
        )
        for name in names
    }  # fmt: skip


def main(recipes: Mapping[str, Recipe], arguments: Sequence[str] | None = None) -> int:
    """Build or check the programs that the command line names, by default all of them."""
    parser = argparse.ArgumentParser(description="Rebuild guest programs.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("names", metavar="NAME", nargs="*", help=", ".join(recipes))
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in recipes]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(recipes)}")
    problem = why_ziglang_is_unusable()
    if problem is not None:
        sys.stderr.write(f"{problem}\n")
        return 2
    stale = 0
    for name in options.names or recipes:
        recipe = recipes[name]
        try:
            if not options.check:
                recipe.rebuild()
                verdict = f"{recipe.elf.stat().st_size} bytes"
            elif recipe.is_current():
                verdict = "current"
            else:
                stale += 1
                verdict = "DIFFERS"
        except BuildError as error:
            sys.stderr.write(f"{error}\n")
            return 2
        sys.stdout.write(f"{name:16} {verdict}\n")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main(examples()))

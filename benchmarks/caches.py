"""Folders for the caches of compiled code that backends keep, in the state that a run wants."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.backends import Backend
from benchmarks.lineup import SPECIAL_SIZE, State
from benchmarks.programs import HELLO

# Runs a guest with a size on a backend, unmeasured, so that it leaves its code in the folder.
Fill = Callable[[Backend, str, int, Path], None]

# What becomes hot late in one run is compiled in the next, so a tiered engine's cache is full only
# when a run has left it as it was.
_MOST_FILLS = 3


class Caches:
    """Makes the folders below *work*."""

    def __init__(self, work: Path, fill: Fill) -> None:
        self._work = work
        self._fill = fill

    def folder(self, backend: Backend, state: State, program: str, size: int) -> Path:
        """Return a folder in *state*; a warm one was filled by runs of *program* with *size*."""
        if state is State.WARM:
            return self._filled(backend, program, size)
        scratch = self._work / "cache"
        shutil.rmtree(scratch, ignore_errors=True)
        self._make(backend, scratch, with_own_code=state is State.COLD)
        return scratch

    def keeps_code(self, backend: Backend) -> bool:
        """Tell whether any run of the backend left something in its cache."""
        return any(any(kept.iterdir()) for kept in self._work.glob(f"kept-{backend.name}-*"))

    def _make(self, backend: Backend, folder: Path, *, with_own_code: bool) -> None:
        if with_own_code and backend.keeps_own_code:
            shutil.copytree(self._filled(backend, HELLO, SPECIAL_SIZE), folder)
        else:
            folder.mkdir(mode=0o700)

    def _filled(self, backend: Backend, program: str, size: int) -> Path:
        folder = self._work / f"kept-{backend.name}-{program}"
        if not folder.exists():
            self._make(backend, folder, with_own_code=program != HELLO)
            # A backend whose own code did not stay after hello has no cache to fill.
            lost = program != HELLO and backend.keeps_own_code and not any(folder.iterdir())
            for _ in range(0 if lost else _MOST_FILLS):
                before = _digest(folder)
                self._fill(backend, program, size, folder)
                if _digest(folder) == before or not backend.keeps_own_code:
                    break
        return folder


def _digest(folder: Path) -> str:
    """Return a hash of what the files in *folder* are called and hold."""
    found = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        for part in (str(file.relative_to(folder)).encode(), file.read_bytes()):
            found.update(len(part).to_bytes(8, "little") + part)
    return found.hexdigest()

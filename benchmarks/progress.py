"""How far a measurement is: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

Advance = Callable[[str], None]


def note(text: str) -> None:
    """Write a line to stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


class Meter:
    """Inside a ``with`` its value is a function to be called once per step of *total*."""

    def __init__(self, total: int, write: Advance = note) -> None:
        self._total, self._done, self._write = total, 0, write
        self._bar: Any = None
        self._task: Any = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
            from rich.progress import TimeElapsedColumn as Elapsed
            from rich.progress import TimeRemainingColumn as Remaining

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            self._bar = Progress(
                *columns, Elapsed(), Remaining(), console=Console(stderr=True), transient=True
            )
            self._task = self._bar.add_task(f"{'starting':32}", total=total)

    def __enter__(self) -> Advance:
        if self._bar is None:
            return self._line
        self._bar.start()
        return self._move

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _move(self, text: str) -> None:
        self._bar.update(self._task, advance=1, description=f"{text:32}")

    def _line(self, text: str) -> None:
        self._done += 1
        self._write(f"[{self._done}/{self._total}] {text}")

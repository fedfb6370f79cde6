"""Our parser of command lines. `arguments.Defaults` stands in where there are no options."""

from __future__ import annotations

import argparse
import os
from functools import lru_cache

from rvjit.cli.status import CommandError, Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


class _Help(argparse.RawDescriptionHelpFormatter):
    """As wide as the terminal. argparse finds that out by `shutil`, whose import is 2 ms."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **({"width": _columns() - 2} | options))


@lru_cache
def _columns() -> int:
    columns = os.environ.get("COLUMNS", "")
    try:
        width = int(columns) if columns.isdecimal() else os.get_terminal_size().columns
    except OSError:
        width = 0
    return width or 80


class Parser(argparse.ArgumentParser):
    """Parser of one command; a wrong command line raises `CommandError`."""

    def __init__(self, command: str, summary: str, *, epilog: str | None = None) -> None:
        super().__init__(
            prog=f"rvjit {command}",
            description=summary[:1].upper() + summary[1:] + ".",
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=_Help,
        )

    def error(self, message: str) -> NoReturn:
        """Raise the error instead of leaving the process."""
        raise CommandError(f"{message} (see {self.prog} --help)", Status.USAGE)

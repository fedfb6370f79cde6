"""Parsing of command lines: our parser, and the types of options."""

from __future__ import annotations

import argparse
import math
import os
import re
from functools import lru_cache

from rvjit.cli.status import CommandError, Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_SIZE = re.compile(r"(\d[\d_]*)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_MODES = {"ro": False, "rw": True}


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


def natural(text: str) -> int:
    """Read a number of at least 0: decimal, 0x…, with underscores."""
    value = integer(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is negative")
    return value


def positive(text: str) -> int:
    """Read a number of at least 1."""
    value = natural(text)
    if not value:
        raise argparse.ArgumentTypeError(f"{text!r}: must be at least 1")
    return value


def integer(text: str) -> int:
    """Read a number: decimal, 0x…, with underscores."""
    try:
        return int(text, 0) if text.lower().startswith(("0x", "-0x")) else int(text)
    except ValueError:
        message = f"{text!r} is no whole number (decimal or 0x…)"
        raise argparse.ArgumentTypeError(message) from None


def seconds(text: str) -> float:
    """Read a time in seconds, at least 0 and finite."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no time in seconds")
    return value


def size(text: str) -> int:
    """Read a number of bytes: 4194304, 0x400000, 4096K, 4M, 4MiB, 1G; units are powers of 1024."""
    if text.lower().startswith("0x"):
        return natural(text)
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size: give bytes, or a number with K, M or G, such as 4M or 64MiB"
        )
    try:
        return int(found[1]) << _UNITS[found[2].lower()]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no size") from None


def variable(text: str) -> tuple[str, str]:
    """Read KEY=VALUE."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{text!r}: expected KEY=VALUE")
    return key, value


def directory(text: str) -> tuple[str, str, bool]:
    """Read HOST:GUEST[:ro|rw] as (host path, guest path, writable); read-only by default."""
    rest, colon, mode = text.rpartition(":")
    if not colon or mode not in _MODES:
        rest, mode = text, "ro"
    host, _, guest = rest.rpartition(":")
    if not host or not guest.startswith("/"):
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected HOST:GUEST, HOST:GUEST:ro or HOST:GUEST:rw, GUEST beginning with /"
        )
    return host, guest, _MODES[mode]

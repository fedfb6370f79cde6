"""What commands print: text for people, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO


def say(message: str) -> None:
    """Print a message on stderr, marked as ours; lost where there is no stderr."""
    first, *rest = message.split("\n")
    write(sys.stderr, "\n".join([f"rvjit: {first}", *rest]))


def write(stream: TextIO | None, text: str) -> None:
    """Print *text* and a newline; what the guest's file may have made unprintable is escaped.

    Raises `BrokenPipeError` for stdout only.
    """
    if stream is None:
        return
    line = printable(text) + "\n"
    try:
        try:
            stream.write(line)
        except UnicodeEncodeError:
            stream.write(line.encode("ascii", "backslashreplace").decode())
        stream.flush()
    except OSError:
        if stream is not sys.stderr:
            raise


def printable(text: str) -> str:
    """Return *text* with control characters but newlines escaped: names come from strangers."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )


def write_json(stream: TextIO | None, value: object) -> None:
    """Print *value* as indented JSON and a newline."""
    import json

    write(stream, json.dumps(value, indent=2))


def columns(rows: Iterable[Sequence[str]], *, right: frozenset[int] = frozenset()) -> list[str]:
    """Return *rows* as lines with aligned columns; those in *right* end at one place."""
    table = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if position in right else cell.ljust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def human_size(size: int) -> str:
    """Return *size* bytes in a unit that people read."""
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << shift:
            return f"{size / (1 << shift):.4g} {unit}"
    return f"{size} bytes"


def is_terminal(stream: TextIO | None) -> bool:
    """Whether people look at *stream*."""
    return stream is not None and stream.isatty()


def as_label(name: str) -> str:
    """Return a field's name as people write it."""
    return name.replace("_", " ").replace("insns", "instructions")


def shown_number(value: Any) -> str:
    """Return a number for people."""
    return f"{value:,.3f}" if isinstance(value, float) else f"{value:,}"

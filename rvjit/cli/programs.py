"""PROG on the command line: a path, or example:NAME."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from rvjit.cli.status import CommandError, Status
from rvjit.errors import ElfError, SnapshotFormatError

_PREFIX = "example:"


def locate(program: str) -> str:
    """Return the file that *program* names. Raises `CommandError` for one that cannot be."""
    if not program.startswith(_PREFIX) and os.path.exists(program):
        return program
    from rvjit import examples

    names = [example.name for example in examples.EXAMPLES]
    if program.startswith(_PREFIX):
        name = program.removeprefix(_PREFIX)
        if name not in names:
            raise CommandError(
                f"no example is called {name!r}{_suggestion(name, names)}: "
                f"there are {', '.join(names)}",
                Status.LOAD,
            )
        return examples.file_of(name)
    if program in names:
        raise CommandError(
            f"no file is called {program!r}; the example is {_PREFIX}{program}", Status.LOAD
        )
    return program


def read(program: str) -> bytes:
    """Return the bytes of *program*. Raises `CommandError` where that fails."""
    try:
        with open(locate(program), "rb") as file:
            return file.read()
    except OSError as error:
        raise CommandError(f"cannot read {program}: {error.strerror}", Status.LOAD) from error


@contextmanager
def named(program: str) -> Iterator[None]:
    """Put the name of *program*, or of a snapshot, before what is wrong with its file."""
    try:
        yield
    except (ElfError, SnapshotFormatError) as error:
        raise CommandError(f"{program}: {error}", Status.LOAD) from error


def _suggestion(name: str, names: list[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, names, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""

"""Arguments without argparse: what a command line without options means, and types of options.

argparse and what it imports are a fifth of the start of a program, and most are started without any
option. It is imported for those that have one. A type reads a text, or raises argparse's error that
says what is wrong with it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentTypeError, _ActionsContainer
    from typing import Any, TypeAlias

    Options: TypeAlias = "_ActionsContainer | Defaults"  # what options can be added to

_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_THOUSANDS = {"k": 1000, "m": 1000**2, "g": 1000**3}
_MODES = {"ro": False, "rw": True}


class Defaults:
    """Takes options as an `argparse.ArgumentParser` does, and is the result of parsing none.

    So functions that add options to a parser can add them here just as well. Knows the actions
    ``store``, ``store_true`` and ``append``.
    """

    def add_argument(
        self,
        *names: str,
        dest: str | None = None,
        action: str = "store",
        default: Any = None,
        **_: Any,
    ) -> None:
        """Note the default of an option."""
        name = names[0].lstrip("-").replace("-", "_") if dest is None else dest
        setattr(self, name, False if action == "store_true" else default)

    def add_argument_group(self, title: str) -> Defaults:  # noqa: ARG002
        """Return the same again: groups matter to the help only."""
        return self

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Return an option's value."""

        def __setattr__(self, name: str, value: Any) -> None:
            """Set an option's value."""


def _wrong(message: str) -> ArgumentTypeError:
    from argparse import ArgumentTypeError

    return ArgumentTypeError(message)


def natural(text: str) -> int:
    """Read a number of at least 0: decimal, 0x…, with underscores."""
    value = integer(text)
    if value < 0:
        raise _wrong(f"{text!r} is negative")
    return value


def positive(text: str) -> int:
    """Read a number of at least 1."""
    value = natural(text)
    if not value:
        raise _wrong(f"{text!r}: must be at least 1")
    return value


def integer(text: str) -> int:
    """Read a number: decimal, 0x…, with underscores."""
    try:
        return int(text, 0) if text.lower().startswith(("0x", "-0x")) else int(text)
    except ValueError:
        raise _wrong(f"{text!r} is no whole number (decimal or 0x…)") from None


def seconds(text: str) -> float:
    """Read a time in seconds, at least 0 and finite."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf"):
        raise _wrong(f"{text!r} is no time in seconds")
    return value


def size(text: str) -> int:
    """Read a number of bytes: 4194304, 0x400000, 4096K, 4M, 4MiB, 1G; units are powers of 1024."""
    if text.lower().startswith("0x"):
        return natural(text)
    import re

    found = re.fullmatch(r"(\d[\d_]*)\s*([kmgt]?)(?:i?b)?", text.strip(), re.IGNORECASE)
    if found is None:
        raise _wrong(
            f"{text!r} is no size: give bytes, or a number with K, M or G, such as 4M or 64MiB"
        )
    try:
        return int(found[1]) << _UNITS[found[2].lower()]
    except ValueError:
        raise _wrong(f"{text!r} is no size") from None


def variable(text: str) -> tuple[str, str]:
    """Read KEY=VALUE."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise _wrong(f"{text!r}: expected KEY=VALUE")
    return key, value


def directory(text: str) -> tuple[str, str, bool]:
    """Read HOST:GUEST[:ro|rw] as (host path, guest path, writable); read-only by default."""
    rest, colon, mode = text.rpartition(":")
    if not colon or mode not in _MODES:
        rest, mode = text, "ro"
    host, _, guest = rest.rpartition(":")
    if not host or not guest.startswith("/"):
        raise _wrong(
            f"{text!r}: expected HOST:GUEST, HOST:GUEST:ro or HOST:GUEST:rw, GUEST beginning with /"
        )
    return host, guest, _MODES[mode]


def interval(text: str) -> int | float:
    """Read cycles (1000000, 500K, 10M, 1G; powers of 1000) as an int, a time (2s, 50ms) as a float.

    Both are more than 0.
    """
    word = text.strip().lower()
    if word.endswith("s"):
        milli = word.endswith("ms")
        time = seconds(word[: -2 if milli else -1]) * (1e-3 if milli else 1)
        if not time:
            raise _wrong(f"{text!r}: must be more than 0")
        return time
    factor = _THOUSANDS.get(word[-1:], 1)
    return positive(word[:-1] if factor > 1 else word) * factor


def cycles_or_all(text: str) -> int | str:
    """Read a number of cycles as `interval` does, or the word all."""
    if text.lower() == "all":
        return "all"
    value = interval(text)
    if isinstance(value, float):
        raise _wrong(f"{text!r} is no number of cycles")
    return value

"""What a command line without options means, found out without argparse.

argparse and what it imports are a fifth of the start of a program, and most are started without any
option. So functions that add options to a parser can add them here just as well: what remains of
each is its default.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Defaults:
    """Takes options as an `argparse.ArgumentParser` does, and is the result of parsing none.

    Knows the actions ``store``, ``store_true`` and ``append``.
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

"""How far a long run is: a live line on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Protocol

from rvjit.cli import output
from rvjit.cli.guest_output import GuestOutput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rich.live import Live

LIVE_INTERVAL = 0.25  # seconds
LINE_INTERVAL = 2.0


class Progress(Protocol):
    """Somebody who shows how far a run is, every `interval` seconds."""

    interval: float

    def show(self, text: str) -> None:
        """Show *text*."""

    def hide(self) -> None:
        """Make room for other output."""


class Lines:
    """A line of stderr for each look."""

    interval = LINE_INTERVAL

    def show(self, text: str) -> None:
        """Print *text*."""
        output.say(text)

    def hide(self) -> None:
        """Leave what was printed."""


class LiveLine:
    """One line at the bottom of the terminal, drawn only where the guest left no open line."""

    interval = LIVE_INTERVAL

    def __init__(self, may_draw: Callable[[], bool]) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)
        self._may_draw = may_draw
        self._live: Live | None = None

    def show(self, text: str) -> None:
        """Draw the line, or draw it anew."""
        from rich.live import Live
        from rich.text import Text

        if not self._may_draw():
            return
        line = Text(text, style="dim", no_wrap=True, overflow="ellipsis")
        if self._live is None:
            self._live = Live(
                line,
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start(refresh=True)
        else:
            self._live.update(line, refresh=True)

    def hide(self) -> None:
        """Remove the line."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def make(streams: tuple[GuestOutput, ...]) -> Progress:
    """Make what suits stderr; *streams* are the guest's, which may share the terminal."""
    if not output.is_terminal(sys.stderr):
        return Lines()
    line = LiveLine(lambda: all(stream.at_line_start for stream in streams))
    for stream in streams:
        stream.before = line.hide
    return line


def describe(cycles: int, seconds: float, speed: str, limit: int | None) -> str:
    """Return the text of the progress line; *limit* is the cycle limit."""
    share = f", {100 * cycles / limit:.0f} %" if limit else ""
    return f"{cycles:,} cycles, {speed}, {seconds:.1f} s{share}"

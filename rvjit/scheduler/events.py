"""Events: what happened in a script, in order, as values and as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple, TextIO, TypeAlias

from rvjit.errors import CyclesExceeded
from rvjit.scheduler.limits import MAX_CYCLES

Detail: TypeAlias = int | str | None


class Event(NamedTuple):
    """Something that happened to VM *vm* when *at* cycles had been charged to the script.

    ========== ==================================================================================
    kind       details
    ========== ==================================================================================
    booted     data, offset, length: the program's; version 2 says ``exec`` the same way
    ran        cycles, end: ``yield``, ``exit``, or the name of an error
    request    call and its arguments
    transfer   fd (the end that is written to), reader, writer (ids; *vm* is the writer), bytes
    closed     fd: the other end is gone, and the VM goes on
    evicted    nothing: the VM has become a snapshot
    resumed    nothing: it has a machine again
    exited     code
    ========== ==================================================================================
    """

    kind: str
    vm: int
    at: int
    details: Mapping[str, Detail]

    def as_json(self) -> str:
        """Return the event as one line."""
        return json.dumps({"event": self.kind, "vm": self.vm, "at": self.at, **self.details})


Observer: TypeAlias = Callable[[Event], None]


def write_lines(stream: TextIO) -> Observer:
    """Return an observer that writes lines of JSON to *stream*."""

    def observe(event: Event) -> None:
        stream.write(event.as_json() + "\n")

    return observe


class Account:
    """The cycles of a script, and who is told what happens at which of them.

    *total* is what has been charged up to the last iteration, *iteration* what the scheduler itself
    charged since, and the VMs' cycles of the iteration that just ends.
    """

    def __init__(self, observer: Observer | None) -> None:
        self.total = 0
        self.iteration = 0
        self.observer = observer

    def charge(self, cycles: int) -> None:
        """Add *cycles* to the iteration."""
        self.iteration += cycles
        if self.iteration > MAX_CYCLES:
            raise CyclesExceeded

    def tell(self, kind: str, vm: int, **details: Detail) -> None:
        """Report an event; whoever calls this often looks for an observer first."""
        if self.observer is not None:
            self.observer(Event(kind, vm, self.total + self.iteration, details))

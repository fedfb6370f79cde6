"""Timeline: the events of a script as a trace that Chrome and Perfetto show.

Each VM is a track, a cycle a microsecond: what a VM ran is a slice, a transfer an arrow from writer
to reader, all else an instant.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TextIO

from rvjit.scheduler.events import Event

_PROCESS = 1


class Timeline:
    """An observer that collects events; `write` makes a file of them."""

    def __init__(self, name: str = "script") -> None:
        self._rows: list[dict[str, Any]] = [
            {"ph": "M", "name": "process_name", "pid": _PROCESS, "args": {"name": name}}
        ]
        self._arrows = 0

    def __call__(self, event: Event) -> None:
        """Add an event."""
        details = dict(event.details)
        if event.kind == "booted":
            name = f"VM {event.vm}: {details['data']}"
            self._add("M", "thread_name", event.vm, args={"name": name})
            self._add("M", "thread_sort_index", event.vm, args={"sort_index": event.vm})
        if event.kind == "ran":
            cycles = event.details["cycles"]
            assert isinstance(cycles, int)
            self._add(
                "X", "ran", event.vm, ts=event.at - cycles, dur=cycles, cat="vm", args=details
            )
        elif event.kind == "transfer":
            self._arrows += 1
            arrow = {"id": self._arrows, "cat": "pipe", "ts": event.at}
            self._instant("transfer", event.vm, event.at, details)
            self._add("s", "transfer", details["writer"], **arrow)
            self._add("f", "transfer", details["reader"], **arrow, bp="e")
        else:
            name = str(details.get("call", event.kind))
            self._instant(name, event.vm, event.at, details)

    def write(self, stream: TextIO) -> None:
        """Write everything as one JSON document."""
        json.dump({"traceEvents": self._rows, "displayTimeUnit": "ms"}, stream)
        stream.write("\n")

    def _instant(self, name: str, vm: int, at: int, details: Mapping[str, object]) -> None:
        self._add("i", name, vm, ts=at, s="t", cat="scheduler", args=details)

    def _add(self, phase: str, name: str, vm: object, **fields: object) -> None:
        self._rows.append({"ph": phase, "name": name, "pid": _PROCESS, "tid": vm, **fields})

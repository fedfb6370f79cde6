"""Guests that fail, and what a trace of them has to be."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rvjit import VM
from rvjit.replay import forked

KINDS = ["memory", "fork"] if forked.unavailable() is None else ["memory"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of checkpoints; what a test shows holds for all."""
    return str(request.param)


@pytest.fixture(autouse=True)
def _no_children_are_left() -> Iterator[None]:
    yield
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


class Trace:
    """A trace that was read from a file."""

    def __init__(self, path: Path) -> None:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        self.head: dict[str, Any] = lines[0]
        self.end: dict[str, Any] = lines[-1]["end"]
        self.entries: list[dict[str, Any]] = [line for line in lines[1:-1] if "host" not in line]
        self.host: list[dict[str, Any]] = [line for line in lines[1:-1] if "host" in line]

    @property
    def places(self) -> list[tuple[int, str]]:
        """Cycle and pc of every instruction."""
        return [(entry["cycle"], entry["pc"]) for entry in self.entries]


def stepped(vm: VM, cycles: int) -> list[tuple[int, str]]:
    """Cycle and pc of every instruction that a fresh *vm* runs up to *cycles*, step by step."""
    found = []
    while vm.cycles < cycles:
        found.append((vm.cycles, hex(vm.pc)))
        vm.step()
    return found

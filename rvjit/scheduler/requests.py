"""What a system call asks of the scheduler, and what a VM waits for.

A call never touches another VM: it leaves one `Request` and its VM yields.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from rvjit.scheduler.data import Location


class Spawn(NamedTuple):
    """Boot a program as a new VM that gets *fds*; its id goes to *id_address*."""

    location: Location
    argc: int
    argv: int  # address of the pointers to its arguments
    id_address: int
    fds: tuple[int, ...]


class Exec(NamedTuple):
    """Replace the program of the VM that asks."""

    location: Location
    argc: int
    argv: int


class Wait(NamedTuple):
    """Sleep until *target* has ended; its exit code goes to *code_address*."""

    target: int
    code_address: int


class MakePipe(NamedTuple):
    """Open two ends of a pipe; their fds go to *address*."""

    address: int


class InheritedFds(NamedTuple):
    """Store the fds that the VM was spawned with, and their number."""

    buffer: int
    count_address: int


class Close(NamedTuple):
    """Close one fd."""

    fd: int


class WaitForRead(NamedTuple):
    """Read at most *length* bytes; how many there were goes to *length_address*.

    As a state: waits for somebody to write.
    """

    fd: int
    length: int
    buffer: int
    length_address: int


class WaitForWrite(NamedTuple):
    """Write *length* bytes; how many were taken goes to *length_address*.

    As a state: waits for somebody to read; *consumed* bytes have been taken already.
    """

    fd: int
    consumed: int
    length: int
    buffer: int
    length_address: int


Request: TypeAlias = (
    Spawn | Exec | Wait | MakePipe | WaitForRead | WaitForWrite | InheritedFds | Close
)


class Runnable(NamedTuple):
    """Can run."""


class Waiting(NamedTuple):
    """Waits for another VM to end."""

    target: int
    code_address: int


class Terminated(NamedTuple):
    """Has ended; only the root's state says so."""


State: TypeAlias = Runnable | Waiting | WaitForRead | WaitForWrite | Terminated

RUNNABLE = Runnable()
TERMINATED = Terminated()

# The names that events and suspended states have for them.
CALLS: dict[type[Request], str] = {
    Spawn: "spawn",
    Exec: "exec",
    Wait: "wait",
    MakePipe: "pipe",
    WaitForRead: "read",
    WaitForWrite: "write",
    InheritedFds: "inherited_fds",
    Close: "close",
}
STATES: dict[type[State], str] = {
    Runnable: "runnable",
    Waiting: "wait",
    WaitForRead: "wait_for_read",
    WaitForWrite: "wait_for_write",
    Terminated: "terminated",
}
_KINDS = {name: kind for kind, name in STATES.items()}


def details(request: Request) -> dict[str, int | str]:
    """Return a request as an event tells it."""
    found: dict[str, int | str] = {"call": CALLS[type(request)]}
    for name, value in zip(request._fields, request, strict=True):
        if isinstance(value, Location):
            found |= {"data": value.name, "offset": value.offset, "length": value.length}
        elif name == "fds":
            found["fds"] = " ".join(map(str, value[:_SHOWN]))  # type: ignore[index]
        elif name != "consumed":  # which is for states
            found[name] = value  # type: ignore[assignment]
    return found


_SHOWN = 64  # fds of a request, of which a VM may name any number


def describe(state: State) -> str:
    """Say what a VM does, for people."""
    match state:
        case Waiting():
            return f"waits for VM {state.target}"
        case WaitForRead():
            return f"reads from fd {state.fd}"
        case WaitForWrite():
            return f"writes to fd {state.fd}"
        case Runnable() | Terminated():
            return STATES[type(state)]


def pack_state(state: State) -> list[int | str]:
    """Return a state as its name and its numbers."""
    return [STATES[type(state)], *state]


def unpack_state(packed: Sequence[object]) -> State:
    """Undo `pack_state`. Raises `ValueError` for anything else."""
    match packed:
        case [str() as name, *numbers] if name in _KINDS:
            kind = _KINDS[name]
            if len(numbers) != len(kind._fields):
                raise ValueError(f"state {packed!r}: takes {len(kind._fields)} numbers")
            words = [each for each in numbers if type(each) is int and 0 <= each < 1 << 64]
            if words != numbers:
                raise ValueError(f"state {packed!r}: not of 64-bit numbers")
            if kind is Runnable:
                return RUNNABLE
            return TERMINATED if kind is Terminated else kind(*words)
        case _:
            raise ValueError(f"state {packed!r}: unknown")

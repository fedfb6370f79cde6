"""System calls of CKB that need no transaction: those of the scheduler, and who one is.

A handler returns the `Request` that its VM yields with, or None where it is done with the call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from rvjit.bits import MASK64
from rvjit.errors import ConfigError, ScriptError
from rvjit.isa.registers import A0
from rvjit.scheduler.access import load64, load_until_zero
from rvjit.scheduler.data import Location, parse_source, piece_name
from rvjit.scheduler.guest import Guest
from rvjit.scheduler.limits import (
    INDEX_OUT_OF_BOUND,
    INVALID_FD,
    SLICE_OUT_OF_BOUND,
    SPAWN_CYCLES,
    YIELD_CYCLES,
)
from rvjit.scheduler.requests import (
    Close,
    Exec,
    InheritedFds,
    MakePipe,
    Request,
    Spawn,
    Wait,
    WaitForRead,
    WaitForWrite,
)
from rvjit.syscalls import Call, Exit, Host, Outcome, Raise, Restart
from rvjit.syscalls.ckb import CKB
from rvjit.vm.result import ckb_view

Handler: TypeAlias = Callable[[Guest], Request | None]

EXEC = 2043  # of version 1 it is another call
EXIT = 93  # dealt with by whoever runs a VM: it is never dispatched
_ECALL_LENGTH = 4
_WORD = 8


def exec_program(guest: Guest) -> Request | None:
    """Exec of version 2: become another program."""
    index, source, place, bounds, argc, argv = guest.x[A0 : A0 + 6]
    name = piece_name(source, index, place)  # as it is: a bad source is no error here
    if name is None:
        guest.answer(INDEX_OUT_OF_BOUND)
        return None
    return Exec(Location.of_bounds(name, bounds), argc, argv)


def spawn(guest: Guest) -> Request | None:
    """Start another program in a VM of its own."""
    index, source, place, bounds, arguments = guest.x[A0 : A0 + 5]
    memory = guest.memory
    name = piece_name(parse_source(source).word, index, place)
    if name is None:
        guest.answer(INDEX_OUT_OF_BOUND)
        return None
    argc, argv, id_address, fds_address = (
        load64(memory, (arguments + _WORD * position) & MASK64) for position in range(4)
    )
    fds = load_until_zero(memory, fds_address) if fds_address else ()
    location = Location.of_bounds(name, bounds)
    found = guest.context.source.load_data(name, 0, 0)
    if found is None:
        guest.answer(INDEX_OUT_OF_BOUND)
        return None
    size = found[1]
    if location.offset >= size or location.offset + location.length > size:
        guest.answer(SLICE_OUT_OF_BOUND)
        return None
    guest.charge(SPAWN_CYCLES + YIELD_CYCLES)
    return Spawn(location, argc, argv, id_address, tuple(fds))


def wait(guest: Guest) -> Request:
    """Wait for another VM to end."""
    guest.charge(YIELD_CYCLES)
    return Wait(guest.x[A0], guest.x[A0 + 1])


def process_id(guest: Guest) -> None:
    """Say which VM this is."""
    guest.answer(guest.id)


def pipe(guest: Guest) -> Request:
    """Make a pipe."""
    guest.charge(YIELD_CYCLES)
    return MakePipe(guest.x[A0])


def read(guest: Guest) -> Request | None:
    """Read from a pipe."""
    x = guest.x
    fd, length_address = x[A0], x[A0 + 2]
    length = load64(guest.memory, length_address)
    if fd & 1:
        guest.answer(INVALID_FD)
        return None
    guest.charge(YIELD_CYCLES)
    return WaitForRead(fd, length, x[A0 + 1], length_address)


def write(guest: Guest) -> Request | None:
    """Write to a pipe."""
    x = guest.x
    fd, length_address = x[A0], x[A0 + 2]
    length = load64(guest.memory, length_address)
    if not fd & 1:
        guest.answer(INVALID_FD)
        return None
    guest.charge(YIELD_CYCLES)
    return WaitForWrite(fd, 0, length, x[A0 + 1], length_address)


def inherited_fds(guest: Guest) -> Request:
    """Ask for the fds that one was spawned with."""
    guest.charge(YIELD_CYCLES)
    return InheritedFds(guest.x[A0], guest.x[A0 + 1])


def close(guest: Guest) -> Request:
    """Close an fd."""
    guest.charge(YIELD_CYCLES)
    return Close(guest.x[A0])


OF_VERSION_2: Mapping[int, Handler] = {
    EXEC: exec_program,
    2601: spawn,
    2602: wait,
    2603: process_id,
    2604: pipe,
    2605: write,
    2606: read,
    2607: inherited_fds,
    2608: close,
}


def adapt(number: int, handler: Callable[[Call], Outcome], host: Host) -> Handler:
    """Make a handler of `rvjit.syscalls` one of ours; it cannot yield."""

    def handle(guest: Guest) -> None:
        machine = guest.machine
        outcome = handler(Call.at_ecall(machine, host))
        match outcome:
            case None:
                return
            case int():
                guest.x[A0] = outcome & MASK64
            case Raise():
                name, _ = ckb_view(outcome.fault, _ECALL_LENGTH)
                detail = getattr(outcome.fault, "reason", None) if name == "External" else None
                raise ScriptError(name, detail, guest.id, machine.pc)
            case Exit() | Restart():
                raise ConfigError(f"system call {number}: a handler returns an int or None")
            case _:
                raise ConfigError(
                    f"system call {number}: a handler returns an int or None, not {outcome!r}"
                )

    return handle


def of_tables(version: int, host: Host) -> dict[int, Handler]:
    """Return what `rvjit.syscalls.ckb` and this module have for *version*."""
    table = CKB.for_version(version)
    found = {
        number: adapt(number, entry.handler, host)
        for number, entry in table.entries.items()
        if not entry.ends
    }
    return found | dict(OF_VERSION_2) if version >= 2 else found

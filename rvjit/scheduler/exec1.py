"""exec of VM version 1: the machine becomes another program at once, without the scheduler."""

from __future__ import annotations

from rvjit.bits import MASK64
from rvjit.codegen.digests import digest
from rvjit.errors import ScriptError
from rvjit.isa.registers import A0, SP
from rvjit.loader.ckb import CkbElfError, load_actions, load_ckb
from rvjit.loader.stack import build_ckb_stack
from rvjit.scheduler.access import load64, load_string
from rvjit.scheduler.data import Location, parse_source, piece_name
from rvjit.scheduler.guest import Guest
from rvjit.scheduler.limits import (
    INDEX_OUT_OF_BOUND,
    MAX_ARGV_SIZE,
    SLICE_OUT_OF_BOUND,
    WRONG_FORMAT,
    bytes_price,
)
from rvjit.scheduler.program import ScriptProgram, blank

_STACK_START, _STACK_SIZE = 0x300000, 0x100000
_PLACES = 2
_WORD = 8
_TOO_LONG = "@@@VM@@@UNEXPECTED@@@ARGV@@@TOOLONG@@@"


def exec_at_once(guest: Guest) -> None:
    """Load another program over this one; its pages that were tracked stay so (7.3, defect b)."""
    index, word, place, bounds, argc, argv = guest.x[A0 : A0 + 6]
    source = parse_source(word)
    if place >= _PLACES:
        raise ScriptError("External", f"Place parse_from_u64 {place}")
    name = piece_name(source.word, index, place)
    found = None if name is None else guest.context.source.load_data(name, 0, 0)
    if name is None or found is None:
        guest.answer(INDEX_OUT_OF_BOUND)
        return
    data, size = found
    location = Location.of_bounds(name, bounds)
    if location.offset >= size or location.offset + location.length > size:
        guest.answer(SLICE_OUT_OF_BOUND)
        return
    stop = location.offset + location.length if location.length else size
    file = bytes(data[location.offset : stop])
    args = _arguments(guest, argc, argv)
    machine = guest.machine
    cycles, pc = machine.cycles, machine.pc
    blank(machine)
    machine.cycles = cycles
    machine.pc = pc  # where it goes on if the new program cannot be loaded
    try:
        elf = load_ckb(file, guest.program.version)
        load_actions(guest.memory, elf)
        machine.pc = elf.entry
        guest.charge(bytes_price(elf.file_bytes_loaded))
        machine.x[SP], stack_bytes = build_ckb_stack(
            guest.memory,
            args,
            guest.program.version,
            stack_start=_STACK_START,
            stack_size=_STACK_SIZE,
        )
        guest.charge(bytes_price(stack_bytes))
    except CkbElfError as error:
        if error.ckb_error == "MemOutOfStack":
            machine.x[SP] = _STACK_START + _STACK_SIZE - int(str(error.value))
        guest.answer(WRONG_FORMAT)  # to whatever is in memory now
        return
    guest.program = ScriptProgram(location, file, digest(file), guest.program.version)


def _arguments(guest: Guest, argc: int, argv: int) -> list[bytes]:
    args: list[bytes] = []
    size = 0
    for position in range(argc):
        arg = load_string(guest.memory, load64(guest.memory, (argv + _WORD * position) & MASK64))
        size += _WORD + len(arg)
        if size > MAX_ARGV_SIZE:
            raise ScriptError("Unexpected", _TOO_LONG)
        args.append(arg)
    return args

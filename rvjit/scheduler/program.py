"""Programs of scripts: parsed once, loaded into blank machines by CKB's rules."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from rvjit.codegen.digests import digest
from rvjit.errors import ScriptError
from rvjit.isa.registers import SP
from rvjit.loader.ckb import CkbElf, load_actions, load_ckb
from rvjit.loader.stack import build_ckb_stack
from rvjit.loader.symbols import SymbolTable
from rvjit.machine.layout import NO_RESERVATION
from rvjit.machine.machine import Machine
from rvjit.machine.pages import READABLE, WRITABLE
from rvjit.scheduler.data import Location
from rvjit.snapshot import Identity
from rvjit.snapshot.sourced import DataSource, SourcedContext

_KEPT = 32  # programs; VMs hold on to their own


@dataclass(eq=False)
class ScriptProgram:
    """The bytes at one location, what the parser makes of them, and what snapshots say of it."""

    location: Location
    file: bytes
    key: bytes
    version: int
    identity: Identity | None = None  # once a VM with it was evicted

    @cached_property
    def elf(self) -> CkbElf:
        """The parsed file. Raises `CkbElfError`."""
        return load_ckb(self.file, self.version)

    @cached_property
    def symbols(self) -> SymbolTable:
        """The file's symbols, for people."""
        return SymbolTable(self.file)


class Programs:
    """The programs of a data source by location; the latest ones are kept."""

    def __init__(self, source: DataSource, version: int) -> None:
        self._source = source
        self._version = version
        self._kept: OrderedDict[Location, ScriptProgram] = OrderedDict()

    def get(self, location: Location) -> ScriptProgram:
        """Return the program at *location*. Raises `ScriptError` where there is no such data."""
        found = self._kept.get(location)
        if found is not None:
            self._kept.move_to_end(location)
            return found
        loaded = self._source.load_data(location.name, location.offset, location.length)
        if loaded is None:
            raise ScriptError("SnapshotDataLoadError", f"there is no data {location.name!r}")
        file = bytes(loaded[0])
        found = ScriptProgram(location, file, digest(file), self._version)
        self._kept[location] = found
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return found


def load_program(
    machine: Machine,
    context: SourcedContext,
    program: ScriptProgram,
    args: Collection[bytes],
) -> int:
    """Load *program* with *args* into a blank machine; return the bytes that have to be paid for.

    Pages that are wholly from the file are tracked by *context*. Raises `CkbElfError`, and
    `OutOfBounds` for arguments that cannot be read.
    """
    elf, memory = program.elf, machine.memory
    load_actions(memory, elf)
    machine.pc = elf.entry
    machine.x[SP], stack_bytes = build_ckb_stack(memory, args, program.version)
    context.mark_program(memory, elf.actions, program.location.name, program.location.offset)
    return elf.file_bytes_loaded + stack_bytes


def blank(machine: Machine) -> None:
    """Make registers, memory, page flags, cycles and reservation those of a new machine."""
    memory = machine.memory
    if memory.pages_in_use():
        memory.zero(memory.base, memory.size)
        memory.arm_tracking()
    memory.assign_flags(range(memory.page_count), READABLE | WRITABLE)
    memory.clean_pages.clear()
    machine.x[:] = _NO_REGISTERS
    machine.pc = 0
    machine.cycles = 0
    machine.fault = None
    machine.state.reservation = NO_RESERVATION
    machine.state.reservation_size = 0


_NO_REGISTERS = memoryview(bytes(32 * 8)).cast("Q")

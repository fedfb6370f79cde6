"""Run a `GuestProgram` on one of rvjit's engines."""

from __future__ import annotations

from dataclasses import dataclass

import rvjit.engines
from rvjit.isa import Isa
from rvjit.machine.engine import Engine
from rvjit.machine.machine import Machine
from rvjit.machine.memory import Memory
from rvjit.machine.pages import round_up
from rvjit.machine.rules import Rules
from rvjit.machine.stop import Stop
from tests.oracle.guest import GP, GuestProgram, Outcome

WINDOW_BASE = 0x10000
WINDOW_SIZE = 4 << 20


@dataclass(frozen=True)
class Guest:
    """A machine with a program in it, and the engine that runs it."""

    machine: Machine
    engine: Engine
    program: GuestProgram

    def outcome(self) -> Outcome:
        """Registers and data as they are now."""
        registers = list(self.machine.x)
        registers[GP] = self.program.registers[GP]
        data = self.machine.memory.read(self.program.data_base, len(self.program.data))
        return Outcome(tuple(registers), data)


def load(name: str, program: GuestProgram, rules: Rules | None = None) -> Guest:
    """Put *program* into a new machine for the engine called *name*."""
    memory = Memory(WINDOW_SIZE, WINDOW_BASE)
    memory.protect(program.base, len(program.code), read=True, write=False, execute=True)
    memory.initialise(program.base, program.code)
    memory.protect(
        program.data_base, round_up(len(program.data)), read=True, write=True, execute=False
    )
    memory.initialise(program.data_base, program.data)
    machine = Machine(memory, rules or Rules(isa=Isa.parse("imcba_zicond")))
    machine.x[:] = memoryview(bytearray(256)).cast("Q")
    for number, value in enumerate(program.registers):
        machine.words[number] = value
    machine.pc = program.base
    return Guest(machine, rvjit.engines.make(name, machine), program)


def run_engine(name: str, program: GuestProgram, rules: Rules | None = None) -> Outcome:
    """Run *program* to its ecall; anything else it may do fails the test."""
    guest = load(name, program, rules)
    stop = guest.engine.run()
    machine = guest.machine
    found = f"{stop} at pc {machine.pc:#x} ({machine.fault})"
    assert (stop, machine.pc) == (Stop.SYSCALL, program.end + 4), f"{program.reproduce}: {found}"
    return guest.outcome()

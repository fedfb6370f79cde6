"""Machines for VMs: made when they are needed, and used again with the code they have compiled."""

from __future__ import annotations

from typing import NamedTuple

from rvjit import engines
from rvjit.machine.engine import Engine
from rvjit.machine.machine import Machine
from rvjit.scheduler.limits import MAX_INSTANTIATED
from rvjit.scheduler.program import ScriptProgram, blank
from rvjit.vm.profile import Profile


class Hardware(NamedTuple):
    """A machine and its engine."""

    machine: Machine
    engine: Engine


class Machines:
    """Makes machines of one profile, and keeps a few that nobody uses."""

    def __init__(self, profile: Profile, engine: str, *, cache: bool) -> None:
        self.profile = profile
        self._engine = engine
        self._cache = cache
        self._spare: list[Hardware] = []  # the longest unused first

    def take(self, program: ScriptProgram) -> Hardware:
        """Return a machine for *program*, with anything in it; see `blank`."""
        for index in range(len(self._spare) - 1, -1, -1):
            if self._spare[index].machine.program_key == program.key:
                return self._spare.pop(index)
        machine = Machine(self.profile.make_memory(), self.profile.rules)
        machine.program_key = program.key
        machine.keeps_code = self._cache
        return Hardware(machine, engines.make(self._engine, machine))

    def take_blank(self, program: ScriptProgram) -> Hardware:
        """Return a machine for *program* with nothing in it."""
        hardware = self.take(program)
        blank(hardware.machine)
        return hardware

    def give(self, hardware: Hardware) -> None:
        """Take a machine back; nobody may use it any more."""
        self._spare.append(hardware)
        if len(self._spare) > MAX_INSTANTIATED:
            _discard(self._spare.pop(0))

    def close(self) -> None:
        """Free the machines that nobody uses."""
        while self._spare:
            _discard(self._spare.pop())


def _discard(hardware: Hardware) -> None:
    hardware.engine.close()
    hardware.machine.memory.code_caches.clear()  # a cycle, which would wait for the collector

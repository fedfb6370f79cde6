"""Tracer: runs a machine one instruction at a time and says what each of them did.

An engine runs the instructions; what they did is read off the definitions and the machine, before
and after. So a trace of one engine can be compared with that of another.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from rvjit.errors import GuestFault
from rvjit.interp.translate import expression
from rvjit.isa import disassemble
from rvjit.isa.decode import Insn
from rvjit.isa.registers import ABI_NAMES
from rvjit.isa.spec import Access, Atomic, InsnSpec
from rvjit.machine.engine import Engine
from rvjit.machine.fetch import fetch_operation, fetch_word
from rvjit.machine.machine import Machine
from rvjit.machine.stop import Stop

_Address = Callable[[Any, int, int, int, int], int]


class MemoryEffect(NamedTuple):
    """One access to guest memory: *access* is ``load`` or ``store``, *size* in bytes."""

    access: str
    address: int
    size: int
    value: int

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "access": self.access,
            "address": hex(self.address),
            "size": self.size,
            "value": hex(self.value),
        }


class TraceEntry(NamedTuple):
    """What one instruction did, or several that are fused.

    *cycle* is what had been charged before it. *word* (of fused ones the first's) and *text* are
    None where nothing could be fetched or decoded. *registers* are numbers and new values of those
    that it wrote. *fault* says what stopped it; it has then done nothing else.
    """

    cycle: int
    pc: int
    word: int | None
    text: str | None
    registers: tuple[tuple[int, int], ...] = ()
    memory: tuple[MemoryEffect, ...] = ()
    fault: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON: addresses and values are '0x…' strings."""
        found: dict[str, Any] = {"cycle": self.cycle, "pc": hex(self.pc)}
        if self.text is not None and self.word is not None:
            found["word"] = hex(self.word)
            found["insn"] = self.text
        if self.registers:
            found["registers"] = {ABI_NAMES[number]: hex(value) for number, value in self.registers}
        if self.memory:
            found["memory"] = [effect.as_dict() for effect in self.memory]
        if self.fault is not None:
            found["fault"] = self.fault
        return found

    def line(self) -> str:
        """Return it as a line of JSON, without the newline."""
        return json.dumps(self.as_dict())


class _Known(NamedTuple):
    """What is known of what runs at an address before it does; *insn* is the first instruction."""

    insn: Insn
    text: str
    written: tuple[int, ...]
    accesses: tuple[tuple[Access, _Address], ...]


class Tracer:
    """Runs *machine* with *engine*, which is exact, one instruction a call."""

    def __init__(self, machine: Machine, engine: Engine) -> None:
        self._machine = machine
        self._engine = engine
        self._known: dict[tuple[int, int], _Known] = {}
        # A store-conditional has to find the same size reserved, too, but under `ckb`.
        self._sizes_matter = not machine.rules.ckb_reservation

    def step(self) -> tuple[Stop, TraceEntry | None]:
        """Run one instruction; return how that ended (STEP, SYSCALL, FAULT, …) and what it did.

        None where it was not begun: it does not fit under the cycle limit, or there is a request.
        """
        machine = self._machine
        pc, cycle = machine.pc, machine.cycles
        try:
            known = self._look_up(pc)
        except GuestFault:
            stop = self._engine.step(1)
            return stop, TraceEntry(cycle, pc, None, None, fault=str(machine.fault))
        word, text = known.insn.word, known.text
        before = self._before(known) if known.accesses else ()
        stop = self._engine.step(1)
        if stop is Stop.FAULT:
            return stop, TraceEntry(cycle, pc, word, text, fault=str(machine.fault))
        if machine.cycles == cycle:
            return stop, None
        registers = tuple((number, machine.x[number]) for number in known.written)
        memory = tuple(map(self._after, before)) if before else ()
        return stop, TraceEntry(cycle, pc, word, text, registers, memory)

    def _look_up(self, pc: int) -> _Known:
        memory, isa = self._machine.memory, self._machine.rules.isa
        key = pc, fetch_word(memory, pc)  # code may change
        known = self._known.get(key)
        if known is None:
            operation = fetch_operation(memory, isa, pc)
            steps = (operation,) if isinstance(operation, Insn) else operation.steps
            insn = operation if isinstance(operation, Insn) else operation.members[0]
            known = _Known(insn, disassemble(operation, pc), _written(steps), _accesses(insn.spec))
            if insn.spec not in isa.decoder.fusions:  # else more than this word decides
                self._known[key] = known
        return known

    def _before(self, known: _Known) -> tuple[MemoryEffect, ...]:
        """Return the accesses that are to come; of stores the value is not known yet."""
        machine, insn = self._machine, known.insn
        found = []
        for access, address_of in known.accesses:
            address = address_of(machine.x, insn.rs1, insn.rs2, insn.imm, machine.pc)
            if access.value is not None:
                if insn.spec.effects.atomic is Atomic.SC and not self._holds(address, access.size):
                    continue
                found.append(MemoryEffect("store", address, access.size, 0))
            else:
                value = self._read(address, access.size)
                found.append(MemoryEffect("load", address, access.size, value))
        return tuple(found)

    def _after(self, effect: MemoryEffect) -> MemoryEffect:
        if effect.access == "load":
            return effect
        return effect._replace(value=self._read(effect.address, effect.size))

    def _holds(self, address: int, size: int) -> bool:
        """Whether a store-conditional there would be done."""
        state = self._machine.state
        same = not self._sizes_matter or state.reservation_size == size
        return same and bool(state.reservation == address)

    def _read(self, address: int, size: int) -> int:
        """Return what memory holds; 0 outside of it, where the access faults."""
        memory = self._machine.memory
        offset = address - memory.base
        if not 0 <= offset <= memory.size - size:
            return 0
        return int.from_bytes(memory.buffer[offset : offset + size], "little")


def _written(steps: tuple[Insn, ...]) -> tuple[int, ...]:
    """Return the registers that *steps* write, in the order in which they do first."""
    return tuple(
        dict.fromkeys(step.rd for step in steps if step.rd and step.spec.effects.rd is not None)
    )


@lru_cache(maxsize=256)
def _accesses(spec: InsnSpec) -> tuple[tuple[Access, _Address], ...]:
    """Return the accesses of *spec*, loads first, with functions that compute their addresses."""
    effects = spec.effects
    return tuple(
        (access, eval(f"lambda x, rs1, rs2, imm, pc: {expression(access.address)}"))
        for access in (effects.load, effects.store)
        if access is not None
    )

"""Two machines with one program, one on the JIT and one on the reference, compared in full.

A rig is reset and used again, so that code is compiled once for many runs.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from rvjit import engines
from rvjit.isa import CKB_PRICES, UNIT_PRICES, Isa
from rvjit.isa.registers import ABI_NAMES
from rvjit.machine.layout import NO_LIMIT, NO_RESERVATION, word_of
from rvjit.machine.machine import Machine
from rvjit.machine.memory import Memory
from rvjit.machine.pages import DIRTY, PAGE_SIZE, PUBLIC
from rvjit.machine.rules import Rules
from rvjit.machine.stop import Stop
from rvjit.values import replace

LINUX = Rules(isa=Isa.parse("imcba_zicond"), prices=UNIT_PRICES)
CKB = Rules(
    isa=Isa.parse("imcba", strict_fences=True),
    prices=CKB_PRICES,
    ebreak_stops=False,
    aligned_atomics=False,
    ckb_reservation=True,
)
STRICT = Rules(isa=Isa.parse("imcba_zicond"), prices=CKB_PRICES, strict_loads=True)
FUSED = replace(CKB, isa=Isa.parse("all", strict_fences=True))
FUSED_V1 = replace(CKB, isa=Isa.parse("all", strict_fences=True, version=1))
FREE_FUSED = replace(LINUX, isa=Isa.parse("imcba_zicond_mop"))
V0 = replace(CKB, isa=Isa.parse("imca", strict_fences=True, version=0), loads_miss_end=True)
RULES = {
    "linux": LINUX,
    "ckb": CKB,
    "strict": STRICT,
    "fused": FUSED,
    "fused1": FUSED_V1,
    "free": FREE_FUSED,
    "v0": V0,
}

FIRST = "jit"  # the engine under test; see conftest.py

_PUBLIC_ONLY = bytes(flags & PUBLIC for flags in range(256))


@dataclass(frozen=True)
class Part:
    """Bytes of guest memory and what their pages allow: letters of ``rwx``."""

    address: int
    data: bytes
    allows: str


@dataclass(frozen=True)
class Guest:
    """What both machines start with; *reproduce* is one line that makes it again."""

    parts: tuple[Part, ...]
    pc: int
    registers: tuple[int, ...]
    base: int
    size: int
    rules: Rules
    reproduce: str
    wxorx: bool = False


@dataclass
class Rig:
    """The pair. `first` is the engine under test."""

    guest: Guest
    first_name: str = ""  # `FIRST` unless given
    second_name: str = "interp"
    machines: list[Machine] = field(init=False)

    def __post_init__(self) -> None:
        self.machines = [self._machine() for _ in range(2)]
        names = (self.first_name or FIRST, self.second_name)
        self.engines = [
            engines.make(name, machine) for name, machine in zip(names, self.machines, strict=True)
        ]

    def _machine(self) -> Machine:
        guest = self.guest
        memory = Memory(guest.size, guest.base, wxorx=guest.wxorx)
        machine = Machine(memory, guest.rules)
        for part in guest.parts:
            memory.initialise(part.address, part.data, dirty=False)
            memory.protect(
                part.address,
                len(part.data),
                read="r" in part.allows,
                write="w" in part.allows,
                execute="x" in part.allows,
            )
        self._set_registers(machine)
        return machine

    def _set_registers(self, machine: Machine) -> None:
        for number, value in enumerate(self.guest.registers):
            machine.x[number] = value
        machine.pc = self.guest.pc
        machine.cycles = 0
        machine.words[word_of("reservation")] = NO_RESERVATION
        machine.words[word_of("reservation_size")] = 0
        machine.cycle_limit = NO_LIMIT
        machine.fault = None

    def reset(self, which: int | None = None) -> None:
        """Start again, keeping all code that still stands for the bytes in memory."""
        for machine in self.machines if which is None else [self.machines[which]]:
            memory = machine.memory
            for page in memory.dirty_pages:
                start = page * PAGE_SIZE
                memory.initialise(memory.base + start, self._page(page), dirty=False)
                memory.clear_flag(page, DIRTY)
            memory.arm_tracking()
            self._set_registers(machine)

    def _page(self, page: int) -> bytes:
        start = self.guest.base + page * PAGE_SIZE
        data = bytearray(PAGE_SIZE)
        for part in self.guest.parts:
            low = max(start, part.address)
            high = min(start + PAGE_SIZE, part.address + len(part.data))
            if low < high:
                data[low - start : high - start] = part.data[
                    low - part.address : high - part.address
                ]
        return bytes(data)

    def run(self, limit: int = NO_LIMIT, which: Iterable[int] = (0, 1)) -> Stop:
        """Run both to *limit*, serving ecalls by a deterministic rule, and compare."""
        stops = [self.run_one(index, limit) for index in which]
        if len(stops) == 2:
            self.compare(f"limit {limit}", stops)
        return stops[0]

    def run_one(self, index: int, limit: int = NO_LIMIT) -> Stop:
        machine, engine = self.machines[index], self.engines[index]
        machine.cycle_limit = limit
        return serve(machine, engine.run())

    def step(self, count: int) -> Stop:
        stops = []
        for machine, engine in zip(self.machines, self.engines, strict=True):
            machine.cycle_limit = NO_LIMIT
            stops.append(serve(machine, engine.step(count)))
        self.compare(f"step {count}", stops)
        return stops[0]

    def compare(self, when: str, stops: Iterable[object] = ()) -> None:
        """Fail with one line that reproduces it unless both machines are equal in everything."""
        difference = self.difference(list(stops))
        assert difference is None, f"{when}: {difference}\n{self.guest.reproduce}"

    def difference(self, stops: list[object]) -> str | None:
        first, second = self.machines
        if len(set(stops)) > 1:
            return f"stops {stops}, pcs {first.pc:#x} and {second.pc:#x}, {first.fault}"
        if Stop.FAULT in stops and fault_of(first) != fault_of(second):
            return f"faults {fault_of(first)} and {fault_of(second)}"
        return state_difference(first, second)


def state_difference(first: Machine, second: Machine) -> str | None:
    """Say what differs: a register, pc, cycles, the reservation, public flags, memory."""
    for number, name in enumerate(ABI_NAMES):
        if first.x[number] != second.x[number]:
            return f"{name} {first.x[number]:#x} and {second.x[number]:#x}, pc {first.pc:#x}"
    for name in ("pc", "cycles", "reservation", "reservation_size"):
        pair = [machine.words[word_of(name)] for machine in (first, second)]
        if pair[0] != pair[1]:
            return f"{name} {pair[0]:#x} and {pair[1]:#x}"
    flags = [machine.memory.flags.tobytes().translate(_PUBLIC_ONLY) for machine in (first, second)]
    if flags[0] != flags[1]:
        return "public page flags"
    if bytes(first.memory.buffer) != bytes(second.memory.buffer):
        pairs = enumerate(zip(first.memory.buffer, second.memory.buffer, strict=True))
        at = next(index for index, pair in pairs if pair[0] != pair[1])
        return f"memory at {first.memory.base + at:#x}"
    listed = [sorted(machine.memory.dirty_pages) for machine in (first, second)]
    if listed[0] != listed[1]:
        return f"dirty pages {listed}"
    return None


def serve(machine: Machine, stop: Stop) -> Stop:
    """What a system call does here: change a0, so that a lost or doubled one is seen."""
    if stop is Stop.SYSCALL:
        machine.x[10] = (machine.x[10] * 31 + machine.cycles) & (1 << 64) - 1
    return stop


def fault_of(machine: Machine) -> tuple[str, str, int | None]:
    fault = machine.take_fault()
    return type(fault).__name__, str(fault), fault.pc


def limits(rng: random.Random, total: int, dense: int, count: int) -> list[int]:
    """All limits up to *dense*, then *count* random ones up to a little more than *total*."""
    some = {rng.randint(0, total + 3) for _ in range(count)}
    return sorted({*range(min(dense, total + 3)), *some})

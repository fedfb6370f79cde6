"""Where a guest is: the function at pc and its callers, without debug information.

A frame is unwound by reading the function's prologue with our own decoder: how far it moved sp and
where it stored ra. That needs the start of the function, so it goes as far as symbols reach.
"""

from __future__ import annotations

from rvjit.errors import GuestFault, MemoryFault
from rvjit.isa.registers import RA, S0, SP
from rvjit.loader.program import SymbolTable
from rvjit.machine.fetch import fetch
from rvjit.machine.machine import Machine
from rvjit.values import dataclass

MAX_FRAMES = 64
_MAX_PROLOGUE = 256  # instructions looked at between the start of a function and its pc


@dataclass(frozen=True)
class Frame:
    """One call: pc (in callers, the return address), and the function it is in, if known."""

    pc: int
    function: str | None
    offset: int

    def __str__(self) -> str:
        """Address, then function + offset."""
        where = f" {self.function}+{self.offset:#x}" if self.function else ""
        return f"{self.pc:#x}{where}"


def backtrace(machine: Machine, symbols: SymbolTable) -> list[Frame]:
    """Return the guest's frames, innermost first, at most 64; at least the one at pc."""
    frames = [_frame(symbols, machine.pc)]
    pc, sp, ra = machine.pc, machine.x[SP], machine.x[RA]
    frame_pointer = machine.x[S0]
    while len(frames) < MAX_FRAMES:
        start = _function_start(symbols, pc, inner=len(frames) == 1)
        if start is None:
            break
        try:
            caller, sp, frame_pointer = _unwind(machine, start, pc, sp, ra, frame_pointer)
        except GuestFault:
            break
        if not _is_code(machine, caller) or symbols.find(caller - 1) is None:
            break
        frames.append(_frame(symbols, caller))
        pc = caller
        ra = 0  # only the innermost function can still have its return address in ra
    return frames


def _frame(symbols: SymbolTable, pc: int) -> Frame:
    found = symbols.find(pc)
    return Frame(pc, found[0], found[1]) if found else Frame(pc, None, 0)


def _function_start(symbols: SymbolTable, pc: int, *, inner: bool) -> int | None:
    # A return address may be the first byte after its function (a call that never returns).
    at = pc if inner else pc - 1
    found = symbols.find(at)
    return None if found is None else at - found[1]


def _is_code(machine: Machine, pc: int) -> bool:
    try:
        fetch(machine.memory, machine.rules.isa, pc)
    except GuestFault:
        return False
    return True


def _unwind(
    machine: Machine, start: int, pc: int, sp: int, ra: int, frame_pointer: int
) -> tuple[int, int, int]:
    """Return (return address, sp, s0) of the caller, from the prologue between *start* and *pc*.

    Returns on the way are passed over: before the prologue they are of a path that needed none,
    after it they took back only what the path to *pc* still has.
    """
    moved = 0
    frame: int | None = None  # s0 minus the sp that the function was entered with, once s0 is set
    saved: dict[int, int] = {}  # register -> offset from the sp that the function was entered with
    at = start
    for _ in range(_MAX_PROLOGUE):
        if at >= pc:
            break
        insn = fetch(machine.memory, machine.rules.isa, at)
        if insn.spec.name == "addi" and insn.rd == SP and insn.rs1 == SP and insn.imm < 0:
            moved += insn.imm
        elif insn.spec.name == "addi" and insn.rd == S0 and insn.rs1 == SP:
            frame = moved + insn.imm
        elif insn.spec.name == "sd" and insn.rs1 == SP and insn.rs2 in (RA, S0):
            saved.setdefault(insn.rs2, moved + insn.imm)
        at += insn.length
    entry_sp = sp - moved if frame is None else frame_pointer - frame
    caller = _word(machine, entry_sp + saved[RA]) if RA in saved else ra
    if S0 in saved:
        frame_pointer = _word(machine, entry_sp + saved[S0])
    return caller, entry_sp, frame_pointer


def _word(machine: Machine, address: int) -> int:
    try:
        return machine.memory.read_int(address, 8)
    except MemoryFault as fault:
        raise GuestFault("the stack cannot be read") from fault

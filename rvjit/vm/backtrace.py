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

REPORTED_FRAMES = 10_000  # recursion takes one line of a report, however deep it is
_REPORTED_LINES = 64
_LONGEST_CYCLE = 4  # functions that call each other in turn and are shown once
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


@dataclass(frozen=True)
class _Prologue:
    """What a function did to the stack before some pc in it.

    *moved* is sp now minus the sp that it was entered with; *frame* is s0 minus that sp, once s0 is
    set; *saved* maps ra and s0 to where they were stored, relative to that sp.
    """

    moved: int
    frame: int | None
    saved: dict[int, int]


def backtrace(machine: Machine, symbols: SymbolTable, limit: int) -> list[Frame]:
    """Return the guest's frames, innermost first, at most *limit*; at least the one at pc."""
    frames = [_frame(symbols, machine.pc)]
    pc, sp, ra = machine.pc, machine.x[SP], machine.x[RA]
    frame_pointer = machine.x[S0]
    known: dict[int, tuple[Frame, _Prologue | None]] = {}  # by return address
    prologue = _prologue(machine, symbols, pc, inner=True)
    while len(frames) < limit and prologue is not None:
        try:
            caller, sp, frame_pointer = _unwind(machine, prologue, sp, ra, frame_pointer)
        except GuestFault:
            break
        if caller not in known:
            if not _is_code(machine, caller) or symbols.find(caller - 1) is None:
                break
            known[caller] = (
                _frame(symbols, caller),
                _prologue(machine, symbols, caller, inner=False),
            )
        frame, prologue = known[caller]
        frames.append(frame)
        ra = 0  # only the innermost function can still have its return address in ra
    return frames


def report(machine: Machine, symbols: SymbolTable) -> list[str]:
    """Return `backtrace` as lines; frames that recursion repeats have one line together."""
    return _lines(backtrace(machine, symbols, REPORTED_FRAMES))


def _lines(frames: list[Frame]) -> list[str]:
    lines: list[str] = []
    at = 0
    while at < len(frames):
        if len(lines) == _REPORTED_LINES:
            return [*lines, "  ... more"]
        lines.append(f"  #{at} {frames[at]}")
        at += 1
        period, repeated = _repeated(frames, at)
        if repeated > 1:
            which = f"#{at - period}" if period == 1 else f"#{at - period} to #{at - 1}"
            at += repeated
            more = "at least " if at == REPORTED_FRAMES else ""
            lines.append(f"  ... {more}{repeated} more like {which}")
    return lines


def _repeated(frames: list[Frame], at: int) -> tuple[int, int]:
    """How many frames from *at* on repeat the *period* ones before it, for the shortest period.

    Whole periods only.
    """
    for period in range(1, min(_LONGEST_CYCLE, at) + 1):
        end = at
        while end < len(frames) and frames[end] == frames[end - period]:
            end += 1
        repeated = (end - at) // period * period
        if repeated:
            return period, repeated
    return 0, 0


def _frame(symbols: SymbolTable, pc: int) -> Frame:
    found = symbols.find(pc)
    return Frame(pc, found[0], found[1]) if found else Frame(pc, None, 0)


def _is_code(machine: Machine, pc: int) -> bool:
    try:
        fetch(machine.memory, machine.rules.isa, pc)
    except GuestFault:
        return False
    return True


def _prologue(machine: Machine, symbols: SymbolTable, pc: int, *, inner: bool) -> _Prologue | None:
    """Return what the function around *pc* did before it; None where that cannot be read.

    Returns on the way are passed over: before the prologue they are of a path that needed none,
    after it they took back only what the path to *pc* still has.
    """
    # A return address may be the first byte after its function (a call that never returns).
    inside = pc if inner else pc - 1
    found = symbols.find(inside)
    if found is None:
        return None
    moved = 0
    frame: int | None = None
    saved: dict[int, int] = {}
    at = inside - found[1]
    for _ in range(_MAX_PROLOGUE):
        if at >= pc:
            break
        try:
            insn = fetch(machine.memory, machine.rules.isa, at)
        except GuestFault:
            return None
        if insn.spec.name == "addi" and insn.rd == SP and insn.rs1 == SP and insn.imm < 0:
            moved += insn.imm
        elif insn.spec.name == "addi" and insn.rd == S0 and insn.rs1 == SP:
            frame = moved + insn.imm
        elif insn.spec.name == "sd" and insn.rs1 == SP and insn.rs2 in (RA, S0):
            saved.setdefault(insn.rs2, moved + insn.imm)
        at += insn.length
    return _Prologue(moved, frame, saved)


def _unwind(
    machine: Machine, prologue: _Prologue, sp: int, ra: int, frame_pointer: int
) -> tuple[int, int, int]:
    """Return (return address, sp, s0) of the caller."""
    saved = prologue.saved
    entry_sp = sp - prologue.moved if prologue.frame is None else frame_pointer - prologue.frame
    caller = _word(machine, entry_sp + saved[RA]) if RA in saved else ra
    if S0 in saved:
        frame_pointer = _word(machine, entry_sp + saved[S0])
    return caller, entry_sp, frame_pointer


def _word(machine: Machine, address: int) -> int:
    try:
        return machine.memory.read_int(address, 8)
    except MemoryFault as fault:
        raise GuestFault("the stack cannot be read") from fault

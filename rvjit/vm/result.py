"""RunResult: why a run ended, as a value."""

from __future__ import annotations

from rvjit.errors import (
    BadSyscall,
    GuestFault,
    IllegalInstruction,
    MemoryFault,
    OutOfBounds,
    UnknownSyscall,
)
from rvjit.machine.stop import Stop
from rvjit.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What CKB-VM calls each of our faults (CKB-FACTS 5.8); it has one permission error.
_CKB_OUT_OF_BOUNDS = "MemOutOfBound"
_CKB_PERMISSION = "MemWriteOnExecutablePage"

# Stops that are errors to CKB-VM.
CKB_STOPS = {Stop.CYCLE_LIMIT: "CyclesExceeded", Stop.PAUSE: "Pause"}


@dataclass(frozen=True, init=False)
class RunResult:
    """How a run ended.

    *cycles* counts from the machine's start, *pc* is the next instruction (with a fault, the one
    that faulted). *exit_code* is set with `Stop.EXIT` only: 0..255, or -128..127 under `ckb`;
    *fault* with `Stop.FAULT` only. Under `ckb`, *ckb_error* and *ckb_pc* are the error's name and
    the pc that CKB-VM's interpreter reports for the fault, or for a limit or pause that was met.
    """

    stop: Stop
    cycles: int
    pc: int
    exit_code: int | None = None
    fault: GuestFault | None = None
    ckb_error: str | None = None
    ckb_pc: int | None = None

    def __init__(
        self,
        stop: Stop,
        cycles: int,
        pc: int,
        exit_code: int | None = None,
        fault: GuestFault | None = None,
        ckb_error: str | None = None,
        ckb_pc: int | None = None,
    ) -> None:
        # As dataclass would make it, but for a setattr for each field: runs can be very short.
        fields = self.__dict__
        fields["stop"] = stop
        fields["cycles"] = cycles
        fields["pc"] = pc
        fields["exit_code"] = exit_code
        fields["fault"] = fault
        fields["ckb_error"] = ckb_error
        fields["ckb_pc"] = ckb_pc

    def check(self) -> RunResult:
        """Raise the fault if there is one, else return the result itself."""
        if self.fault is not None:
            raise self.fault
        return self


def fault_as_dict(fault: GuestFault | None) -> dict[str, Any] | None:
    """Return a fault for JSON: kind, address, size, access, pc, word (None where not meant)."""
    if fault is None:
        return None
    memory = fault if isinstance(fault, MemoryFault) else None
    return {
        "kind": fault.kind,
        "address": hex(memory.address) if memory else None,
        "size": memory.size if memory else None,
        "access": memory.access if memory else None,
        "pc": None if fault.pc is None else hex(fault.pc),
        "word": hex(fault.word) if isinstance(fault, IllegalInstruction) else None,
        "message": str(fault),
    }


def ckb_view(fault: GuestFault, insn_length: int) -> tuple[str, int | None]:
    """Name and pc that CKB-VM's interpreter gives *fault* (CKB-FACTS 5.3, 5.8).

    An operation that fails leaves pc behind it, one that cannot be decoded leaves pc at it.
    *insn_length* is that of the instruction at the fault's pc, in bytes.
    """
    pc = fault.pc
    behind = None if pc is None else pc + insn_length
    match fault:
        case IllegalInstruction():
            return "InvalidInstruction", pc
        case MemoryFault():
            name = _CKB_OUT_OF_BOUNDS if isinstance(fault, OutOfBounds) else _CKB_PERMISSION
            return name, pc if fault.access == "fetch" else behind
        case UnknownSyscall():
            return "InvalidEcall", behind
        case BadSyscall():
            return "External", behind
        case _:
            return "Unexpected", behind

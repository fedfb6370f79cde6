"""rvjit: run RISC-V (RV64) programs in a deterministic, metered virtual machine.

>>> import rvjit
>>> vm = rvjit.VM.from_elf(rvjit.example("hello"))
>>> result = vm.run(cycle_limit=1_000_000)
>>> result.stop, result.exit_code
(<Stop.EXIT: 'exit'>, 0)

The names in `__all__` are stable; everything else may change between versions.
"""

from rvjit.errors import (
    Aborted,
    BadSyscall,
    Breakpoint,
    CallStopped,
    ConfigError,
    ElfError,
    EngineMismatch,
    EngineUnavailable,
    GuestFault,
    IllegalInstruction,
    InternalError,
    LoadError,
    MachineBusy,
    MemoryFault,
    Misaligned,
    OutOfBounds,
    PermissionDenied,
    RvjitError,
    UnknownSymbol,
    UnknownSyscall,
)
from rvjit.examples import path as example
from rvjit.isa import CKB_PRICES, UNIT_PRICES, Cost, Isa, PriceModel
from rvjit.machine.stop import Stop
from rvjit.syscalls import Call, Exit
from rvjit.vm.backtrace import Frame
from rvjit.vm.profile import Profile
from rvjit.vm.result import RunResult
from rvjit.vm.vm import VM

__version__ = "0.1.0"

__all__ = [
    "CKB_PRICES",
    "UNIT_PRICES",
    "VM",
    "Aborted",
    "BadSyscall",
    "Breakpoint",
    "Call",
    "CallStopped",
    "ConfigError",
    "Cost",
    "ElfError",
    "EngineMismatch",
    "EngineUnavailable",
    "Exit",
    "Frame",
    "GuestFault",
    "IllegalInstruction",
    "InternalError",
    "Isa",
    "LoadError",
    "MachineBusy",
    "MemoryFault",
    "Misaligned",
    "OutOfBounds",
    "PermissionDenied",
    "PriceModel",
    "Profile",
    "RunResult",
    "RvjitError",
    "Stop",
    "UnknownSymbol",
    "UnknownSyscall",
    "example",
]

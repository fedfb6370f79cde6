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
    CyclesExceeded,
    Deadlock,
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
    ScriptError,
    ScriptPaused,
    SnapshotError,
    SnapshotFormatError,
    SnapshotMismatch,
    UnknownSymbol,
    UnknownSyscall,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rvjit.examples import path as example
    from rvjit.isa.cost import CKB_PRICES, UNIT_PRICES, Cost, PriceModel
    from rvjit.isa.isa import Isa
    from rvjit.machine.stop import Stop
    from rvjit.replay.ring import CheckpointRing, Replay
    from rvjit.scheduler.scheduler import Scheduler
    from rvjit.snapshot import Snapshot
    from rvjit.syscalls.table import Call, Exit
    from rvjit.vm.backtrace import Frame
    from rvjit.vm.profile import Profile
    from rvjit.vm.result import RunResult
    from rvjit.vm.rounds import Coverage, Runs
    from rvjit.vm.vm import VM

# Where the rest is (module, and the name there if it is another), imported when it is asked for: a
# start needs little of a program that is there.
_LATER = {
    "CKB_PRICES": "isa.cost",
    "Call": "syscalls.table",
    "CheckpointRing": "replay.ring",
    "Cost": "isa.cost",
    "Coverage": "vm.rounds",
    "Exit": "syscalls.table",
    "Frame": "vm.backtrace",
    "Isa": "isa.isa",
    "PriceModel": "isa.cost",
    "Profile": "vm.profile",
    "Replay": "replay.ring",
    "RunResult": "vm.result",
    "Runs": "vm.rounds",
    "Scheduler": "scheduler.scheduler",
    "Snapshot": "snapshot.snapshot",
    "Stop": "machine.stop",
    "UNIT_PRICES": "isa.cost",
    "VM": "vm.vm",
    "example": "examples:path",
    "examples": "examples:",  # the module itself
}

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
    "CheckpointRing",
    "ConfigError",
    "Cost",
    "Coverage",
    "CyclesExceeded",
    "Deadlock",
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
    "Replay",
    "RunResult",
    "Runs",
    "RvjitError",
    "Scheduler",
    "ScriptError",
    "ScriptPaused",
    "Snapshot",
    "SnapshotError",
    "SnapshotFormatError",
    "SnapshotMismatch",
    "Stop",
    "UnknownSymbol",
    "UnknownSyscall",
    "example",
]


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    where, colon, other = _LATER[name].partition(":")
    value: object = __import__(f"{__name__}.{where}", fromlist=["__name__"])
    if other or not colon:
        value = getattr(value, other or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})

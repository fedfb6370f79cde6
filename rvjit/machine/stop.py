"""Stop and Exit: every reason for which an engine, and compiled code, comes back.

`Stop` is what `Engine.run` returns. `Exit` is narrower: what compiled code leaves in
`State.exit_reason` for the native dispatch loop's caller.
"""

from __future__ import annotations

from enum import Enum, IntEnum


class Stop(Enum):
    """Why a run ended. The value is the name that JSON and the command line print."""

    EXIT = "exit"  # the guest ended itself; only the VM returns this
    CYCLE_LIMIT = "cycle_limit"  # the next instruction's price would pass the limit
    PAUSE = "pause"  # somebody asked; resumable
    TIMEOUT = "timeout"  # the run's time is over; resumable
    INTERRUPT = "interrupt"  # Ctrl-C; resumable
    FAULT = "fault"  # the guest did something illegal; see Machine.fault
    BREAKPOINT = "breakpoint"  # pc is in Machine.breakpoints, not yet executed
    STEP = "step"  # the steps asked for are done
    SYSCALL = "syscall"  # at an ecall: charged, pc after it; only engines return this


class Exit(IntEnum):
    """Why compiled code came back to the engine; numbers are part of the region contract."""

    NO_CODE = 0  # State.pc has no entry point
    EXACT = 1  # the instruction at State.pc needs the exact engine, which will run it or fault
    LIMIT = 2  # the block at State.pc does not fit under limit_word
    SYSCALL = 3  # an ecall was charged; State.pc is after it
    BREAKPOINT = 4  # the threaded engine met a breakpoint at State.pc
    ENTER = 5  # the threaded engine met a pc that has compiled code
    HOT = 6  # the threaded engine jumped to State.pc for the last time that was asked for


EXITS = tuple(Exit)  # by number, quicker than Exit(number)

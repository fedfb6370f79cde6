"""Engines by name, and combinations of them."""

from __future__ import annotations

from rvjit.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rvjit.machine.engine import Engine
    from rvjit.machine.machine import Machine

NAMES = ("interp", "threaded", "jit", "tiered", "lockstep")


def make(name: str, machine: Machine) -> Engine:
    """Make the engine *name* for *machine*.

    Raises `ConfigError` for an unknown name, `EngineUnavailable` where it cannot run here.
    """
    if name == "interp":
        from rvjit.interp.engine import Interpreter

        return Interpreter(machine)
    if name == "threaded":
        from rvjit.threaded.engine import Threaded

        return Threaded(machine)
    if name == "jit":
        from rvjit.interp.engine import Interpreter
        from rvjit.jit.engine import Jit

        return Jit(machine, Interpreter(machine))
    if name == "tiered":
        from rvjit.engines.tiered import Tiered

        return Tiered(machine)
    if name == "lockstep":
        from rvjit.engines.lockstep import Lockstep

        return Lockstep(machine)
    raise ConfigError(f"unknown engine {name!r}: known are {', '.join(NAMES)}")

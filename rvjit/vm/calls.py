"""Calling single functions of a guest; a base class of `rvjit.vm.vm.VM`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rvjit.bits import MASK64
from rvjit.errors import CallStopped, ConfigError
from rvjit.isa.registers import A0, RA, SP
from rvjit.machine.stop import Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rvjit.machine.machine import Machine
    from rvjit.vm.entry import Entry
    from rvjit.vm.result import RunResult

_MAX_ARGUMENTS = 8
_STACK_ALIGN = 16


class Calls:
    """Calling guest functions from Python."""

    machine: Machine
    exit_code: int | None
    _entry: Entry

    def call(
        self,
        function: str | int,
        *args: int | bytes,
        cycle_limit: int | None = None,
        timeout: float | None = None,
    ) -> int:
        """Call a guest function and return its a0, unsigned.

        Up to eight arguments: ints (modulo 2**64), or bytes, of which the guest gets the address of
        a copy on its stack. Registers and pc are afterwards as before; cycles are charged. Raises
        `CallStopped`, which holds the result, where the call ends in any other way than returning.
        """
        if len(args) > _MAX_ARGUMENTS:
            raise ConfigError(f"call with {len(args)} arguments: at most {_MAX_ARGUMENTS}")
        target = self.address_of(function)
        machine = self.machine
        with self._entry:
            exited, self.exit_code = self.exit_code, None  # one may call into a guest that ended
            saved = machine.x.tolist(), machine.pc
            home = machine.memory.base + machine.memory.size  # never executable
            try:
                self._pass_arguments(args)
                machine.x[RA] = home
                machine.pc = target
                result = self.run(cycle_limit=cycle_limit, timeout=timeout, until=home)
                if result.stop is not Stop.BREAKPOINT:
                    raise CallStopped(str(function), result, self.fault_report(result))
                return machine.x[A0]
            finally:
                for number, value in enumerate(saved[0]):
                    machine.x[number] = value
                machine.pc = saved[1]
                self.exit_code = exited

    def _pass_arguments(self, args: Sequence[int | bytes]) -> None:
        machine = self.machine
        for index, arg in enumerate(args):
            if isinstance(arg, int):
                machine.x[A0 + index] = arg & MASK64
                continue
            address = (machine.x[SP] - len(arg)) & -_STACK_ALIGN & MASK64
            machine.memory.write(address, arg)
            machine.x[SP] = address
            machine.x[A0 + index] = address

    if TYPE_CHECKING:  # what a VM has

        def address_of(self, where: str | int) -> int:
            """Return the address of a symbol."""

        def run(
            self,
            *,
            cycle_limit: int | None = None,
            timeout: float | None = None,
            until: str | int | Iterable[str | int] = (),
        ) -> RunResult:
            """Run until a stop."""

        def fault_report(self, result: RunResult) -> str:
            """Describe a stop."""

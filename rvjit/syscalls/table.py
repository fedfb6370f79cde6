"""System calls as a table: what a call is, what it may answer, how it is found.

A handler takes a `Call` and returns an `Outcome`; it is made an `Entry` by the decorator
`syscall`, and every table names its entries, or the modules that list them. Handlers read and
write guest memory without looking: the `MemoryFault` of a bad pointer, and the `OSError` of a
refused host operation, become what the table's policy says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from rvjit.bits import MASK64, to_signed
from rvjit.errors import DefinitionError, GuestFault, MemoryFault, UnknownSyscall
from rvjit.syscalls.errnos import EFAULT, ENOSYS, guest_errno
from rvjit.values import dataclass, field, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    from rvjit.machine.machine import Machine
    from rvjit.syscalls.host import Host

_A0 = 10
_A7 = 17
_ARGUMENTS = 6


@dataclass(frozen=True)
class Exit:
    """The guest ended itself; *code* is in 0..255."""

    code: int


@dataclass(frozen=True)
class Raise:
    """The call is fatal: the run ends with `Stop.FAULT`, pc at the ecall, which is charged."""

    fault: GuestFault


class Restart:
    """A request to stop arrived while the call waited, and nothing of the call has happened.

    Whoever runs the guest puts pc and cycles back before the ecall and stops with the request.
    """


RESTART = Restart()

# An int goes to a0 modulo 2**64; None leaves the registers alone.
Outcome: TypeAlias = "int | Exit | Raise | Restart | None"
Handler: TypeAlias = "Callable[[Call], Outcome]"


class Call:
    """One system call: who made it and with what.

    *args* are a0..a5, unsigned 64-bit. The machine is stopped behind the ecall, whose price is in
    `machine.cycles` already.
    """

    __slots__ = ("args", "host", "machine", "memory", "number")

    def __init__(
        self, machine: Machine, host: Host, number: int, args: tuple[int, ...] = ()
    ) -> None:
        self.machine = machine
        self.memory = machine.memory
        self.host = host
        self.number = number
        self.args = args + (0,) * (_ARGUMENTS - len(args))

    @classmethod
    def at_ecall(cls, machine: Machine, host: Host) -> Call:
        """Build the call that *machine*'s registers describe."""
        x = machine.x
        return cls(machine, host, x[_A7], tuple(x[_A0 : _A0 + _ARGUMENTS]))

    @property
    def pc(self) -> int:
        """Address of the ecall."""
        return (self.machine.pc - 4) & MASK64

    def signed(self, index: int) -> int:
        """Argument *index* as a signed 64-bit number."""
        return to_signed(self.args[index], 64)

    def int32(self, index: int) -> int:
        """Argument *index* as C's ``int``: the low 32 bits, signed."""
        return to_signed(self.args[index], 32)

    def uint32(self, index: int) -> int:
        """Argument *index* as C's ``unsigned int``."""
        return self.args[index] & 0xFFFF_FFFF

    def charge(self, cycles: int) -> None:
        """Add *cycles* to the machine's; the limit is looked at when the call is done."""
        self.machine.cycles = min(self.machine.cycles + cycles, MASK64)


class Entry:
    """One row of a table. *since* is the first VM version that has it; *ends* see `ending`."""

    __slots__ = ("ends", "handler", "name", "number", "since")

    def __init__(
        self, number: int, name: str, handler: Handler, since: int = 0, ends: bool = False
    ) -> None:
        self.number = number
        self.name = name
        self.handler = handler
        self.since = since
        self.ends = ends


def syscall(
    number: int, name: str, *, since: int = 0, ends: bool = False
) -> Callable[[Handler], Entry]:
    """Make the decorated handler an `Entry`; it is found only once a table lists it."""

    def make(handler: Handler) -> Entry:
        return Entry(number, name, handler, since, ends)

    return make


@dataclass(frozen=True)
class SyscallTable:
    """The system calls of one profile.

    *listed* are there at once; *modules* (full names) have more as their `ENTRIES`, in all versions
    alike. They are imported in their order until a number that is asked for has been found.

    *unknown* and *bad_pointer* say what a number that is not there, and a fault of a handler's
    memory access, give the guest: an error number as on Linux, or the end of the run. Raises
    `DefinitionError` where two entries have one number.
    """

    name: str
    listed: tuple[Entry, ...]
    unknown: Literal["enosys", "fault"]
    bad_pointer: Literal["efault", "fault"]
    modules: tuple[str, ...] = ()
    _found: dict[int, Entry] = field(init=False, repr=False, compare=False, default_factory=dict)
    _versions: dict[int, SyscallTable] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )
    _imported: set[str] = field(init=False, repr=False, compare=False, default_factory=set)

    def __post_init__(self) -> None:
        self._add(self.listed)

    @property
    def entries(self) -> Mapping[int, Entry]:
        """All entries by number."""
        for module in self.modules:
            self._import(module)
        return self._found

    def find(self, number: int) -> Entry | None:
        """Return the entry with this number, None if there is none."""
        if number not in self._found and len(self._imported) < len(self.modules):
            for module in self.modules:
                self._import(module)
                if number in self._found:
                    break
        return self._found.get(number)

    def dispatch(self, call: Call) -> Outcome:
        """Carry out *call*.

        Raises only what the caller's own streams raise, and of these no `OSError` where bad
        pointers are error numbers.
        """
        entry = self.find(call.number)
        if entry is None:
            if self.unknown == "enosys":
                return -ENOSYS
            return Raise(UnknownSyscall(call.number, call.pc))
        try:
            return entry.handler(call)
        except MemoryFault as fault:
            if self.bad_pointer == "efault":
                return -EFAULT
            return Raise(type(fault)(fault.address, fault.size, fault.access, call.pc))
        except OSError as error:
            if self.bad_pointer == "efault":
                return -guest_errno(error)
            raise

    @property
    def ending(self) -> frozenset[int]:
        """Numbers of the calls that do nothing but end the guest, with the low 8 bits of a0.

        Whoever runs guests may do that without `dispatch`, which is quicker.
        """
        return frozenset(entry.number for entry in self.listed if entry.ends)

    def for_version(self, version: int) -> SyscallTable:
        """Return the table without the calls that come with a later VM version."""
        if version not in self._versions:
            listed = tuple(entry for entry in self.listed if entry.since <= version)
            self._versions[version] = replace(self, listed=listed)
        return self._versions[version]

    def _import(self, module: str) -> None:
        if module not in self._imported:
            self._add(__import__(module, fromlist=["ENTRIES"]).ENTRIES)
            self._imported.add(module)

    def _add(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            other = self._found.setdefault(entry.number, entry)
            if other is not entry:
                raise DefinitionError(
                    f"{self.name}: system call {entry.number} is both {other.name} and {entry.name}"
                )

"""Every exception rvjit raises on purpose, as a tree.

    RvjitError
    |- DefinitionError         an instruction definition is malformed (import time)
    |- LoadError               the file is not a program we can run
    |   `- ElfError              field, value
    |       `- CkbElfError         ckb_error (in rvjit.loader): CKB-VM refuses program or arguments
    |- ConfigError             (also ValueError) the caller asked for something impossible
    |- EngineUnavailable       an engine cannot run here; says why
    |- MachineBusy             one VM was entered from two threads
    |- UnknownSymbol           (also KeyError) the program has no such symbol
    |- CallStopped             a call into the guest did not return: result
    |- GuestFault              the guest did something illegal: kind, pc
    |   |- IllegalInstruction    word
    |   |- MemoryFault           address, size, access
    |   |   |- OutOfBounds         outside the guest's memory window
    |   |   |- PermissionDenied    the page does not allow it
    |   |   `- Misaligned          the address is not a multiple of the size
    |   |- Breakpoint            ebreak where the profile makes it a stop
    |   |- UnknownSyscall        number
    |   |- BadSyscall            number, reason: arguments the profile treats as fatal
    |   `- Aborted               signal: the guest ended itself by a signal
    |- ScriptError             name, detail, vm_id, pc: a script failed, as CKB names it
    |   |- CyclesExceeded        the limit of cycles was reached; the script can go on
    |   |- ScriptPaused          somebody asked; the script can go on
    |   `- Deadlock              every VM of a script waits for another
    |- SnapshotError           a snapshot or checkpoint cannot be made or used
    |   |- SnapshotFormatError   offset, section: bytes that are no snapshot, or a damaged one
    |   `- SnapshotMismatch      field, expected, found: a snapshot of something else
    `- InternalError           our bug: please report
        `- EngineMismatch        lockstep found a difference

A run never raises a `GuestFault`: it returns it in `RunResult.fault`, and `RunResult.check` raises
it for callers who prefer that. Access to guest memory from Python raises `MemoryFault`, its pc
None.
"""

from __future__ import annotations


class RvjitError(Exception):
    """Base of everything that rvjit raises on purpose. All can be pickled."""

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild from the message and attributes: constructors take other arguments."""
        return _rebuild, (type(self), self.args, self.__dict__.copy())


def _rebuild(kind: type[RvjitError], args: tuple[object, ...], state: object) -> RvjitError:
    error = kind.__new__(kind, *args)
    error.args = args
    assert isinstance(state, dict)
    error.__dict__.update(state)
    return error


class DefinitionError(RvjitError):
    """An instruction definition is malformed; raised at import."""


class LoadError(RvjitError):
    """A file is not a program that can be run."""


class ElfError(LoadError):
    """An ELF file is broken or of a kind that is not supported.

    *field* names what was looked at (``e_machine``, ``p_offset``, …), *value* what was found.
    """

    def __init__(self, field: str, value: object, reason: str) -> None:
        self.field = field
        self.value = value
        self.reason = reason
        shown = (
            hex(value) if isinstance(value, int) and not isinstance(value, bool) else repr(value)
        )
        super().__init__(f"{field} = {shown}: {reason}")


class ConfigError(RvjitError, ValueError):
    """The caller asked for something impossible or contradictory; the message names the values."""


class EngineUnavailable(RvjitError):
    """An engine cannot run on this machine; the message names the reason."""


class MachineBusy(RvjitError):
    """A VM that is running on one thread was entered from another."""


class UnknownSymbol(RvjitError, KeyError):
    """The program has no symbol of that name, or no symbols at all."""

    def __init__(self, symbol: str, program: str) -> None:
        self.symbol = symbol
        super().__init__(f"{program} has no symbol {symbol!r}")

    __str__ = Exception.__str__  # KeyError would quote the message


class CallStopped(RvjitError):
    """A call into the guest ended otherwise than by returning. *result* is the `RunResult`."""

    def __init__(self, function: str, result: object, report: str) -> None:
        self.function = function
        self.result = result
        super().__init__(f"call of {function} did not return: {report}")


class GuestFault(RvjitError):
    """The guest did something illegal. *pc* is None where Python, not the guest, did the access."""

    kind = "fault"

    def __init__(self, message: str, pc: int | None = None) -> None:
        super().__init__(message)
        self.pc = pc

    def __str__(self) -> str:
        """Return the message, and the pc where there is one."""
        where = f" (pc {self.pc:#x})" if self.pc is not None else ""
        return f"{self.args[0]}{where}"


class IllegalInstruction(GuestFault):
    """The bits at pc are no instruction under the profile; *word* has 16 or 32 bits."""

    kind = "illegal_instruction"

    def __init__(self, word: int, pc: int | None = None) -> None:
        self.word = word
        digits = 4 if word & 3 != 3 else 8
        super().__init__(f"illegal instruction 0x{word:0{digits}x}", pc)


class MemoryFault(GuestFault):
    """A memory access was refused; *access* is ``load``, ``store`` or ``fetch``."""

    kind = "memory"
    reason = "refused"

    def __init__(self, address: int, size: int, access: str, pc: int | None = None) -> None:
        self.address = address
        self.size = size
        self.access = access
        super().__init__(f"{access} of {size} bytes at {address:#x}: {self.reason}", pc)


class OutOfBounds(MemoryFault):
    """The access reaches outside the guest's memory window."""

    kind = "out_of_bounds"
    reason = "outside the guest's memory"


class PermissionDenied(MemoryFault):
    """The page does not allow the access."""

    kind = "permission_denied"
    reason = "the page does not allow it"


class Misaligned(MemoryFault):
    """The address is not a multiple of the size where the profile demands it."""

    kind = "misaligned"
    reason = "not aligned"


class Breakpoint(GuestFault):
    """The guest ran ebreak and the profile makes that a stop."""

    kind = "breakpoint"

    def __init__(self, pc: int | None = None) -> None:
        super().__init__("ebreak", pc)


class UnknownSyscall(GuestFault):
    """The guest made a system call that its profile does not have."""

    kind = "unknown_syscall"

    def __init__(self, number: int, pc: int | None = None) -> None:
        self.number = number
        super().__init__(f"unknown system call {number}", pc)


class BadSyscall(GuestFault):
    """The arguments of a system call are fatal under the profile."""

    kind = "bad_syscall"

    def __init__(self, number: int, reason: str, pc: int | None = None) -> None:
        self.number = number
        self.reason = reason
        super().__init__(f"system call {number}: {reason}", pc)


class Aborted(GuestFault):
    """The guest sent itself a fatal signal (abort, raise, tgkill)."""

    kind = "aborted"

    def __init__(self, signal: int, pc: int | None = None) -> None:
        self.signal = signal
        super().__init__(f"ended by signal {signal}", pc)


class ScriptError(RvjitError):
    """A script under CKB's scheduler ended by an error.

    *name* is CKB-VM's name of it (``MemOutOfBound``, ``InvalidEcall``, …), *detail* what it carries
    there, as text, or None. *vm_id* and *pc* are the VM that failed and, where an instruction did,
    the pc that CKB-VM reports; None where no VM did.
    """

    def __init__(
        self,
        name: str,
        detail: str | None = None,
        vm_id: int | None = None,
        pc: int | None = None,
    ) -> None:
        self.name = name
        self.detail = detail
        self.vm_id = vm_id
        self.pc = pc
        super().__init__(name)

    def __str__(self) -> str:
        """Return name, detail, VM and pc, those that there are."""
        text = self.name if self.detail is None else f"{self.name}: {self.detail}"
        places = [] if self.vm_id is None else [f"VM {self.vm_id}"]
        places += [] if self.pc is None else [f"pc {self.pc:#x}"]
        return f"{text} ({', '.join(places)})" if places else text


class CyclesExceeded(ScriptError):
    """A run came to its limit of cycles; another run goes on."""

    def __init__(self, vm_id: int | None = None) -> None:
        super().__init__("CyclesExceeded", None, vm_id)


class ScriptPaused(ScriptError):
    """A run was paused; another run goes on."""

    def __init__(self, vm_id: int | None = None) -> None:
        super().__init__("Pause", None, vm_id)


class Deadlock(ScriptError):
    """No VM of a script can run. *waiting* says what each waits for, by VM id."""

    def __init__(self, waiting: dict[int, str]) -> None:
        self.waiting = waiting
        super().__init__("Unexpected", "A deadlock situation has been reached!")

    def __str__(self) -> str:
        """Return CKB's text and who waits for what."""
        who = "; ".join(f"VM {vm_id} {what}" for vm_id, what in self.waiting.items())
        return f"{super().__str__()} {who}"


class SnapshotError(RvjitError):
    """A snapshot or checkpoint cannot be made or used; nothing was changed."""


class SnapshotFormatError(SnapshotError):
    """Bytes are no snapshot, or a damaged one.

    *offset* is the byte at which that was seen, *section* the name of the section it is in, empty
    outside of all sections.
    """

    def __init__(self, reason: str, offset: int, section: str = "") -> None:
        self.reason = reason
        self.offset = offset
        self.section = section
        where = f"section {section!r} at byte {offset}" if section else f"byte {offset}"
        super().__init__(f"snapshot, {where}: {reason}")


class SnapshotMismatch(SnapshotError):
    """A snapshot is not of what it was used with: *field* is *expected* in it and *found* here."""

    def __init__(self, field: str, expected: object, found: object) -> None:
        self.field = field
        self.expected = expected
        self.found = found
        super().__init__(f"the snapshot does not fit: {field} is {expected} in it, here {found}")


class InternalError(RvjitError):
    """A bug of rvjit itself. Please report it with the message."""


class EngineMismatch(InternalError):
    """Two engines disagree: *field* is *first* on one and *second* on the reference.

    *pc* and *cycles* are those of the last state in which they agreed, *text* the instruction there
    (empty where it could not be narrowed down to one).
    """

    def __init__(
        self, field: str, first: object, second: object, pc: int, cycles: int, text: str = ""
    ) -> None:
        self.field = field
        self.first = first
        self.second = second
        self.pc = pc
        self.cycles = cycles
        self.text = text
        super().__init__(
            f"engines differ after pc {pc:#x} (cycle {cycles}{text and ', ' + text}): "
            f"{field} is {first}, the reference has {second}; please report this",
        )

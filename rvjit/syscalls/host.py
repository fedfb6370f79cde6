"""Host: everything of the world that one guest can reach through system calls."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cached_property

from rvjit.errors import ConfigError
from rvjit.machine.memory import Memory
from rvjit.syscalls.clock import Clock
from rvjit.syscalls.descriptors import FD_LIMIT, Descriptors
from rvjit.syscalls.entropy import Entropy
from rvjit.syscalls.space import AddressSpace
from rvjit.syscalls.streams import (
    BytesInput,
    OutputStream,
    Sink,
    Source,
    Stream,
    discard,
    lines_to,
    open_input,
    own_stderr,
    own_stdout,
)
from rvjit.values import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rvjit.syscalls.directories import Directories
    from rvjit.syscalls.state import Part

Directory = tuple[str | os.PathLike[str], str, bool]  # host path, guest path, writable
UNLIMITED = (1 << 64) - 1  # RLIM_INFINITY
_RLIMIT_STACK, _RLIMIT_CORE, _RLIMIT_NOFILE = 3, 4, 7


@dataclass(frozen=True)
class ProcessImage:
    """Where the loader left room, page-aligned addresses of the window, ascending.

    The heap starts at *brk_start*, mappings are placed below *mmap_top*, the stack is from
    *stack_low* to the end of the window. *exe* is the guest's path of its own program.
    """

    brk_start: int
    mmap_top: int
    stack_low: int
    exe: str = "/program"


@dataclass
class Signals:
    """What the guest said about signals; bit ``n - 1`` of a mask is signal n."""

    actions: dict[int, bytes] = field(default_factory=dict)  # struct sigaction as written
    blocked: int = 0
    pending: int = 0
    alternate_stack: bytes = b""  # stack_t as written; empty: none

    @property
    def in_use(self) -> bool:
        """Whether the guest said anything."""
        return bool(self.actions or self.blocked or self.pending or self.alternate_stack)


class Host:
    """The streams, files, clock, random numbers and process state of one guest.

    *stdin* is bytes, a binary file object, a descriptor of the host or None (at its end); with
    bytes or None, no directories and no *real_time*, a run is a function of program and arguments.
    *stdout*, *stderr* and *debug* (CKB's debug prints, without a newline) are called with bytes;
    left out, their bytes are dropped. What a sink raises passes through, but an `OSError` becomes
    the guest's error number in the `linux` table. *directories* are triples (host path, guest path,
    writable). *tty* makes streams look like terminals. Raises `ConfigError` where a directory
    cannot be opened.

    `attach` has to follow once the program is in memory. `close` closes what the guest left open.
    """

    def __init__(
        self,
        *,
        stdin: Source = None,
        stdout: Sink = discard,
        stderr: Sink = discard,
        debug: Sink = discard,
        directories: Iterable[Directory] = (),
        real_time: bool = False,
        seed: int = 0,
        tty: bool = False,
        vm_version: int = 2,
    ) -> None:
        self.debug = debug
        self.tty = tty
        self.vm_version = vm_version
        self.earlier_cycles = 0  # what current_cycles adds; a scheduler sets it
        self.clock = Clock(real_time=real_time)
        self.entropy = Entropy(seed)
        self._allowed = tuple(directories)
        if self._allowed:
            _ = self.directories  # mistakes are told now
        self._sinks = stdout, stderr
        self.input = open_input(stdin, tty=tty)
        self.streams: dict[str, Stream] = {
            "stdin": self.input,
            "stdout": OutputStream(stdout, tty=tty),
            "stderr": OutputStream(stderr, tty=tty),
        }
        self.descriptors = Descriptors(*self.streams.values())
        self.signals = Signals()
        self.directory = b"/"  # the guest's working directory
        self.exe = b"/program"
        self.space: AddressSpace | None = None
        self.limits: dict[int, tuple[int, int]] = {}
        self._first_limits = self.limits
        self._first_random = self.entropy.seed, 0  # seed, and bytes taken by the loader
        self._real_time = real_time
        self._unchanged = self.descriptors.changes

    def attach(self, memory: Memory, image: ProcessImage) -> None:
        """Take over the address space of a program that was just loaded into *memory*."""
        self.space = AddressSpace(memory, image.brk_start, image.mmap_top, image.stack_low)
        self.exe = os.fsencode(image.exe)
        stack = self.space.end - image.stack_low
        self.limits = {
            _RLIMIT_STACK: (stack, stack),
            _RLIMIT_CORE: (0, 0),
            _RLIMIT_NOFILE: (FD_LIMIT, FD_LIMIT),
        }
        self._first_limits = self.limits.copy()
        self._first_random = self.entropy.seed, self.entropy.position

    def reset(self) -> None:
        """Go back to the moment of `attach`; the pages of the address space come from elsewhere.

        What the guest did to files stays done, and an input other than bytes stays where it is.
        """
        # Most of it is as it was after a run of a small guest, and looking is quicker than setting.
        if self.space is not None:
            self.space.reset()
        self.clock.restore(0)
        self.clock.real_time = self._real_time  # which a snapshot may have changed
        self.entropy.seed, self.entropy.position = self._first_random
        if isinstance(self.input, BytesInput):
            self.input.position = 0
        self.directory = b"/"
        if self.signals.in_use:
            self.signals = Signals()
        if self.limits != self._first_limits:
            self.limits = self._first_limits.copy()
        if self.descriptors.changes != self._unchanged:
            self.descriptors.reset(*self.streams.values())
            self._unchanged = self.descriptors.changes

    def twin(self, stdin: Source, stdout: Sink | None, stderr: Sink | None) -> Host:
        """Make a host of the same kind; None for *stdout* and *stderr* is what this one has.

        None for *stdin* is the same bytes from the start. Raises `ConfigError` where there are none
        to share.
        """
        if stdin is None:
            if not isinstance(self.input, BytesInput):
                raise ConfigError("input that comes from outside cannot be shared: give stdin")
            stdin = self.input.data
        twin = Host(
            stdin=stdin,
            stdout=self._sinks[0] if stdout is None else stdout,
            stderr=self._sinks[1] if stderr is None else stderr,
            debug=self.debug if stdout is None else lines_to(stdout),
            directories=self._allowed,
            tty=self.tty,
            vm_version=self.vm_version,
        )
        twin.entropy.seed, twin.entropy.position = self._first_random
        twin._real_time = self._real_time
        twin.earlier_cycles = self.earlier_cycles
        return twin

    def close(self) -> None:
        """Close all files and directories; the guest cannot go on."""
        self.descriptors.close_all()
        if "directories" in vars(self):
            self.directories.close()

    @cached_property
    def directories(self) -> Directories:
        """The allowed directories; most guests have none, and need nothing of what opens files."""
        from rvjit.syscalls.directories import Directories

        return Directories(self._allowed)

    @cached_property
    def parts(self) -> Mapping[str, Part]:
        """What of the host a snapshot of the guest holds, by name."""
        from rvjit.syscalls.state import parts_of

        return parts_of(self)


def make_host(
    vm_version: int,
    *,
    stdin: Source = None,
    stdout: Sink | None = None,
    stderr: Sink | None = None,
    directories: Iterable[Directory] = (),
    seed: int = 0,
    real_time: bool = False,
    tty: bool = False,
) -> Host:
    """Make the host of a guest; its output goes to this process's own where nothing is given.

    CKB's debug prints are lines of their own on standard output. Raises `ConfigError` as `Host`.
    """
    sink = own_stdout if stdout is None else stdout
    return Host(
        stdin=stdin,
        stdout=sink,
        stderr=own_stderr if stderr is None else stderr,
        debug=lines_to(sink),
        directories=directories,
        real_time=real_time,
        seed=seed,
        tty=tty,
        vm_version=vm_version,
    )

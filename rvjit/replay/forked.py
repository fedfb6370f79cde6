"""Checkpoints of a machine as forked processes that sleep until one is woken to tell what it has.

A checkpoint's process is a copy that the host makes page by page as memory changes, and nothing
else: it runs a few lines of native code (`rvjit.codegen.sleeper`), no Python, and of the parent's
memory it has the guest's, and whatever is too small to be worth leaving out. What the oldest one
has is read through a socket pair when a replay needs it, into a machine of this process.

* Its fork runs no handler (`os.register_at_fork`, pthread_atfork): the child enters nothing that
  another thread may have been in the middle of.
* It writes to no memory but its stack and calls nobody but the kernel, so it flushes no buffer and
  runs no exit handler. All descriptors but two are closed, so a pipe's reader sees its end.
* It sleeps on the socket and on a descriptor of the parent's process, so it is woken by the
  parent's death, however that comes.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import time
import weakref
from collections import deque
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from rvjit.codegen.arena import Arena
from rvjit.codegen.builtin import Builtin
from rvjit.codegen.cache import NO_CACHE, CodeCache, code_cache
from rvjit.codegen.sleeper import REQUEST, SLEEPER, SLEEPER_IR
from rvjit.errors import ConfigError, SnapshotError
from rvjit.machine.layout import State
from rvjit.machine.pages import PAGE_SHIFT, PAGE_SIZE
from rvjit.replay.recorder import registers_in
from rvjit.replay.replayer import Outcome, Plan, Replayer, machine_with, write_trace

if TYPE_CHECKING:
    from rvjit.codegen.blob import Blob
    from rvjit.machine.machine import Machine

_REQUEST = struct.Struct(REQUEST)
_PROCESS, _LINK = SLEEPER.index("process"), SLEEPER.index("link")

# A mapping with fewer bytes of its own costs a fork about as much as hiding it.
_WORTH_HIDING = 64 << 10
_GROWTH = 16 << 10  # KiB that the process may grow by, besides a quarter, before we look again
_UNTOUCHABLE = {b"dc", b"io", b"pf"}  # somebody else's advice; memory of devices


def unavailable() -> str | None:
    """Say why there can be no forked checkpoints on this system; None where there can."""
    system = os.uname()
    if (system.sysname, system.machine) != ("Linux", "x86_64"):
        return f"supported on Linux x86-64, this is {system.sysname} {system.machine}"
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return f"pidfd_open: {error.strerror}"
    return None


class _Child:
    """A sleeping process, as its parent sees it."""

    def __init__(self, process: int, link: int, faults: int, clean_pages: set[int]) -> None:
        self.process = process
        self.link = link
        self.faults = faults  # of the parent, when it was made
        self.clean_pages = clean_pages  # the memory's, then

    def read(self, address: int, view: memoryview) -> None:
        """Fill *view* with what the process has at *address*. Raises `SnapshotError`."""
        try:
            os.write(self.link, _REQUEST.pack(address, len(view)))
            while view:
                count = os.readv(self.link, [view])
                if not count:
                    raise SnapshotError("the checkpoint's process ended before it was needed")
                view = view[count:]
        except OSError as error:
            raise SnapshotError(f"the checkpoint's process cannot be reached: {error}") from error


class Forks:
    """Checkpoints of *machine*, which is at rest whenever a method is called, as processes.

    Raises `ConfigError` where the system has none.
    """

    def __init__(self, machine: Machine, *, native: bool) -> None:
        reason = unavailable()
        if reason is not None:
            raise ConfigError(f"forked checkpoints: {reason}")
        self._machine = machine
        self._native = native
        self._owner = os.getpid()
        self._sleeping: deque[_Child] = deque()
        self._dying: list[int] = []
        self.wake_seconds: float | None = None  # of the last replay: until the child answered
        machine.memory.use_huge_pages()
        self._parent = os.pidfd_open(self._owner)
        self._end = weakref.finalize(
            self, _end_all, self._owner, self._parent, self._sleeping, self._dying
        )
        self._function = _load_function(code_cache() if machine.keeps_code else NO_CACHE)
        self._prepare()

    def _prepare(self) -> None:
        """Look what the next forks can leave out."""
        memory, state = self._machine.memory, ctypes.addressof(self._machine.state)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self._expected = peak + peak // 4 + _GROWTH
        bytes_, flags, _ = memory.addresses
        needed = [(state, 1), (flags, memory.page_count), (bytes_, memory.size)]
        hidden = [*_big(needed)]
        words = self._parent, 0, 0, len(hidden), *chain.from_iterable(hidden)
        self._words = (ctypes.c_uint64 * len(words))(*words)
        self._fork = self._function.bound(ctypes.addressof(self._words))

    @property
    def size(self) -> int:
        """Bytes that the sleeping processes hold alone, at most.

        What a page fault copies is one page, in the process that wrote it first.
        """
        if not self._sleeping:
            return 0
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        return (faults - self._sleeping[0].faults) * PAGE_SIZE

    def take(self) -> None:
        """Add a checkpoint: the state now. Raises `OSError` where there can be no process."""
        self._check_owner()
        self._reap()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        if usage.ru_maxrss > self._expected:
            self._prepare()
        clean_pages, words = self._machine.memory.clean_pages.copy(), self._words
        words[_PROCESS] = 0
        try:
            error = self._fork()
            child = _Child(words[_PROCESS], words[_LINK], usage.ru_minflt, clean_pages)
        except BaseException:  # Ctrl-C, which waited until the child was there
            if words[_PROCESS]:
                os.close(words[_LINK])
                self._dying.append(words[_PROCESS])
            raise
        if error:
            raise OSError(error, f"forked checkpoint: {os.strerror(error)}")
        self._sleeping.append(child)

    def drop_oldest(self) -> None:
        """Forget the oldest checkpoint; its process is reaped some time later."""
        self._check_owner()
        child = self._sleeping.popleft()
        os.close(child.link)  # it sees that
        self._dying.append(child.process)

    def replay(self, plan: Plan, path: Path) -> Outcome:
        """Wake the oldest, and replay from there on a machine of its own; then there are none.

        Raises `SnapshotError` where it cannot be read.
        """
        self._check_owner()
        oldest = self._sleeping.popleft()
        while self._sleeping:
            self.drop_oldest()
        try:
            machine = self._machine_of(oldest)
        finally:
            os.close(oldest.link)
            self._dying.append(oldest.process)
            self._reap(wait=True)
        return write_trace(Replayer(machine, native=self._native), plan, path)

    def close(self) -> None:
        """End all processes and reap them."""
        self._end()

    def _check_owner(self) -> None:
        if os.getpid() != self._owner:
            raise SnapshotError(f"these checkpoints are those of process {self._owner}")

    def _reap(self, *, wait: bool = False) -> None:
        self._dying[:] = [process for process in self._dying if not _reaped(process, wait=wait)]

    def _machine_of(self, child: _Child) -> Machine:
        """Return a new machine that is what ours was when *child* was forked."""
        memory = self._machine.memory
        started = time.perf_counter()
        state = bytearray(ctypes.sizeof(State))
        child.read(ctypes.addressof(self._machine.state), memoryview(state))
        self.wake_seconds = time.perf_counter() - started
        bytes_, flags_at, _ = memory.addresses
        flags = bytearray(memory.page_count)
        child.read(flags_at, memoryview(flags))
        registers = registers_in(memoryview(state).cast("Q"))
        machine = machine_with(self._machine, registers, flags, child.clean_pages)
        for start, size in _runs(machine.memory.pages_in_use()):
            child.read(bytes_ + start, machine.memory.buffer[start : start + size])
        return machine


_arena = Arena()
_loaded: Builtin | None = None


def _load_function(cache: CodeCache) -> Builtin:
    """Return the native function, loaded once for the process."""
    global _loaded  # noqa: PLW0603
    if _loaded is None:
        blob = cache.blob(SLEEPER_IR, _compile_function)
        address = _arena.place(blob.code) + blob.symbols["sleeper_fork_call"]
        _loaded = Builtin("sleeper_fork", address)
    return _loaded


def _compile_function() -> Blob:
    from rvjit.codegen.llvm import compiler

    return compiler().compile_plain(SLEEPER_IR)


def _big(needed: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield address and size of the mappings that cost a fork most and have nothing *needed*.

    Code is in shared mappings, which cost little and are not among them.
    """
    start = end = own = 0
    private = False
    with open("/proc/self/smaps", "rb") as file:
        for line in file:
            first, *words = line.split()
            if first == b"Anonymous:":
                own = int(words[0]) << 10
            elif first == b"VmFlags:":
                if (
                    private
                    and own >= _WORTH_HIDING
                    and _UNTOUCHABLE.isdisjoint(words)
                    and not any(start < at + size and at < end for at, size in needed)
                ):
                    yield start, end - start
            elif not first.endswith(b":"):
                start, end = (int(each, 16) for each in first.split(b"-"))
                private = words[0].endswith(b"p")


def _runs(pages: list[int]) -> Iterator[tuple[int, int]]:
    """Yield offset and size of the pages in memory, those that are neighbours together."""
    breaks = [at for at, (one, two) in enumerate(pairwise(pages), 1) if two != one + 1]
    for first, last in pairwise([0, *breaks, len(pages)] if pages else ()):
        yield pages[first] << PAGE_SHIFT, (last - first) << PAGE_SHIFT


def _reaped(process: int, *, wait: bool) -> bool:
    """Whether *process* is gone; with *wait*, once it is. The end of its link is to be closed."""
    try:
        if os.waitpid(process, os.WNOHANG)[0]:
            return True
        # It ends by itself unless somebody else has the link, too: another child of this process.
        os.kill(process, signal.SIGKILL)
        return wait and os.waitpid(process, 0)[0] != 0
    except (ChildProcessError, ProcessLookupError):  # somebody else here has waited for it
        return True


def _end_all(owner: int, parent: int, sleeping: deque[_Child], dying: list[int]) -> None:
    if os.getpid() != owner:
        return  # in a process that was forked for something else
    os.close(parent)
    while sleeping:
        child = sleeping.pop()
        os.close(child.link)
        dying.append(child.process)
    while dying:
        _reaped(dying.pop(), wait=True)

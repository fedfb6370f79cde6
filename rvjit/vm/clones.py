"""Clones: a VM like another, in the same process, that goes its own way from there.

A base class of `rvjit.vm.vm.VM`. What a clone costs is the pages that its original has written
since the memory image that they share was made; an image is made where there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rvjit.errors import ConfigError
from rvjit.machine.machine import Machine
from rvjit.snapshot.state import HOST_PARTS, Selection, get_states, set_states
from rvjit.syscalls import ProcessImage

if TYPE_CHECKING:
    from typing import Any, Self

    from rvjit.machine.pristine import Pristine
    from rvjit.snapshot import HostPart
    from rvjit.snapshot.checkpoint import Checkpoint
    from rvjit.syscalls.streams import Sink, Source
    from rvjit.vm.snapshots import Snapshots
else:
    Snapshots = object


class Clones(Snapshots):
    """Making VMs of a VM."""

    _pristine: Pristine | None
    _syscalls: dict[int, Any]
    _host_functions: dict[int, Any]
    _hosted: frozenset[int]
    _base: Checkpoint | None = None  # what clones begin with where the caller has no checkpoint
    _states: tuple[int, dict[str, object]] | None = None  # of the host at a count of its calls
    _copied = 0  # pages, by clones that began with it

    def clone(
        self,
        *,
        stdin: Source = None,
        stdout: Sink | None = None,
        stderr: Sink | None = None,
        parts: Mapping[str, HostPart] | None = None,
    ) -> Self:
        """Make another VM that stands where this one does; neither notices the other from then on.

        Memory is shared until either writes to it, compiled code for as long as it fits; both keep
        track of what they write as ever. The clone has the same handlers, the same settings and
        its own host, in the same state: files are opened again. *stdout* and *stderr* are those of
        the original if nothing is given; *stdin* has to be given, as in `from_snapshot`, where the
        original's is neither bytes nor none. *parts* are the clone's own for the host state of the
        caller, by name; what is not given takes no part.

        Checkpoints stay the original's. Raises `SnapshotError` inside a handler, `ConfigError`,
        `MachineBusy`, and `SnapshotMismatch` where a file cannot be opened again.
        """
        own = dict(parts or {})
        if unknown := own.keys() - self.parts.keys():
            raise ConfigError(f"no host state is called {', '.join(sorted(unknown))}")
        with self.exclusive("a clone"):
            memory = self.profile.make_memory()
            base = self._image_holder()
            copied = base.fill(memory)
            machine = Machine(memory, self.machine.rules)
            machine.program_key = self.machine.program_key
            machine.keeps_code = self.machine.keeps_code
            machine.copy_registers(self.machine)
            host = self.host.twin(stdin, stdout, stderr)
            image = self.image
            host.attach(memory, ProcessImage(image.brk, image.mmap_top, image.stack_low))
            cls: Any = type(self)
            vm: Self = cls(machine, image, host, self.profile, self.engine_name)
            vm.parts.update(own)
            set_states(vm.parts, self._host_states(own), keep=False)
            vm.exit_code = self.exit_code
            vm._syscalls = dict(self._syscalls)
            vm._host_functions, vm._hosted = dict(self._host_functions), self._hosted
            if self._pristine is not None:
                vm._pristine = self._pristine.twin(machine)
            self._account(base, copied)
            return vm

    def _host_states(self, own: Mapping[str, HostPart]) -> Mapping[str, object]:
        """Return the states of the parts that clones have."""
        if self._states is None or self._states[0] != self.machine.host_calls:
            states = get_states(self.parts, Selection(HOST_PARTS))
            self._states = self.machine.host_calls, states
        return self._states[1] | get_states(self.parts, Selection(frozenset(own)))

    def _image_holder(self) -> Checkpoint:
        """Return the newest checkpoint; one of our own where the caller has none."""
        newest = self._checkpoint
        if newest is not None and not newest.closed:
            if self._base is not None and self._base is not newest:
                self._base.close()  # one is enough, and quicker for everybody
                self._base = None
            return newest
        if self._base is None:
            self._base = self._new_checkpoint(Selection(frozenset()))
            self._copied = 0
        return self._base

    def _account(self, base: Checkpoint, copied: int) -> None:
        """Make a new image for the next clone once copying to clones has cost as much as that."""
        if base is self._base:
            self._copied += copied
            if self._copied > base.root_size:
                base.close()
                self._base = None

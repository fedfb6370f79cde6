"""Population: the VMs of a script, those that have a machine and those that are snapshots."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import NamedTuple

from rvjit.errors import GuestFault, ScriptError, SnapshotMismatch
from rvjit.isa.cost import Cost
from rvjit.isa.isa import Isa
from rvjit.loader.ckb import CkbElfError
from rvjit.scheduler.access import Arguments
from rvjit.scheduler.data import Location
from rvjit.scheduler.events import Account
from rvjit.scheduler.guest import Guest
from rvjit.scheduler.limits import (
    EXEC_CYCLES,
    MAX_CYCLES,
    MAX_INSTANTIATED,
    ROOT,
    SWAP_CYCLES,
    bytes_price,
)
from rvjit.scheduler.machines import Machines
from rvjit.scheduler.program import Programs, ScriptProgram, load_program
from rvjit.snapshot import Identity, Snapshot
from rvjit.snapshot.sourced import DataSource, SourcedContext


class Suspended(NamedTuple):
    """A VM without a machine."""

    snapshot: Snapshot
    location: Location  # of its program
    limit: int  # of its machine, as CKB counts it


class Population:
    """VMs by id. At most `MAX_INSTANTIATED` are in `live`, the others in `suspended`."""

    def __init__(
        self, source: DataSource, machines: Machines, version: int, account: Account
    ) -> None:
        self.live: dict[int, Guest] = {}
        self.suspended: dict[int, Suspended] = {}
        self.next_id = ROOT
        self._source = source
        self._machines = machines
        self._programs = Programs(source, version)
        self._account = account

    def __len__(self) -> int:
        return len(self.live) + len(self.suspended)

    def boot(self, location: Location, args: Collection[bytes]) -> Guest:
        """Make a new VM of the program at *location*. Raises `ScriptError`."""
        vm_id = self.next_id
        self.next_id += 1
        program = self._programs.get(location)
        guest = self._load(vm_id, program, args)
        while len(self.live) >= MAX_INSTANTIATED:
            self.evict(min(self.live))
        self.live[vm_id] = guest
        if self._account.observer is not None:
            self._tell_program("booted", guest)
        return guest

    def replace(self, guest: Guest, location: Location, argc: int, argv: int) -> None:
        """Make *guest* run another program from its start, with its cycles and its limit."""
        guest.charge(EXEC_CYCLES)
        program = self._programs.get(location)
        args = Arguments(guest.memory, argc, argv)
        new = self._load(guest.id, program, args, guest.machine.cycles)
        new.set_limit(guest.limit)
        self.live[guest.id] = new
        self._machines.give(guest.hardware)
        if self._account.observer is not None:
            self._tell_program("exec", new)

    def ensure(self, *vm_ids: int) -> None:
        """Give each of *vm_ids* (at most `MAX_INSTANTIATED`) a machine, evicting others."""
        live = self.live
        missing = [vm_id for vm_id in vm_ids if vm_id not in live]
        if not missing:
            return
        while missing and len(live) < MAX_INSTANTIATED:
            self.resume(missing.pop())
        if missing:
            candidates = [vm_id for vm_id in sorted(live) if vm_id not in vm_ids]
            for vm_id, victim in zip(missing, candidates, strict=False):
                self.evict(victim)
                self.resume(vm_id)

    def get(self, vm_id: int) -> Guest:
        """Return a VM, with a machine."""
        if vm_id not in self.live:
            self.ensure(vm_id)
        return self.live[vm_id]

    def evict(self, vm_id: int) -> None:
        """Turn a VM into a snapshot."""
        self._account.charge(SWAP_CYCLES)
        guest = self.live[vm_id]
        self.suspended[vm_id] = self.capture(guest)
        del self.live[vm_id]
        self._machines.give(guest.hardware)
        self._account.tell("evicted", vm_id)

    def resume(self, vm_id: int) -> None:
        """Give a snapshot a machine again."""
        self._account.charge(SWAP_CYCLES)
        self.live[vm_id] = self.revive(vm_id, self.suspended[vm_id])
        del self.suspended[vm_id]
        self._account.tell("resumed", vm_id)

    def capture(self, guest: Guest) -> Suspended:
        """Return what is needed to go on with *guest*; nothing changes."""
        snapshot = guest.context.make_snapshot(guest.machine, self._identity(guest.program))
        return Suspended(snapshot, guest.program.location, guest.limit)

    def revive(self, vm_id: int, suspended: Suspended) -> Guest:
        """Make a guest of what `capture` returned. Raises `ScriptError`."""
        program = self._programs.get(suspended.location)
        identity = self._identity(program)
        if suspended.snapshot.identity is not identity:  # it came from elsewhere
            suspended.snapshot.identity.check(identity, program=True)
        for name, offset in suspended.snapshot.pages.sources:
            if self._source.load_data(name, offset, 1) is None:
                raise ScriptError("SnapshotDataLoadError", f"there is no data {name!r}", vm_id)
        hardware = self._machines.take(program)
        context = SourcedContext(self._source)
        hardware.machine.fault = None
        try:
            context.resume(hardware.machine, suspended.snapshot)
        except SnapshotMismatch as error:  # the source has bytes for a part of a page only
            self._machines.give(hardware)
            raise ScriptError("MemPageUnalignedAccess", str(error), vm_id) from error
        guest = Guest(vm_id, hardware, context, program)
        guest.set_limit(suspended.limit)
        return guest

    def at_rest(self, vm_id: int) -> Suspended:
        """Return a VM as a snapshot, whether it is one or not; nothing changes."""
        guest = self.live.get(vm_id)
        return self.suspended[vm_id] if guest is None else self.capture(guest)

    @contextmanager
    def revived(self, vm_id: int) -> Iterator[Guest]:
        """Give a snapshot a machine for the moment, without anybody noticing."""
        guest = self.revive(vm_id, self.suspended[vm_id])
        try:
            yield guest
        finally:
            self._machines.give(guest.hardware)

    def program_of(self, vm_id: int) -> ScriptProgram:
        """Return the program that a VM runs."""
        guest = self.live.get(vm_id)
        if guest is not None:
            return guest.program
        return self._programs.get(self.suspended[vm_id].location)

    def drop(self, vm_id: int) -> None:
        """Forget a VM that has ended."""
        guest = self.live.pop(vm_id, None)
        if guest is not None:
            self._machines.give(guest.hardware)
        self.suspended.pop(vm_id, None)

    def close(self) -> None:
        """Free all machines."""
        for vm_id in list(self.live):
            self.drop(vm_id)
        self._machines.close()

    def _load(
        self,
        vm_id: int,
        program: ScriptProgram,
        args: Collection[bytes],
        cycles: int = 0,
    ) -> Guest:
        hardware = self._machines.take_blank(program)
        context = SourcedContext(self._source)
        try:
            size = load_program(hardware.machine, context, program, args)
        except CkbElfError as error:
            self._machines.give(hardware)
            raise ScriptError(error.ckb_error, str(error), vm_id) from error
        except GuestFault as error:
            self._machines.give(hardware)
            raise ScriptError("MemOutOfBound", f"arguments: {error}", vm_id) from error
        guest = Guest(vm_id, hardware, context, program)
        guest.set_limit(MAX_CYCLES)
        guest.charge(cycles + bytes_price(size))
        return guest

    def _identity(self, program: ScriptProgram) -> Identity:
        if program.identity is None:
            program.identity = self._identify(program)
        return program.identity

    def _identify(self, program: ScriptProgram) -> Identity:
        profile = self._machines.profile
        assert isinstance(profile.isa, Isa)
        assert profile.prices is not None
        assert profile.memory_size is not None
        return Identity(
            profile=profile.name,
            isa=str(profile.isa),
            strict_fences=profile.isa.strict_fences,
            vm_version=profile.vm_version,
            syscalls="ckb",
            strict_loads=profile.strict_loads,
            price_model=profile.prices.name,
            prices={cost.value: profile.prices[cost] for cost in Cost},
            memory_base=profile.memory_base,
            memory_size=profile.memory_size,
            wxorx=True,
            program=sha256(program.file).hexdigest(),
            entry=program.elf.entry,
            brk_start=0,
            mmap_top=0,
            stack_low=profile.memory_size - profile.memory_size // 4,
            name=program.location.name,
        )

    def _tell_program(self, kind: str, guest: Guest) -> None:
        name, offset, length = guest.program.location
        self._account.tell(kind, guest.id, data=name, offset=offset, length=length)

"""From a VM to what snapshots say of it, and from a snapshot to a VM.

Imported when a snapshot is made or used: a run that needs none does not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from rvjit.codegen.digests import digest
from rvjit.errors import SnapshotMismatch
from rvjit.isa.cost import Cost, PriceModel
from rvjit.isa.isa import Isa
from rvjit.loader.install import Image
from rvjit.loader.program import Program, SymbolTable
from rvjit.machine.machine import Machine
from rvjit.snapshot import Identity, Snapshot
from rvjit.syscalls import Directory, ProcessImage, make_host
from rvjit.syscalls.streams import Sink, Source
from rvjit.vm.profile import Profile

if TYPE_CHECKING:
    from rvjit.vm.snapshots import Snapshots

    Guest = TypeVar("Guest", bound=Snapshots)


def identity_of(vm: Snapshots) -> Identity:
    """Return which machine and program *vm* is, as snapshots say it."""
    profile, image, memory = vm.profile, vm.image, vm.machine.memory
    assert isinstance(profile.isa, Isa)
    assert profile.prices is not None
    assert profile.syscalls is not None
    return Identity(
        profile=profile.name,
        isa=str(profile.isa),
        strict_fences=profile.isa.strict_fences,
        vm_version=profile.vm_version,
        syscalls=profile.syscalls,
        strict_loads=profile.strict_loads,
        price_model=profile.prices.name,
        prices={cost.value: profile.prices[cost] for cost in Cost},
        memory_base=memory.base,
        memory_size=memory.size,
        wxorx=memory.wxorx,
        program=image.program.digest,
        entry=image.pc,
        brk_start=image.brk,
        mmap_top=image.mmap_top,
        stack_low=image.stack_low,
        name=image.program.name,
    )


def make_empty(
    cls: Callable[..., Guest],
    snapshot: Snapshot,
    *,
    stdin: Source,
    stdout: Sink | None,
    stderr: Sink | None,
    directories: Iterable[Directory],
    engine: str,
    cache: bool,
) -> Guest:
    """Make a VM for *snapshot* without its program, with nothing in memory yet."""
    profile = profile_of(snapshot.identity)
    memory = profile.make_memory()
    image = _image_of(snapshot)
    machine = Machine(memory, profile.rules)
    machine.program_key = digest(snapshot.identity.program.encode())
    machine.keeps_code = cache
    host = make_host(
        profile.vm_version, stdin=stdin, stdout=stdout, stderr=stderr, directories=directories
    )
    host.attach(memory, ProcessImage(image.brk, image.mmap_top, image.stack_low))
    return cls(machine, image, host, profile, engine)


def profile_of(identity: Identity) -> Profile:
    """Return the profile of a snapshot. Raises `SnapshotMismatch` for one that cannot be."""
    try:
        prices = PriceModel(
            identity.price_model, {Cost(name): price for name, price in identity.prices.items()}
        )
        profile = Profile(
            identity.profile,
            isa=Isa.parse(identity.isa, strict_fences=identity.strict_fences),
            vm_version=identity.vm_version,
            syscalls=identity.syscalls,
            memory_size=identity.memory_size,
            prices=prices,
            strict_loads=identity.strict_loads,
        )
    except ValueError as error:  # ConfigError is one
        raise SnapshotMismatch("the machine", identity.profile, f"impossible ({error})") from error
    if (identity.memory_base, identity.wxorx) != (profile.memory_base, profile.is_ckb):
        raise SnapshotMismatch("memory_base", hex(identity.memory_base), hex(profile.memory_base))
    return profile


def _image_of(snapshot: Snapshot) -> Image:
    """Return what is known of the program that a snapshot was taken of."""
    identity = snapshot.identity
    addresses = (identity.brk_start, identity.mmap_top, identity.stack_low)
    end = identity.memory_base + identity.memory_size
    if list(addresses) != sorted(addresses) or addresses[-1] > end:
        shown = ", ".join(map(hex, addresses))
        raise SnapshotMismatch("brk_start, mmap_top, stack_low", shown, "to be ascending")
    program = Program(
        entry=identity.entry,
        segments=(),
        phdr_address=0,
        phentsize=0,
        phnum=0,
        symbols=SymbolTable(b""),
        name=identity.name or "snapshot",
        file=b"",
        is_pie=False,
        load_bias=0,
        file_bytes_loaded=0,
    )
    vars(program)["digest"] = identity.program  # which else is computed from the file
    return Image(
        pc=identity.entry,
        sp=snapshot.cpu.x[2],
        brk=identity.brk_start,
        mmap_top=identity.mmap_top,
        stack_low=identity.stack_low,
        base=identity.memory_base,
        stack=b"",
        loaded_bytes=0,
        program=program,
    )

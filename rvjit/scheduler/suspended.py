"""FullSuspendedState: a whole script at rest, as a value and as portable bytes.

The bytes are framed as those of a snapshot (`rvjit.snapshot.container`): a section ``schd`` with
the tables of the scheduler, in msgpack, then for each VM, ascending, a section ``vm..`` that is a
sourced snapshot of its own. Data that VMs still share with the data source are not in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from rvjit.errors import SnapshotFormatError
from rvjit.scheduler.data import Location
from rvjit.scheduler.limits import MAX_INSTANTIATED, ROOT
from rvjit.scheduler.population import Suspended
from rvjit.scheduler.requests import State, pack_state, unpack_state
from rvjit.snapshot import Snapshot, container
from rvjit.snapshot.container import Section
from rvjit.snapshot.snapshot import save_parts

_TABLES = "schd"
_VM = "vm.."
_WORD = 1 << 64


class VmAtRest(NamedTuple):
    """One VM: what it waits for, and its snapshot."""

    id: int
    state: State
    suspended: Suspended

    @property
    def snapshot(self) -> Snapshot:
        """Its machine."""
        return self.suspended.snapshot


@dataclass(frozen=True)
class FullSuspendedState:
    """A script between two iterations; the fields are those of CKB's.

    *vms*, *fds* (fd, owner), *inherited_fd* (VM, its fds) and *terminated_vms* (VM, exit code) are
    in ascending order. *corrected* and *io_pending* are about the corrected mode of our scheduler.
    """

    version: int
    corrected: bool
    total_cycles: int
    iteration_cycles: int
    io_pending: bool
    next_vm_id: int
    next_fd_slot: int
    vms: tuple[VmAtRest, ...]
    fds: tuple[tuple[int, int], ...]
    inherited_fd: tuple[tuple[int, tuple[int, ...]], ...]
    terminated_vms: tuple[tuple[int, int], ...]
    instantiated_ids: tuple[int, ...]

    def to_bytes(self, *, compress: bool = False) -> bytes:
        """Return the portable form; equal states give equal bytes. *compress* needs `zstd`."""
        return b"".join(self.parts(compress=compress))

    def save(self, path: str | os.PathLike[str], *, compress: bool = False) -> None:
        """Write a file, which is there as a whole or not at all. Raises `OSError`."""
        save_parts(path, self.parts(compress=compress))

    def parts(self, *, compress: bool = False) -> Iterator[bytes | memoryview]:
        """Yield the portable form part by part."""
        return container.write(self._sections(), compress=compress)

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> FullSuspendedState:
        """Undo `to_bytes`. Raises `SnapshotFormatError` for anything else."""
        tables: Section | None = None
        snapshots = []
        for section in container.read(data):
            if section.name == _TABLES and tables is None:
                tables = section
            elif section.name == _VM:
                snapshots.append(Snapshot.from_bytes(bytes(section.payload)))
            elif section.critical:
                raise SnapshotFormatError("not of a suspended script", section.offset, section.name)
        if tables is None:
            raise SnapshotFormatError("no suspended script: it has no tables", 0)
        try:
            return _from_tables(_unpack(bytes(tables.payload)), snapshots)
        except (ValueError, TypeError, KeyError) as error:
            raise SnapshotFormatError(str(error), tables.offset, _TABLES) from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FullSuspendedState:
        """Read a file. Raises `SnapshotFormatError` for one that is damaged, and `OSError`."""
        with open(path, "rb") as file:
            return cls.from_bytes(file.read())

    def _sections(self) -> Iterator[Section]:
        found = {name: getattr(self, name) for name in _SCALARS}
        found |= {name: getattr(self, name) for name in _PAIRS}
        found["instantiated_ids"] = self.instantiated_ids
        found["inherited_fd"] = [(vm_id, [*fds]) for vm_id, fds in self.inherited_fd]
        found["vms"] = [
            (vm.id, pack_state(vm.state), [*vm.suspended.location], vm.suspended.limit)
            for vm in self.vms
        ]
        yield Section(_TABLES, _pack(found))
        for vm in self.vms:
            yield Section(_VM, vm.snapshot.to_bytes())


_SCALARS = {
    "version": int,
    "corrected": bool,
    "total_cycles": int,
    "iteration_cycles": int,
    "io_pending": bool,
    "next_vm_id": int,
    "next_fd_slot": int,
}
_PAIRS = ("fds", "terminated_vms")


def _from_tables(found: dict[str, Any], snapshots: list[Snapshot]) -> FullSuspendedState:
    for name, kind in _SCALARS.items():
        if type(found[name]) is not kind:
            raise ValueError(f"{name} is {found[name]!r}")
        if kind is int:
            _word(found[name])
    rows = found["vms"]
    if len(rows) != len(snapshots):
        raise ValueError(f"{len(rows)} VMs, and {len(snapshots)} snapshots")
    vms = []
    for row, snapshot in zip(rows, snapshots, strict=True):
        vm_id, packed, (name, offset, length), limit = row
        if type(name) is not str:
            raise ValueError(f"program {name!r}")
        location = Location(name, _word(offset), _word(length))
        suspended = Suspended(snapshot, location, _word(limit))
        vms.append(VmAtRest(_word(vm_id), unpack_state(packed), suspended))
    instantiated = tuple(_word(vm_id) for vm_id in found["instantiated_ids"])
    state = FullSuspendedState(
        **{name: found[name] for name in _SCALARS},
        vms=tuple(vms),
        fds=tuple((_word(fd), _word(owner)) for fd, owner in found["fds"]),
        inherited_fd=tuple(
            (_word(vm_id), tuple(_word(fd) for fd in fds)) for vm_id, fds in found["inherited_fd"]
        ),
        terminated_vms=tuple(
            (_word(vm_id), _code(code)) for vm_id, code in found["terminated_vms"]
        ),
        instantiated_ids=instantiated,
    )
    _check(state)
    return state


def _check(state: FullSuspendedState) -> None:
    """Raise `ValueError` where tables do not go together."""
    ids = [vm.id for vm in state.vms]
    if ids[:1] != [ROOT] or ids != sorted(set(ids)) or ids[-1] >= state.next_vm_id:
        raise ValueError(
            f"VMs {ids}: must begin with {ROOT}, ascend, and be below {state.next_vm_id}"
        )
    with_machines = state.instantiated_ids
    if not set(with_machines) <= set(ids) or len(with_machines) > MAX_INSTANTIATED:
        raise ValueError(f"VMs {with_machines} cannot all have machines")
    for fd, owner in state.fds:
        if owner not in ids or fd >= state.next_fd_slot:
            raise ValueError(f"fd {fd} of VM {owner}: there is no such VM, or no such fd yet")


def _word(value: object) -> int:
    if type(value) is not int or not 0 <= value < _WORD:
        raise ValueError(f"{value!r} is no 64-bit number")
    return value


def _code(value: object) -> int:
    if type(value) is not int or not -128 <= value < 128:
        raise ValueError(f"{value!r} is no exit code")
    return value


def _pack(value: object) -> bytes:
    import msgpack

    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def _unpack(data: bytes) -> dict[str, Any]:
    import msgpack

    try:
        found = msgpack.unpackb(data, raw=False, strict_map_key=True)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ValueError(f"its msgpack is broken: {error}") from error
    if not isinstance(found, dict):
        raise TypeError("expected a map")
    return found

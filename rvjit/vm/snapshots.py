"""What a VM can do with snapshots; a base class of `rvjit.vm.vm.VM`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property

from rvjit.errors import ConfigError, SnapshotError, SnapshotMismatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, Self

    from rvjit.loader.install import Image
    from rvjit.machine.engine import Engine
    from rvjit.machine.machine import Machine
    from rvjit.snapshot import HostPart, Snapshot
    from rvjit.snapshot.capture import LoadData
    from rvjit.snapshot.checkpoint import Checkpoint
    from rvjit.snapshot.diff import Differences
    from rvjit.snapshot.state import Selection
    from rvjit.syscalls.host import Directory, Host
    from rvjit.syscalls.streams import Sink, Source
    from rvjit.vm.entry import Entry
    from rvjit.vm.profile import Profile

Path = str | os.PathLike[str]


class Snapshots:
    """Taking snapshots and going on from them, and checkpoints to go back to.

    `parts` is the host state that takes part, by name; `add_host_state` adds the caller's own.
    `push`, `restore`, `pop` and `verify` are those of the newest checkpoint.
    """

    profile: Profile
    image: Image
    host: Host
    machine: Machine
    exit_code: int | None
    engine_name: str
    _entry: Entry
    _checkpoint: Checkpoint | None = None

    if TYPE_CHECKING:

        @cached_property
        def engine(self) -> Engine:
            """What runs it."""

    @cached_property
    def parts(self) -> dict[str, HostPart]:
        """Host state by name: that of rvjit's own host, and what was added."""
        return dict(self.host.parts)

    def snapshot(
        self,
        kind: str = "full",
        *,
        allow: Iterable[str] | None = None,
        deny: Iterable[str] = (),
    ) -> Snapshot:
        """Return the guest at rest as a value; nothing changes.

        *kind* is ``full``, which needs nothing to go on from, or ``dirty``: what differs from the
        loaded program, for resuming with the same one. Of the host's state all is in it, or what
        *allow* names, without what *deny* names. Raises `SnapshotError` inside a handler, where the
        guest is in the middle of a call, and `MachineBusy`.
        """
        return self._capture(kind, allow, deny, live=False)

    def save_snapshot(
        self,
        path: Path,
        kind: str = "full",
        *,
        allow: Iterable[str] | None = None,
        deny: Iterable[str] = (),
        compress: bool = False,
    ) -> None:
        """As `snapshot`, straight from guest memory to a file, which appears when it is complete.

        *compress* needs the extra `zstd`. Raises `OSError` too.
        """
        from rvjit.snapshot.snapshot import save_parts

        with self.exclusive("a snapshot"):
            taken = self._capture(kind, allow, deny, live=True)
            save_parts(path, taken.parts(compress=compress))

    @classmethod
    def from_snapshot(
        cls,
        snapshot: Snapshot | Path,
        *,
        program: Path | bytes | None = None,
        engine: str | None = None,
        stdin: Source = None,
        stdout: Sink | None = None,
        stderr: Sink | None = None,
        directories: Iterable[Directory] = (),
        parts: Mapping[str, HostPart] | None = None,
        allow: Iterable[str] | None = None,
        deny: Iterable[str] = (),
        load_data: LoadData | None = None,
        cache: bool = True,
    ) -> Self:
        """Make a VM that goes on from a snapshot or a file of one.

        A ``dirty`` one needs its *program*; with others *program* gives symbols. Profile, seed and
        clock are the snapshot's; streams and *directories* are connected as in `from_elf`: *stdin*
        as bytes or a regular file from its start, otherwise what comes after the bytes that the
        guest has taken. Files that were open are opened again. *parts* are the caller's own host
        state by name, *allow* and *deny* choose what of the snapshot's host state is used.
        *load_data* is the data source of a ``sourced`` one. *engine* and *cache* as in `from_elf`.

        Raises `SnapshotFormatError`, `SnapshotMismatch`, and what `from_elf` raises.
        """
        from rvjit.snapshot import Snapshot, SnapshotKind
        from rvjit.vm.resume import make_empty, profile_of
        from rvjit.vm.vm import DEFAULT_ENGINE

        taken = snapshot if isinstance(snapshot, Snapshot) else Snapshot.load(snapshot)
        streams: dict[str, Any] = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
        streams |= {"directories": directories, "engine": engine or DEFAULT_ENGINE, "cache": cache}
        if program is not None:
            load: Callable[..., Self] = cls.from_elf  # type: ignore[attr-defined]
            profile = profile_of(taken.identity)
            if not profile.is_ckb:
                end = taken.identity.memory_base + taken.identity.memory_size
                streams["stack_size"] = end - taken.identity.stack_low
            vm = load(program, profile=profile, **streams)
        elif taken.kind is SnapshotKind.DIRTY:
            raise SnapshotMismatch("the program", taken.identity.name or "needed", "not given")
        else:
            vm = make_empty(cls, taken, **streams)
        vm.parts.update(parts or {})
        vm.apply_snapshot(taken, allow=allow, deny=deny, load_data=load_data)
        _ = vm.engine  # mistakes are told now
        return vm

    def apply_snapshot(
        self,
        snapshot: Snapshot,
        *,
        allow: Iterable[str] | None = None,
        deny: Iterable[str] = (),
        load_data: LoadData | None = None,
    ) -> None:
        """Make the guest what it was when *snapshot*, of the same profile, was taken.

        A ``dirty`` one needs the same program, loaded and not run. Raises `SnapshotMismatch`;
        the guest is then as it was.
        """
        from rvjit.snapshot import Selection, SnapshotKind
        from rvjit.snapshot.capture import apply
        from rvjit.vm.resume import identity_of

        with self.exclusive("applying a snapshot"):
            program = snapshot.kind is SnapshotKind.DIRTY
            snapshot.identity.check(identity_of(self), program=program)
            chosen = Selection.of(allow, deny, {*self.parts, *snapshot.host})
            apply(self.machine, snapshot, parts=self.parts, chosen=chosen, load_data=load_data)
            self.exit_code = snapshot.cpu.exit_code
            self.machine.host_calls += 1

    def checkpoint(
        self, *, allow: Iterable[str] | None = None, deny: Iterable[str] = ()
    ) -> Checkpoint:
        """Note the state now, to `restore` it any number of times at the cost of what changed.

        Of the host's state all takes part, or what *allow* names, without what *deny* names. Other
        checkpoints of this VM stay what they are. Raises `SnapshotError` inside a handler.
        """
        from rvjit.snapshot import Selection

        with self.exclusive("a checkpoint"):
            _ = self.engine  # a checkpoint has to know who else watches the memory
            self._checkpoint = self._new_checkpoint(Selection.of(allow, deny, self.parts))
            return self._checkpoint

    def _new_checkpoint(self, chosen: Selection) -> Checkpoint:
        from rvjit.snapshot.checkpoint import Checkpoint

        return Checkpoint(self, self._entry, chosen, native=self.engine_name != "interp")

    def push(self) -> None:
        """Save the state as a new level above the newest checkpoint; see `Checkpoint.push`."""
        (self._checkpoint or self._no_checkpoint()).push()

    def restore(self) -> None:
        """Go back to the newest level, or the checkpoint itself; see `Checkpoint.restore`."""
        (self._checkpoint or self._no_checkpoint()).restore()

    def pop(self) -> None:
        """Go back to the newest level and drop it; see `Checkpoint.pop`."""
        (self._checkpoint or self._no_checkpoint()).pop()

    def verify(self) -> Differences:
        """Compare everything with the newest level; see `Checkpoint.verify`."""
        return (self._checkpoint or self._no_checkpoint()).verify()

    def add_host_state(self, name: str, part: HostPart) -> None:
        """Let *part* take part in snapshots under *name*. Raises `ConfigError` if that is taken."""
        if name in self.parts:
            raise ConfigError(f"there is host state called {name!r} already")
        self.parts[name] = part
        self.machine.host_calls += 1

    def _capture(
        self, kind: str, allow: Iterable[str] | None, deny: Iterable[str], *, live: bool
    ) -> Snapshot:
        from rvjit.snapshot import Selection, SnapshotKind
        from rvjit.snapshot.capture import capture
        from rvjit.vm.resume import identity_of

        if kind not in ("full", "dirty"):
            raise ConfigError(f"unknown kind of snapshot {kind!r}: known are full and dirty")
        with self._entry:
            self._check_alone("a snapshot", 1 + live)
            return capture(
                self.machine,
                identity_of(self),
                SnapshotKind(kind),
                parts=self.parts,
                chosen=Selection.of(allow, deny, self.parts),
                exit_code=self.exit_code,
                live=live,
            )

    @contextmanager
    def exclusive(self, what: str) -> Iterator[None]:
        """Let nobody else in; raises `SnapshotError`, which says *what*, inside a handler."""
        with self._entry:
            self._check_alone(what, 1)
            yield

    def _no_checkpoint(self) -> NoReturn:
        raise SnapshotError("there is no checkpoint: make one with checkpoint()")

    def _check_alone(self, what: str, depth: int) -> None:
        if self._entry.depth > depth:
            raise SnapshotError(f"{what} inside a handler: the run that called it is not over")

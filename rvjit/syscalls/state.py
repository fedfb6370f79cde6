"""The parts of a host that a snapshot holds, each with `get_state` and `set_state`.

What a guest reads from outside is not in them: contents of files, input that is still to come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from rvjit.bits import MASK64
from rvjit.machine.pages import PAGE_MASK
from rvjit.syscalls.clock import FOREVER
from rvjit.syscalls.descriptors import O_APPEND, O_NONBLOCK, Description
from rvjit.syscalls.directories import O_DIRECTORY
from rvjit.syscalls.files import HostObject, OpenDirectory
from rvjit.syscalls.streams import Stream

if TYPE_CHECKING:
    from rvjit.syscalls.host import Host


class Part(Protocol):
    """What each of the classes below is."""

    def get_state(self) -> object:
        """Return plain values that later changes do not reach."""

    def set_state(self, state: Any) -> None:
        """Go back; raises `ValueError` or `OSError` and has changed nothing where it cannot."""


def parts_of(host: Host) -> Mapping[str, Part]:
    """Return the parts of *host* by name."""
    return {
        "clock": ClockPart(host),
        "descriptors": DescriptorsPart(host),
        "process": ProcessPart(host),
        "random": RandomPart(host),
        "space": SpacePart(host),
        "stdin": host.input,
    }


class _HostPart:
    def __init__(self, host: Host) -> None:
        self._host = host


class ClockPart(_HostPart):
    """Whose clock the guest sees, and how long it has slept (virtual nanoseconds)."""

    def get_state(self) -> object:
        """Return the two."""
        clock = self._host.clock
        return {"real_time": clock.real_time, "slept": clock.slept}

    def set_state(self, state: Any) -> None:
        """Set them; no sleep is interrupted."""
        real_time, slept = bool(state["real_time"]), _number(state["slept"], FOREVER)
        self._host.clock.real_time = real_time
        self._host.clock.restore(slept)


class RandomPart(_HostPart):
    """The stream of random bytes, and how many of it were taken."""

    def get_state(self) -> object:
        """Return both."""
        return {"seed": self._host.entropy.seed, "position": self._host.entropy.position}

    def set_state(self, state: Any) -> None:
        """Go on in that stream, at that place."""
        position = _number(state["position"], MASK64)
        if not isinstance(state["seed"], str):
            raise ValueError(f"seed {state['seed']!r}")  # noqa: TRY004
        entropy = self._host.entropy
        entropy.seed = state["seed"]
        entropy.position = position


class ProcessPart(_HostPart):
    """Working directory, limits and signals."""

    def get_state(self) -> object:
        """Return them."""
        host, signals = self._host, self._host.signals
        return {
            "directory": host.directory,
            "exe": host.exe,
            "limits": [[key, *pair] for key, pair in sorted(host.limits.items())],
            "actions": [[number, action] for number, action in sorted(signals.actions.items())],
            "blocked": signals.blocked,
            "pending": signals.pending,
            "alternate_stack": signals.alternate_stack,
        }

    def set_state(self, state: Any) -> None:
        """Set them."""
        host = self._host
        limits = {
            _number(key, 15): (_number(soft, MASK64), _number(hard, MASK64))
            for key, soft, hard in state["limits"]
        }
        actions = {_number(number, 64): _bytes(action, 24) for number, action in state["actions"]}
        blocked, pending = (_number(state[key], MASK64) for key in ("blocked", "pending"))
        stack = _bytes(state["alternate_stack"], 24) if state["alternate_stack"] else b""
        directory, exe = _path(state["directory"]), _path(state["exe"])
        host.signals.actions, host.limits = actions, limits
        host.signals.blocked, host.signals.pending = blocked, pending
        host.signals.alternate_stack = stack
        host.directory, host.exe = directory, exe


class SpacePart(_HostPart):
    """The program break and what is mapped; flags and bytes of the pages are memory's."""

    def get_state(self) -> object:
        """Return both; None where there is no program yet."""
        space = self._host.space
        return space and {"brk": space.brk, "mapped": [list(each) for each in space.mapped]}

    def set_state(self, state: Any) -> None:
        """Take over the book-keeping."""
        space = self._host.space
        if (space is None) is not (state is None):
            raise ValueError("a space without a program")
        if space is None:
            return
        brk = _number(state["brk"], space.mmap_top)
        ranges = [
            (_number(start, space.end), _number(end, space.end)) for start, end in state["mapped"]
        ]
        at = space.memory.base
        for start, end in ranges:
            if not at <= start < end or (start | end) & PAGE_MASK:
                raise ValueError(f"mapping from {start:#x} to {end:#x}")
            at = end
        if brk < space.brk_start:
            raise ValueError(f"program break {brk:#x} below {space.brk_start:#x}")
        space.restore(brk, tuple(ranges))


class DescriptorsPart(_HostPart):
    """Which descriptors are open, on what, and at which position.

    A file that is not open any more, or was open in another process, is opened again by its path,
    in the directories that this host allows.
    """

    def get_state(self) -> object:
        """Return open files and streams, and the numbers that refer to them."""
        host = self._host
        found: list[Description] = []
        numbers = []
        for fd, description, cloexec in host.descriptors.entries():
            if not any(each is description for each in found):
                found.append(description)
            index = next(i for i, each in enumerate(found) if each is description)
            numbers.append([fd, index, cloexec])
        return {"files": [self._describe(each) for each in found], "numbers": numbers}

    def set_state(self, state: Any) -> None:
        """Open what is missing, then go over to the new table."""
        host = self._host
        usable = [each for _, each, _ in host.descriptors.entries()]
        opened: list[Description] = []
        chosen: list[Description] = []
        try:
            for described in state["files"]:
                description = self._find(described, usable)
                if description is None:
                    description = self._open(described)
                    opened.append(description)
                usable = [each for each in usable if each is not description]
                chosen.append(description)
            entries = [
                (_number(fd, 1023), chosen[index], bool(flag))
                for fd, index, flag in state["numbers"]
            ]
            settings = [_settings(each) for each in state["files"]]
        except BaseException:
            for description in opened:
                description.close()
            raise
        for description, (flags, tty, position, listing) in zip(chosen, settings, strict=True):
            description.append = bool(flags & O_APPEND)
            description.nonblocking = bool(flags & O_NONBLOCK)
            if isinstance(description, Stream):
                description.tty = tty
            if isinstance(description, HostObject):
                description.position = position
            if isinstance(description, OpenDirectory):
                description.listing = listing
        host.descriptors.assign(entries)

    def _describe(self, description: Description) -> dict[str, object]:
        found: dict[str, object] = {"flags": description.flags}
        if isinstance(description, HostObject):
            kind = "directory" if isinstance(description, OpenDirectory) else "file"
            found |= {"kind": kind, "path": description.path, "position": description.position}
            if isinstance(description, OpenDirectory) and description.listing is not None:
                found["listing"] = [list(each) for each in description.listing]
        else:
            names = {id(each): name for name, each in self._host.streams.items()}
            found |= {"kind": names[id(description)]}
            if isinstance(description, Stream):
                found["tty"] = description.tty
        return found

    def _find(self, described: Any, usable: Sequence[Description]) -> Description | None:
        """Return the one that is open already, or None."""
        kind = described["kind"]
        if kind in self._host.streams:
            return self._host.streams[kind]
        settable = O_APPEND | O_NONBLOCK
        for each in usable:
            if isinstance(each, HostObject) and isinstance(each, OpenDirectory) is (
                kind == "directory"
            ):
                same = (each.flags ^ described["flags"]) & ~settable == 0
                if same and each.path == described["path"]:
                    return each
        return None

    def _open(self, described: Any) -> Description:
        if described["kind"] not in ("file", "directory"):
            raise ValueError(f"an open {described['kind']!r}")
        access = described["flags"] & 3
        only = O_DIRECTORY * (described["kind"] == "directory")
        return self._host.directories.open(_path(described["path"]), access | only, 0)


def _settings(described: Any) -> tuple[int, bool, int, list[tuple[bytes, int]] | None]:
    listing = described.get("listing")
    return (
        _number(described["flags"], MASK64),
        bool(described.get("tty")),
        _number(described.get("position", 0), FOREVER),
        None if listing is None else [(_bytes(name), _number(kind, 255)) for name, kind in listing],
    )


def _number(value: object, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{value!r} is not in 0..{most}")
    return value


def _bytes(value: object, size: int | None = None) -> bytes:
    if not isinstance(value, bytes) or (size is not None and len(value) != size):
        raise ValueError(f"{value!r} are not {size or ''} bytes")
    return value


def _path(value: object) -> bytes:
    path = _bytes(value)
    if not path.startswith(b"/") or b"\0" in path:
        raise ValueError(f"{value!r} is no absolute path")
    return path

"""State of the host that belongs to a guest: named parts, each saved and put back on its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from rvjit.errors import ConfigError, SnapshotError, SnapshotMismatch

# The parts that rvjit's own hosts have; they change only when the guest calls its host.
HOST_PARTS = frozenset({"clock", "descriptors", "process", "random", "space", "stdin"})


class HostPart(Protocol):
    """Something beside the machine that a guest's future depends on.

    A state is made of None, bools, ints (64-bit), floats, str, bytes, lists, and dicts with str
    keys. Tuples come back as lists from a file.
    """

    def get_state(self) -> object:
        """Return the state now, as a value that later changes do not reach."""

    def set_state(self, state: object) -> None:
        """Go to a state that `get_state` of this or another process returned.

        Raises `ValueError` or `OSError` where that is impossible, and has then changed nothing.
        """


@dataclass(frozen=True)
class Selection:
    """Which parts take part: all, or only *allow*, without *deny*."""

    allow: frozenset[str] | None = None
    deny: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, allow: Iterable[str] | None, deny: Iterable[str], known: Iterable[str]
    ) -> Selection:
        """Make one; raises `ConfigError` for names that are not *known*."""
        for names in (allow, deny):
            if isinstance(names, str):
                raise ConfigError(f"{names!r}: give the names of host state as a list")
        chosen = cls(None if allow is None else frozenset(allow), frozenset(deny))
        unknown = ((chosen.allow or frozenset()) | chosen.deny) - set(known)
        if unknown:
            raise ConfigError(
                f"no host state is called {', '.join(sorted(unknown))}: "
                f"there are {', '.join(sorted(known))}"
            )
        return chosen

    def __contains__(self, name: str) -> bool:
        return (self.allow is None or name in self.allow) and name not in self.deny


EVERYTHING = Selection()


def get_states(parts: Mapping[str, HostPart], chosen: Selection = EVERYTHING) -> dict[str, object]:
    """Return the states of the chosen *parts* by name."""
    return {name: part.get_state() for name, part in parts.items() if name in chosen}


def set_states(
    parts: Mapping[str, HostPart],
    states: Mapping[str, object],
    chosen: Selection = EVERYTHING,
    *,
    keep: bool = True,
) -> None:
    """Set the chosen *states*; parts of which there is none stay as they are.

    Raises `SnapshotMismatch` where a part is missing or refuses; all are then as they were, without
    *keep* they are good for nothing.
    """
    wanted = {name: state for name, state in states.items() if name in chosen}
    for name in wanted:
        if name not in parts:
            there = ", ".join(sorted(parts)) or "nothing"
            raise SnapshotMismatch("host state", name, f"only {there}")
    undo: list[tuple[HostPart, object]] = []
    try:
        for name, state in wanted.items():
            before = parts[name].get_state() if keep else None
            parts[name].set_state(state)
            if keep:
                undo.append((parts[name], before))
    except (ValueError, TypeError, LookupError, OSError, SnapshotError) as error:
        for part, before in reversed(undo):
            part.set_state(before)
        reason = f"{type(error).__name__}: {error}"
        raise SnapshotMismatch(f"host state {name!r}", "given", f"impossible ({reason})") from error

"""Identity: which machine and program a snapshot is of, as plain values that can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from rvjit.errors import SnapshotMismatch
from rvjit.isa.cost import Cost


@dataclass(frozen=True)
class Identity:
    """The rules of a machine, its memory window and its program.

    Sizes and addresses are in bytes; *prices* are cycles by cost class; *wxorx* is whether pages
    are either writable or executable. *program* is the SHA-256 of the file in hex. The addresses
    from *brk_start* on are those of the loaded image. *name* is what the program was called, and
    does not matter for anything.
    """

    profile: str
    isa: str
    strict_fences: bool
    vm_version: int
    syscalls: str
    strict_loads: bool
    price_model: str
    prices: Mapping[str, int]
    memory_base: int
    memory_size: int
    wxorx: bool
    program: str
    entry: int
    brk_start: int
    mmap_top: int
    stack_low: int
    name: str = ""

    def check(self, found: Identity, *, program: bool) -> None:
        """Raise `SnapshotMismatch` where a machine, *found*, is another one.

        With *program* it also has to have the same program.
        """
        for each in fields(self):
            if each.name in _NEVER_COMPARED or (each.name in _OF_PROGRAM and not program):
                continue
            wanted, there = getattr(self, each.name), getattr(found, each.name)
            if wanted != there:
                raise SnapshotMismatch(each.name, _shown(wanted), _shown(there))

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, in order, as msgpack can hold them in little room.

        The digest is bytes, and prices are a list in the order of `Cost`.
        """
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        prices = [self.prices[cost.value] for cost in Cost]
        return found | {"program": bytes.fromhex(self.program), "prices": prices}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Identity:
        """Undo `as_dict`. Raises `ValueError`, which says what, for anything else."""
        wanted = {each.name: each.type for each in fields(cls)}
        if found.keys() != wanted.keys():
            raise ValueError(f"fields are {sorted(found)}, not {sorted(wanted)}")
        given = dict(found)
        prices, program = given["prices"], given["program"]
        if not isinstance(prices, list) or len(prices) != len(Cost):
            raise ValueError(f"prices = {prices!r}: expected a list of {len(Cost)} numbers")
        if not all(type(price) is int for price in prices):
            raise ValueError(f"prices = {prices!r}: expected numbers")
        if not isinstance(program, bytes) or len(program) != _DIGEST_SIZE:
            raise ValueError(f"program = {program!r}: expected {_DIGEST_SIZE} bytes")
        given["prices"] = {cost.value: price for cost, price in zip(Cost, prices, strict=True)}
        given["program"] = program.hex()
        for name, kind in wanted.items():
            value = given[name]
            good = name == "prices" or type(value).__name__ == kind
            if not good or (kind == "int" and not 0 <= value < 1 << 64):
                raise ValueError(f"{name} = {value!r}")
        return cls(**given)


_DIGEST_SIZE = 32
_OF_PROGRAM = ("program", "entry", "brk_start", "mmap_top", "stack_low")
_NEVER_COMPARED = ("name", "price_model")


def _shown(value: object) -> object:
    return hex(value) if type(value) is int else value

"""The parts of a transaction as values, and their bytes in CKB's serialisation (Molecule).

All numbers are little-endian. A *struct* is its fields one after the other, a *fixvec* a count and
its items, a *table* or *dynvec* its total size, the offset of each item, and the items.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b

from rvjit.errors import ConfigError

HASH_SIZE = 32
NO_HASH = bytes(HASH_SIZE)
SHANNONS = 10**8  # in a CKByte, which is what one byte of a cell takes

HASH_TYPES = {"data": 0, "type": 1, "data1": 2, "data2": 4}
DEP_TYPES = {"code": 0, "dep_group": 1}


def ckb_hash(data: bytes) -> bytes:
    """Return CKB's hash: BLAKE2b of 32 bytes with its own personalisation."""
    return blake2b(data, digest_size=HASH_SIZE, person=b"ckb-default-hash").digest()


def pack_uint(value: int, size: int) -> bytes:
    """Return a number of *size* bytes. Raises `ConfigError` where it does not fit."""
    if type(value) is not int or not 0 <= value < 1 << 8 * size:
        raise ConfigError(f"{value!r} is no number of {8 * size} bits")
    return value.to_bytes(size, "little")


def pack_bytes(data: bytes) -> bytes:
    """Return *data* as a fixvec of bytes."""
    return pack_uint(len(data), 4) + data


def pack_fixvec(items: Sequence[bytes]) -> bytes:
    """Return items of one size as a vector."""
    return pack_uint(len(items), 4) + b"".join(items)


def pack_table(items: Iterable[bytes]) -> bytes:
    """Return items of any sizes as a table, or a vector of such."""
    parts = list(items)
    head = 4 * (1 + len(parts))
    offsets, at = [], head
    for part in parts:
        offsets.append(pack_uint(at, 4))
        at += len(part)
    return pack_uint(at, 4) + b"".join(offsets) + b"".join(parts)


def _check_hash(name: str, value: object) -> None:
    if type(value) is not bytes or len(value) != HASH_SIZE:
        raise ConfigError(f"{name} {value!r}: must be {HASH_SIZE} bytes")


@dataclass(frozen=True)
class Script:
    """A script: which code, found how (a name in `HASH_TYPES`), and its arguments."""

    code_hash: bytes = NO_HASH
    hash_type: str = "data2"
    args: bytes = b""

    def __post_init__(self) -> None:
        _check_hash("code_hash", self.code_hash)
        if self.hash_type not in HASH_TYPES:
            raise ConfigError(f"hash type {self.hash_type!r}: known are {', '.join(HASH_TYPES)}")

    @cached_property
    def packed(self) -> bytes:
        """Its bytes."""
        kind = pack_uint(HASH_TYPES[self.hash_type], 1)
        return pack_table([self.code_hash, kind, pack_bytes(self.args)])

    @cached_property
    def hash(self) -> bytes:
        """Its hash."""
        return ckb_hash(self.packed)

    @property
    def occupied(self) -> int:
        """Bytes of capacity that it takes."""
        return HASH_SIZE + 1 + len(self.args)


@dataclass(frozen=True)
class OutPoint:
    """Output *index* of the transaction *tx_hash*."""

    tx_hash: bytes = NO_HASH
    index: int = 0

    def __post_init__(self) -> None:
        _check_hash("tx_hash", self.tx_hash)

    @property
    def packed(self) -> bytes:
        """Its 36 bytes."""
        return self.tx_hash + pack_uint(self.index, 4)


@dataclass(frozen=True)
class Output:
    """What a transaction says of a cell that it makes; *capacity* in shannons."""

    capacity: int = 0
    lock: Script = Script()
    type: Script | None = None

    @cached_property
    def packed(self) -> bytes:
        """Its bytes."""
        kind = b"" if self.type is None else self.type.packed
        return pack_table([pack_uint(self.capacity, 8), self.lock.packed, kind])


@dataclass(frozen=True)
class Cell:
    """A cell: what its transaction says, its data, and the hash of the block it is in, if known."""

    output: Output = Output()
    data: bytes = field(default=b"", repr=False)
    block_hash: bytes | None = None

    @cached_property
    def data_hash(self) -> bytes:
        """The hash of its data; of no data it is zero."""
        return ckb_hash(self.data) if self.data else NO_HASH

    @property
    def occupied_capacity(self) -> int:
        """Shannons that the cell needs at least."""
        kind = self.output.type
        size = 8 + self.output.lock.occupied + (kind.occupied if kind else 0) + len(self.data)
        return size * SHANNONS


@dataclass(frozen=True)
class Input:
    """An input: the cell that it spends, and since when it may."""

    previous_output: OutPoint = OutPoint()
    since: int = 0

    @property
    def packed(self) -> bytes:
        """Its 44 bytes."""
        return pack_uint(self.since, 8) + self.previous_output.packed


@dataclass(frozen=True)
class CellDep:
    """A cell that scripts may read; *dep_type* is a name in `DEP_TYPES`."""

    out_point: OutPoint = OutPoint()
    dep_type: str = "code"

    def __post_init__(self) -> None:
        if self.dep_type not in DEP_TYPES:
            raise ConfigError(f"dep type {self.dep_type!r}: known are {', '.join(DEP_TYPES)}")

    @property
    def packed(self) -> bytes:
        """Its 37 bytes."""
        return self.out_point.packed + pack_uint(DEP_TYPES[self.dep_type], 1)


@dataclass(frozen=True)
class Header:
    """A block header. *hash* is its own unless one is given, as mock transactions do."""

    version: int = 0
    compact_target: int = 0
    timestamp: int = 0
    number: int = 0
    epoch: int = 0
    parent_hash: bytes = NO_HASH
    transactions_root: bytes = NO_HASH
    proposals_hash: bytes = NO_HASH
    extra_hash: bytes = NO_HASH
    dao: bytes = NO_HASH
    nonce: int = 0
    given_hash: bytes | None = None

    def __post_init__(self) -> None:
        for name in ("parent_hash", "transactions_root", "proposals_hash", "extra_hash", "dao"):
            _check_hash(name, getattr(self, name))

    @cached_property
    def packed(self) -> bytes:
        """Its 208 bytes."""
        return b"".join(
            (
                pack_uint(self.version, 4),
                pack_uint(self.compact_target, 4),
                pack_uint(self.timestamp, 8),
                pack_uint(self.number, 8),
                pack_uint(self.epoch, 8),
                self.parent_hash,
                self.transactions_root,
                self.proposals_hash,
                self.extra_hash,
                self.dao,
                pack_uint(self.nonce, 16),
            )
        )

    @property
    def hash(self) -> bytes:
        """The hash of the block."""
        return ckb_hash(self.packed) if self.given_hash is None else self.given_hash

    @property
    def epoch_number(self) -> int:
        """Number of the epoch."""
        return self.epoch & 0xFF_FFFF

    @property
    def epoch_index(self) -> int:
        """Blocks of the epoch before this one."""
        return self.epoch >> 24 & 0xFFFF

    @property
    def epoch_length(self) -> int:
        """Blocks of the epoch."""
        return self.epoch >> 40 & 0xFFFF


@dataclass(frozen=True)
class Transaction:
    """A transaction as it is in a block."""

    version: int = 0
    cell_deps: tuple[CellDep, ...] = ()
    header_deps: tuple[bytes, ...] = ()
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    outputs_data: tuple[bytes, ...] = ()
    witnesses: tuple[bytes, ...] = ()

    @cached_property
    def raw(self) -> bytes:
        """The bytes without witnesses."""
        for each in self.header_deps:
            _check_hash("header dep", each)
        return pack_table(
            [
                pack_uint(self.version, 4),
                pack_fixvec([each.packed for each in self.cell_deps]),
                pack_fixvec(self.header_deps),
                pack_fixvec([each.packed for each in self.inputs]),
                pack_table(each.packed for each in self.outputs),
                pack_table(map(pack_bytes, self.outputs_data)),
            ]
        )

    @cached_property
    def packed(self) -> bytes:
        """Its bytes."""
        return pack_table([self.raw, pack_table(map(pack_bytes, self.witnesses))])

    @cached_property
    def hash(self) -> bytes:
        """Its hash, which witnesses have no part in."""
        return ckb_hash(self.raw)

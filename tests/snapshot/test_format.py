"""The bytes of snapshots: what they hold, what is refused, and where it says that is."""

from __future__ import annotations

import itertools
import os
import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvjit import VM, Snapshot, SnapshotError, SnapshotFormatError, SnapshotMismatch
from rvjit.machine.layout import NO_LIMIT
from rvjit.machine.memory import Memory
from rvjit.machine.pages import DIRTY, PAGE_SIZE, READABLE, WRITABLE
from rvjit.snapshot import Cpu, SnapshotKind, container
from rvjit.snapshot.capture import capture_pages
from rvjit.snapshot.container import Section
from rvjit.snapshot.pages import (
    Extent,
    Kind,
    Pages,
    PagesBuilder,
    Source,
    pack_extents,
    unpack_extents,
)
from tests.engines.assemble import R, X, assemble, elf
from tests.snapshot.conftest import load_busy, state_of

RW = READABLE | WRITABLE
CPU_WORDS = 37


@pytest.fixture(scope="module")
def stopped() -> VM:
    vm = load_busy().vm
    vm.run(cycle_limit=500)
    return vm


@pytest.fixture(scope="module")
def data(stopped: VM) -> bytes:
    return stopped.snapshot().to_bytes()


def sections(data: bytes) -> list[Section]:
    return list(container.read(data))


def rebuilt(parts: list[Section]) -> bytes:
    return b"".join(container.write(parts))


# What comes back.


def test_bytes_come_back(stopped: VM, data: bytes) -> None:
    taken = stopped.snapshot()
    back = Snapshot.from_bytes(data)
    assert (back.kind, back.identity, back.cpu) == (taken.kind, taken.identity, taken.cpu)
    assert back.pages.extents == taken.pages.extents
    assert [bytes(page) for page in back.pages.literals] == taken.pages.literals
    assert back.to_bytes() == data


def test_equal_states_have_equal_bytes(data: bytes) -> None:
    """Whatever the order in which the pages came to be."""
    other = load_busy("interp").vm
    other.run(cycle_limit=100)
    other.run(cycle_limit=500)
    assert other.snapshot().to_bytes() == data


@pytest.mark.parametrize("kind", ["full", "dirty"])
@pytest.mark.parametrize("count", [0, 1, 256])
def test_size_is_that_of_the_pages(kind: str, count: int) -> None:
    """Pages that lie apart cost 4112 bytes at most, equal ones and zeros nearly nothing."""
    vm = VM.from_elf(elf(assemble("_start: j _start"), R | X), memory_size=16 << 20)
    rng, start = random.Random(1), 0x100000
    vm.machine.memory.protect(start, 8 << 20, read=True, write=True, execute=False)
    for number in range(count):
        address = start + 2 * number * PAGE_SIZE
        vm.memory[address : address + PAGE_SIZE] = rng.randbytes(PAGE_SIZE)
    memory = vm.machine.memory
    pages = len(vm.memory.dirty_pages if kind == "dirty" else memory.pages_in_use())
    size = len(vm.snapshot(kind).to_bytes())
    assert size <= pages * 4112 + 1024
    alike = rng.randbytes(PAGE_SIZE)
    more = start + 1024 * PAGE_SIZE
    for number in range(500):
        address = more + number * PAGE_SIZE
        vm.memory[address : address + PAGE_SIZE] = alike if number % 5 else bytes(PAGE_SIZE)
    extents = 2 * 500 / 5
    assert len(vm.snapshot(kind).to_bytes()) <= size + 4112 + 8 * extents


def test_a_live_snapshot_has_the_same_bytes(stopped: VM, data: bytes, tmp_path: Path) -> None:
    stopped.save_snapshot(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == data


def test_files_come_back(stopped: VM, data: bytes, tmp_path: Path) -> None:
    stopped.snapshot().save(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == data
    assert Snapshot.load(tmp_path / "file").to_bytes() == data
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("compress", [False, True])
def test_pages_may_stay_in_their_file(tmp_path: Path, compress: bool) -> None:
    """They are read when they are used; what was put in place of the file since does not matter."""
    vm = VM.from_elf(elf(assemble("_start: j _start"), R | X), memory_size=16 << 20)
    vm.machine.memory.initialise(0x100000, random.Random(6).randbytes(8 << 20))
    file = tmp_path / "snapshot"
    vm.save_snapshot(file, compress=compress)
    tracemalloc.start()
    taken = Snapshot.open(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 << 20
    whole = Snapshot.load(file)
    os.replace(file, tmp_path / "other")
    file.write_bytes(b"")
    assert taken.to_bytes() == whole.to_bytes()
    assert state_of(VM.from_snapshot(taken)) == state_of(vm)
    assert state_of(VM.from_snapshot(tmp_path / "other")) == state_of(vm)
    with open(tmp_path / "other", "r+b") as other:
        other.seek(5 << 20)
        other.write(b"changed")
    with pytest.raises(SnapshotFormatError, match=r"'data'.*has changed since"):
        VM.from_snapshot(taken)
    with pytest.raises(SnapshotFormatError, match="checksum"):
        Snapshot.open(tmp_path / "other")


def test_a_file_that_cannot_be_written_leaves_the_old_one(stopped: VM, tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    broken = replace(stopped.snapshot(), host={"mine": object()})
    with pytest.raises(SnapshotError, match="object"):
        broken.save(target)
    assert (target.read_bytes(), os.listdir(tmp_path)) == (b"old", ["file"])


def test_compression_is_a_feature_of_the_file(stopped: VM, data: bytes) -> None:
    pytest.importorskip("zstandard")
    small = stopped.snapshot().to_bytes(compress=True)
    assert len(small) < len(data) * 3 // 4
    assert Snapshot.from_bytes(small).to_bytes() == data
    head = bytearray(small[:20])
    head[12:20] = bytes(8)
    forged = bytes(head) + struct.pack("<I", zlib.crc32(head)) + small[24:]
    with pytest.raises(SnapshotFormatError, match="unknown section flags 0x3"):
        Snapshot.from_bytes(forged)


def test_a_decompressed_section_has_the_promised_size() -> None:
    zstandard = pytest.importorskip("zstandard")
    bomb = zstandard.ZstdCompressor().compress(bytes(200 << 20))
    head = struct.pack("<4sIQQ", b"data", 3, 4096, len(bomb))
    start = b"".join(container.write([], compress=True))[:24]
    forged = start + head + struct.pack("<I", zlib.crc32(head)) + bomb
    forged += struct.pack("<I", zlib.crc32(bomb))
    with pytest.raises(SnapshotFormatError, match="209715200 bytes after decompression, 4096"):
        list(container.read(forged))


# Sizes.


def test_dirty_pages_cost_little_more_than_their_bytes() -> None:
    """Random pages, none beside another, each with flags of its own."""
    for count in (0, 1, 256, 1000):
        builder = PagesBuilder()
        rng = random.Random(count)
        for index in range(count):
            flags = DIRTY | RW if index % 2 else DIRTY | READABLE
            builder.add_bytes(200_000 + index * 3, flags, rng.randbytes(PAGE_SIZE))
        size = len(sealed(builder.build()).to_bytes())
        assert size <= count * (PAGE_SIZE + 16) + 1024, count


def test_zero_and_repeated_pages_cost_next_to_nothing() -> None:
    builder = PagesBuilder()
    page = random.Random(1).randbytes(PAGE_SIZE)
    for index in range(10_000):
        builder.add_bytes(index, RW, bytes(PAGE_SIZE) if index < 5000 else page)
    made = builder.build()
    assert (len(made.literals), len(made.extents)) == (1, 3)
    assert len(sealed(made).to_bytes()) < PAGE_SIZE + 1024


def sealed(pages: Pages) -> Snapshot:
    cpu = Cpu((0,) * 32, 0, 0, NO_LIMIT, 0, 0)
    vm = load_busy().vm
    from rvjit.vm.resume import identity_of

    identity = replace(identity_of(vm), memory_size=4 << 30)
    return Snapshot(SnapshotKind.FULL, identity, cpu, pages)


# Extents.

_EXTENTS = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.integers(1, 4),
        st.sampled_from([0, RW, RW | DIRTY]),
        st.sampled_from(Kind),
    ),
    max_size=12,
)


@given(_EXTENTS)
def test_extents_come_back(rows: list[tuple[int, int, int, Kind]]) -> None:
    extents, at, literals, sources = [], 0, 0, 0
    for gap, length, flags, given_kind in rows:
        kind = given_kind
        if kind is Kind.SAME and not literals:
            kind = Kind.ZERO
        argument = {Kind.SAME: literals - 1, Kind.SOURCE: sources}.get(kind, 0)
        literals += length if kind is Kind.LITERAL else 0
        sources += kind is Kind.SOURCE
        extents.append(Extent(at + gap, length, flags, kind, argument))
        at = extents[-1].stop
    back = unpack_extents(
        pack_extents(extents), page_count=at, literal_count=literals, source_count=sources
    )
    assert back == tuple(extents)


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        ([0, 1, 0], "not its numbers"),
        ([0, 1, 0, -1], "not its numbers"),
        ([0, 1, 0, True], "not its numbers"),
        ([0, 1, 0, 1 << 64], "not its numbers"),
        ([0, 1, 0, "x"], "not its numbers"),
        ([0, 1, 0, 9], "unknown kind of page 9"),
        ([0, 0, 0, 0], "pages 0 to 0"),
        ([9, 2, 0, 0], "pages 9 to 11, memory has 10"),
        ([0, 1 << 40, 0, 0], "memory has 10"),
        ([0, 1, 0x20, 0], "unknown page flags 0x20"),
        ([0, 1, 0, 1], "1 pages have bytes, but there are bytes of 0"),
        ([0, 1, 0, 2, 0], "refers to SAME 0"),
        ([0, 1, 0, 3, 0], "refers to SOURCE 0"),
        ([0, 1, 0, 3], "cut off"),
    ],
)
def test_impossible_extents_are_refused(packed: list[object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        unpack_extents(packed, page_count=10, literal_count=0, source_count=0)


def test_runs_of_a_source_join_only_where_everything_goes_on() -> None:
    builder = PagesBuilder()
    for page, flags, name, offset in (
        (1, RW, "a", 0),
        (2, RW, "a", 4096),
        (3, RW, "a", 12288),
        (4, RW, "b", 16384),
        (5, DIRTY, "b", 20480),
        (7, DIRTY, "b", 24576),
    ):
        builder.add_source(page, 1, flags, Source(name, offset))
    made = builder.build()
    assert [(each.first, each.length) for each in made.extents] == [
        (1, 2), (3, 1), (4, 1), (5, 1), (7, 1),
    ]  # fmt: skip
    assert made.sources[0] == Source("a", 0)


# What is refused, and where.


def test_foreign_files_are_refused(busy: bytes) -> None:
    for foreign in (b"", b"\x89RV", b"\x7fELF" * 9, busy, b"\0" * 100):
        with pytest.raises(SnapshotFormatError) as caught:
            Snapshot.from_bytes(foreign)
        assert caught.value.offset == 0


def test_every_flipped_bit_is_found(data: bytes) -> None:
    """Every bit of everything but page contents, and a sample of those."""
    starts = [section.offset for section in sections(data) if section.name == "data"]
    end = data.index(b"end.", starts[-1])
    rng = random.Random(3)
    places = [*range(starts[0] + 24), *range(end - 4, len(data))]
    places += [rng.randrange(len(data)) for _ in range(400)]
    for at in places:
        damaged = bytearray(data)
        damaged[at] ^= 1 << rng.randrange(8)
        with pytest.raises(SnapshotFormatError) as caught:
            Snapshot.from_bytes(bytes(damaged))
        assert caught.value.offset <= at


def test_every_truncation_is_found(data: bytes) -> None:
    rng = random.Random(4)
    for size in [*range(600), *rng.sample(range(len(data)), 200), len(data) - 1]:
        with pytest.raises(SnapshotFormatError):
            Snapshot.from_bytes(data[:size])
    with pytest.raises(SnapshotFormatError, match="1 bytes too many"):
        Snapshot.from_bytes(data + b"\0")


def test_damage_that_has_good_checksums_is_refused_or_used_wholly(
    data: bytes, stopped: VM, seeds: Callable[[int], range]
) -> None:
    """Whatever a file says, a machine is afterwards as it says, or as it was."""
    parts = sections(data)
    refused = used = 0
    for seed in seeds(150):
        rng = random.Random(seed)
        number = rng.randrange(len(parts))
        payload = bytearray(parts[number].payload)
        for _ in range(rng.choice((1, 1, 2, 5))):
            payload[rng.randrange(len(payload))] = rng.choice(
                (0, 1, 0xC0, 0xFF, rng.randrange(256))
            )
        changed = [*parts]
        changed[number] = replace(parts[number], payload=bytes(payload))
        target = stopped.clone()
        before = state_of(target)
        try:
            taken = Snapshot.from_bytes(rebuilt(changed))
            target.apply_snapshot(taken)
        except (SnapshotFormatError, SnapshotMismatch):
            assert state_of(target) == before
            refused += 1
        else:
            assert target.snapshot().cpu == replace(taken.cpu, cycle_limit=NO_LIMIT)
            for page, content in taken.pages.contents():
                address = target.memory.base + page * PAGE_SIZE
                assert target.memory.read(address, PAGE_SIZE) == content
            used += 1
    assert refused
    assert used


def test_sections_cannot_be_left_out_moved_or_doubled(data: bytes) -> None:
    parts = sections(data)
    bounds = [part.offset for part in parts] + [data.rindex(b"end.")]
    raw = [data[a:b] for a, b in itertools.pairwise(bounds)]
    head, tail = data[: bounds[0]], data[bounds[-1] :]
    for changed in (raw[:-1], raw[1:], [*raw, raw[-1]], [raw[1], raw[0], *raw[2:]]):
        with pytest.raises(SnapshotFormatError, match=r"missing, added or moved|second section"):
            Snapshot.from_bytes(head + b"".join(changed) + tail)


def test_unknown_sections(data: bytes) -> None:
    parts = sections(data)
    with pytest.raises(SnapshotFormatError, match=r"'news'.*unknown to this release"):
        Snapshot.from_bytes(rebuilt([*parts, Section("news", b"!")]))
    kept = rebuilt([*parts, Section("note", b"mine", critical=False)])
    assert Snapshot.from_bytes(kept).extra == (("note", b"mine"),)
    assert Snapshot.from_bytes(kept).to_bytes() == kept


def test_unknown_versions_and_features(data: bytes) -> None:
    for at, value, match in ((8, 2, "format version 2"), (12, 4, "features 0x4")):
        head = bytearray(data[:20])
        head[at] = value
        forged = bytes(head) + struct.pack("<I", zlib.crc32(head)) + data[24:]
        with pytest.raises(SnapshotFormatError, match=match):
            Snapshot.from_bytes(forged)


def test_a_huge_section_is_not_even_read() -> None:
    start = b"".join(container.write([]))[:24]
    head = struct.pack("<4sIQQ", b"data", 1, 1 << 60, 1 << 60)
    with pytest.raises(SnapshotFormatError, match="at most 67108864"):
        list(container.read(start + head + struct.pack("<I", zlib.crc32(head))))


@pytest.mark.parametrize(
    ("name", "payload", "reason"),
    [
        ("mach", b"\xc1", "msgpack"),
        ("mach", msgpack.packb([1]), "expected a map"),
        ("mach", msgpack.packb({"kind": "full"}), "fields are"),
        ("mach", msgpack.packb({"kind": "odd"}), "'odd' is not a valid"),
        ("cpu.", msgpack.packb([0] * 3), "list of 38"),
        ("cpu.", msgpack.packb([1] + [0] * CPU_WORDS), "x0 is 0x1"),
        ("cpu.", msgpack.packb([0] * CPU_WORDS + [1000]), "exit code 1000"),
        ("cpu.", msgpack.packb([0] * 34 + [1 << 63] + [0] * 3), "cycle limit"),
        ("cpu.", msgpack.packb([0] * 33 + [-1] + [0] * 4), "-1 is no 64-bit word"),
        ("host", msgpack.packb({"a": 1})[:-1], "msgpack"),
        ("host", msgpack.packb([]), "expected a map"),
        ("host", b"\x91" * 2000, "msgpack"),
        ("page", msgpack.packb({"extents": [], "sources": {}}), "lists of extents and sources"),
        ("page", msgpack.packb({"extents": [], "sources": [["a", -1]]}), "source 0"),
        ("page", msgpack.packb({"extents": [0, 1, 0, 7], "sources": []}), "unknown kind"),
        ("data", b"x" * 100, "not made of pages"),
    ],
)
def test_well_framed_nonsense_is_refused(
    data: bytes, name: str, payload: bytes, reason: str
) -> None:
    parts = [Section(p.name, payload) if p.name == name else p for p in sections(data)]
    with pytest.raises(SnapshotFormatError, match=reason) as caught:
        Snapshot.from_bytes(rebuilt(parts))
    assert caught.value.section == name


def test_missing_and_double_sections(data: bytes) -> None:
    parts = sections(data)
    for name in ("mach", "cpu.", "host", "page"):
        with pytest.raises(SnapshotFormatError, match=f"has no section '{name}'"):
            Snapshot.from_bytes(rebuilt([part for part in parts if part.name != name]))
    with pytest.raises(SnapshotFormatError, match="second section"):
        Snapshot.from_bytes(rebuilt([parts[0], *parts]))


_PLAIN = st.none() | st.booleans() | st.integers(-5, (1 << 64) - 1) | st.binary(max_size=8)
_JUNK = st.recursive(
    _PLAIN | st.text(max_size=4),
    lambda each: (
        st.lists(each, max_size=4) | st.dictionaries(st.text(max_size=6), each, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_well_framed_host_state_is_taken_or_refused(shared: st.DataObject) -> None:
    """Fields of the real state replaced by junk: the VM is made, or nothing but our errors."""
    vm = VM_FOR_JUNK
    before = state_of(vm)
    states = {name: part.get_state() for name, part in vm.parts.items()}
    name = shared.draw(st.sampled_from(sorted(states)))
    state = states[name]
    if isinstance(state, dict) and shared.draw(st.booleans()):
        key = shared.draw(st.sampled_from(sorted(state)))
        state = {**state, key: shared.draw(_JUNK)}
    else:
        state = shared.draw(_JUNK)
    broken = replace(vm.snapshot(), host={**states, name: state})
    try:
        vm.apply_snapshot(Snapshot.from_bytes(broken.to_bytes()))
    except SnapshotMismatch:
        assert state_of(vm) == before
    else:
        vm.apply_snapshot(CLEAN)
        assert state_of(vm) == before


VM_FOR_JUNK = load_busy().vm
VM_FOR_JUNK.run(cycle_limit=300)
CLEAN = VM_FOR_JUNK.snapshot()


# Pages of a memory.


def test_a_memory_is_described_by_runs() -> None:
    memory = Memory(16 * PAGE_SIZE)
    memory.protect(PAGE_SIZE, 8 * PAGE_SIZE, read=True, write=True, execute=False)
    memory.write(3 * PAGE_SIZE, b"a" * (2 * PAGE_SIZE))
    memory.write(7 * PAGE_SIZE, bytes(10))
    made = capture_pages(memory, memory.pages_in_use(), Kind.ZERO)
    dirty = RW | DIRTY
    assert made.extents == (
        Extent(1, 2, RW, Kind.ZERO),
        Extent(3, 1, dirty, Kind.LITERAL),
        Extent(4, 1, dirty, Kind.SAME, 0),
        Extent(5, 2, RW, Kind.ZERO),
        Extent(7, 1, dirty, Kind.ZERO),
        Extent(8, 1, RW, Kind.ZERO),
    )
    assert made.literals == [b"a" * PAGE_SIZE]

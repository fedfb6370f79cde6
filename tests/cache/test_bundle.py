"""The file format: what was written is read, and damage is noticed, wherever it is."""

from __future__ import annotations

import os
from pathlib import Path

from rvjit.codegen import bundle
from rvjit.codegen.bundle import Bundle, merge, pack

RECORDS = [(0x10000, b"first"), (0x10000, b"second"), (1 << 63, b""), (2, bytes(40))]


def opened(path: Path, data: bytes) -> Bundle:
    path.write_bytes(data)
    return Bundle(os.open(path, os.O_RDONLY))


def test_records_come_back_in_order(tmp_path: Path) -> None:
    read = opened(tmp_path / "b", pack(RECORDS))
    assert read.keys == [0x10000, 1 << 63, 2]
    assert read.read(0x10000) == [b"first", b"second"]
    assert read.read(1 << 63) == [b""]
    assert read.read(7) == []
    assert read.records() == RECORDS


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    data = pack(RECORDS)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        left = opened(tmp_path / "b", bytes(flipped)).records()
        assert len(left) < len(RECORDS)
        assert [each for each in RECORDS if each in left] == left


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    data = pack(RECORDS)
    for size in range(len(data)):
        left = opened(tmp_path / "b", data[:size]).records()
        assert len(left) < len(RECORDS)
        assert [each for each in RECORDS if each in left] == left


def test_other_files_are_empty_bundles(tmp_path: Path) -> None:
    for data in (b"", b"\x7fELF" + bytes(100), b"\xff" * 64, pack([])):
        assert opened(tmp_path / "b", data).records() == []


def test_a_bundle_closes_its_file(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    read = opened(tmp_path / "b", pack(RECORDS))
    assert len(os.listdir("/proc/self/fd")) == len(before) + 1
    del read
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_merging_puts_the_new_first_and_each_once() -> None:
    assert merge([(1, b"new"), (1, b"old")], [(1, b"old"), (2, b"x")]) == [
        (1, b"new"),
        (1, b"old"),
        (2, b"x"),
    ]


def test_merging_keeps_the_newest_variants() -> None:
    old = [(1, bytes([n])) for n in range(10)]
    merged = merge([(1, b"new")], old)
    assert merged == [(1, b"new"), *old[: bundle.MOST_VARIANTS - 1]]


def test_a_file_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(bundle, "MOST_BYTES", 1000)
    records = [(n, bytes(100)) for n in range(100)]
    packed = pack(merge(records[:1], records[1:]))
    assert 800 < len(packed) <= 1000

"""The content-addressed store: equal pages once, whatever happens to snapshots around them."""

from __future__ import annotations

import sqlite3
from hashlib import sha256
from pathlib import Path

import pytest

from rvjit import VM, Snapshot, SnapshotError, SnapshotFormatError
from rvjit.snapshot.store import PageStore
from tests.snapshot.conftest import INPUT, load_busy, state_of


@pytest.fixture
def taken() -> list[Snapshot]:
    """One guest at five moments."""
    vm = load_busy().vm
    found = []
    for limit in range(100, 1000, 200):
        vm.run(cycle_limit=limit)
        found.append(vm.snapshot())
    return found


def test_snapshots_come_back_as_they_were(taken: list[Snapshot], tmp_path: Path) -> None:
    with PageStore(tmp_path / "store") as store:
        keys = [store.put(each) for each in taken]
    assert keys == [sha256(each.to_bytes()).hexdigest() for each in taken]
    with PageStore(tmp_path / "store") as store:
        assert store.ids() == sorted(keys)
        for key, each in zip(keys, taken, strict=True):
            assert store.get(key).to_bytes() == each.to_bytes()
        vm = VM.from_snapshot(store.get(keys[2]), stdin=INPUT, stdout=lambda data: None)
    whole = load_busy().vm
    assert (vm.run(), state_of(vm)) == (whole.run(), state_of(whole))


def test_equal_pages_are_kept_once(taken: list[Snapshot], tmp_path: Path) -> None:
    different = {bytes(page) for each in taken for page in each.pages.literals}
    assert len(different) < sum(len(each.pages.literals) for each in taken) * 2 // 3
    with PageStore(tmp_path / "store") as store:
        for each in (*taken, *taken):
            store.put(each)
        assert store.page_count == len(different)
        for index, each in enumerate(taken):
            store.remove(sha256(each.to_bytes()).hexdigest())
            left = {bytes(page) for other in taken[index + 1 :] for page in other.pages.literals}
            assert store.page_count == len(left)
        assert store.ids() == []


def test_what_is_damaged_or_missing_is_an_error(taken: list[Snapshot], tmp_path: Path) -> None:
    file = tmp_path / "store"
    with PageStore(file) as store:
        key = store.put(taken[0])
        with pytest.raises(SnapshotError, match="has no snapshot 00ff"):
            store.get("00ff")
        with pytest.raises(SnapshotError, match="'xyz' is no id"):
            store.get("xyz")
        with sqlite3.connect(file) as base:
            base.execute("UPDATE pages SET bytes = zeroblob(4096)")
        base.close()
        with pytest.raises(SnapshotFormatError, match="missing or damaged"):
            store.get(key)
    (tmp_path / "foreign").write_bytes(b"something else" * 100)
    with pytest.raises(SnapshotError, match=r"page store .*foreign: file is not a database"):
        PageStore(tmp_path / "foreign")

"""Blobs, the bound, the environment: the cache saves time and is never a reason to fail."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rvjit.codegen.blob import Blob
from rvjit.codegen.cache import CodeCache, code_cache
from rvjit.codegen.fingerprint import fingerprint
from rvjit.errors import ConfigError

BLOB = Blob(b"\x90\xc3" * 50, {"enter": 0, "step": 2})


class Counted:
    """Makes BLOB, and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Blob:
        self.times += 1
        return BLOB


@pytest.fixture
def make() -> Counted:
    return Counted()


@pytest.fixture
def cache(tmp_path: Path) -> Callable[[], CodeCache]:
    """A new process's view of one cache."""
    return lambda: CodeCache(str(tmp_path / "cache"), 1 << 20)


def only_file(cache: CodeCache) -> Path:
    assert cache.folder is not None
    (path,) = Path(cache.folder.path).glob("blob-*")
    return path


def test_a_blob_is_made_once(cache: Callable[[], CodeCache], make: Counted) -> None:
    for _ in range(3):
        assert cache().blob("name", make) == BLOB
    assert make.times == 1
    assert cache().blob("other name", make) == BLOB
    assert make.times == 2


def test_it_is_announced(cache: Callable[[], CodeCache], make: Counted) -> None:
    said = []
    for _ in range(2):
        each = cache()
        each.announce = lambda: said.append(make.times)
        each.blob("name", make)
    assert said == [0]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_blob_is_made_again(
    cache: Callable[[], CodeCache], make: Counted, damage: str
) -> None:
    cache().blob("name", make)
    path = only_file(cache())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes({"flip": bytes(data), "cut": data[:-1], "empty": b""}[damage])
    for _ in range(2):
        assert cache().blob("name", make) == BLOB
    assert make.times == 2


def test_a_blob_of_another_name_is_not_taken(cache: Callable[[], CodeCache], make: Counted) -> None:
    """As if two names had one digest."""
    cache().blob("name", make)
    one = only_file(cache())
    cache().blob("other", make)
    (other,) = {*one.parent.glob("blob-*")} - {one}
    one.write_bytes(other.read_bytes())
    cache().blob("name", make)
    assert make.times == 3


def test_without_a_place_to_write_things_are_made(tmp_path: Path, make: Counted) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = CodeCache(str(tmp_path / "file"), 1 << 20)
    for times in (1, 2):
        assert cache.blob("name", make) == BLOB
        assert make.times == times
    assert isinstance(cache.problem, OSError)
    assert str(tmp_path / "file") in str(cache.why_not())


def test_an_unsafe_cache_is_neither_read_nor_written(
    cache: Callable[[], CodeCache], make: Counted
) -> None:
    cache().blob("name", make)
    assert cache().why_not() is None
    path = only_file(cache())
    before = path.read_bytes()
    path.parent.chmod(0o777)
    assert cache().blob("name", make) == BLOB
    assert make.times == 2
    assert path.read_bytes() == before
    assert "other users may write it" in str(cache().why_not())


def test_the_sum_of_all_files_is_bounded(tmp_path: Path) -> None:
    cache = CodeCache(str(tmp_path), 5000)
    for number in range(10):
        cache.blob(str(number), lambda: Blob(bytes(1000), {}))
    assert cache.folder is not None
    sizes = [path.stat().st_size for path in Path(cache.folder.path).iterdir()]
    assert 3000 < sum(sizes) <= 5000


def test_size_zero_keeps_nothing(tmp_path: Path, make: Counted) -> None:
    cache = CodeCache(str(tmp_path), 0)
    for _ in range(2):
        cache.blob("name", make)
    assert make.times == 2
    assert os.listdir(tmp_path) == []
    assert "RVJIT_CACHE_SIZE is 0" in str(cache.why_not())


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", 512 << 20),
        ("0", 0),
        ("4096", 4096),
        ("64M", 64 << 20),
        ("1GiB", 1 << 30),
    ],
)
def test_the_environment_says_where_and_how_much(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, size: int
) -> None:
    monkeypatch.setenv("RVJIT_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("RVJIT_CACHE_SIZE", text)
    assert (code_cache().root, code_cache().size) == (str(tmp_path), size)
    assert code_cache() is code_cache()


@pytest.mark.parametrize("text", ["many", "-1", "1.5G", "K", "٣"])
def test_a_wrong_size_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("RVJIT_CACHE_SIZE", text)
    with pytest.raises(ConfigError, match="RVJIT_CACHE_SIZE"):
        code_cache()


def test_the_default_is_the_users_cache_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RVJIT_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert code_cache().root == str(tmp_path / "home" / ".cache" / "rvjit")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert code_cache().root == str(tmp_path / "xdg" / "rvjit")


def test_the_fingerprint_follows_what_code_depends_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from rvjit.codegen import fingerprint as module

    here = fingerprint()
    assert here == fingerprint()
    assert here is not None
    assert len(here) == 32
    for part in ("_cpu", "_llvm", "_sources"):
        with monkeypatch.context() as patch:
            patch.setattr(module, part, lambda: b"another")
            assert fingerprint() not in (here, None)
    monkeypatch.setattr(sys, "meta_path", [])
    assert fingerprint() is None
    assert CodeCache(str(tmp_path), 1 << 20).why_not() is not None


def test_code_of_changed_sources_is_not_kept(
    cache: Callable[[], CodeCache], make: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that goes on while rvjit is updated may have imported some of the old modules."""
    from rvjit.codegen import fingerprint as module

    old = cache()
    assert old.folder is not None
    monkeypatch.setattr(module, "_sources", lambda: b"updated")
    assert old.blob("name", make) == BLOB
    assert not Path(old.folder.path).exists()


def test_the_fingerprint_sees_a_changed_source(tmp_path: Path) -> None:
    from rvjit.codegen.fingerprint import _stamps

    (tmp_path / "a.py").write_text("one")
    before = _stamps(str(tmp_path), (".py",))
    (tmp_path / "a.py").write_text("other")
    (tmp_path / "a.txt").write_text("no source")
    after = _stamps(str(tmp_path), (".py",))
    assert before != after
    (tmp_path / "a.txt").write_text("changed")
    assert _stamps(str(tmp_path), (".py",)) == after

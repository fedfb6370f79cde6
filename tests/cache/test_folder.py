"""Files are read and written only where nobody else can have had a hand in it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from rvjit.codegen import folder as folders
from rvjit.codegen.folder import Folder, UnsafeError, clear, kept_files, shrink

NAME = "0123456789abcdef" * 2


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "cache"), NAME)


def put(folder: Folder, name: str, data: bytes) -> Path:
    with folder.locked():
        folder.replace(name, data)
    return Path(folder.path, name)


def read(folder: Folder, name: str) -> bytes | None:
    file = folder.open(name)
    if file is None:
        return None
    with os.fdopen(file, "rb") as stream:
        return stream.read()


def test_files_come_back_and_nothing_else_is_left(folder: Folder) -> None:
    assert read(folder, "one") is None
    put(folder, "one", b"first")
    put(folder, "one", b"second")
    assert read(folder, "one") == b"second"
    assert sorted(os.listdir(folder.path)) == ["lock", "one"]
    modes = {os.stat(path).st_mode & 0o777 for path in (folder.root, folder.path)}
    assert modes == {0o700}
    assert os.stat(Path(folder.path, "one")).st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_not_read(folder: Folder, mode: int) -> None:
    put(folder, "one", b"x").chmod(mode)
    with pytest.raises(UnsafeError, match="other users may write it"):
        folder.open("one")


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777, 0o1777])
@pytest.mark.parametrize("part", ["root", "path"])
def test_a_folder_that_others_may_write_is_not_used(folder: Folder, part: str, mode: int) -> None:
    put(folder, "one", b"x")
    Path(getattr(folder, part)).chmod(mode)
    with pytest.raises(UnsafeError, match="other users may write it"):
        folder.open("one")
    with pytest.raises(UnsafeError):
        put(folder, "one", b"y")


def test_what_belongs_to_another_user_is_not_used(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, "one", b"x")
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(UnsafeError, match=f"belongs to user {mine}"):
        folder.open("one")
    with pytest.raises(UnsafeError):
        put(folder, "one", b"y")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_single_foreign_file_is_not_read(folder: Folder) -> None:
    os.chown(put(folder, "one", b"x"), 12345, 12345)
    with pytest.raises(UnsafeError, match="belongs to user 12345"):
        folder.open("one")


def test_links_are_not_followed(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"x")
    put(folder, "one", b"x").unlink()
    Path(folder.path, "one").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        folder.open("one")
    other = Folder(folder.root, NAME[::-1])
    Path(other.path).symlink_to(folder.path)
    with pytest.raises(OSError, match="directory"):
        other.open("one")


def test_pipes_and_folders_are_no_files(folder: Folder) -> None:
    put(folder, "one", b"x").unlink()
    os.mkfifo(Path(folder.path, "one"), 0o600)
    with pytest.raises(UnsafeError, match="plain file"):
        folder.open("one")
    Path(folder.path, "two").mkdir(0o700)
    with pytest.raises(UnsafeError, match="plain file"):
        folder.open("two")


def test_a_full_disk_leaves_the_old_file(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, "one", b"old")

    def full(file: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        put(folder, "one", b"new")
    monkeypatch.undo()
    assert read(folder, "one") == b"old"
    assert sorted(os.listdir(folder.path)) == ["lock", "one"]


def test_short_writes_go_on(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, bytes(data[:3])))
    put(folder, "one", b"0123456789")
    assert read(folder, "one") == b"0123456789"


def test_the_lock_is_given_up_on_in_time(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever holds it may have been stopped for good."""
    monkeypatch.setattr(folders, "_PATIENCE", 0.0)
    with folder.locked(), pytest.raises(BlockingIOError), folder.locked():
        pytest.fail("two have the lock")


def test_writers_take_turns(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_ATTEMPTS", 10_000)
    put(folder, "count", b"0")

    def count() -> None:
        for _ in range(20):
            with folder.locked():
                folder.replace("count", str(int(read(folder, "count") or b"") + 1).encode())

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read(folder, "count") == b"80"


def test_the_oldest_go_first(folder: Folder) -> None:
    for age, name in enumerate(("young", "old", "oldest")):
        os.utime(put(folder, name, bytes(100)), (0, 1_000_000_000 - age))
    shrink(folder.root, 200)
    assert [Path(path).name for _, _, path in kept_files(folder.root)] == ["old", "young"]
    shrink(folder.root, 99)
    assert kept_files(folder.root) == []


def test_what_is_used_stays_young(folder: Folder) -> None:
    os.utime(put(folder, "one", b"x"), (0, 0))
    read(folder, "one")
    assert kept_files(folder.root)[0][0] > 1_000_000_000


def test_leftovers_of_killed_writers_go(folder: Folder) -> None:
    put(folder, "one", b"x")
    old, young = Path(folder.path, "one.1.new"), Path(folder.path, "one.2.new")
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    shrink(folder.root, 1000)
    assert sorted(os.listdir(folder.path)) == ["lock", "one", "one.2.new"]


def test_clearing_removes_what_is_ours_only(folder: Folder) -> None:
    put(folder, "one", b"x")
    Path(folder.root, "notes").write_text("mine")
    Path(folder.root, "notes.d").mkdir()
    assert clear(folder.root) == (1, 1)
    assert sorted(os.listdir(folder.root)) == ["notes", "notes.d"]
    assert clear(folder.root) == (0, 0)
    assert clear(folder.root + "-missing") == (0, 0)

"""Files: only below allowed directories, never out of them, the same on every host."""

from __future__ import annotations

import os
import stat
import struct

import pytest

from rvjit.errors import ConfigError
from rvjit.syscalls import Host
from rvjit.syscalls.directories import normalise

CWD = -100
RDONLY, WRONLY, RDWR = 0, 1, 2
CREAT, EXCL, TRUNC, APPEND = 0o100, 0o200, 0o1000, 0o2000
DIRECTORY, NOFOLLOW, CLOEXEC = 0o200000, 0o400000, 0o2000000
ENOENT, EBADF, EACCES, EEXIST, ENOTDIR, EISDIR, EINVAL = -2, -9, -13, -17, -20, -21, -22
EMFILE, ENFILE, ENOTTY, EROFS, ENAMETOOLONG, ELOOP = -24, -23, -25, -30, -36, -40
EXDEV, ENOTEMPTY = -18, -39


@pytest.fixture
def tree(tmp_path):
    """Two allowed directories, one for reading only, and a secret beside them."""
    (tmp_path / "secret").write_text("secret")
    rw, ro = tmp_path / "rw", tmp_path / "ro"
    for directory in (rw, ro):
        (directory / "sub").mkdir(parents=True)
        (directory / "file").write_text("contents")
        (directory / "sub" / "deep").write_text("deep")
    return tmp_path


@pytest.fixture
def guest(make_guest, tree):
    return make_guest(directories=[(tree / "rw", "/", True), (tree / "ro", "/ro", False)])


def open_(guest, path, flags=RDONLY, mode=0o644, at=CWD):
    return guest("openat", at, guest.path(path), flags, mode)


def read(guest, fd, size=100):
    count = guest("read", fd, guest.stack, size)
    return guest.get(count) if count >= 0 else count


def write(guest, fd, data):
    return guest("write", fd, guest.put(data), len(data))


def status(guest, path, flags=0, at=CWD):
    outcome = guest("newfstatat", at, guest.path(path), guest.stack, flags)
    return unpack(guest) if outcome == 0 else outcome


def unpack(guest):
    names = "dev ino mode nlink uid gid rdev pad size blksize pad2 blocks at atn mt mtn ct ctn"
    values = struct.unpack("<QQIIIIQQqiiqQQQQQQII", guest.get(128))
    return dict(zip(names.split(), values, strict=False))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", "/"),
        ("/", "/"),
        ("//a/./b/", "/a/b"),
        ("/a/../../b", "/b"),
        ("../..", "/"),
        ("/a/b/..", "/a"),
        ("/...", "/..."),
    ],
)
def test_paths_are_normalised_as_text(path, expected):
    assert normalise(path.encode()) == expected.encode()


def test_without_directories_everything_is_refused(make_guest):
    guest = make_guest()
    for path in ("/", "/etc/passwd", "file", "..", "/proc/self/exe"):
        assert open_(guest, path) == EACCES
        assert open_(guest, path, RDWR | CREAT) == EACCES
        assert status(guest, path) == EACCES
        assert guest("faccessat", CWD, guest.path(path), 0) == EACCES
        assert guest("mkdirat", CWD, guest.path(path), 0o755) == EACCES
        assert guest("unlinkat", CWD, guest.path(path), 0) == EACCES
        assert guest("chdir", guest.path(path)) == EACCES
    assert open_(guest, "") == ENOENT


def test_files_are_read_and_written(guest, tree):
    fd = open_(guest, "/file", RDWR)
    assert fd == 3
    assert read(guest, fd, 4) == b"cont"
    assert guest("lseek", fd, 0, 1) == 4
    assert write(guest, fd, b"XY") == 2
    assert read(guest, fd) == b"ts"
    assert read(guest, fd) == b""
    assert guest("lseek", fd, -2, 2) == 6
    assert guest("lseek", fd, -20, 1) == EINVAL
    assert guest("lseek", fd, 0, 9) == EINVAL
    assert (tree / "rw" / "file").read_text() == "contXYts"
    assert guest("ftruncate", fd, 3) == 0
    assert (tree / "rw" / "file").read_text() == "con"
    assert guest("fsync", fd) == guest("fdatasync", fd) == 0
    assert guest("close", fd) == 0
    assert guest("close", fd) == EBADF


def test_positions_of_pread_and_pwrite_are_their_own(guest, tree):
    fd = open_(guest, "file", RDWR)
    assert guest("pread64", fd, guest.stack, 3, 5) == 3
    assert guest.get(3) == b"nts"
    guest.put(b"!")
    assert guest("pwrite64", fd, guest.stack, 1, 0) == 1
    assert guest("lseek", fd, 0, 1) == 0
    assert read(guest, fd) == b"!ontents"
    assert guest("pread64", fd, guest.stack, 3, (1 << 63) - 1) in (0, EINVAL)
    assert guest("pwrite64", fd, guest.stack, 3, (1 << 63) - 1) == -27


@pytest.mark.parametrize(
    ("flags", "after"),
    [
        (WRONLY, "newtents"),
        (WRONLY | TRUNC, "new"),
        (WRONLY | APPEND, "contentsnew"),
        (RDWR | CREAT, "newtents"),
    ],
)
def test_the_flags_of_open(guest, tree, flags, after):
    fd = open_(guest, "file", flags)
    assert write(guest, fd, b"new") == 3
    assert (tree / "rw" / "file").read_text() == after
    assert (read(guest, fd, 0) == EBADF) == (flags & 3 == WRONLY)


def test_creating_files(guest, tree):
    assert open_(guest, "new") == ENOENT
    fd = open_(guest, "new", WRONLY | CREAT | EXCL, 0o7777)
    assert write(guest, fd, b"1") == 1
    assert stat.S_IMODE((tree / "rw" / "new").stat().st_mode) & 0o7000 == 0
    assert open_(guest, "new", WRONLY | CREAT | EXCL) == EEXIST
    assert open_(guest, "nowhere/new", WRONLY | CREAT) == ENOENT
    assert open_(guest, "file/new", WRONLY | CREAT) == ENOTDIR
    assert open_(guest, "new/", RDONLY) == ENOTDIR
    assert open_(guest, "other/", WRONLY | CREAT) == EISDIR
    assert open_(guest, "x", CREAT | DIRECTORY) == EINVAL
    assert open_(guest, "x", 0o20200000 | RDWR) == -95


def test_a_read_only_directory_cannot_be_changed(guest, tree):
    assert read(guest, open_(guest, "/ro/file")) == b"contents"
    for flags in (WRONLY, RDWR, TRUNC):
        assert open_(guest, "/ro/file", flags) == EROFS
    assert open_(guest, "/ro/new", CREAT) == EROFS
    assert read(guest, open_(guest, "/ro/file", CREAT)) == b"contents"
    path = guest.path("/ro/file")
    assert guest("unlinkat", CWD, path, 0) == EROFS
    assert guest("faccessat", CWD, path, 2) == EROFS
    assert guest("faccessat", CWD, path, 4) == 0
    assert guest("mkdirat", CWD, guest.path("/ro/d"), 0o755) == EROFS
    old, new = guest.path("/file"), guest.path("/ro/new", guest.stack + 0x9000)
    assert guest("renameat2", CWD, old, CWD, new, 0) == EROFS
    assert guest("renameat2", CWD, new, CWD, old, 0) == ENOENT
    assert status(guest, "/ro/file")["mode"] == stat.S_IFREG | 0o444
    assert sorted(os.listdir(tree / "ro")) == ["file", "sub"]


ESCAPES = ["../secret", "/../secret", "sub/../../secret", "/ro/../../secret", "./.././secret"]


@pytest.mark.parametrize("path", ESCAPES)
def test_dots_cannot_climb_out(guest, path):
    assert open_(guest, path) == ENOENT


def test_links_cannot_lead_out(guest, tree):
    rw = tree / "rw"
    (rw / "up").symlink_to("../secret")
    (rw / "absolute").symlink_to(tree / "secret")
    (rw / "out").symlink_to("..")
    (rw / "sub" / "out").symlink_to("../..")
    (rw / "config").symlink_to("/etc")
    for path in ("up", "absolute", "out/secret", "sub/out/secret", "config/passwd"):
        assert open_(guest, path) == ENOENT
        assert status(guest, path) == ENOENT
    assert open_(guest, "up", WRONLY | CREAT) > 2  # makes /secret inside
    assert (rw / "secret").exists()
    assert (tree / "secret").read_text() == "secret"


def test_links_inside_are_followed_in_the_guests_view(guest, tree):
    rw = tree / "rw"
    (rw / "link").symlink_to("sub/deep")
    (rw / "sub" / "back").symlink_to("../file")
    (rw / "dir").symlink_to("sub")
    (rw / "other").symlink_to("/ro/sub")
    (tree / "ro" / "home").symlink_to("/file")
    for path, text in {
        "link": b"deep",
        "dir/back": b"contents",
        "dir/deep": b"deep",
        "other/deep": b"deep",
        "/ro/home": b"contents",
    }.items():
        assert read(guest, open_(guest, path)) == text
    assert open_(guest, "link", NOFOLLOW) == ELOOP
    assert open_(guest, "link", CREAT | EXCL | WRONLY) == EEXIST
    assert stat.S_ISLNK(status(guest, "link", 0x100)["mode"])
    assert guest("readlinkat", CWD, guest.path("link"), guest.stack, 5) == 5
    assert guest.get(5) == b"sub/d"
    assert guest("readlinkat", CWD, guest.path("file"), guest.stack, 5) == EINVAL
    assert guest("unlinkat", CWD, guest.path("link"), 0) == 0
    assert (rw / "sub" / "deep").exists()


def test_link_loops_end(guest, tree):
    (tree / "rw" / "a").symlink_to("b")
    (tree / "rw" / "b").symlink_to("a")
    (tree / "rw" / "self").symlink_to("self/self")
    (tree / "rw" / "long").symlink_to("./" * 2000 + "long")
    for path in ("a", "b/c", "self"):
        assert open_(guest, path) == ELOOP
    assert open_(guest, "long/" * 90) in (ELOOP, ENAMETOOLONG)


def test_only_files_and_directories_are_opened_and_nothing_waits(guest, tree):
    os.mkfifo(tree / "rw" / "fifo")
    for flags in (RDONLY, WRONLY, RDWR):
        assert open_(guest, "fifo", flags) == EACCES
    assert stat.S_ISFIFO(status(guest, "fifo")["mode"])
    assert open_(guest, "fifo/x") == ENOTDIR


def test_long_paths(guest):
    assert open_(guest, "a" * 300) == ENAMETOOLONG
    assert open_(guest, "a/" * 2040 + "b" * 16) == ENAMETOOLONG
    assert guest("openat", CWD, guest.memory.base + guest.memory.size - 4, 0, 0) == ENOENT
    guest.put(b"aaaa", guest.memory.base + guest.memory.size - 4)
    assert guest("openat", CWD, guest.memory.base + guest.memory.size - 4, 0, 0) == -14


def test_stat_is_the_same_on_every_host(guest, tree):
    found = status(guest, "file")
    assert found["mode"] == stat.S_IFREG | 0o644
    assert (found["size"], found["blocks"], found["blksize"]) == (8, 1, 4096)
    assert (found["uid"], found["gid"], found["nlink"], found["dev"]) == (1000, 1000, 1, 2)
    assert [found[name] for name in ("at", "mt", "ct", "mtn")] == [0, 0, 0, 0]
    fd = open_(guest, "file")
    assert guest("fstat", fd, guest.stack) == 0
    assert unpack(guest) == found
    assert status(guest, "", 0x1000, at=fd) == found
    assert status(guest, "") == ENOENT
    assert status(guest, "", 0x1000)["mode"] == stat.S_IFDIR | 0o755
    os.chmod(tree / "rw" / "file", 0o700)
    assert status(guest, "file")["mode"] == stat.S_IFREG | 0o755
    assert guest("faccessat", CWD, guest.path("file"), 1) == 0
    assert guest("faccessat", CWD, guest.path("sub/deep"), 1) == EACCES
    assert guest("faccessat", CWD, guest.path("file"), 8) == EINVAL
    assert status(guest, "file/") == ENOTDIR
    assert status(guest, "/ro/file")["dev"] == 3


def test_times_are_told_with_real_time(make_guest, tree):
    guest = make_guest(directories=[(tree / "rw", "/", False)], real_time=True)
    assert status(guest, "file")["mt"] == int((tree / "rw" / "file").stat().st_mtime)


@pytest.mark.parametrize("tty", [False, True])
def test_streams_are_character_devices(make_guest, tty):
    guest = make_guest(tty=tty)
    for fd in range(3):
        assert guest("fstat", fd, guest.stack) == 0
        found = unpack(guest)
        assert found["mode"] == stat.S_IFCHR | 0o620
        assert found["rdev"] == (0x8800 if tty else 0x103)
        assert guest("ioctl", fd, 0x5401, guest.stack) == (0 if tty else ENOTTY)
        assert guest("ioctl", fd, 0x5413, guest.stack) == (0 if tty else ENOTTY)
        assert guest("ioctl", fd, 0x5402, guest.stack) == (0 if tty else ENOTTY)
        assert guest("ioctl", fd, 0x1234, guest.stack) == ENOTTY


def test_directories_are_listed_sorted(guest, tree):
    for name in ("b", "a", "c" * 100):
        (tree / "rw" / name).write_text("")
    (tree / "rw" / "link").symlink_to("a")
    fd = open_(guest, "/", DIRECTORY)
    assert read(guest, fd) == EISDIR
    names, kinds = [], []
    while (size := guest("getdents64", fd, guest.stack, 200)) > 0:
        packed, at = guest.get(size), 0
        while at < size:
            inode, _, length, kind = struct.unpack_from("<QqHB", packed, at)
            name = packed[at + 19 : at + length].rstrip(b"\0").decode()
            names.append(name)
            kinds.append(kind)
            if name not in (".", ".."):
                assert inode == status(guest, name, 0x100)["ino"]
            at += length
    assert size == 0
    assert names == [".", "..", "a", "b", "c" * 100, "file", "link", "sub"]
    assert kinds == [4, 4, 8, 8, 8, 8, 10, 4]
    assert guest("lseek", fd, 0, 0) == 0
    assert guest("getdents64", fd, guest.stack, 10) == EINVAL
    assert guest("getdents64", fd, 0, 1000) == -14
    assert guest("getdents64", fd, guest.stack, 1000) > 0
    assert guest("getdents64", open_(guest, "file"), guest.stack, 1000) == ENOTDIR


def test_paths_relative_to_directories(guest):
    fd = open_(guest, "sub", DIRECTORY)
    assert read(guest, open_(guest, "deep", at=fd)) == b"deep"
    assert read(guest, open_(guest, "../file", at=fd)) == b"contents"
    assert read(guest, open_(guest, "/file", at=99)) == b"contents"
    assert open_(guest, "deep", at=99) == EBADF
    assert open_(guest, "deep", at=open_(guest, "file")) == ENOTDIR
    assert open_(guest, "file", DIRECTORY) == ENOTDIR
    assert open_(guest, "sub", WRONLY) == EISDIR


def test_the_working_directory(guest):
    assert guest("getcwd", guest.stack, 100) == 2
    assert guest("chdir", guest.path("sub/../sub")) == 0
    assert read(guest, open_(guest, "deep")) == b"deep"
    assert guest("getcwd", guest.stack, 100) == 5
    assert guest.get(5) == b"/sub\0"
    assert guest("getcwd", guest.stack, 4) == -34
    assert guest("chdir", guest.path("deep")) == ENOTDIR
    assert guest("chdir", guest.path("nothing")) == ENOENT
    assert guest("fchdir", open_(guest, "/ro")) == 0
    assert read(guest, open_(guest, "sub/deep")) == b"deep"
    assert guest("fchdir", 0) == ENOTDIR


def test_making_renaming_and_removing(guest, tree):
    rw = tree / "rw"
    assert guest("mkdirat", CWD, guest.path("d/"), 0o755) == 0
    assert guest("mkdirat", CWD, guest.path("d"), 0o755) == EEXIST
    old, new = guest.path("file"), guest.path("d/moved", guest.stack + 0x9000)
    assert guest("renameat2", CWD, old, CWD, new, 1) == EINVAL
    assert guest("renameat2", CWD, old, CWD, new, 0) == 0
    assert (rw / "d" / "moved").read_text() == "contents"
    assert guest("unlinkat", CWD, guest.path("d"), 0) in (EISDIR, -1)
    assert guest("unlinkat", CWD, guest.path("d"), 0x200) == ENOTEMPTY
    assert guest("unlinkat", CWD, guest.path("d/moved"), 0) == 0
    assert guest("unlinkat", CWD, guest.path("d"), 0x200) == 0
    assert guest("unlinkat", CWD, guest.path("d"), 0x200) == ENOENT
    assert guest("unlinkat", CWD, guest.path("/"), 0x200) < 0
    assert sorted(os.listdir(rw)) == ["sub"]


def test_calls_of_newlib(guest):
    assert guest("mkdir", guest.path("n"), 0o755) == 0
    fd = guest("open", guest.path("n/f"), RDWR | CREAT, 0o644)
    assert write(guest, fd, b"abc") == 3
    assert guest("stat", guest.path("n/f"), guest.stack) == 0
    assert unpack(guest)["size"] == 3
    assert guest("lstat", guest.path("n/f"), guest.stack) == 0
    assert guest("access", guest.path("n/f"), 6) == 0
    assert guest("unlink", guest.path("n/f")) == 0
    assert guest("access", guest.path("n/f"), 0) == ENOENT


def test_the_program_names_itself(make_guest):
    guest = make_guest()
    path = guest.path("/proc/self/exe")
    assert guest("readlinkat", CWD, path, guest.stack, 100) == 10
    assert guest.get(10) == b"/bin/guest"
    assert guest("readlinkat", CWD, path, guest.stack, 4) == 4
    assert guest("readlinkat", CWD, path, guest.stack, 0) == EINVAL
    assert guest("readlinkat", CWD, guest.path("/other"), guest.stack, 4) == EACCES


def test_descriptors_are_the_lowest_free_numbers(guest):
    assert [open_(guest, "file") for _ in range(3)] == [3, 4, 5]
    guest("close", 4)
    assert guest("dup", 3) == 4
    assert read(guest, 3, 4) == b"cont"
    assert read(guest, 4, 4) == b"ents"  # one position for both
    guest("close", 3)
    assert guest("lseek", 4, 0, 0) == 0
    assert guest("dup3", 4, 9, 0) == 9
    assert guest("dup3", 4, 4, 0) == EINVAL
    assert guest("dup3", 4, 8, 1) == EINVAL
    assert guest("dup3", 4, 1024, 0) == EBADF
    assert guest("dup3", 4, -1, 0) == EBADF
    assert guest("fcntl", 4, 0, 100) == 100
    assert guest("fcntl", 4, 0, 1024) == EINVAL
    assert guest("fcntl", 4, 1030, 100) == 101
    assert [guest("fcntl", fd, 1) for fd in (100, 101)] == [0, 1]
    assert guest("fcntl", 100, 2, 1) == 0
    assert guest("fcntl", 100, 1) == 1
    assert guest("ioctl", 100, 0x5450) == 0
    assert guest("fcntl", 100, 1) == 0
    assert guest("fcntl", 1, 3) == WRONLY
    assert guest("fcntl", 4, 99) == EINVAL


def test_output_can_be_redirected(guest, tree):
    fd = open_(guest, "log", WRONLY | CREAT)
    assert guest("dup3", fd, 1, 0) == 1
    assert guest("close", fd) == 0
    assert write(guest, 1, b"logged") == 6
    assert guest.out == []
    assert (tree / "rw" / "log").read_text() == "logged"


def test_the_number_of_open_files_is_bounded(guest):
    before = len(os.listdir("/proc/self/fd"))
    fds = []
    while (fd := open_(guest, "file")) >= 0:
        fds.append(fd)
    assert fd == ENFILE
    assert len(fds) <= 256
    while (fd := guest("dup", 3)) >= 0:
        pass
    assert fd == EMFILE
    guest.host.close()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_host_that_is_dropped_closes_its_files(tree, make_guest):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        guest = make_guest(directories=[(tree / "rw", "/", False)])
        assert open_(guest, "file") == 3
        guest.host.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_impossible_directories_are_refused(tree):
    with pytest.raises(ConfigError, match="No such file"):
        Host(directories=[(tree / "rw", "/", True), (tree / "missing", "/x", True)])
    with pytest.raises(ConfigError, match="Not a directory"):
        Host(directories=[(tree / "secret", "/", True)])
    with pytest.raises(ConfigError, match="two directories"):
        Host(directories=[(tree / "rw", "/a", True), (tree / "ro", "/a/../a/", True)])


def test_a_restored_guest_has_the_descriptors_it_had(guest):
    state = guest.capture()
    fd = open_(guest, "file")
    guest("dup3", fd, 1, 0)
    guest("close", 0)
    guest.restore(state)
    assert guest("lseek", fd, 0, 0) == EBADF
    assert write(guest, 1, b"out") == 3
    assert guest.out == [b"out"]
    assert guest("read", 0, guest.stack, 1) == 0

"""Any number with any arguments: an outcome and nothing else, in little time and memory."""

from __future__ import annotations

import random
import resource
import time

import pytest

from rvjit.machine.stop import Stop
from rvjit.syscalls import RESTART, Exit, Raise
from rvjit.syscalls.ckb import CKB
from rvjit.syscalls.linux import LINUX

from .conftest import BASE, END, PAGE, SIZE, STACK, Guest

CALLS = 40_000
TOP = END - STACK - PAGE
EDGES = [0, 1, 2, 3, 8, 1 << 12, 1 << 31, 1 << 32, 1 << 46, 1 << 47, 1 << 62, 1 << 63, 1 << 64]


def argument(rng):
    kind = rng.randrange(8)
    if kind == 0:
        return rng.choice(EDGES) + rng.randrange(-1, 2)
    if kind == 1:
        return rng.getrandbits(64)
    if kind == 2:
        return rng.randrange(16)
    if kind == 3:
        return rng.randrange(BASE - PAGE, BASE + SIZE + PAGE) & -PAGE
    if kind == 4:
        return rng.randrange(1 << 17)
    if kind == 5:
        return -rng.randrange(1, 200)
    return rng.randrange(END - STACK, END)


# What a call takes: f descriptor, p pointer, s size, t path, a page address, d small number,
# D AT_FDCWD, and the flags o of open, m of mmap.
SHAPES = {
    "read": "fps",
    "write": "fps",
    "readv": "fvd",
    "writev": "fvd",
    "pread64": "fpsd",
    "pwrite64": "fpsd",
    "openat": "Dtoo",
    "open": "too",
    "newfstatat": "Dtpd",
    "stat": "tp",
    "lstat": "tp",
    "readlinkat": "Dtps",
    "faccessat": "Dtd",
    "faccessat2": "Dtdz",
    "access": "td",
    "mkdirat": "Dtd",
    "mkdir": "td",
    "unlinkat": "Dtz",
    "unlink": "t",
    "renameat2": "DtDtz",
    "chdir": "t",
    "fchdir": "f",
    "lseek": "fdd",
    "ftruncate": "fs",
    "fsync": "f",
    "fdatasync": "f",
    "dup3": "fdz",
    "fcntl": "fdd",
    "ioctl": "fdp",
    "getdents64": "fps",
    "getrandom": "psd",
    "mmap": "asdmfz",
    "munmap": "as",
    "mremap": "assda",
    "mprotect": "asd",
    "madvise": "asd",
    "msync": "asd",
    "rt_sigaction": "dppe",
    "rt_sigprocmask": "dppe",
    "rt_sigtimedwait": "pppe",
    "tkill": "1d",
    "tgkill": "11d",
    "set_robust_list": "pr",
    "prlimit64": "zdpp",
    "ppoll": "pdp",
}


def plausible(rng, kind):
    if kind == "f":
        return rng.choice([0, 1, 2, 3, 3, 4, 5, 6])
    if kind == "v":
        return END - STACK + 512 + 64 * rng.randrange(8)
    if kind == "p":
        return rng.randrange(END - STACK, END) & -16
    if kind == "t":
        return END - STACK + 64 * rng.randrange(8)
    if kind == "s":
        return rng.choice([0, 1, 8, 100, PAGE, 4 * PAGE, rng.randrange(SIZE)])
    if kind == "a":
        return rng.randrange(BASE + 4 * PAGE, TOP) & -PAGE
    if kind == "o":
        return (
            rng.choice([0, 1, 2]) | 0o100 * rng.randrange(2) | rng.choice([0, 0, 0o1000, 0o200000])
        )
    if kind == "m":
        return rng.choice([0x22, 0x22, 0x32, 0x2, 0x100022])
    return {"D": -100, "z": 0, "1": 1, "e": 8, "r": 24}.get(kind, rng.randrange(8))


def arguments(rng, entry):
    shape = SHAPES.get(entry.name, "") if entry else ""
    return [
        plausible(rng, shape[i]) if i < len(shape) and rng.random() < 0.9 else argument(rng)
        for i in range(6)
    ]


def scribble(rng, guest):
    """Put something where a pointer may find it: a path, a vector, numbers."""
    if not guest.host.space.mapped.covers(END - STACK, END):
        guest("mmap", END - STACK, STACK, 3, 0x32, -1, 0)
    guest("mprotect", END - STACK, STACK, 3)
    kind = rng.randrange(3)
    slot = 64 * rng.randrange(8)
    if kind == 0:
        names = ["", ".", "..", "d", "f", "f", "link", "x"]
        path = "/".join(rng.choice(names) for _ in range(rng.randrange(1, 4)))
        guest.put(path.encode() + b"\0", END - STACK + slot)
    elif kind == 1:
        vector = [plausible(rng, "p"), rng.randrange(100), plausible(rng, "p"), argument(rng)]
        guest.put(pack(vector), END - STACK + 512 + slot)
    else:
        numbers = [argument(rng) for _ in range(4)]
        guest.put(pack(numbers), (END - STACK + rng.randrange(STACK - 64)) & -16)


def pack(words):
    return b"".join((word & (1 << 64) - 1).to_bytes(8, "little") for word in words)


@pytest.mark.parametrize("seed", range(3))
def test_no_linux_call_does_more_than_answer(seed, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_text("text")
    (tmp_path / "link").symlink_to("d/../../..")
    beside = sorted(each.name for each in tmp_path.parent.iterdir())
    rng = random.Random(seed)
    guest = Guest(stdin=b"in" * 1000, directories=[(tmp_path, "/", True)])
    written = 0

    def sink(data):
        nonlocal written
        written += len(data)

    guest.host.descriptors.get(1)._sink = sink
    numbers = sorted(LINUX.entries)
    # Writing or moving four gigabytes is allowed, but not what this test is about.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    slowest = 0.0
    succeeded = set()
    for _ in range(CALLS):
        number = rng.choice(numbers) if rng.random() < 0.95 else rng.randrange(2000)
        args = arguments(rng, LINUX.entries.get(number))
        if rng.random() < 0.3:
            scribble(rng, guest)
        begun = time.perf_counter()
        outcome = guest.raw(number, *args)
        if not isinstance(outcome, int) or outcome >= 0:
            succeeded.add(number)
        slowest = max(slowest, time.perf_counter() - begun)
        assert outcome is None or isinstance(outcome, int | Exit | Raise), (number, args)
        if isinstance(outcome, int):
            assert -4096 < outcome < 1 << 63, (number, args)
    missed = [entry.name for entry in LINUX.entries.values() if entry.number not in succeeded]
    assert len(missed) < 4, missed
    assert slowest < 3
    assert time.perf_counter() - started < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 100 << 10  # KiB
    assert sorted(each.name for each in tmp_path.parent.iterdir()) == beside
    mapped = list(guest.host.space.mapped)
    assert all(BASE <= low < high <= END for low, high in mapped)
    guest.host.close()


@pytest.mark.parametrize("seed", range(3))
def test_no_ckb_call_does_more_than_answer(seed):
    rng = random.Random(seed)
    guest = Guest(table=CKB, wxorx=True)
    numbers = [*CKB.entries, 64, 2043]
    for _ in range(2000):
        guest.memory.write(rng.randrange(1 << 21), bytes(rng.getrandbits(8) for _ in range(5)))
        args = [argument(rng) for _ in range(6)]
        outcome = guest.raw(rng.choice(numbers), *args)
        assert outcome is None or isinstance(outcome, int | Exit | Raise)
    guest.host.close()


def test_with_a_request_open_calls_answer_or_give_way(tmp_path):
    rng = random.Random(0)
    guest = Guest(real_time=True)
    guest.machine.request(Stop.PAUSE)
    for _ in range(3000):
        number = rng.choice(sorted(LINUX.entries))
        outcome = guest.raw(number, *arguments(rng, LINUX.entries[number]))
        assert outcome is None or outcome is RESTART or isinstance(outcome, int | Exit | Raise)
    guest.host.close()


def test_two_runs_of_one_seed_are_the_same():
    def run():
        rng = random.Random(5)
        guest = Guest(stdin=b"some input")
        log = []
        numbers = sorted(LINUX.entries)
        for _ in range(3000):
            guest.machine.cycles += rng.randrange(1000)
            number = rng.choice(numbers)
            outcome = guest.raw(number, *arguments(rng, LINUX.entries[number]))
            log.append(repr(outcome))
        state = guest.capture()
        contents = guest.memory.read(BASE, SIZE)
        guest.host.close()
        return log, state, contents, guest.output

    assert run() == run()

"""read, write and their family; input that waits; partial transfers."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import threading
import time

import pytest

from rvjit.machine.stop import Stop
from rvjit.syscalls import RESTART

from .conftest import BASE, BUFFER, END, PAGE

EBADF, EAGAIN, EFAULT, EINVAL, ESPIPE = -9, -11, -14, -22, -29
OUTSIDE = [0, BASE - 1, END - 2, END, 1 << 46, 1 << 63, (1 << 64) - 1]
HUGE = [1 << 31, 1 << 46, 1 << 47, 1 << 62, 1 << 63, (1 << 64) - 1]
READ_ONLY = BASE


def vector(guest, *buffers, address=None):
    packed = b"".join(struct.pack("<QQ", start, size) for start, size in buffers)
    return guest.put(packed, guest.stack + 0x4000 if address is None else address)


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def test_write_hands_bytes_to_the_sinks(guest):
    guest.put(b"hello")
    assert guest("write", 1, guest.stack, 5) == 5
    assert guest("write", 2, guest.stack + 1, 3) == 3
    assert guest("write", 1, 0, 0) == 0
    assert (guest.out, guest.err) == ([b"hello"], [b"ell"])


@pytest.mark.parametrize("address", OUTSIDE)
def test_write_of_a_bad_buffer_writes_nothing(guest, address):
    assert guest("write", 1, address, 3) == EFAULT
    assert guest.out == []


@pytest.mark.parametrize("size", HUGE)
def test_huge_sizes_cost_nothing(guest, size):
    started = time.perf_counter()
    for name in ("write", "read"):
        assert guest(name, 1 if name == "write" else 0, guest.stack, size) in (EFAULT, 0)
    for count in (size, 1025):
        assert guest("writev", 1, guest.stack, count) == EINVAL
        assert guest("readv", 0, guest.stack, count) == EINVAL
    where = vector(guest, (guest.stack, size))
    assert guest("writev", 1, where, 1) in (EFAULT, EINVAL)
    assert guest("getrandom", guest.stack, size, 0) == EFAULT
    assert time.perf_counter() - started < 1
    assert guest.out == []


def test_a_thousand_large_buffers_are_cut_at_linux_limit(make_guest):
    guest = make_guest()
    sizes = []
    guest.host.descriptors.get(1)._sink = lambda data: sizes.append(len(data))
    where = vector(guest, *[(BASE, 4 << 20)] * 1024)
    assert guest("writev", 1, where, 1024) == 0x7FFFF000
    assert sum(sizes) == 0x7FFFF000
    assert max(sizes) <= 1 << 20


def test_wrong_descriptors_are_ebadf(guest):
    for fd in (3, -1, 1024, 1 << 31):
        for name in ("read", "write", "readv", "writev", "fstat", "close", "dup", "lseek"):
            assert guest(name, fd, guest.stack, 1) == EBADF
    assert guest("read", 1, guest.stack, 1) == EBADF
    assert guest("write", 0, guest.stack, 1) == EBADF
    assert guest("write", 1 << 32 | 1, guest.stack, 1) == 1  # an int has 32 bits


def test_writev_joins_its_buffers(guest):
    guest.put(b"abcdef")
    where = vector(guest, (guest.stack, 2), (0, 0), (guest.stack + 3, 3))
    assert guest("writev", 1, where, 3) == 5
    assert guest.out == [b"abdef"]
    assert guest("writev", 1, where, 0) == 0
    assert guest("writev", 1, 0, 0) == 0
    assert guest("writev", 1, END - 8, 1) == EFAULT


def test_writev_stops_before_its_first_bad_buffer(guest):
    guest.put(b"abcdef")
    good, bad = (guest.stack, 4), (END - 2, 4)
    assert guest("writev", 1, vector(guest, good, bad, good), 3) == 4
    assert guest.out == [b"abcd"]
    assert guest("writev", 1, vector(guest, bad, good), 2) == EFAULT
    assert guest("writev", 1, vector(guest, good, (1 << 60, 1)), 2) == EFAULT
    assert guest("writev", 1, vector(guest, good, (guest.stack, 1 << 63)), 2) == EINVAL
    assert guest.out == [b"abcd"]


SOURCES = {
    "bytes": lambda data: data,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "file": io.BytesIO,
    "raw": lambda data: io.BufferedReader(io.BytesIO(data)),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_read_takes_from_every_kind_of_source(make_guest, kind):
    guest = make_guest(stdin=SOURCES[kind](b"hello world"))
    assert guest("read", 0, guest.stack, 5) == 5
    assert guest.get(5) == b"hello"
    assert guest("read", 0, guest.stack, 0) == 0
    assert guest("read", 0, guest.stack, 100) == 6
    assert guest.get(6) == b" world"
    assert guest("read", 0, guest.stack, 100) == 0


def test_no_input_is_the_end(guest):
    assert guest("read", 0, guest.stack, 10) == 0


def test_a_bad_buffer_loses_no_input(make_guest):
    for source in (b"hello", io.BytesIO(b"hello")):
        guest = make_guest(stdin=source)
        for address in (*OUTSIDE[:2], *OUTSIDE[3:], READ_ONLY):
            assert guest("read", 0, address, 4) == EFAULT
        assert guest("read", 0, END - 2, 4) == 2  # up to the end of the window
        rest = b""
        while count := guest("read", 0, guest.stack, 9):
            rest += guest.get(count)
        assert rest == b"llo"


def test_readv_scatters_and_stops_at_a_bad_buffer(make_guest):
    for source in (b"abcdefghij", io.BytesIO(b"abcdefghij")):
        guest = make_guest(stdin=source)
        a, b = guest.stack, guest.stack + 100
        assert guest("readv", 0, vector(guest, (a, 2), (0, 0), (b, 3)), 3) == 5
        assert (guest.get(2, a), guest.get(3, b)) == (b"ab", b"cde")
        assert guest("readv", 0, vector(guest, (a, 2), (READ_ONLY, 3), (b, 3)), 3) == 2
        assert guest("readv", 0, vector(guest, (READ_ONLY, 3), (a, 2)), 2) == EFAULT
        assert guest("readv", 0, vector(guest, (END - 1, 3), (b, 3)), 2) == 1
        assert guest("readv", 0, vector(guest, (a, 10), (b, 3)), 2) == 2
        assert guest.get(2, a) == b"ij"


def test_large_reads_come_whole_from_bytes(make_guest):
    guest = make_guest(size=16 << 20, stdin=b"x" * (9 << 20))
    address = guest("mmap", 0, 10 << 20, 3, 0x22, -1, 0)
    assert guest("read", 0, address, 10 << 20) == 9 << 20
    assert guest.get(1, address + (9 << 20) - 1) == b"x"


def test_a_host_descriptor_is_read_as_it_comes(make_guest, pipe):
    guest = make_guest(stdin=pipe[0])
    os.write(pipe[1], b"first")
    assert guest("read", 0, guest.stack, 100) == 5
    os.write(pipe[1], b"second")
    assert guest("readv", 0, vector(guest, (guest.stack, 1), (guest.stack + 1, 50)), 2) == 6
    assert guest.get(6) == b"second"
    os.close(pipe[1])
    assert guest("read", 0, guest.stack, 100) == 0


def test_waiting_for_input_gives_way_to_a_pause(make_guest, pipe):
    guest = make_guest(stdin=pipe[0])
    timer = threading.Timer(0.1, guest.machine.request, [Stop.PAUSE])
    timer.start()
    started = time.perf_counter()
    assert guest("read", 0, guest.stack, 10) is RESTART
    assert time.perf_counter() - started < 2
    timer.join()
    assert guest.machine.take_request() is Stop.PAUSE
    os.write(pipe[1], b"now")
    assert guest("read", 0, guest.stack, 10) == 3


def test_a_pause_request_does_not_matter_where_nothing_waits(make_guest, pipe):
    guest = make_guest(stdin=pipe[0])
    guest.machine.request(Stop.PAUSE)
    os.write(pipe[1], b"now")
    assert guest("read", 0, guest.stack, 10) == 3
    assert guest("read", 0, guest.stack, 10) is RESTART
    assert guest("write", 1, guest.stack, 1) == 1


def test_nonblocking_input_is_eagain(make_guest, pipe):
    guest = make_guest(stdin=pipe[0])
    assert guest("fcntl", 0, 4, 0o4000) == 0
    assert guest("fcntl", 0, 3) == 0o4000
    assert guest("read", 0, guest.stack, 10) == EAGAIN


def test_an_input_that_is_closed_behind_our_back_is_an_error(make_guest, pipe):
    guest = make_guest(stdin=pipe[0])
    os.close(pipe[0])
    assert guest("read", 0, guest.stack, 10) == EBADF


def test_streams_have_no_position(guest):
    assert guest("lseek", 0, 0, 0) == ESPIPE
    assert guest("pread64", 0, guest.stack, 1, 0) == ESPIPE
    assert guest("pwrite64", 1, guest.stack, 1, 0) == ESPIPE
    assert guest("pread64", 0, guest.stack, 1, -1) == EINVAL


def test_reading_marks_pages_dirty(make_guest):
    guest = make_guest(stdin=b"data")
    page = (BUFFER - BASE) // PAGE
    assert guest.memory.public_flags(page) == 0
    guest("read", 0, BUFFER, 4)
    assert guest.memory.public_flags(page) == 4


# poll


def poll(guest, *rows, timeout=None):
    packed = b"".join(struct.pack("<iHH", fd, events, 0xFFFF) for fd, events in rows)
    where = guest.put(packed)
    pointer = 0
    if timeout is not None:
        pointer = guest.put(struct.pack("<QQ", *divmod(timeout, 10**9)), guest.stack + 0x1000)
    outcome = guest("ppoll", where, len(rows), pointer, 0, 8)
    found = [struct.unpack_from("<iHH", guest.get(8, where + 8 * i))[2] for i in range(len(rows))]
    return outcome, found


def test_poll_says_what_is_ready(guest):
    rows = [(0, 1), (0, 4), (1, 5), (2, 1), (7, 1), (-1, 1)]
    assert poll(guest, *rows) == (3, [1, 0, 4, 0, 0x20, 0])


def test_poll_without_anything_to_come_ends_the_run_or_passes_the_time(guest):
    before = guest.host.clock.monotonic(0)
    assert poll(guest, (1, 1), timeout=5 * 10**9) == (0, [0])
    assert guest.host.clock.monotonic(0) == before + 5 * 10**9
    outcome, _ = poll(guest, (1, 1))
    assert outcome.fault.kind == "bad_syscall"
    pause = guest.put(struct.pack("<QQ", 0, 5))
    assert guest("ppoll", 0, 0, pause, 0, 8) == 0
    assert guest("ppoll", 0, 1 << 40, 0, 0, 8) == EINVAL
    assert guest("ppoll", END, 1, 0, 0, 8) == EFAULT


def test_poll_waits_for_input_a_pause_or_the_time_out(make_guest, pipe):
    guest = make_guest(stdin=pipe[0])
    assert poll(guest, (0, 1), timeout=0) == (0, [0])
    assert poll(guest, (0, 1), timeout=30_000_000) == (0, [0])
    timer = threading.Timer(0.05, os.write, [pipe[1], b"x"])
    timer.start()
    assert poll(guest, (0, 1)) == (1, [1])
    timer.join()
    guest("read", 0, guest.stack, 10)
    guest.machine.request(Stop.PAUSE)
    assert poll(guest, (0, 1))[0] is RESTART

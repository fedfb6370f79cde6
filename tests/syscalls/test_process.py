"""Time, signals, identity, limits and random numbers."""

from __future__ import annotations

import struct
import threading
import time

import pytest

from rvjit.errors import Aborted
from rvjit.machine.stop import Stop
from rvjit.syscalls import RESTART, Raise
from rvjit.syscalls.clock import EPOCH
from rvjit.syscalls.entropy import Entropy

from .conftest import BASE, END, SIZE, STACK

ESRCH, EAGAIN, EFAULT, EINVAL, ETIMEDOUT = -3, -11, -14, -22, -110
SECOND = 10**9


def words(guest, count, address=None):
    return struct.unpack(f"<{count}Q", guest.get(8 * count, address))


def timespec(guest, seconds, nanoseconds=0, address=None):
    where = guest.stack + 0x100 if address is None else address
    return guest.put(struct.pack("<QQ", seconds, nanoseconds), where)


# Clocks.


@pytest.mark.parametrize("clock", range(12))
def test_the_clock_is_a_function_of_the_cycles(guest, clock):
    if clock == 10:
        assert guest("clock_gettime", clock, guest.stack) == EINVAL
        return
    guest.machine.cycles = 5 * SECOND + 17
    assert guest("clock_gettime", clock, guest.stack) == 0
    start = EPOCH // SECOND if clock in (0, 5, 8, 11) else 0
    assert words(guest, 2) == (start + 5, 17)
    assert guest("clock_getres", clock, guest.stack) == 0
    assert words(guest, 2) == (0, 1)
    assert guest("clock_gettime", clock, 0) == EFAULT


def test_other_ways_to_ask_for_the_time(guest):
    guest.machine.cycles = 2 * SECOND + 345_678
    assert guest("gettimeofday", guest.stack, guest.stack + 16) == 0
    assert words(guest, 3) == (EPOCH // SECOND + 2, 345, 0)
    assert guest("gettimeofday", 0, 0) == 0
    assert guest("time", guest.stack) == EPOCH // SECOND + 2
    assert words(guest, 1) == (EPOCH // SECOND + 2,)
    assert guest("times", guest.stack) == 200
    assert words(guest, 4) == (200, 0, 0, 0)
    assert guest("getrusage", 0, guest.stack) == 0
    assert words(guest, 18) == (2, 345, *[0] * 16)
    assert guest("getrusage", 7, guest.stack) == EINVAL
    assert guest("clock_gettime", -5, guest.stack) == EINVAL


def test_real_time_is_the_hosts(make_guest):
    guest = make_guest(real_time=True)
    assert guest("clock_gettime", 0, guest.stack) == 0
    assert abs(words(guest, 1)[0] - time.time()) < 5


def test_virtual_sleep_takes_no_time_and_moves_the_clock(guest):
    started = time.perf_counter()
    assert guest("nanosleep", timespec(guest, 1000, 5), 0) == 0
    assert guest("clock_nanosleep", 1, 0, timespec(guest, 3000), 0) == 0
    assert time.perf_counter() - started < 1
    guest("clock_gettime", 1, guest.stack)
    assert words(guest, 2) == (4000, 1005)
    assert guest("clock_nanosleep", 1, 1, timespec(guest, 5000), 0) == 0
    guest("clock_gettime", 1, guest.stack)
    assert words(guest, 2) == (5000, 0)
    assert guest("clock_nanosleep", 1, 1, timespec(guest, 1), 0) == 0
    guest("clock_gettime", 2, guest.stack)
    assert words(guest, 2) == (0, 1000)


@pytest.mark.parametrize(
    ("seconds", "nanoseconds"), [(0, SECOND), (0, 1 << 63), (1 << 63, 0), ((1 << 64) - 1, 0)]
)
def test_durations_that_are_none(guest, seconds, nanoseconds):
    where = timespec(guest, seconds, nanoseconds)
    assert guest("nanosleep", where, 0) == EINVAL
    assert guest("clock_nanosleep", 1, 0, where, 0) == EINVAL
    assert guest("nanosleep", 0, 0) == EFAULT


def test_sleeping_for_ever_again_and_again_stays_in_range(guest):
    for _ in range(3):
        assert guest("nanosleep", timespec(guest, (1 << 63) - 1), 0) == 0
    assert guest("clock_gettime", 0, guest.stack) == 0
    assert guest("clock_nanosleep", 3, 0, timespec(guest, 1), 0) == -95
    assert guest("clock_nanosleep", 77, 0, timespec(guest, 1), 0) == EINVAL


def test_real_sleep_gives_way_to_a_pause_and_goes_on_with_the_rest(make_guest):
    guest = make_guest(real_time=True)
    where = timespec(guest, 0, 300_000_000)
    started = time.perf_counter()
    timer = threading.Timer(0.1, guest.machine.request, [Stop.PAUSE])
    timer.start()
    assert guest("nanosleep", where, 0) is RESTART
    assert 0.05 < time.perf_counter() - started < 0.25
    timer.join()
    guest.machine.take_request()
    assert guest("nanosleep", where, 0) == 0
    assert 0.29 < time.perf_counter() - started < 0.55


def test_futex_has_nobody_to_wait_for(guest):
    guest.put(struct.pack("<I", 7))
    where = timespec(guest, 3)
    assert guest("futex", guest.stack, 0, 8, 0) == EAGAIN
    assert guest("futex", guest.stack, 0x80, 7, 0) == EAGAIN
    assert guest("futex", guest.stack, 0, 7, where) == ETIMEDOUT
    assert guest("futex", guest.stack, 9, 7, where) == ETIMEDOUT
    assert guest.host.clock.slept == 3 * SECOND  # the second one ended at an absolute time
    assert guest("futex", guest.stack, 1, 1) == 0
    assert guest("futex", guest.stack + 1, 1, 1) == EINVAL
    assert guest("futex", guest.stack, 6, 1) == -38
    assert guest("futex", 0, 0, 1) == EFAULT


# Signals.


def aborted(outcome):
    assert isinstance(outcome, Raise)
    assert isinstance(outcome.fault, Aborted)
    assert outcome.fault.pc == 0x10100
    return outcome.fault.signal


def action(guest, signal, handler):
    new = guest.put(struct.pack("<QQQ", handler, 0, 0), guest.stack + 0x200)
    return guest("rt_sigaction", signal, new, guest.stack, 8)


def mask(guest, how, value):
    new = guest.put(struct.pack("<Q", value), guest.stack + 0x300)
    return guest("rt_sigprocmask", how, new, guest.stack, 8)


def test_a_fatal_signal_to_oneself_ends_the_run(guest):
    assert aborted(guest("tkill", 1, 6)) == 6
    assert aborted(guest("tgkill", 1, 1, 15)) == 15
    assert aborted(guest("kill", 1, 9)) == 9
    assert aborted(guest("kill", 0, 64)) == 64


def test_other_signals_and_processes(guest):
    for signal in (0, 17, 18, 19, 20, 21, 22, 23, 28):
        assert guest("kill", 1, signal) == 0
    assert guest("kill", 1, 65) == EINVAL
    assert guest("kill", 1, -1) == EINVAL
    assert guest("kill", 2, 6) == ESRCH
    assert guest("kill", -1, 6) == ESRCH
    assert guest("tkill", 2, 6) == ESRCH
    assert guest("tkill", 0, 6) == EINVAL
    assert guest("tgkill", 1, 2, 6) == ESRCH
    assert guest("tgkill", -1, 1, 6) == EINVAL


def test_an_ignored_or_handled_signal_does_nothing(guest):
    assert action(guest, 6, 1) == 0
    assert guest("tkill", 1, 6) == 0
    assert action(guest, 6, 0x12345) == 0
    assert words(guest, 3) == (1, 0, 0)
    assert guest("tkill", 1, 6) == 0
    assert action(guest, 6, 0) == 0
    assert words(guest, 3) == (0x12345, 0, 0)
    assert aborted(guest("tkill", 1, 6)) == 6


def test_a_blocked_signal_waits(guest):
    # What musl's raise() does.
    assert mask(guest, 0, (1 << 64) - 1) == 0
    assert guest("tkill", 1, 6) == 0
    assert guest("rt_sigpending", guest.stack, 8) == 0
    assert words(guest, 1) == (1 << 5,)
    assert aborted(mask(guest, 2, 0)) == 6
    assert guest("rt_sigpending", guest.stack, 8) == 0
    assert words(guest, 1) == (0,)


def test_kill_cannot_be_blocked_or_handled(guest):
    assert mask(guest, 0, (1 << 64) - 1) == 0
    assert mask(guest, 1, 1) == 0
    assert words(guest, 1) == ((1 << 64) - 1 & ~(1 << 8) & ~(1 << 18),)
    assert aborted(guest("kill", 1, 9)) == 9
    assert action(guest, 9, 1) == EINVAL
    assert action(guest, 19, 1) == EINVAL
    assert guest("rt_sigaction", 9, 0, guest.stack, 8) == 0


def test_arguments_of_the_signal_calls(guest):
    for signal in (0, 65, -1):
        assert action(guest, signal, 0) == EINVAL
    assert guest("rt_sigaction", 1, 0, 0, 16) == EINVAL
    assert guest("rt_sigaction", 1, 0, 8, 8) == EFAULT
    assert guest("rt_sigprocmask", 3, guest.stack, 0, 8) == EINVAL
    assert guest("rt_sigprocmask", 3, 0, guest.stack, 8) == 0
    assert guest("rt_sigprocmask", 0, 0, 0, 4) == EINVAL
    assert guest("rt_sigpending", guest.stack, 16) == EINVAL


def test_the_alternate_stack_is_remembered(guest):
    assert guest("sigaltstack", 0, guest.stack) == 0
    assert words(guest, 3) == (0, 2, 0)
    new = guest.put(struct.pack("<QiiQ", 0x20000, 0, 0, 8192), guest.stack + 0x100)
    assert guest("sigaltstack", new, 0) == 0
    assert guest("sigaltstack", 0, guest.stack) == 0
    assert words(guest, 3) == (0x20000, 0, 8192)
    small = guest.put(struct.pack("<QiiQ", 0x20000, 0, 0, 100), guest.stack + 0x100)
    assert guest("sigaltstack", small, 0) == -12
    wrong = guest.put(struct.pack("<QiiQ", 0, 77, 0, 0), guest.stack + 0x100)
    assert guest("sigaltstack", wrong, 0) == EINVAL
    off = guest.put(struct.pack("<QiiQ", 0, 2, 0, 0), guest.stack + 0x100)
    assert guest("sigaltstack", off, guest.stack) == 0
    assert guest("sigaltstack", 0, guest.stack) == 0
    assert words(guest, 3) == (0, 2, 0)


def test_waiting_for_signals(guest):
    assert guest("rt_sigsuspend", guest.stack, 8).fault.kind == "bad_syscall"
    mask(guest, 2, 1 << 9)
    guest("kill", 1, 10)
    wanted = guest.put(struct.pack("<Q", 1 << 9), guest.stack + 0x400)
    assert guest("rt_sigtimedwait", wanted, guest.stack, 0, 8) == 10
    assert guest.get(4) == struct.pack("<i", 10)
    assert guest("rt_sigtimedwait", wanted, 0, timespec(guest, 1), 8) == EAGAIN
    assert guest("rt_sigtimedwait", wanted, 0, 0, 8).fault.kind == "bad_syscall"


# The process and its machine.


def test_identity(guest):
    ones = ("getpid", "gettid", "set_tid_address", "getpgid", "getsid")
    assert [guest(name) for name in ones] == [1] * 5
    assert [guest(name) for name in ("getuid", "geteuid", "getgid", "getegid")] == [1000] * 4
    assert guest("getppid") == guest("sched_yield") == guest("riscv_flush_icache") == 0
    assert guest("getpgid", 5) == ESRCH
    assert guest("umask", 0) == 0o022
    assert guest("set_robust_list", 0, 24) == 0
    assert guest("set_robust_list", 0, 25) == EINVAL
    assert guest("getcpu", guest.stack, 0, 0) == 0


def test_uname(guest):
    assert guest("uname", guest.stack) == 0
    names = [part.rstrip(b"\0") for part in struct.unpack("65s" * 6, guest.get(390))]
    assert names == [b"Linux", b"rvjit", b"6.1.0-rvjit", b"#1", b"riscv64", b"(none)"]
    assert guest("uname", END - 100) == EFAULT
    assert guest("uname", BASE) == EFAULT


def test_sysinfo_is_made_of_the_window(guest):
    guest.put(b"\xff" * 120)
    assert guest("sysinfo", guest.stack) == 0
    assert words(guest, 14) == (0, 0, 0, 0, SIZE, SIZE, 0, 0, 0, 0, 1, 0, 0, 1)
    assert guest.get(8, guest.stack + 112) == b"\xff" * 8


def test_there_is_one_cpu(guest):
    guest.put(b"\xff" * 16)
    assert guest("sched_getaffinity", 0, 128, guest.stack) == 8
    assert guest.get(16) == b"\1" + bytes(7) + b"\xff" * 8
    assert guest("sched_getaffinity", 0, 4, guest.stack) == EINVAL
    assert guest("sched_getaffinity", 0, 12, guest.stack) == EINVAL
    assert guest("sched_getaffinity", 2, 8, guest.stack) == ESRCH


def test_limits(guest):
    unlimited = (1 << 64) - 1
    assert guest("prlimit64", 0, 3, 0, guest.stack) == 0
    assert words(guest, 2) == (STACK, STACK)
    assert guest("getrlimit", 7, guest.stack) == 0
    assert words(guest, 2) == (1024, 1024)
    assert guest("getrlimit", 9, guest.stack) == 0
    assert words(guest, 2) == (unlimited, unlimited)
    new = timespec(guest, 5, 6)
    assert guest("setrlimit", 9, new) == 0
    assert guest("prlimit64", 1, 9, 0, guest.stack) == 0
    assert words(guest, 2) == (5, 6)
    assert guest("setrlimit", 9, timespec(guest, 7, 6)) == EINVAL
    assert guest("setrlimit", 9, timespec(guest, 7, 7)) == -1
    assert guest("prlimit64", 0, 16, 0, guest.stack) == EINVAL
    assert guest("prlimit64", 2, 3, 0, guest.stack) == ESRCH
    assert guest("prlimit64", 0, 9, timespec(guest, 1, 2), 8) == EFAULT
    assert guest("getrlimit", 9, guest.stack) == 0
    assert words(guest, 2) == (5, 6)


# Random numbers.


def test_the_stream_does_not_depend_on_the_sizes_of_requests():
    whole = Entropy(7).take(20_000)
    parts = Entropy(7)
    sizes = [1, 0, 4095, 1, 8192, 7000, 711]
    assert b"".join(parts.take(size) for size in sizes) == whole
    assert Entropy(8).take(100) != whole[:100]
    parts.position = 5000
    assert parts.take(100) == whole[5000:5100]
    assert len({whole[i : i + 8] for i in range(0, 20_000, 8)}) == 2500


def test_getrandom_takes_from_the_seeded_stream(make_guest):
    guest = make_guest(seed=7)
    assert guest("getrandom", guest.stack, 16, 0) == 16
    assert guest.get(16) == Entropy(7).take(16)
    assert guest("getrandom", BASE, 16, 0) == EFAULT
    assert guest("getrandom", END - 8, 16, 0) == EFAULT
    assert guest("getrandom", guest.stack, 16, 1) == 16
    assert guest.get(16) == Entropy(7).take(32)[16:]
    for flags in (6, 8, -1):
        assert guest("getrandom", guest.stack, 16, flags) == EINVAL
    assert guest("getrandom", 0, 0, 0) == 0


def test_state_goes_back_with_a_capture(make_guest):
    guest = make_guest(stdin=b"0123456789")
    guest("read", 0, guest.stack, 4)
    action(guest, 10, 1)
    mask(guest, 2, 1 << 3)
    guest("nanosleep", timespec(guest, 9), 0)
    guest("getrandom", guest.stack, 5, 0)
    state = guest.capture()
    guest("read", 0, guest.stack, 6)
    action(guest, 10, 0)
    mask(guest, 2, 0)
    guest("nanosleep", timespec(guest, 9), 0)
    guest("getrandom", guest.stack, 5, 0)
    after = guest.get(5)
    guest.restore(state)
    assert guest.capture() == state
    guest("getrandom", guest.stack, 5, 0)
    assert guest.get(5) == after
    assert guest("read", 0, guest.stack, 100) == 6
    assert guest("kill", 1, 10) == 0

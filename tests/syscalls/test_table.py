"""The tables, and what dispatch makes of every outcome."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

import rvjit
from rvjit.errors import DefinitionError, MemoryFault, OutOfBounds, UnknownSyscall
from rvjit.syscalls import Call, Exit, Raise, SyscallTable, syscall, table
from rvjit.syscalls.ckb import CKB
from rvjit.syscalls.errnos import guest_errno
from rvjit.syscalls.linux import LINUX
from rvjit.vm.profile import SYSCALLS

# From asm-generic/unistd.h, and libgloss' machine/syscall.h for those above 1000.
NUMBERS = """
getcwd 17 dup 23 dup3 24 fcntl 25 ioctl 29 mkdirat 34 unlinkat 35 ftruncate 46 faccessat 48 chdir 49
fchdir 50 openat 56 close 57 getdents64 61 lseek 62 read 63 write 64 readv 65 writev 66 pread64 67
pwrite64 68 ppoll 73 readlinkat 78 newfstatat 79 fstat 80 fsync 82 fdatasync 83 exit 93
exit_group 94 set_tid_address 96 futex 98 set_robust_list 99 nanosleep 101 clock_gettime 113
clock_getres 114 clock_nanosleep 115 sched_getaffinity 123 sched_yield 124 kill 129 tkill 130
tgkill 131 sigaltstack 132 rt_sigsuspend 133 rt_sigaction 134 rt_sigprocmask 135 rt_sigpending 136
rt_sigtimedwait 137 times 153 getpgid 155 getsid 156 uname 160 getrlimit 163 setrlimit 164
getrusage 165 umask 166 getcpu 168 gettimeofday 169 getpid 172 getppid 173 getuid 174 geteuid 175
getgid 176 getegid 177 gettid 178 sysinfo 179 brk 214 munmap 215 mremap 216 mmap 222 mprotect 226
msync 227 mlock 228 munlock 229 madvise 233 riscv_flush_icache 259 prlimit64 261 renameat2 276
getrandom 278 faccessat2 439
open 1024 unlink 1026 mkdir 1030 access 1033 stat 1038 lstat 1039 time 1062
"""


def test_the_linux_table_has_exactly_these_numbers():
    words = NUMBERS.split()
    expected = {int(number): name for name, number in zip(words[::2], words[1::2], strict=True)}
    assert {number: entry.name for number, entry in LINUX.entries.items()} == expected


def test_the_ckb_table_depends_on_the_version():
    assert sorted(CKB.entries) == [93, 2041, 2042, 2177]
    assert sorted(CKB.for_version(0).entries) == [93, 2177]
    assert CKB.for_version(1) == CKB.for_version(2) == CKB
    assert CKB.for_version(1) is CKB.for_version(1)


def test_tables_are_known_by_name():
    assert [table(name) for name in SYSCALLS] == [LINUX, CKB]


def test_two_entries_with_one_number_are_refused():
    @syscall(1, "one")
    def one(call):
        return 0

    @syscall(1, "other")
    def other(call):
        return 0

    with pytest.raises(DefinitionError, match="1 is both one and other"):
        SyscallTable("t", (one, other), unknown="fault", bad_pointer="fault")


def test_an_unknown_number_is_enosys_or_a_fault(guest, ckb):
    assert guest.raw(291) == -38
    assert guest.raw(-1) == -38
    outcome = ckb.raw(64)
    assert isinstance(outcome, Raise)
    assert isinstance(outcome.fault, UnknownSyscall)
    assert (outcome.fault.number, outcome.fault.pc) == (64, 0x10100)


def test_a_bad_pointer_is_efault_or_a_fault_with_the_pc(guest, ckb):
    @syscall(5, "touch")
    def touch(call):
        call.memory.read(call.args[0], 8)

    efault = SyscallTable("t", (touch,), unknown="enosys", bad_pointer="efault")
    fault = SyscallTable("t", (touch,), unknown="enosys", bad_pointer="fault")
    call = Call(guest.machine, guest.host, 5, (3,))
    assert efault.dispatch(call) == -14
    outcome = fault.dispatch(call)
    assert isinstance(outcome, Raise)
    assert type(outcome.fault) is OutOfBounds
    assert isinstance(outcome.fault, MemoryFault)
    assert (outcome.fault.address, outcome.fault.size, outcome.fault.pc) == (3, 8, 0x10100)


def test_an_error_of_the_host_becomes_the_guests_number(make_guest):
    def broken(data):
        raise BrokenPipeError(errno.EPIPE, "gone")

    guest = make_guest()
    guest.host.descriptors.get(1)._sink = broken
    assert guest("write", 1, guest.stack, 4) == -32
    assert guest_errno(OSError(errno.EISDIR, "")) == 21
    assert guest_errno(OSError("no number")) == 5
    assert guest_errno(OSError(errno.EBADMSG, "not listed")) == 5


def test_a_call_reads_registers_and_their_signs(guest):
    x = guest.machine.x
    x[17] = 64
    for index in range(6):
        x[10 + index] = (1 << 64) - 1 - index
    call = Call.at_ecall(guest.machine, guest.host)
    assert call.number == 64
    assert call.args[5] == (1 << 64) - 6
    assert call.signed(1) == -2
    assert call.int32(2) == -3
    assert call.uint32(0) == 0xFFFFFFFF
    assert call.pc == 0x10100
    call.charge(7)
    assert guest.machine.cycles == 1007


def test_exit_keeps_the_low_byte(guest, ckb):
    assert guest("exit", 0x1FF) == Exit(255)
    assert guest("exit_group", 256) == Exit(0)
    assert ckb("exit", -1) == Exit(255)


def test_importing_the_package_loads_nothing_that_a_simple_guest_does_not_need():
    # Without rvjit/__init__.py, which imports more than this package needs.
    program = """
import sys, types
package = types.ModuleType("rvjit")
package.__path__ = [sys.argv[1]]
sys.modules["rvjit"] = package
import rvjit.bits, rvjit.machine.machine
before = set(sys.modules)
import rvjit.syscalls
print(" ".join(sorted(set(sys.modules) - before)))
"""
    home = Path(rvjit.__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", program, home], capture_output=True, text=True, check=True
    )
    loaded = {name for name in done.stdout.split() if not name.startswith("rvjit.syscalls")}
    assert loaded <= {"bisect", "_bisect", "errno", "contextlib", "time"}

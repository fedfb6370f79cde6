"""CKB's calls, cycle for cycle."""

from __future__ import annotations

import pytest

from rvjit.errors import BadSyscall, OutOfBounds, UnknownSyscall
from rvjit.syscalls import Raise
from rvjit.syscalls.ckb import CKB


@pytest.mark.parametrize(
    ("text", "cost"), [(b"", 0), (b"a", 1), (b"abcd", 1), (b"abcde", 2), ("é€".encode(), 2)]
)
def test_debug_prints_and_costs_a_cycle_for_four_bytes(ckb, text, cost):
    ckb.put(text + b"\0rest", 0x1000)
    assert ckb("debug", 0x1000) is None
    assert ckb.prints == [text]
    assert ckb.machine.cycles == 1000 + cost


def test_debug_reads_a_string_that_ends_at_the_last_byte(ckb):
    end = ckb.memory.size
    ckb.put(b"xyz\0", end - 4)
    assert ckb("debug", end - 4) is None
    assert ckb.prints == [b"xyz"]


def test_debug_reads_strings_of_any_length(ckb):
    ckb.put(b"a" * (3 << 20), 0)
    assert ckb("debug", 0) is None
    assert ckb.machine.cycles == 1000 + (3 << 18)


def test_debug_faults_behind_the_end_and_charges_nothing(ckb):
    end = ckb.memory.size
    ckb.put(b"xyzz", end - 4)
    for address, fault_at in ((end - 4, end), (end, end), (1 << 63, 1 << 63), (-1, 2**64 - 1)):
        outcome = ckb("debug", address)
        assert isinstance(outcome, Raise)
        assert isinstance(outcome.fault, OutOfBounds)
        assert (outcome.fault.address, outcome.fault.pc) == (fault_at, 0x10100)
    assert ckb.machine.cycles == 1000
    assert ckb.prints == []


def test_debug_charges_before_it_refuses_what_is_not_text(ckb):
    ckb.put(b"ab\xff\xffcd\0", 0x1000)
    outcome = ckb("debug", 0x1000)
    assert isinstance(outcome, Raise)
    assert isinstance(outcome.fault, BadSyscall)
    assert outcome.fault.reason.startswith("String from buffer")
    assert ckb.machine.cycles == 1002
    assert ckb.prints == []


def test_current_cycles_counts_the_ecall_and_what_a_scheduler_adds(ckb):
    assert ckb("current_cycles") == 1000
    ckb.host.earlier_cycles = 5
    assert ckb("current_cycles") == 1005
    ckb.host.earlier_cycles = (1 << 64) - 1
    assert isinstance(ckb("current_cycles"), Raise)
    assert ckb.machine.cycles == 1000


@pytest.mark.parametrize("version", [1, 2])
def test_vm_version_is_the_hosts(make_guest, version):
    guest = make_guest(table=CKB.for_version(version), wxorx=True, vm_version=version)
    assert guest("vm_version") == version


def test_version_0_has_neither_vm_version_nor_current_cycles(make_guest):
    guest = make_guest(table=CKB.for_version(0), wxorx=True, vm_version=0)
    for number in (2041, 2042):
        outcome = guest.raw(number)
        assert isinstance(outcome, Raise)
        assert isinstance(outcome.fault, UnknownSyscall)


def test_linux_calls_under_wxorx_map_nothing(make_guest):
    guest = make_guest(wxorx=True)
    start = guest("brk", 0)
    assert guest("brk", start + 4096) == start
    assert guest("mmap", 0, 4096, 3, 0x22, -1, 0) == -12
    assert guest("munmap", 0x10000, 4096) == -12
    assert guest("mprotect", 0x10000, 4096, 3) == -12
    assert guest("mremap", 0x10000, 4096, 8192, 1) == -12
    assert guest("madvise", 0x10000, 4096, 4) == -12
    assert guest("write", 1, 0x1000, 3) == 3

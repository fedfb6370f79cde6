"""What of the host goes with a guest: streams, open files, and the caller's own objects."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from rvjit import VM, ConfigError, Snapshot, SnapshotMismatch
from tests.engines.assemble import R, X, assemble, elf
from tests.snapshot.conftest import load_busy, state_of

# Reads `count` bytes at a time from fd 0 and echoes them until the end.
ECHO = elf(
    assemble("""
    _start: li a7, 63
            li a0, 0
            mv a1, sp
            li a2, 4
            ecall
            beqz a0, done
            mv a2, a0
            li a7, 64
            li a0, 1
            mv a1, sp
            ecall
            j _start
    done:   li a7, 93
            ecall
    """),
    R | X,
)

# Opens /d/file for reading and writing and /d, then copies the file's bytes to fd 1, four by four.
FILES = elf(
    assemble("""
    _start: li a7, 56
            li a0, -100
            la a1, name
            li a2, 2
            li a3, 0
            ecall
            mv s0, a0
            li a7, 23           # dup
            ecall
            mv s1, a0
            li a7, 56
            li a0, -100
            la a1, folder
            li a2, 0
            ecall
            mv s2, a0
    round:  li a7, 61           # getdents64, one entry at a time
            mv a0, s2
            mv a1, sp
            li a2, 32
            ecall
            li a7, 63
            mv a0, s0
            mv a1, sp
            li a2, 4
            ecall
            beqz a0, done
            mv a2, a0
            li a7, 64
            li a0, 1
            mv a1, sp
            ecall
            j round
    done:   li a7, 62           # the position, through the other number
            mv a0, s1
            li a1, 0
            li a2, 1
            ecall
            li a7, 93
            ecall
    name:   .word 0x662f642f, 0x00656c69
    folder: .word 0x0000642f
    """),
    R | X,
)


def test_input_that_was_taken_and_not_read_is_kept() -> None:
    """From a pipe, of which more was taken than the guest has asked for by the snapshot."""
    reading, writing = os.pipe()
    os.write(writing, b"abcdefghij")
    output = bytearray()
    vm = VM.from_elf(ECHO, stdin=reading, stdout=output.extend)
    vm.run(cycle_limit=30)
    os.close(writing)
    taken = vm.snapshot()
    seen = len(output)
    assert 0 < seen < 10
    rest = os.read(reading, 100)
    os.close(reading)
    other, resumed = os.pipe()
    os.write(resumed, rest)
    os.close(resumed)
    again = VM.from_snapshot(taken, stdin=other, stdout=output.extend)
    assert again.run().exit_code == 0
    assert output == b"abcdefghij"
    os.close(other)


def test_input_from_a_file_is_wound(tmp_path: Path) -> None:
    file = tmp_path / "input"
    file.write_bytes(b"__abcdefghij")
    handle = os.open(file, os.O_RDONLY)
    os.lseek(handle, 2, os.SEEK_SET)
    output = bytearray()
    vm = VM.from_elf(ECHO, stdin=handle, stdout=output.extend)
    vm.run(cycle_limit=20)
    taken = vm.snapshot()
    assert output == b"abcd"
    vm.run()
    vm.apply_snapshot(taken)
    vm.run()
    assert output == b"abcdefghijefghij"
    os.close(handle)


def test_input_given_as_bytes_has_to_reach_as_far() -> None:
    vm = VM.from_elf(ECHO, stdin=b"abcdefgh", stdout=lambda data: None)
    vm.run(cycle_limit=60)
    taken = vm.snapshot()
    with pytest.raises(SnapshotMismatch, match="8 bytes of input were read, there are 3"):
        VM.from_snapshot(taken, stdin=b"abc")
    assert VM.from_snapshot(taken, deny=["stdin"], stdin=b"abc").run().exit_code == 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "file").write_bytes(b"0123456789")
    return tmp_path / "d"


def test_open_files_are_opened_again(folder: Path) -> None:
    places = [(folder, "/d", True)]
    for limit in range(20, 120, 9):
        output = bytearray()
        with_files = VM.from_elf(FILES, directories=places, stdout=output.extend)
        with_files.run(cycle_limit=limit)
        taken = Snapshot.from_bytes(with_files.snapshot().to_bytes())
        with_files.close()
        again = VM.from_snapshot(taken, directories=places, stdout=output.extend)
        assert again.run().exit_code == 10
        assert output == b"0123456789"
        again.close()


def test_files_that_are_gone_or_not_allowed_are_a_mismatch(folder: Path) -> None:
    vm = VM.from_elf(FILES, directories=[(folder, "/d", True)], stdout=lambda data: None)
    vm.run(cycle_limit=40)
    taken = vm.snapshot()
    open_before = len(os.listdir("/proc/self/fd"))
    for places in ([], [(folder, "/d", False)]):
        with pytest.raises(SnapshotMismatch, match="'descriptors'"):
            VM.from_snapshot(taken, directories=places).close()
    (folder / "file").unlink()
    with pytest.raises(SnapshotMismatch, match=r"No such file|no such file"):
        VM.from_snapshot(taken, directories=[(folder, "/d", True)])
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= open_before
    before = state_of(vm)
    vm.apply_snapshot(taken)  # the file is still open here, though it has no name
    assert state_of(vm) == before
    vm.close()


class Counter:
    """A user's object."""

    def __init__(self) -> None:
        self.value = 0

    def get_state(self) -> object:
        return self.value

    def set_state(self, state: object) -> None:
        if not isinstance(state, int) or state > 100:
            raise ValueError("too much")
        self.value = state


def test_objects_of_the_caller_take_part() -> None:
    vm, counter = load_busy().vm, Counter()
    vm.add_host_state("counter", counter)
    counter.value = 7
    taken = Snapshot.from_bytes(vm.snapshot().to_bytes())
    counter.value = 8
    vm.apply_snapshot(taken, deny=["counter"])
    assert counter.value == 8
    vm.apply_snapshot(taken)
    assert counter.value == 7
    with pytest.raises(SnapshotMismatch, match="host state is counter"):
        VM.from_snapshot(taken)
    fresh = Counter()
    VM.from_snapshot(taken, parts={"counter": fresh}, stdin=bytes(100))
    assert fresh.value == 7
    with pytest.raises(ConfigError, match="called 'counter' already"):
        vm.add_host_state("counter", counter)


def test_lists_of_names_choose() -> None:
    vm = load_busy().vm
    assert set(vm.snapshot(allow=["clock", "random"], deny=["random"]).host) == {"clock"}
    assert not vm.snapshot(allow=[]).host
    for wrong in (["clocks"], "clock"):
        with pytest.raises(ConfigError, match="clock"):
            vm.snapshot(deny=wrong)
        with pytest.raises(ConfigError, match="clock"):
            vm.apply_snapshot(vm.snapshot(), allow=wrong)


def test_a_part_that_refuses_leaves_the_others_as_they_were() -> None:
    vm, counter = load_busy().vm, Counter()
    vm.add_host_state("counter", counter)
    vm.run(cycle_limit=100)
    counter.value = 101
    taken = vm.snapshot()
    vm.run(cycle_limit=800)
    counter.value = 5
    before = state_of(vm)
    with pytest.raises(
        SnapshotMismatch, match=r"'counter' is given in it, here impossible .*too much"
    ):
        vm.apply_snapshot(taken)
    assert state_of(vm) == before

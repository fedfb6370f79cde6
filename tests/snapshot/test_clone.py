"""Clones: equal at first, then each on its own, with all that a VM can do."""

from __future__ import annotations

import gc
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rvjit import VM, ConfigError, MachineBusy, SnapshotError, SnapshotMismatch, Stop
from rvjit.machine.pages import DIRTY, PAGE_SIZE
from tests.differential.programs import self_modifying
from tests.engines.assemble import R, W, X, assemble, elf
from tests.snapshot.conftest import Loaded, load_busy, state_of
from tests.snapshot.test_host_state import ECHO, FILES, Counter


def clone(loaded: Loaded) -> Loaded:
    output = bytearray(loaded.output)
    return Loaded(loaded.vm.clone(stdout=output.extend), output)


def ended(loaded: Loaded) -> tuple[Any, ...]:
    return loaded.vm.run(), bytes(loaded.output), state_of(loaded.vm)


def test_clones_go_their_own_way_to_the_same_end(
    engine: str, seeds: Callable[[int], range]
) -> None:
    """Of originals and of clones, with checkpoints, levels and resets here and there."""
    wanted, fresh = ended(load_busy()), state_of(load_busy().vm)
    for seed in seeds(1):
        rng = random.Random(seed)
        family = [load_busy(engine)]
        for _ in range(12):
            each = rng.choice(family)
            vm, at = each.vm, state_of(each.vm)
            match rng.randrange(7):
                case 0 | 1 | 2:
                    made = clone(each)
                    assert state_of(made.vm) == at == state_of(vm)
                    assert made.vm.memory.dirty_pages == vm.memory.dirty_pages
                    family.append(made)
                case 3 | 4:
                    vm.run(cycle_limit=vm.cycles + rng.randrange(400))
                case 5:
                    root, written = vm.checkpoint(), len(each.output)
                    vm.run(cycle_limit=vm.cycles + rng.randrange(400))
                    vm.push()
                    family.append(clone(each))
                    assert state_of(family[-1].vm) == state_of(vm)
                    root.restore(0)
                    del each.output[written:]
                    assert state_of(vm) == at
                case _:
                    vm.reset()
                    each.output.clear()
                    assert state_of(vm) == fresh
        rng.shuffle(family)
        for each in family:
            assert ended(each) == wanted
            each.vm.reset()
            assert state_of(each.vm) == fresh


def test_both_keep_track_of_their_own_writes(engine: str) -> None:
    """Checkpoints of either know all that was written, however the pages are shared."""
    data = random.Random(3).randbytes(64 * PAGE_SIZE)
    program = elf(assemble("_start: j _start"), R | X, ((0x100000, data, R | W),))
    vm = VM.from_elf(program, engine=engine, memory_size=4 << 20)
    vm.memory[0x100000 + PAGE_SIZE] = 1
    for each in (vm.clone(), vm):
        other = vm.clone()
        root = each.checkpoint()
        at = state_of(each)
        for number in (0, 3, 7):
            address = 0x100000 + number * PAGE_SIZE
            each.memory[address + 5] ^= 0xFF
            other.memory[address + 6] ^= 0xFF
        each.machine.memory.protect(0x100000, PAGE_SIZE, read=True, write=False, execute=False)
        pages = [start for start, _ in root.verify().memory]
        assert pages == [0x100005, 0x103005, 0x107005]
        theirs = other.memory[0x100000 : 0x100000 + len(data)]
        root.restore()
        assert state_of(each) == at
        assert other.memory[0x100000 : 0x100000 + len(data)] == theirs
        assert bytes(theirs) != data
        root.close()


def load_self_modifying(seed: int, engine: str) -> VM:
    guest = self_modifying(seed)
    vm = load_busy(engine, memory_size=guest.size).vm
    memory = vm.machine.memory
    memory.zero(memory.base, memory.size)
    for part in guest.parts:
        write, execute = "w" in part.allows, "x" in part.allows
        memory.protect(part.address, len(part.data), read=True, write=write, execute=execute)
        memory.initialise(part.address, part.data)
    for number, value in enumerate(guest.registers):
        vm.registers[number] = value
    vm.pc = guest.pc
    return vm


def test_clones_of_clones_of_a_guest_that_writes_code(
    engine: str, seeds: Callable[[int], range]
) -> None:
    """Each translates its own code, though all had the same."""
    for seed in seeds(1):
        vms = [load_self_modifying(seed, engine)]
        results = []
        for number in range(4):
            vms[-1].run(cycle_limit=100 * number)
            vms.append(vms[-1].clone())
        for vm in vms:
            result = vm.run(cycle_limit=20_000)
            results.append((result.stop, result.pc, result.cycles, state_of(vm)))
        assert all(each == results[0] for each in results)


def test_what_a_clone_writes_nobody_else_sees() -> None:
    loaded = load_busy()
    loaded.vm.run(cycle_limit=300)
    before = state_of(loaded.vm)
    clones = [loaded.vm.clone(stdout=lambda data: None) for _ in range(3)]
    clones[0].run()
    assert state_of(loaded.vm) == before == state_of(clones[1])
    loaded.vm.run()
    loaded.vm.close()
    assert state_of(clones[2]) == before
    del loaded
    gc.collect()
    assert state_of(clones[1].clone()) == before


def test_what_a_clone_gives_back_is_zero() -> None:
    """Large ranges are not written with zeros, but given back to the host."""
    size = 80 * PAGE_SIZE
    data = random.Random(5).randbytes(size)
    program = elf(assemble("_start: j _start"), R | X, ((0x100000, data, R | W),))
    vm = VM.from_elf(program, memory_size=4 << 20)
    other = vm.clone()
    for _ in range(2):
        other.machine.memory.zero(0x100010, size - 0x20)
        found = other.memory[0x100000 : 0x100000 + size]
        assert found == data[:16] + bytes(size - 32) + data[-16:]
        other.memory[0x100010 : 0x100000 + size - 16] = data[16:-16]
    assert other.memory[0x100000 : 0x100000 + size] == vm.memory[0x100000 : 0x100000 + size] == data
    again = other.clone()
    again.machine.memory.zero(0x100000, size)
    assert again.memory[0x100000 : 0x100000 + size] == bytes(size)
    assert other.memory[0x100000 : 0x100000 + size] == data


def test_files_and_own_state_are_the_clones_own(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789abcdef")
    output = bytearray()
    vm = VM.from_elf(FILES, stdout=output.extend, directories=[(tmp_path, "/d", True)])
    mine, its = Counter(), Counter()
    vm.add_host_state("counter", mine)
    mine.value = 5
    vm.run(cycle_limit=60)
    at, seen = state_of(vm), bytearray(output)
    other = vm.clone(stdout=seen.extend, parts={"counter": its})
    assert its.value == 5
    assert state_of(other) == at
    mine.value = 6
    assert vm.run() == other.run()
    assert output == seen
    assert its.value == 5
    assert "counter" not in vm.clone().parts
    with pytest.raises(ConfigError, match="no host state is called other"):
        vm.clone(parts={"other": its})
    vm.reset()
    vm.run(cycle_limit=60)
    (tmp_path / "file").unlink()
    with pytest.raises(SnapshotMismatch, match="descriptors"):
        vm.clone()
    assert vm.run().stop is Stop.EXIT


def test_input_from_outside_has_to_be_given() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"abcdefgh")
    os.close(writer)
    output = bytearray()
    vm = VM.from_elf(ECHO, stdin=reader, stdout=output.extend)
    vm.run(cycle_limit=16)
    assert output == b"abcd"
    with pytest.raises(ConfigError, match="give stdin"):
        vm.clone()
    seen = bytearray(output)
    other = vm.clone(stdin=b"abcdEF", stdout=seen.extend)
    other.run()
    vm.run()
    os.close(reader)
    assert (bytes(output), bytes(seen)) == (b"abcdefgh", b"abcdEF")


def test_handlers_go_along() -> None:
    vm = VM.from_elf(elf(assemble("_start: li a7, 5000\n ecall\n li a7, 93\n ecall"), R | X))
    calls = []

    @vm.syscall(5000)
    def handler(call: Any) -> int:
        calls.append(call.machine)
        if call.machine is vm.machine:
            with pytest.raises(SnapshotError, match="inside a handler"):
                vm.clone()
        return 7

    other = vm.clone()
    assert vm.run().exit_code == other.run().exit_code == 7
    assert calls == [vm.machine, other.machine]


def test_another_thread_keeps_clones_away() -> None:
    vm = VM.from_elf(elf(assemble("_start: li a7, 5000\n ecall\n li a7, 93\n ecall"), R | X))
    found = []

    def attempt() -> None:
        try:
            vm.clone()
        except MachineBusy as error:
            found.append(error)

    @vm.syscall(5000)
    def handler(call: object) -> None:
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()

    vm.run()
    assert len(found) == 1


def test_an_image_is_made_anew_when_copying_gets_dearer() -> None:
    data = random.Random(4).randbytes(32 * PAGE_SIZE)
    program = elf(assemble("_start: j _start"), R | X, ((0x100000, data, R | W),))
    vm = VM.from_elf(program, memory_size=4 << 20)
    vm.clone()
    first = vm._base
    assert first is not None
    for number in range(12):
        vm.memory[0x100000 + number * PAGE_SIZE] ^= 1
    for _ in range(2):
        vm.clone()
        assert vm._base is first
    vm.clone()
    assert vm._base is None
    assert first.closed
    assert state_of(vm.clone()) == state_of(vm)
    root = vm.checkpoint()
    vm.clone()
    assert vm._base is None
    root.close()
    vm.clone()
    assert vm._base is not None


def test_clones_leave_nothing_behind() -> None:
    vm = load_busy().vm
    vm.run(cycle_limit=500)
    vm.clone().run()
    gc.collect()
    files = len(os.listdir("/proc/self/fd"))
    for _ in range(300):
        vm.clone().run(cycle_limit=600)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == files
    with open("/proc/self/maps") as maps:
        assert sum("rvjit-image" in line for line in maps) < 20


def test_a_clone_under_ckb_has_its_flags(engine: str) -> None:
    code = elf(assemble("_start: li a7, 93\n ecall"), R | X, ((0x20000, b"x" * 9000, R | W),))
    vm = VM.from_elf(code, engine=engine, profile="ckb")
    vm.memory[0x20000] = 1
    vm.machine.memory.clear_flag(0x21, DIRTY)
    vm.machine.memory.initialise(0x30000, b"clean", dirty=False)
    other = vm.clone()
    assert state_of(other) == state_of(vm)
    assert other.run() == vm.run()

"""Checkpoints and levels: back is back, whatever happened, and for everyone on their own."""

from __future__ import annotations

import gc
import os
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rvjit import VM, ConfigError, MachineBusy, Profile, SnapshotError, SnapshotMismatch, Stop
from rvjit.machine.pages import DIRTY, HOLDS_CODE, PAGE_SHIFT, PAGE_SIZE
from rvjit.snapshot.checkpoint import Checkpoint
from rvjit.snapshot.copies import NativeCopies
from tests.differential.programs import self_modifying
from tests.engines.assemble import R, W, X, assemble, elf
from tests.snapshot.conftest import load_busy, state_of
from tests.snapshot.test_host_state import ECHO, FILES, Counter

# Writes a1 words of 8 bytes from a0 on, 4096 apart, each time another value, then ends.
TOUCH = assemble("""
    _start: li a7, 93
    touch:  beqz a1, out
            ld t1, 0(a0)
            addi t1, t1, 1
            sd t1, 0(a0)
            lui t0, 1
            add a0, a0, t0
            addi a1, a1, -1
            j touch
    out:    ecall
""")
DATA = 0x100000


def load_touch(engine: str, pages: int = 64, memory_size: int = 4 << 20) -> VM:
    data = elf(TOUCH, R | X, ((DATA, random.Random(1).randbytes(pages * PAGE_SIZE), R | W),))
    return VM.from_elf(data, engine=engine, memory_size=memory_size)


def touch(vm: VM, first: int, count: int) -> None:
    vm.registers["a0"], vm.registers["a1"] = DATA + first * PAGE_SIZE, count
    assert vm.run().stop is Stop.EXIT


@dataclass
class Kept:
    """A checkpoint and the states that its levels stand for."""

    checkpoint: Checkpoint
    states: list[dict[str, Any]] = field(default_factory=list)


def change(vm: VM, rng: random.Random) -> None:
    """Let something happen to the guest."""
    match rng.randrange(7):
        case 6:
            vm.reset()
        case 0 | 1 | 2:
            vm.run(cycle_limit=vm.cycles + rng.randrange(1, 300))
        case 3:
            at = vm.memory.base + rng.randrange(0x30000, 0x33000)
            vm.memory[at : at + 4] = rng.randbytes(4)
        case 4:
            vm.registers[rng.randrange(1, 32)] = rng.getrandbits(64)
            vm.registers["sp"] = vm.memory.base + vm.memory.size - 0x2000
        case _:
            vm.machine.memory.initialise(0x40000 + rng.randrange(9000), b"new", dirty=False)


@pytest.mark.parametrize("count", [1, 3])
def test_back_is_back(engine: str, count: int, seeds: Callable[[int], range]) -> None:
    """Random changes, levels and ways back, of up to three checkpoints at once."""
    for seed in seeds(2):
        rng = random.Random(seed)
        vm = load_busy(engine, memory_size=1 << 20).vm
        kept: list[Kept] = []
        for _ in range(60):
            change(vm, rng)
            action = rng.choice(("checkpoint", "push", "push", "restore", "pop", "lower", "close"))
            chosen = rng.choice(kept) if kept else None
            if action == "checkpoint" and len(kept) < count:
                kept.append(Kept(vm.checkpoint(), [state_of(vm)]))
            elif chosen is None:
                continue
            elif action == "push":
                chosen.checkpoint.push()
                chosen.states.append(state_of(vm))
            elif action == "close":
                if rng.random() < 0.3:
                    chosen.checkpoint.close()
                    kept.remove(chosen)
            else:
                depth = len(chosen.states) - 1
                if action == "lower":
                    depth = rng.randrange(len(chosen.states))
                    chosen.checkpoint.restore(depth)
                    del chosen.states[depth + 1 :]
                elif action == "pop" and depth:
                    chosen.checkpoint.pop()
                else:
                    chosen.checkpoint.restore()
                assert state_of(vm) == chosen.states[depth]
                if action == "pop" and depth:
                    chosen.states.pop()
                else:
                    assert not chosen.checkpoint.verify()
                assert chosen.checkpoint.depth == len(chosen.states) - 1
        for each in kept:
            each.checkpoint.restore(0)
            assert state_of(vm) == each.states[0]


def test_going_on_from_a_checkpoint_is_as_if_it_had_not_been_left(engine: str) -> None:
    whole, loaded = load_busy(engine), load_busy(engine)
    vm, end = loaded.vm, whole.vm.run()
    vm.run(cycle_limit=400)
    vm.checkpoint()
    written = len(loaded.output)
    for _ in range(3):
        vm.run(cycle_limit=random.randrange(500, 900))
        vm.restore()
        del loaded.output[written:]
    assert vm.run() == end
    assert (loaded.output, state_of(vm)) == (whole.output, state_of(whole.vm))


def test_reset_and_checkpoints_do_not_disturb_each_other(engine: str) -> None:
    """Reset is back at the program as loaded, restore at the checkpoint, in any order."""
    vm, fresh = load_busy(engine).vm, state_of(load_busy(engine).vm)
    vm.run(cycle_limit=500)
    root = vm.checkpoint()
    taken = state_of(vm)
    for number in range(4):
        vm.run(cycle_limit=700 + 90 * number)
        vm.reset()
        assert state_of(vm) == fresh
        if number % 2:
            vm.run(cycle_limit=150)
        vm.restore()
        assert state_of(vm) == taken
        vm.push()
        vm.run()
        vm.pop()
    root.close()
    for limit in (600, 300, None):
        vm.run(cycle_limit=limit)
        vm.reset()
        assert state_of(vm) == fresh


def test_reset_after_a_snapshot_is_the_program_as_loaded(engine: str, busy: bytes) -> None:
    taken = load_busy(engine, seed=5).vm
    taken.run(cycle_limit=800)
    snapshot = taken.snapshot()
    vm, fresh = load_busy(engine).vm, state_of(load_busy(engine).vm)
    for _ in range(2):
        vm.apply_snapshot(snapshot)
        assert state_of(vm) == state_of(taken)
        vm.reset()
        assert state_of(vm) == fresh


def test_exits_are_taken_back(engine: str) -> None:
    vm = load_touch(engine)
    vm.checkpoint()
    before = state_of(vm)
    for pages in (0, 1, 5, 1, 0, 30):
        touch(vm, 2, pages)
        vm.push()
        assert vm.run().stop is Stop.EXIT  # the level is of a guest that has ended
        vm.pop()
        assert vm.exit_code == 0
        vm.restore()
        assert state_of(vm) == before
    assert vm.exit_code is None


def test_only_what_was_written_is_touched(engine: str) -> None:
    """Bytes smuggled past the dirty list stay, and only `verify` finds them."""
    vm = load_touch(engine)
    vm.checkpoint()
    at = DATA + 50 * PAGE_SIZE + 7
    offset = at - vm.memory.base
    vm.machine.memory.buffer[offset : offset + 2] = b"\1\2"
    original = vm.memory[at : at + 2]
    touch(vm, 3, 4)
    vm.restore()
    assert vm.memory[at : at + 2] == original
    if engine != "lockstep":
        found = vm.verify()
        assert (found.registers, found.flags, found.host) == ((), (), ())
        assert found.memory
        assert all(at <= start < at + 2 for start, _ in found.memory)


def test_differences_are_named(engine: str) -> None:
    vm = load_touch(engine)
    vm.checkpoint()
    touch(vm, 0, 2)
    vm.machine.memory.set_flag(9, DIRTY)
    vm.registers["s1"] = 5
    found = vm.verify()
    names = [name for name, _, _ in found.registers]
    assert {"s1", "a0", "a7", "pc", "cycles"} <= set(names)
    assert ("s1", 0, 5) in found.registers
    base = vm.memory.base
    assert [at for at, _, _ in found.flags] == [base + 9 * PAGE_SIZE, DATA, DATA + PAGE_SIZE]
    assert {at & -PAGE_SIZE for at, _ in found.memory} == {DATA, DATA + PAGE_SIZE}
    assert ("exit_code", None, 0) in found.host
    assert len(list(found.lines())) == sum(map(len, found.as_dict().values()))
    vm.restore()
    assert not vm.verify()


def test_a_level_costs_one_copy_of_a_page_however_many_there_are() -> None:
    """Down ten levels that wrote the same pages at once: the union is copied back, once each."""
    vm = load_touch("threaded")
    root = vm.checkpoint()
    states = [state_of(vm)]
    for level in range(10):
        touch(vm, level, 8)
        vm.exit_code = None
        vm.pc = TOUCH["touch"]
        root.push()
        states.append(state_of(vm))
    listed = []
    restore = root._copies.restore

    def counting() -> None:
        listed.append(sorted(vm.machine.memory.dirty_pages))
        restore()

    root._copies.restore = counting  # type: ignore[method-assign]
    root.restore(3)
    assert state_of(vm) == states[3]
    first = (DATA - vm.memory.base) // PAGE_SIZE
    assert listed == [list(range(first + 3, first + 9 + 8))]


def test_levels_larger_than_a_chunk_of_the_arena(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rvjit.snapshot.copies._CHUNK", 1 << 16)
    vm = load_touch("threaded")
    root = vm.checkpoint()
    assert isinstance(root._copies, NativeCopies)
    states = [state_of(vm)]
    for pages in (3, 40, 1, 9, 14, 60, 0, 2):
        touch(vm, 1, pages)
        vm.exit_code = None
        vm.pc = TOUCH["touch"]
        vm.push()
        states.append(state_of(vm))
    chunks = len(root._copies._chunks)
    assert chunks > 4
    while root.depth:
        touch(vm, 0, 5)
        vm.pop()
        assert state_of(vm) == states.pop()
    vm.restore()
    assert state_of(vm) == states.pop()
    assert len(root._copies._chunks) < chunks


def test_pages_with_code_anywhere_among_those_to_restore() -> None:
    """Native code stops at each of them, whichever end it began with, and forgets none."""
    vm = load_touch("threaded")
    vm.checkpoint()
    before = state_of(vm)
    memory = vm.machine.memory
    first = DATA - vm.memory.base >> PAGE_SHIFT
    for with_code in ((), (0,), (63,), (31,), (0, 1, 30, 62, 63), range(64)):
        for _ in range(2):  # there and back
            touch(vm, 0, 64)
            for page in with_code:
                memory.flags[first + page] |= HOLDS_CODE
            vm.restore()
            assert state_of(vm) == before
            assert not vm.verify()
            assert not memory.dirty_pages
            assert not memory.pages_with(range(first, first + 64), HOLDS_CODE)


def test_changed_code_is_never_run_stale(engine: str, seeds: Callable[[int], range]) -> None:
    """Programs that rewrite themselves, from a level again and again: each time the same."""
    for seed in seeds(3):
        guest = self_modifying(seed)
        vm = load_busy(engine, memory_size=guest.size).vm
        memory = vm.machine.memory
        memory.zero(memory.base, memory.size)
        for part in guest.parts:
            allows = part.allows
            memory.protect(
                part.address, len(part.data), read=True, write="w" in allows, execute="x" in allows
            )
            memory.initialise(part.address, part.data)
        for number, value in enumerate(guest.registers):
            vm.registers[number] = value
        vm.pc = guest.pc
        rng = random.Random(seed)
        for limit in (40, 150):
            vm.run(cycle_limit=limit)
            vm.push() if vm._checkpoint else vm.checkpoint()
        ends = []
        for extra in (700, rng.randrange(200, 600), 700, 700):
            result = vm.run(cycle_limit=150 + extra)
            ends.append((result.stop, state_of(vm)) if extra == 700 else None)
            vm.restore()
            assert not vm.verify()
        assert ends[0] == ends[2] == ends[3]


def test_permissions_come_back_without_a_write(engine: str) -> None:
    vm = load_touch(engine)
    vm.checkpoint()
    memory = vm.machine.memory
    memory.protect(DATA, 3 * PAGE_SIZE, read=True, write=False, execute=False)
    vm.push()
    memory.protect(DATA, 8 * PAGE_SIZE, read=True, write=False, execute=True)
    vm.restore()
    vm.registers["a0"], vm.registers["a1"] = DATA, 1
    assert vm.run().stop is Stop.FAULT
    vm.pop()
    vm.restore()
    assert not vm.verify()
    touch(vm, 0, 8)


def test_host_state_goes_along(tmp_path: Path, engine: str) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    output = bytearray()
    places = [(tmp_path, "/d", True)]
    vm = VM.from_elf(FILES, directories=places, stdout=output.extend, engine=engine)
    vm.run(cycle_limit=45)
    vm.checkpoint()
    before, written = state_of(vm), len(output)
    (tmp_path / "file").rename(tmp_path / "other")  # it is still open
    for _ in range(2):
        vm.run(cycle_limit=70)
        vm.push()
        assert vm.run().exit_code == 10
        vm.pop()
        vm.restore()
        assert state_of(vm) == before
        del output[written:]
    vm.close()


def test_input_from_a_pipe_can_be_read_again() -> None:
    reading, writing = os.pipe()
    output = bytearray()
    vm = VM.from_elf(ECHO, stdin=reading, stdout=output.extend)
    os.write(writing, b"abcdef")
    vm.run(cycle_limit=10)  # one read is done
    root = vm.checkpoint()
    written = len(output)
    os.write(writing, b"ghij")
    os.close(writing)
    for _ in range(3):
        vm.run()
        assert output == b"abcdefghij"
        vm.restore()
        del output[written:]
    root.close()
    assert vm.host.input._kept is None
    os.close(reading)


def test_objects_of_the_caller_are_asked_each_time() -> None:
    vm, counter = load_touch("threaded"), Counter()
    vm.add_host_state("counter", counter)
    vm.checkpoint()
    counter.value = 3
    assert ("counter", 0, 3) in vm.verify().host
    vm.push()
    counter.value = 4
    vm.restore()
    assert counter.value == 3
    vm.restore()
    counter.value = 200
    vm.push()
    with pytest.raises(SnapshotMismatch, match="too much"):
        vm.restore()
    other = load_touch("threaded")
    other.add_host_state("counter", counter)
    other.checkpoint(deny=["counter"])
    other.restore()
    assert counter.value == 200
    with pytest.raises(ConfigError, match="no host state is called nothing"):
        other.checkpoint(allow=["nothing"])


def test_mistakes_are_errors(engine: str) -> None:
    vm = load_touch(engine)
    watchers = list(vm.machine.memory.watchers)
    for method in (vm.push, vm.restore, vm.pop, vm.verify):
        with pytest.raises(SnapshotError, match="there is no checkpoint"):
            method()
    root = vm.checkpoint()
    with pytest.raises(SnapshotError, match="pop without a push"):
        vm.pop()
    for depth in (-1, 1):
        with pytest.raises(SnapshotError, match=f"no level {depth}: there are 0 to 0"):
            root.restore(depth)
    vm.restore()
    root.close()
    root.close()
    for method in (root.push, root.restore, root.pop, root.verify):
        with pytest.raises(SnapshotError, match="closed"):
            method()
    assert vm.machine.memory.watchers == watchers


def test_nobody_goes_back_under_a_running_guest() -> None:
    vm = VM.from_elf(elf(assemble("_start: li a7, 5000\n again: ecall\n j again"), R | X))
    vm.checkpoint()
    found: list[object] = []
    entered = threading.Event()

    @vm.syscall(5000)
    def handler(call: object) -> int:
        for method in (vm.push, vm.restore, vm.pop, vm.verify, vm.checkpoint):
            try:
                method()
            except SnapshotError as error:
                found.append(str(error))
        entered.set()
        vm.pause()
        return 0

    vm.run()
    assert len(found) == 5
    assert all("inside a handler" in str(each) for each in found)
    go_on = threading.Event()
    entered.clear()

    @vm.syscall(5000)
    def wait(call: object) -> int:
        entered.set()
        go_on.wait(60)
        vm.pause()
        return 0

    thread = threading.Thread(target=vm.run)
    thread.start()
    assert entered.wait(60)
    for method in (vm.push, vm.restore, vm.pop, vm.verify):
        with pytest.raises(MachineBusy):
            method()
    go_on.set()
    thread.join()


def test_checkpoints_that_nobody_has_are_gone() -> None:
    """Thousands of checkpoints and levels leave no memory, watchers or descriptors behind."""
    vm = load_touch("threaded")

    def resident() -> int:
        pages = Path("/proc/self/statm").read_text().split()[1]
        return int(pages) * PAGE_SIZE

    for number in range(120):
        root = vm.checkpoint()
        for _ in range(5):
            touch(vm, 0, 60)
            vm.push()
        vm.restore()
        root.restore(0)
        if number == 20:
            gc.collect()
            before, maps = resident(), len(Path("/proc/self/maps").read_text())
    gc.collect()
    assert len(vm.machine.memory.watchers) == 2
    assert resident() - before < 8 << 20
    assert len(Path("/proc/self/maps").read_text()) < 2 * maps
    del root
    vm.checkpoint().close()
    assert len(vm.machine.memory.watchers) == 1


def test_ckb_machines_too(engine: str) -> None:
    code = elf(TOUCH, R | X, ((DATA, bytes(PAGE_SIZE * 3), R | W),))
    vm = VM.from_elf(code, profile=Profile("ckb"), engine=engine)
    vm.checkpoint()
    before = state_of(vm)
    memory = vm.machine.memory
    memory.clear_flag(DATA // PAGE_SIZE, DIRTY)
    touch(vm, 0, 3)
    vm.restore()
    assert state_of(vm) == before

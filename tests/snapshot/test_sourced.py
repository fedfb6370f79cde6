"""Sourced snapshots against the rules of CKB-VM's, written down a second time as a model."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvjit import VM, OutOfBounds, PermissionDenied, Profile, Snapshot, SnapshotMismatch, Stop
from rvjit.engines import NAMES
from rvjit.loader.ckb import load_ckb
from rvjit.machine.machine import Machine
from rvjit.machine.memory import Memory
from rvjit.machine.pages import DIRTY, EXECUTABLE, FREEZED, PAGE_SIZE
from rvjit.snapshot import Identity
from rvjit.snapshot.ckb import as_ckb_snapshot, as_ckb_snapshot2
from rvjit.snapshot.sourced import SourcedContext
from rvjit.vm.resume import identity_of
from tests.engines.assemble import R, X, assemble, elf
from tests.snapshot.conftest import state_of

VECTORS = Path(__file__).parent.parent / "conformance" / "vectors"
CKB = Profile("ckb", isa="imcba", syscalls="linux")


class Cells:
    """Data by number, as the transactions of CKB are."""

    def __init__(self, **data: bytes) -> None:
        self.data = data

    def load_data(self, name: Any, offset: int, length: int) -> tuple[bytes, int] | None:
        data = self.data.get(name)
        if data is None:
            return None
        offset = min(offset, len(data))
        full = len(data) - offset
        return data[offset : offset + (min(full, length) if length else full)], full


def pattern(size: int, seed: int = 1) -> bytes:
    return hashlib.shake_128(bytes([seed])).digest(size)


def new_machine() -> tuple[Machine, Identity]:
    vm = VM.from_elf(elf(assemble("_start: ecall", 0x10000), R | X), profile=CKB)
    fresh = Machine(Memory(CKB.memory_size, wxorx=True), CKB.rules)
    return fresh, identity_of(vm)


# The model: CKB-FACTS 7.2, on dicts, with no care for speed.


class Model:
    """Memory, flags and tracked pages as the rules say."""

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        self.bytes = bytearray(CKB.memory_size)
        self.flags = [0] * (CKB.memory_size // PAGE_SIZE)
        self.tracked: dict[int, tuple[object, int, int]] = {}

    def write(self, address: int, data: bytes) -> None:
        self.bytes[address : address + len(data)] = data
        for page in range(address // PAGE_SIZE, (address + len(data) - 1) // PAGE_SIZE + 1):
            self.flags[page] |= DIRTY

    def track(self, start: int, length: int, name: object, offset: int) -> None:
        aligned = -(-start // PAGE_SIZE) * PAGE_SIZE
        skip = aligned - start
        if length < skip:
            return
        offset, length = offset + skip, length - skip
        while length >= PAGE_SIZE:
            page = aligned // PAGE_SIZE
            self.flags[page] &= ~DIRTY
            self.tracked[page] = name, offset, self.flags[page]
            aligned, length, offset = aligned + PAGE_SIZE, length - PAGE_SIZE, offset + PAGE_SIZE

    def untrack(self, start: int, length: int) -> None:
        if length:
            for page in range(start // PAGE_SIZE, (start + length - 1) // PAGE_SIZE + 1):
                self.flags[page] |= DIRTY
                self.tracked.pop(page, None)

    def store(self, address: int, name: object, offset: int, length: int, size_at: int) -> None:
        data, full = self.cells.load_data(name, offset, length) or (b"", 0)
        self.write(size_at, full.to_bytes(8, "little"))
        self.untrack(address, len(data))
        if data:
            self.write(address, data)
        self.track(address, len(data), name, offset)

    def fields(self) -> tuple[list[Any], list[Any]]:
        dirty: list[Any] = []
        sourced: list[Any] = []
        for page, flags in enumerate(self.flags):
            address = page * PAGE_SIZE
            if flags & DIRTY:
                data = bytes(self.bytes[address : address + PAGE_SIZE])
                if dirty and dirty[-1][0] + len(dirty[-1][2]) == address and dirty[-1][1] == flags:
                    dirty[-1] = (*dirty[-1][:2], dirty[-1][2] + data)
                else:
                    dirty.append((address, flags, data))
            elif page in self.tracked:
                name, offset, noted = self.tracked[page]
                last = sourced[-1] if sourced else None
                follows = last and (last[0] + last[4], last[1], last[2], last[3] + last[4])
                if last and follows == (address, noted, name, offset):
                    sourced[-1] = (*last[:4], last[4] + PAGE_SIZE)
                else:
                    sourced.append((address, noted, name, offset, PAGE_SIZE))
        return sourced, dirty


NUMBERS = st.integers(0, 5 * PAGE_SIZE) | st.sampled_from([k * PAGE_SIZE for k in range(6)])
STEP = st.one_of(
    st.tuples(st.just("store"), NUMBERS, st.sampled_from("ab"), NUMBERS, NUMBERS),
    st.tuples(st.just("write"), NUMBERS, st.integers(1, 9000)),
    st.tuples(st.just("untrack"), NUMBERS, NUMBERS),
    st.tuples(st.just("flag"), st.integers(0, 10), st.just(FREEZED)),
    st.tuples(st.just("resume")),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, max_size=12))
def test_fields_are_those_of_ckb_vm(steps: list[Any]) -> None:
    cells = Cells(a=pattern(4 * PAGE_SIZE + 77), b=pattern(9 * PAGE_SIZE, 2))
    machine, identity = new_machine()
    context, model = SourcedContext(cells), Model(cells)
    for number, (what, *args) in enumerate(steps):
        memory = machine.memory
        match what:
            case "store":
                at, name, offset, length = args
                size_at = 20 * PAGE_SIZE + 8 * number
                context.store_bytes(memory, at, name, offset, length, size_at)
                model.store(at, name, offset, length, size_at)
            case "write":
                data = pattern(args[1], number % 256)
                memory.write(args[0], data)
                model.write(args[0], data)
            case "untrack":
                context.untrack_pages(memory, *args)
                model.untrack(*args)
            case "flag":
                memory.set_flag(*args)
                model.flags[args[0]] |= args[1]
                if args[0] in model.tracked and not model.flags[args[0]] & DIRTY:
                    # what was noted at tracking time stays; a resume brings that back
                    model.untrack(args[0] * PAGE_SIZE, 1)
                    context.untrack_pages(memory, args[0] * PAGE_SIZE, 1)
            case _:
                taken = Snapshot.from_bytes(context.make_snapshot(machine, identity).to_bytes())
                machine, _ = new_machine()
                context = SourcedContext(cells)
                context.resume(machine, taken)
        found = as_ckb_snapshot2(context.make_snapshot(machine, identity))
        assert (list(found.pages_from_source), list(found.dirty_pages)) == model.fields()
        assert machine.memory.buffer == model.bytes


def test_the_other_fields() -> None:
    machine, identity = new_machine()
    machine.x[5], machine.pc, machine.cycles, machine.cycle_limit = 7, 0x1234, 99, 1000
    machine.state.reservation = 0x40
    machine.memory.write(3 * PAGE_SIZE, b"x")
    machine.memory.write(5 * PAGE_SIZE, b"y")
    machine.memory.set_flag(5, FREEZED)
    taken = SourcedContext(Cells()).make_snapshot(machine, identity)
    second = as_ckb_snapshot2(taken)
    assert (second.registers[5], second.pc, second.cycles, second.max_cycles) == (
        7,
        0x1234,
        99,
        1000,
    )
    assert (second.version, second.load_reservation_address) == (2, 0x40)
    first = as_ckb_snapshot(taken)
    assert (first.page_indices, first.page_flags) == ((3, 5), (DIRTY, DIRTY | FREEZED))
    assert first.pages == (b"x" + bytes(4095), b"y" + bytes(4095))
    assert (first.registers, first.pc, first.version) == (second.registers, 0x1234, 2)


# Programs.

RECORDED = json.loads((VECTORS / "vectors.json").read_text())


def code_size(vector: dict[str, Any]) -> int:
    return len(load_ckb((VECTORS / vector["elf"]).read_bytes(), 2).actions[0].source)


LARGE = sorted(RECORDED, key=code_size)[-4:]


@pytest.mark.parametrize("vector", LARGE, ids=lambda each: each["name"])
def test_programs_from_a_source_go_on(vector: dict[str, Any]) -> None:
    """The recorded stops of a real CKB-VM, each passed through a sourced snapshot."""
    run = next(run for run in vector["runs"] if run["isa"] != "all")
    profile = Profile("ckb", isa=run["isa"], vm_version=run["version"], syscalls="linux")
    file = (VECTORS / vector["elf"]).read_bytes()
    cells = Cells(p=b"before" + file)
    output = bytearray()
    vm = VM.from_elf(file, profile=profile, engine="threaded", stdout=output.extend)
    context = SourcedContext(cells)
    context.mark_program(vm.machine.memory, load_ckb(file, run["version"]).actions, "p", 6)
    for number, stop in enumerate(sorted(run["stops"], key=lambda stop: stop["limit"])):
        vm.run(cycle_limit=stop["limit"])
        taken = context.make_snapshot(vm.machine, identity_of(vm), parts=vm.parts)
        assert as_ckb_snapshot2(taken).pages_from_source
        assert len(taken.to_bytes()) < len(vm.snapshot().to_bytes())
        other = VM.from_snapshot(
            taken,
            engine=NAMES[number % 4],
            stdout=output.extend,
            load_data=lambda *place: cells.load_data(*place)[0],
        )
        assert state_of(other) == state_of(vm)
        context = SourcedContext(cells)
        context.resume(other.machine, taken, parts=other.parts)
        vm = other
        assert hashlib.sha256(vm.machine.memory.buffer).hexdigest()[:32] == stop["memory"]
    result = vm.run()
    assert (result.stop, result.exit_code, result.cycles) == (Stop.EXIT, run["exit"], run["cycles"])


def test_a_guest_that_loads_data_before_and_after(engine: str) -> None:
    """It sums what a system call stores; some of it is overwritten, some loaded twice."""
    code = elf(
        assemble("""
        _start: li s0, 0
                li s1, 6
        round:  li a7, 2092
                lui a0, 0x100
                slli t0, s1, 10
                add a0, a0, t0      # overlapping places
                li a1, 0x200000
                ecall
                lui t1, 0x100
                li t2, 0x4000
                add t2, t2, t1
        sum:    ld t3, 0(t1)
                add s0, s0, t3
                addi t1, t1, 8
                bne t1, t2, sum
                sd s0, 512(a0)
                addi s1, s1, -1
                bnez s1, round
                srli a0, s0, 7
                li a7, 93
                ecall
        """),
        R | X,
    )
    cells = Cells(d=pattern(3 * PAGE_SIZE))

    def run(stops: list[int]) -> tuple[object, list[int]]:
        context = SourcedContext(cells)

        def register(vm: VM) -> None:
            @vm.syscall(2092)
            def load(call: Any) -> None:
                where = call.args[0]
                context.store_bytes(call.memory, where, "d", 0, 3 * PAGE_SIZE, call.args[1])

        vm = VM.from_elf(code, profile=CKB, engine=engine)
        register(vm)
        for limit in stops:
            vm.run(cycle_limit=limit)
            taken = Snapshot.from_bytes(
                context.make_snapshot(vm.machine, identity_of(vm), parts=vm.parts).to_bytes()
            )
            vm = VM.from_snapshot(
                taken, engine=engine, load_data=lambda *place: cells.load_data(*place)[0]
            )
            context.resume(vm.machine, taken, parts=vm.parts)
            register(vm)
        return vm.run(), vm.machine.x.tolist()

    whole = run([])
    assert whole[0].stop is Stop.EXIT
    assert run(list(range(1000, whole[0].cycles, whole[0].cycles // 8))) == whole


# What is refused.


def test_sources_that_give_something_else_are_a_mismatch() -> None:
    machine, identity = new_machine()
    context = SourcedContext(Cells(d=pattern(4 * PAGE_SIZE)))
    context.store_bytes(machine.memory, 0x10000, "d", 0, 0, 0x8000)
    taken = context.make_snapshot(machine, identity)
    for cells, reason in ((Cells(), "nothing"), (Cells(d=pattern(PAGE_SIZE + 9)), "4105 bytes")):
        other, _ = new_machine()
        before = bytes(other.memory.flags), bytes(other.memory.buffer), list(other.x)
        with pytest.raises(SnapshotMismatch, match=reason):
            SourcedContext(cells).resume(other, taken)
        assert (bytes(other.memory.flags), bytes(other.memory.buffer), list(other.x)) == before
    other, _ = new_machine()
    SourcedContext(Cells(d=pattern(PAGE_SIZE))).resume(other, taken)  # CKB-VM takes that
    assert other.memory.read(0x10000, 2 * PAGE_SIZE) == pattern(PAGE_SIZE) + bytes(PAGE_SIZE)
    with pytest.raises(SnapshotMismatch, match=r"data source is .* in it, here nothing"):
        VM.from_snapshot(taken)


def test_stores_are_checked_in_ckb_vms_order() -> None:
    """The size is stored first, whatever happens to the data afterwards."""
    machine, _ = new_machine()
    memory = machine.memory
    memory.set_flag(16, EXECUTABLE)
    context = SourcedContext(Cells(d=pattern(2 * PAGE_SIZE)))
    for address, error in (
        (16 * PAGE_SIZE, PermissionDenied),
        (CKB.memory_size - 4096, OutOfBounds),
    ):
        memory.write_int(0x8000, 0, 8)
        with pytest.raises(error):
            context.store_bytes(memory, address, "d", 0, 0, 0x8000)
        assert memory.read_int(0x8000, 8) == 2 * PAGE_SIZE
    assert not context.tracked
    context.untrack_pages(memory, CKB.memory_size + 5, 0)  # nothing is always inside

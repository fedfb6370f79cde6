"""Stopped, saved and gone on with: the end is that of the run that was never stopped."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rvjit import VM, Profile, RvjitError, Snapshot, SnapshotError, SnapshotMismatch, Stop, example
from rvjit.engines import NAMES
from rvjit.examples import EXAMPLES
from tests.engines.assemble import R, X, assemble, elf
from tests.snapshot.conftest import INPUT, Loaded, load_busy, load_example, state_of

GUESTS = Path(__file__).parent.parent / "guests"
VECTORS = Path(__file__).parent.parent / "conformance" / "vectors"
PAIRS = list(zip(NAMES, (*NAMES[2:], *NAMES[:2]), strict=True))


def resume(stopped: Loaded, kind: str, engine: str, program: object) -> Loaded:
    """Another VM from the bytes of a snapshot; its output goes on behind what there is."""
    output = bytearray(stopped.output)
    taken = Snapshot.from_bytes(stopped.vm.snapshot(kind).to_bytes())
    vm = VM.from_snapshot(
        taken,
        program=program if kind == "dirty" else None,
        engine=engine,
        stdin=INPUT,
        stdout=output.extend,
    )
    assert state_of(vm) == state_of(stopped.vm)
    return Loaded(vm, output)


def ended(loaded: Loaded) -> tuple[object, bytes, dict[str, object]]:
    result = loaded.vm.run()
    return result, bytes(loaded.output), state_of(loaded.vm)


@pytest.mark.parametrize("kind", ["full", "dirty"])
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_busy_guest_goes_on_anywhere(
    busy: bytes, kind: str, first: str, second: str, seeds: Callable[[int], range]
) -> None:
    """Heap, mappings, permissions, input, random numbers, clock, reservation; several hops."""
    wanted = ended(load_busy())
    assert wanted[0].stop is Stop.EXIT
    cycles = wanted[0].cycles
    for seed in seeds(3):
        rng = random.Random(seed)
        loaded, engine = load_busy(first), first
        for limit in sorted(rng.sample(range(cycles + 1), 3)):
            loaded.vm.run(cycle_limit=limit)
            engine = second if engine == first else first
            loaded = resume(loaded, kind, engine, busy)
        assert ended(loaded) == wanted


@pytest.mark.parametrize("each", EXAMPLES, ids=lambda each: each.name)
def test_examples_go_on(each, seeds: Callable[[int], range]) -> None:
    make = lambda engine="threaded": load_example(each.name, str(each.small_size), engine=engine)  # noqa: E731
    wanted = ended(make())
    for seed in seeds(2):
        rng = random.Random(seed)
        loaded = make()
        loaded.vm.run(cycle_limit=rng.randrange(wanted[0].cycles))
        kind, engine = rng.choice(["full", "dirty"]), rng.choice(NAMES[:4])
        assert ended(resume(loaded, kind, engine, example(each.name))) == wanted


RECORDED = json.loads((VECTORS / "vectors.json").read_text())


@pytest.mark.parametrize(
    "index",
    [
        pytest.param(index, marks=pytest.mark.slow if index % 6 else ())
        for index in range(len(RECORDED))
    ],
)
@pytest.mark.parametrize("kind", ["full", "dirty"])
def test_recorded_programs_go_on(index: int, kind: str) -> None:
    """Under CKB's rules; every stop that a real CKB-VM recorded is passed through a snapshot."""
    vector = RECORDED[index]
    run = next(run for run in vector["runs"] if run["isa"] != "all")
    profile = Profile("ckb", isa=run["isa"], vm_version=run["version"], syscalls="linux")
    program = VECTORS / vector["elf"]
    output = bytearray()
    loaded = Loaded(
        VM.from_elf(program, profile=profile, engine="threaded", stdout=output.extend), output
    )
    for number, stop in enumerate(sorted(run["stops"], key=lambda stop: stop["limit"])):
        result = loaded.vm.run(cycle_limit=stop["limit"])
        assert (result.cycles, hex(result.pc)) == (stop["cycles"], stop["pc"])
        loaded = resume(loaded, kind, NAMES[number % 4], program)
    result = loaded.vm.run()
    assert (result.stop, result.exit_code, result.cycles) == (Stop.EXIT, run["exit"], run["cycles"])


_CHILD = """
import sys
from rvjit import VM
from tests.snapshot.conftest import INPUT, state_of
output = bytearray()
vm = VM.from_snapshot(sys.argv[1], engine=sys.argv[2], stdin=INPUT, stdout=output.extend)
result = vm.run(cycle_limit=int(sys.argv[3]))
vm.save_snapshot(sys.argv[1])
sys.stdout.buffer.write(output)
"""


def test_other_processes_go_on(tmp_path: Path) -> None:
    """Four processes, each with another engine and another hash seed."""
    wanted = ended(load_busy())
    cycles = wanted[0].cycles
    loaded = load_busy()
    loaded.vm.run(cycle_limit=cycles // 5)
    file = tmp_path / "snapshot"
    loaded.vm.save_snapshot(file)
    output = bytearray(loaded.output)
    for number, engine in enumerate(("jit", "interp", "tiered"), 2):
        command = [sys.executable, "-c", _CHILD, str(file), engine, str(cycles * number // 5)]
        root = Path(__file__).parent.parent.parent
        output += subprocess.run(command, cwd=root, check=True, capture_output=True).stdout
    vm = VM.from_snapshot(file, stdin=INPUT, stdout=output.extend)
    assert ended(Loaded(vm, output)) == wanted


def test_a_guest_that_has_ended_stays_so() -> None:
    loaded = load_example("hello")
    result = loaded.vm.run()
    again = VM.from_snapshot(loaded.vm.snapshot(), stdout=loaded.output.extend)
    assert again.run() == result


def test_stops_inside_a_step_and_at_faults_keep_their_place() -> None:
    code = elf(assemble("_start: li a0, 5\n addi a0, a0, 1\n ld a1, 0(zero)\n"), R | X)
    vm = VM.from_elf(code, engine="interp")
    vm.step(2)
    other = VM.from_snapshot(vm.snapshot(), engine="threaded")
    first, second = vm.run(), other.run()
    assert first.stop is Stop.FAULT
    assert (str(first.fault), first.pc, first.cycles) == (
        str(second.fault),
        second.pc,
        second.cycles,
    )
    assert state_of(VM.from_snapshot(other.snapshot())) == state_of(vm)


def test_a_reservation_comes_and_goes() -> None:
    source = "_start: lr.d t0, (sp)\n li t1, 7\nstore: sc.d a0, t1, (sp)\n li a7, 93\n ecall"
    code = assemble(source)
    vm = VM.from_elf(elf(code, R | X))
    nothing = vm.snapshot()
    vm.step(1)
    reserved = vm.snapshot()
    assert VM.from_snapshot(reserved).run().exit_code == 0
    for taken, failed in ((reserved, 0), (nothing, 1), (reserved, 0)):
        vm.apply_snapshot(taken)
        vm.pc = code["store"]
        assert vm.run().exit_code == failed


# Onto a machine that exists.


def test_a_snapshot_can_be_applied_again_and_again(engine: str) -> None:
    """The guest's later pages, mappings, permissions and output positions go away again."""
    loaded = load_busy(engine)
    vm = loaded.vm
    vm.run(cycle_limit=300)
    taken, at, written = vm.snapshot(), state_of(vm), len(loaded.output)
    ends = []
    for _ in range(3):
        ends.append((vm.run(), bytes(loaded.output[written:]), state_of(vm)))
        vm.apply_snapshot(taken)
        del loaded.output[written:]
        assert state_of(vm) == at
    assert ends[0] == ends[1] == ends[2]


def test_changed_code_is_translated_anew(engine: str) -> None:
    """The guest overwrites an instruction that has been run; the old one comes back."""
    code = assemble("""
        _start: call change
        again:  call slot
                la t0, slot
                li t1, 0x00200513       # li a0, 2
                sw t1, 0(t0)
                call slot
                li a7, 93
                ecall
        change: ret
        slot:   li a0, 1
                ret
    """)
    vm = VM.from_elf(elf(code, 7), engine=engine)
    vm.run(until=code["again"])
    taken = vm.snapshot()
    for _ in range(3):
        assert vm.run(until=code["slot"]).stop is Stop.BREAKPOINT
        vm.step(1)
        assert vm.registers["a0"] == 1
        assert vm.run().exit_code == 2
        vm.apply_snapshot(taken)


def test_a_dirty_snapshot_needs_a_fresh_machine_of_the_program(busy: bytes) -> None:
    loaded = load_busy()
    loaded.vm.run(cycle_limit=200)
    taken = loaded.vm.snapshot("dirty")
    with pytest.raises(SnapshotMismatch, match=r"the program is .* in it, here not given"):
        VM.from_snapshot(taken)
    with pytest.raises(SnapshotMismatch, match=r"program is .* in it"):
        VM.from_snapshot(taken, program=example("hello"))
    other = load_busy().vm
    other.run(cycle_limit=900)
    before = state_of(other)
    with pytest.raises(SnapshotMismatch, match=r"page at 0x.* as loaded .* it has run"):
        other.apply_snapshot(taken)
    assert state_of(other) == before


def test_another_machine_is_refused(busy: bytes) -> None:
    taken = load_busy().vm.snapshot()
    for options, field in (
        ({"memory_size": 8 << 20}, "memory_size is 0x400000 in it, here 0x800000"),
        ({"profile": Profile(isa="imc", memory_size=4 << 20)}, "isa"),
        ({"profile": Profile(strict_loads=True, memory_size=4 << 20)}, "strict_loads"),
        ({"profile": Profile(vm_version=1, memory_size=4 << 20)}, "vm_version"),
        ({"profile": "ckb", "memory_size": 4 << 20}, "profile"),
    ):
        vm = VM.from_elf(busy if "ckb" not in options.values() else example("hello"), **options)
        before = state_of(vm)
        with pytest.raises(SnapshotMismatch, match=field):
            vm.apply_snapshot(taken)
        assert state_of(vm) == before


def test_there_are_no_snapshots_inside_a_handler() -> None:
    vm = VM.from_elf(elf(assemble("_start: li a7, 5000\n ecall\n li a7, 93\n ecall"), R | X))
    taken = vm.snapshot()
    found: list[RvjitError] = []

    @vm.syscall(5000)
    def handler(call: object) -> int:
        for attempt in (
            vm.snapshot,
            lambda: vm.apply_snapshot(taken),
            lambda: vm.save_snapshot("x"),
        ):
            try:
                attempt()
            except SnapshotError as error:
                found.append(error)
        return 0

    vm.run()
    assert len(found) == 3
    assert all("inside a handler" in str(error) for error in found)

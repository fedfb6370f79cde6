"""Whatever fails, the replay comes to the same end, and its trace is what stepping shows."""

from __future__ import annotations

import io
import signal
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from rvjit import (
    VM,
    CheckpointRing,
    ConfigError,
    EngineMismatch,
    PriceModel,
    Profile,
    SnapshotError,
    Stop,
    example,
)
from rvjit.codegen.lower import Lowering
from rvjit.isa import Cost
from rvjit.isa.expr import Op, Val
from rvjit.machine.pages import PAGE_SIZE
from rvjit.replay.ring import Replay
from tests.engines.assemble import R, W, X, assemble, elf
from tests.replay.conftest import Trace, stepped
from tests.snapshot.conftest import INPUT, busy_elf, load_busy, state_of

Load = Callable[..., tuple[VM, bytearray]]

# Calls the host once in a while, computes in between, and then loads from where nothing is.
FAULTS = """
    _start: li s0, 12
            la s1, data
    round:  li t0, 15
    inner:  sd t0, 0(s1)
            ld t1, 0(s1)
            add t2, t2, t1
            addi t0, t0, -1
            bnez t0, inner
            li a7, 113
            li a0, 1
            mv a1, s1
            ecall
            addi s0, s0, -1
            bnez s0, round
            ld a0, 8(zero)
    data:   .space 64
"""


@cache
def faulting_steps() -> tuple[tuple[int, str], ...]:
    """Cycle and pc of every instruction."""
    end = faulting(engine="interp").run().cycles
    return tuple(stepped(faulting(engine="interp"), end))


@cache
def busy_steps() -> tuple[tuple[int, str], ...]:
    vm = load_busy(engine="threaded").vm
    return tuple(stepped(vm, load_busy(engine="threaded").vm.run().cycles))


def faulting(**options: Any) -> VM:
    return VM.from_elf(elf(assemble(FAULTS), R | W | X), memory_size=1 << 20, **options)


def test_a_fault_is_replayed_by_every_engine(engine: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    plain = faulting(engine=engine).run()
    vm = faulting(engine=engine)
    with CheckpointRing(vm, path, every=200, keep=3, kind=kind) as ring:
        assert ring.kind == kind
        result = ring.run()
        assert (result.stop, str(result.fault)) == (plain.stop, str(plain.fault))
        assert (result.cycles, result.pc) == (plain.cycles, plain.pc)
        replay = ring.replay
        assert ring.problem is None
    assert replay is not None
    assert (replay.reason, replay.reproduced) == ("fault", True)
    first = plain.cycles // 200 * 200 - 400
    assert (replay.checkpoint, replay.end) == (first, plain.cycles)
    trace = Trace(path)
    assert trace.places == [place for place in faulting_steps() if place[0] >= first]
    assert len(trace.entries) == replay.instructions
    assert trace.entries[-1]["fault"] == str(plain.fault) == trace.end["fault"]
    assert trace.head["reason"] == "fault"
    assert trace.end["reproduced"] is True
    assert vm.run().stop is Stop.FAULT  # the VM is as it was
    assert [each["host"].keys() for each in trace.host if each["cycle"] < plain.cycles]


FORBIDDEN = """
    load-null store-null jump-null store-into load-high jump-high load-wrap store-wrap store-code
    store-constant store-straddle jump-data jump-end illegal16 illegal32 float csr ebreak c.ebreak
    amo-misaligned sc-misaligned
"""


@pytest.mark.parametrize("what", FORBIDDEN.split())
def test_every_kind_of_fault_ends_the_trace(load: Load, what: str, tmp_path: Path) -> None:
    vm, _ = load("wild", args=[what], memory_size=1 << 20)
    with CheckpointRing(vm, tmp_path / "trace", every=100, kind="memory") as ring:
        result = ring.run()
        assert result.stop is Stop.FAULT
        assert ring.replay is not None
        assert (ring.replay.reproduced, ring.replay.detail) == (True, str(result.fault))
    trace = Trace(tmp_path / "trace")
    assert trace.entries[-1]["fault"] == trace.end["fault"] == str(result.fault)
    assert trace.entries[-1]["pc"] == trace.end["pc"] == hex(result.pc)


@pytest.mark.parametrize("last", [1, 77, None])
def test_only_the_last_cycles_are_traced(kind: str, tmp_path: Path, last: int | None) -> None:
    path = tmp_path / "trace.jsonl"
    for engine in ("interp", "threaded"):
        with CheckpointRing(faulting(engine=engine), path, every=350, kind=kind, last=last) as ring:
            end = ring.run().cycles
        first = Trace(path).head["checkpoint"] if last is None else end - last
        assert Trace(path).places == [place for place in faulting_steps() if place[0] >= first]


@pytest.mark.parametrize("every", [13, 61, 500])
def test_everything_from_outside_is_repeated(kind: str, every: int, tmp_path: Path) -> None:
    """Heap, mappings, permissions, random numbers, input, clock, wherever checkpoints are."""
    expected = load_busy(engine="threaded")
    end = expected.vm.run()
    reference = list(busy_steps())
    loaded = load_busy(engine="threaded")
    path = tmp_path / "trace.jsonl"
    with CheckpointRing(loaded.vm, path, every=every, keep=4, kind=kind) as ring:
        result = ring.run()
        assert result == end
        assert result.stop is Stop.EXIT
        assert ring.replay is not None  # its exit code is not 0
        assert ring.replay.reproduced is True
    assert state_of(loaded.vm) == state_of(expected.vm)
    assert loaded.output == expected.output
    found = Trace(path).places
    assert found == reference[-len(found) :]
    assert len(found) >= min(3 * every, end.cycles) - 20


def test_input_from_a_pipe_is_read_once_and_output_written_once(
    load: Load, kind: str, tmp_path: Path
) -> None:
    data = bytes(range(256)) * 40
    vm, output = load("echo", stdin=io.BytesIO(data), engine="threaded")
    calls = []

    @vm.syscall(93)
    def fail(call: Any) -> int:
        calls.append(call.number)
        raise RuntimeError("the guest wants to exit")

    with CheckpointRing(vm, tmp_path / "trace", every=4000, keep=50, kind=kind) as ring:
        with pytest.raises(RuntimeError, match="wants to exit"):
            ring.run()
        replay = ring.replay
    assert replay is not None
    assert (replay.reason, replay.checkpoint, replay.reproduced) == ("error", 0, True)
    assert bytes(output).endswith(data)
    assert output.count(data) == 1
    assert calls == [93]  # the replay did not call it
    assert Trace(tmp_path / "trace").entries[-1]["insn"] == "ecall"


# Triggers, each made to happen on purpose.


def spin(**options: Any) -> VM:
    code = assemble("_start: addi t0, t0, 1\nj _start")
    return VM.from_elf(elf(code, R | X), **{"memory_size": 1 << 20, **options})


def test_a_time_out(engine: str, kind: str, tmp_path: Path) -> None:
    vm = spin(engine=engine)
    with CheckpointRing(vm, tmp_path / "trace", seconds=0.02, keep=2, kind=kind, last=9) as ring:
        result = ring.run(timeout=0.1)
        while result.cycles < 9:  # compiling takes its time
            result = ring.run(timeout=0.1)
        replay = ring.replay
    assert result.stop is Stop.TIMEOUT
    assert replay is not None
    assert (replay.reason, replay.end, replay.reproduced) == ("timeout", result.cycles, True)
    assert len(Trace(tmp_path / "trace").entries) == 9


def test_a_check_that_fails(kind: str, tmp_path: Path) -> None:
    seen = []

    def check(vm: VM) -> None:
        seen.append(vm.cycles)
        assert vm.registers["t0"] < 1000, "t0 is too large"

    vm = spin(engine="threaded")
    ring = CheckpointRing(vm, tmp_path / "trace", every=500, kind=kind, check=check)
    with ring, pytest.raises(AssertionError, match="too large"):
        ring.run(cycle_limit=10_000)
    assert seen == [500, 1000, 1500, 2000]
    assert isinstance(ring.replay, Replay)
    assert (ring.replay.reason, ring.replay.end) == ("error", 2000)
    assert "t0 is too large" in ring.replay.detail
    assert ring.replay.reproduced is True


def test_an_exit_code_counts_and_none_does_not(load: Load, kind: str, tmp_path: Path) -> None:
    for arguments, failed in (([], True), (["nothing"], False)):
        vm, _ = load("wild" if failed else "echo", args=arguments)
        with CheckpointRing(vm, tmp_path / f"{failed}", kind=kind) as ring:
            result = ring.run()
            assert bool(result.exit_code) is failed
            assert (ring.replay is not None) is failed
        assert (tmp_path / f"{failed}").exists() is failed


def test_a_cycle_limit_counts_if_it_is_asked_for(kind: str, tmp_path: Path) -> None:
    for failures in (("fault",), ("cycle_limit",)):
        vm = spin(engine="threaded")
        with CheckpointRing(
            vm, tmp_path / "trace", every=100, kind=kind, failures=failures
        ) as ring:
            assert ring.run(cycle_limit=1234).stop is Stop.CYCLE_LIMIT
            assert (ring.replay is None) is ("fault" in failures)
    assert Trace(tmp_path / "trace").places[-1][0] == 1233


def test_ctrl_c_counts_if_it_is_asked_for(kind: str, tmp_path: Path) -> None:
    vm = spin(engine="threaded")
    ring = CheckpointRing(
        vm, tmp_path / "trace", seconds=0.01, kind=kind, failures=("interrupt",), last=5
    )
    presser = threading.Timer(0.1, lambda: signal.raise_signal(signal.SIGINT))
    with ring:
        presser.start()
        with pytest.raises(KeyboardInterrupt):
            ring.run(timeout=60)
    presser.join()
    assert ring.replay is not None
    assert (ring.replay.reason, ring.replay.end) == ("interrupt", vm.cycles)
    assert ring.replay.reproduced is True


def test_ctrl_c_in_the_middle_of_a_checkpoint(kind: str, tmp_path: Path) -> None:
    """Nothing is lost, and the guest stands where it stood."""
    vm = spin(engine="threaded")

    def press(vm: VM) -> None:
        if vm.cycles == 300:
            signal.raise_signal(signal.SIGINT)

    ring = CheckpointRing(vm, tmp_path / "trace", every=100, kind=kind, check=press)
    with ring, pytest.raises(KeyboardInterrupt):
        ring.run(cycle_limit=10_000)
    assert vm.cycles == 300
    assert vm.run(cycle_limit=400).cycles == 400


def test_a_difference_that_lockstep_finds(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Lowering.lower

    def lower(self: Lowering, value: Val) -> str:
        if value.op is Op.ROL:
            value = Val(Op.ROR, value.width, value.args, value.payload)
        return right(self, value)

    monkeypatch.setattr(Lowering, "lower", lower)
    code = assemble("""
        _start: li s0, 10
        again:  addi s0, s0, -1
                bnez s0, again
                li a3, 0x80000000
                rol a3, a3, s1
                addi s1, s1, 1
                rol a3, a3, s1
                li a7, 93
                ecall
    """)
    vm = VM.from_elf(elf(code, R | X), engine="lockstep", cache=False, memory_size=1 << 20)
    ring = CheckpointRing(vm, tmp_path / "trace", kind=kind)
    with ring, pytest.raises(EngineMismatch) as mismatch:
        ring.run()
    assert ring.replay is not None
    assert (ring.replay.reason, ring.replay.reproduced) == ("mismatch", None)
    last = Trace(tmp_path / "trace").entries[-1]
    assert last["pc"] == hex(mismatch.value.pc)
    assert last["insn"].startswith("rol a3")


def test_the_callers_own_call(kind: str, tmp_path: Path) -> None:
    vm = spin(engine="threaded")
    with CheckpointRing(vm, tmp_path / "trace", every=100, kind=kind) as ring:
        vm.run(cycle_limit=10)
        vm.registers["a0"] = 1  # nobody has to remember this
        vm.run(cycle_limit=20)
        assert ring.size == 0
        with pytest.raises(SnapshotError, match="no checkpoint"):
            ring.fail("too early")
        ring.run(cycle_limit=350)
        assert ring.checkpoints == [220, 320]
        replay = ring.fail("curious", "what was that?")
        assert (replay.reason, replay.detail) == ("curious", "what was that?")
        assert (replay.checkpoint, replay.end, replay.reproduced) == (220, 350, True)
        assert ring.checkpoints == []
        assert ring.run(cycle_limit=400).cycles == 400  # goes on, with a checkpoint of its own
        assert ring.checkpoints == [350]


def test_a_call_out_of_a_handler_ends_with_its_ecall(kind: str, tmp_path: Path) -> None:
    vm = faulting(engine="threaded")
    replays = []

    @vm.syscall(113)
    def look(call: Any) -> int:
        if vm.cycles > 700 and not replays:
            replays.append((ring.fail("look"), Trace(tmp_path / "trace")))
            with pytest.raises(SnapshotError, match="inside a handler"):
                ring.checkpoint()
        return 0

    with CheckpointRing(vm, tmp_path / "trace", every=150, kind=kind) as ring:
        assert ring.run().stop is Stop.FAULT
        replay, trace = replays[0]
        assert replay.reproduced is True
        assert trace.head["reason"] == "look"
        assert trace.entries[-1]["insn"] == "ecall"
        assert ring.replay is not None
        assert (ring.replay.reason, ring.replay.reproduced) == ("fault", True)
        assert ring.replay.checkpoint > replay.end  # the earlier ones were gone


def test_a_ckb_script(kind: str, tmp_path: Path) -> None:
    """Its prices are not 1, its pages are writable or executable, its calls are others."""
    code = assemble("""
        _start: li s0, 30
        again:  mul s1, s0, s0
                addi sp, sp, -16
                sd s1, 0(sp)
                li a7, 2042         # current cycles
                ecall
                addi s0, s0, -1
                bnez s0, again
                la t0, again
                sw zero, 0(t0)
    """)
    vm = VM.from_elf(elf(code, R | X), profile="ckb", engine="threaded")
    with CheckpointRing(vm, tmp_path / "trace", every=90, keep=3, kind=kind) as ring:
        result = ring.run()
        assert result.ckb_error == "MemWriteOnExecutablePage"
        assert ring.replay is not None
        assert ring.replay.reproduced is True
    trace = Trace(tmp_path / "trace")
    assert trace.entries[-1]["insn"].startswith("sw zero")
    assert trace.end["cycle"] == result.cycles
    assert trace.host  # a0 after the calls


# What else may happen to a VM in between.


def test_what_the_caller_changes_is_repeated(kind: str, tmp_path: Path) -> None:
    """Registers, memory, permissions, restores and resets between runs, all in one replay."""
    vm = VM.from_elf(busy_elf(), stdin=INPUT, stdout=lambda data: None, memory_size=4 << 20)
    before = vm.checkpoint()
    sp = vm.registers["sp"]
    with CheckpointRing(vm, tmp_path / "trace", every=10**9, kind=kind) as ring:
        ring.run(cycle_limit=100)
        root = vm.checkpoint()
        vm.registers["s5"] = 77
        vm.memory.write(sp - 64, b"written by the caller")
        ring.run(cycle_limit=200)
        root.restore()
        ring.run(cycle_limit=250)
        before.restore()
        vm.memory.write(sp - 64, b"again")
        ring.run(cycle_limit=150)
        vm.machine.memory.protect(0x40000, PAGE_SIZE, read=True, write=False, execute=False)
        ring.run(cycle_limit=180)
        vm.reset()
        ring.run(cycle_limit=60)
        replay = ring.fail("done")
        assert ring.checkpoints == []
    assert replay.reproduced is True
    places = Trace(tmp_path / "trace").places
    assert len(places) == 100 + 100 + 150 + 150 + 30 + 60
    assert places[-60:] == places[:60]


def test_handlers_that_run_the_guest(kind: str, tmp_path: Path) -> None:
    code = assemble("""
            _start: li a0, 5
                    li a7, 5000
                    ecall
                    mv s0, a0
                    jal ra, there
                    li a7, 93
                    ecall
            there:  ret
            double: sd a0, -8(sp)
                    add a0, a0, a0
                    ret
        """)
    vm = VM.from_elf(elf(code, R | X), engine="threaded")

    @vm.syscall(5000)
    def twice(call: Any) -> int:
        return vm.call(code["double"], vm.call(code["double"], call.args[0]))

    @vm.host_function(code["there"])
    def there(call: Any) -> int:
        return call.args[0] + 1

    with CheckpointRing(vm, tmp_path / "trace", kind=kind) as ring:
        assert ring.run().exit_code == 21
        assert ring.replay is not None
        assert ring.replay.reproduced is True
    texts = [entry["insn"] for entry in Trace(tmp_path / "trace").entries]
    assert texts.count("add a0, a0, a0") == 2


def test_breakpoints_at_a_checkpoint_are_not_stepped_over(kind: str, tmp_path: Path) -> None:
    for every in range(1, 12):
        vm = spin(engine="threaded")
        with CheckpointRing(vm, tmp_path / "trace", every=every, kind=kind) as ring:
            for _ in range(3):
                result = ring.run(until=vm.pc + 4 if vm.cycles == 0 else vm.pc)
                assert result.stop is Stop.BREAKPOINT
            assert vm.cycles == 5


def test_instructions_dearer_than_an_interval(kind: str, tmp_path: Path) -> None:
    prices = PriceModel("dear", {cost: 1000 if cost is Cost.ALU else 1 for cost in Cost})
    profile = Profile("linux", prices=prices, memory_size=1 << 20)
    vm = spin(engine="interp", profile=profile)
    with CheckpointRing(vm, tmp_path / "trace", every=100, kind=kind, last=1) as ring:
        assert ring.run(cycle_limit=20_000).stop is Stop.CYCLE_LIMIT
        assert ring.fail("there").reproduced is True
        assert vm.cycles == spin(engine="interp", profile=profile).run(cycle_limit=20_000).cycles


# Bounds.


def test_no_more_checkpoints_and_bytes_than_allowed(load: Load, tmp_path: Path) -> None:
    """A guest that only reads fills the notes, not memory: checkpoints come early then."""
    data = bytes(1000) * 1000
    vm, _ = load("echo", stdin=data, engine="threaded", memory_size=1 << 20, stdout=bytes)
    budget = 2 << 20
    with CheckpointRing(
        vm, tmp_path / "trace", every=10**9, keep=100, max_bytes=budget, kind="memory"
    ) as ring:
        assert ring.run().stop is Stop.EXIT
        assert ring.size <= budget
        assert 1 < len(ring.checkpoints) < 100
        assert ring.checkpoints[0] > 0
        assert ring.fail("end").reproduced is True


def test_runs_inside_handlers_are_not_cut_short(kind: str, tmp_path: Path) -> None:
    """However much a handler writes before it calls the guest."""
    code = assemble("""
        _start: li s0, 20
        again:  li a7, 5000
                ecall
                addi s0, s0, -1
                bnez s0, again
                li a0, 0
                li a7, 93
                ecall
        double: add a0, a0, a0
                ret
    """)
    file = elf(code, R | X, ((0x40000, bytes(1 << 17), R | W),))
    vm = VM.from_elf(file, engine="threaded", memory_size=1 << 20)

    @vm.syscall(5000)
    def much(call: Any) -> int:
        vm.memory.write(0x40000, bytes([call.args[0] & 0xFF]) * (1 << 17))
        return vm.call(code["double"], 21)

    with CheckpointRing(
        vm, tmp_path / "trace", every=10**9, keep=99, max_bytes=2 << 20, kind=kind
    ) as ring:
        assert ring.run().exit_code == 0
        assert ring.checkpoints[-1] > 0  # early
        assert ring.fail("end").reproduced is True


def test_the_kind_depends_on_the_room(tmp_path: Path) -> None:
    vm = spin(memory_size=1 << 20)
    for budget, kind in ((2 << 20, "memory"), ((2 << 20) - 1, "fork")):
        with CheckpointRing(vm, tmp_path / "trace", max_bytes=budget) as ring:
            assert ring.kind == kind


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every": 0}, "every 0"),
        ({"every": 5, "seconds": 1}, "one of the two"),
        ({"seconds": 0}, "seconds 0"),
        ({"keep": 0}, "keep 0"),
        ({"max_bytes": 0}, "max_bytes 0"),
        ({"last": 0}, "last 0"),
        ({"kind": "tape"}, "'tape'"),
        ({"failures": ["rain"]}, "rain"),
    ],
)
def test_impossible_wishes(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    vm = spin()
    engine = vm.engine
    with pytest.raises(ConfigError, match=words):
        CheckpointRing(vm, tmp_path / "trace", **options)
    with pytest.raises(ConfigError, match="no such folder"):
        CheckpointRing(vm, tmp_path / "none" / "trace")
    assert vm.engine is engine
    assert vm.machine.memory.watchers == vm.machine.memory.watchers[:1]


def test_a_closed_ring_leaves_the_vm_as_it_was(kind: str, tmp_path: Path) -> None:
    vm = spin(engine="threaded")
    engine, watchers = vm.engine, list(vm.machine.memory.watchers)
    ring = CheckpointRing(vm, tmp_path / "trace", every=50, kind=kind)
    with ring:
        ring.run(cycle_limit=500)
        assert vm.engine is not engine
        assert vm.engine.name == engine.name
    ring.close()
    assert vm.engine is engine
    assert vm.machine.memory.watchers == watchers
    for use in (ring.run, ring.checkpoint, lambda: ring.fail("late")):
        with pytest.raises(SnapshotError, match="closed"):
            use()
    assert vm.run(cycle_limit=600).cycles == 600


def test_a_trace_that_cannot_be_written_does_not_hide_the_failure(
    kind: str, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with CheckpointRing(faulting(), folder / "trace", kind=kind) as ring:
        (folder / "trace").mkdir()
        (folder / "trace" / "something").touch()
        assert ring.run().stop is Stop.FAULT
        assert ring.replay is None
        assert ring.problem is not None
    assert sorted(each.name for each in folder.iterdir()) == ["trace"]  # nothing is left over


def test_checkpoints_by_time(kind: str, tmp_path: Path) -> None:
    vm = spin(engine="threaded")
    with CheckpointRing(vm, tmp_path / "trace", seconds=0.01, keep=3, kind=kind) as ring:
        deadline = time.monotonic() + 60
        while len(ring.checkpoints) < 3 and time.monotonic() < deadline:
            ring.advance(timeout=0.05)
        assert ring.checkpoints == sorted(set(ring.checkpoints))
        assert len(ring.checkpoints) == 3


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["threaded", "jit", "tiered"])
@pytest.mark.parametrize(("name", "argument"), [("sha256", "1"), ("bytecode", "1"), ("fib", "12")])
def test_examples_at_many_cycles(
    name: str, argument: str, engine: str, kind: str, tmp_path: Path
) -> None:
    def load_() -> VM:
        return VM.from_elf(
            example(name), args=[argument], engine=engine, memory_size=4 << 20, stdout=len
        )

    total = load_().run().cycles
    for stop in range(total // 7, total, total // 7):
        with CheckpointRing(
            load_(), tmp_path / "trace", every=max(total // 20, 1), kind=kind, last=5000
        ) as ring:
            ring.run(cycle_limit=stop)
            assert ring.fail("here").reproduced is True

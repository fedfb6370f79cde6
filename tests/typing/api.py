"""A typed use of the public interface; mypy --strict must accept it against the built wheel.

Nothing here is run. `assert_type` states what a caller may rely on.
"""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import rvjit


def load(path: Path) -> rvjit.VM:
    output = bytearray()
    prices = rvjit.PriceModel("flat", dict.fromkeys(rvjit.Cost, 2))
    profile = rvjit.Profile(
        "linux",
        isa=rvjit.Isa.parse("imac_zba"),
        vm_version=2,
        syscalls="linux",
        memory_size=1 << 20,
        prices=prices,
        strict_loads=True,
    )
    assert_type(rvjit.example("hello"), Path)
    assert_type(rvjit.CKB_PRICES[rvjit.Cost.MUL], int)
    assert_type(rvjit.UNIT_PRICES, rvjit.PriceModel)
    rvjit.VM.from_elf(path.read_bytes())
    rvjit.VM.from_elf(str(path), profile="ckb", args=[b"one", "two"], engine="interp")
    inherited: dict[str, str] = {"HOME": "/"}
    rvjit.VM.from_elf(path, env=inherited)
    rvjit.VM.from_elf(path, env={b"RAW": b"\xff"})
    return rvjit.VM.from_elf(
        path,
        args=["one", b"two"],
        env={"HOME": "/"},
        profile=profile,
        memory_size=2 << 20,
        engine="jit",
        name="program",
        stdin=b"input",
        stdout=output.extend,
        stderr=lambda data: None,
        directories=[(path, "/data", False)],
        seed=7,
        real_time=False,
        tty=False,
    )


def run(vm: rvjit.VM) -> int:
    result = vm.run(cycle_limit=1_000_000, timeout=1.5, until=["main", 0x10000])
    assert_type(result, rvjit.RunResult)
    assert_type(result.stop, rvjit.Stop)
    assert_type(result.cycles, int)
    assert_type(result.pc, int)
    assert_type(result.exit_code, int | None)
    assert_type(result.fault, rvjit.GuestFault | None)
    assert_type(result.check(), rvjit.RunResult)
    match result.fault:
        case rvjit.MemoryFault(address=address, size=size, access=access):
            assert_type((address, size, access), tuple[int, int, str])
        case rvjit.IllegalInstruction(word=word):
            assert_type(word, int)
        case _:
            pass
    vm.run(until="main")
    vm.step(3)
    vm.pause()
    return result.exit_code or 0


def look(vm: rvjit.VM) -> str:
    assert_type(vm.registers["a0"], int)
    vm.registers[10] = 5
    assert_type(list(vm.registers), list[int])
    assert_type(vm.memory.read(0x10000, 8), bytes)
    assert_type(vm.memory.read_int(0x10000), int)
    assert_type(vm.memory.view(0x10000, 8), memoryview)
    vm.memory.write(0x10000, b"bytes")
    vm.memory[0x10000:0x10002] = b"ab"
    assert_type(vm.pc, int)
    assert_type(vm.cycles, int)
    assert_type(vm.backtrace(), list[rvjit.Frame])
    return vm.fault_report(vm.run())


def extend(vm: rvjit.VM) -> int:
    @vm.syscall(5000)
    def answer(call: rvjit.Call) -> int:
        assert_type(call.args, tuple[int, ...])
        assert_type(call.memory.read(call.args[0], 4), bytes)
        return call.signed(1)

    @vm.syscall(5001)
    def leave(call: rvjit.Call) -> rvjit.Exit | None:
        return rvjit.Exit(3) if call.number else None

    @vm.host_function("add")
    def add(call: rvjit.Call) -> int | None:
        return call.args[0] + call.args[1]

    try:
        return vm.call("fact", 5, b"bytes", cycle_limit=1000)
    except rvjit.CallStopped as stopped:
        assert_type(stopped.function, str)
        return 1
    except rvjit.EngineMismatch as mismatch:
        assert_type(mismatch.pc, int)
        raise
    except (rvjit.ConfigError, rvjit.ElfError, rvjit.MachineBusy, rvjit.RvjitError):
        raise


def again_and_again(vm: rvjit.VM, inputs: list[bytes]) -> int:
    checkpoint = vm.checkpoint(deny=["clock"])
    seen = rvjit.Coverage("counters", 64)
    runs = vm.run_each(inputs, at="buffer", size_register="a1", until=["done"], coverage=seen)
    assert_type(runs, rvjit.Runs)
    assert_type(runs[0], rvjit.RunResult)
    assert_type(runs[1:], list[rvjit.RunResult])
    assert_type(runs.fresh, list[int])
    assert_type(vm.clone(stdin=b""), rvjit.VM)
    assert_type(rvjit.VM.from_snapshot(vm.snapshot("dirty")), rvjit.VM)
    return checkpoint.depth


def replayed(vm: rvjit.VM) -> bool | None:
    with rvjit.CheckpointRing(vm, "trace", every=10**6, keep=3, failures=["fault"]) as ring:
        assert_type(ring.run(cycle_limit=10**9, timeout=1.0, until="main"), rvjit.RunResult)
        assert_type(ring.checkpoints, list[int])
        if ring.replay is None:
            assert_type(ring.fail("why", "because"), rvjit.Replay)
        return None if ring.replay is None else ring.replay.reproduced

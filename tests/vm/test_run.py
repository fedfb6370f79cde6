"""Runs of a VM: how they end, and that every end can be gone on from."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from rvjit import (
    VM,
    ConfigError,
    IllegalInstruction,
    OutOfBounds,
    Profile,
    RunResult,
    Stop,
    UnknownSymbol,
)
from tests.engines.assemble import R, W, X, assemble, elf

Load = Callable[..., tuple[VM, bytearray]]

EXIT = """
    li a7, 93
    ecall
"""


def state(vm: VM) -> tuple[object, ...]:
    memory = vm.machine.memory
    return vm.pc, vm.cycles, tuple(vm.registers), bytes(memory.buffer)


def test_an_exit(load: Load, engine: str) -> None:
    vm, _ = load(elf(assemble(f"_start: li a0, 300 {EXIT}")), engine=engine)
    result = vm.run()
    assert result == RunResult(Stop.EXIT, 3, 0x1000C, exit_code=300 & 255)
    assert vm.run() == result  # and again
    assert vm.step() == result
    assert result.check() is result
    with pytest.raises(AttributeError):
        result.cycles = 0


def test_an_exit_under_ckb_is_signed(load: Load, engine: str) -> None:
    program = elf(assemble(f"_start: li a0, 255 {EXIT}"))
    vm, _ = load(program, engine=engine, profile="ckb")
    result = vm.run()
    assert (result.stop, result.exit_code, result.cycles) == (Stop.EXIT, -1, 502)


def test_a_fault(load: Load, engine: str) -> None:
    code = assemble("""
        _start: li a0, 5
                sd a1, 8(a0)
    """)
    vm, _ = load(elf(code), engine=engine)
    result = vm.run()
    assert (result.stop, result.exit_code, result.pc, result.cycles) == (
        Stop.FAULT, None, code.base + 4, 2,
    )  # fmt: skip
    assert isinstance(result.fault, OutOfBounds)
    fault = result.fault
    assert (fault.address, fault.size, fault.access, fault.pc) == (13, 8, "store", result.pc)
    assert (result.ckb_error, result.ckb_pc) == (None, None)
    with pytest.raises(OutOfBounds, match="store of 8 bytes at 0xd"):
        result.check()
    vm.registers["a0"] = vm.memory.base + 0x8000
    vm.machine.memory.protect(0x18000, 4096, read=True, write=True, execute=False)
    vm.step()
    assert (vm.pc, vm.cycles) == (code.end, 3)  # mended and gone on from


def test_faults_under_ckb_say_what_ckb_says(load: Load, engine: str) -> None:
    code = assemble("_start: c.li a0, -16\n c.ld a1, 0(a0)\n .half 0")
    vm, _ = load(elf(code), engine=engine, profile="ckb")
    result = vm.run()
    assert (result.ckb_error, result.ckb_pc) == ("MemOutOfBound", code.end - 2)
    vm.pc = code.end - 2
    result = vm.run()
    assert isinstance(result.fault, IllegalInstruction)
    assert (result.ckb_error, result.ckb_pc) == ("InvalidInstruction", code.end - 2)


# Limits.


def test_every_limit_is_exact_and_can_be_gone_on_from(load: Load, engine: str) -> None:
    vm, output = load("callee", engine=engine, memory_size=1 << 20)
    end = vm.run()
    expected = state(vm), bytes(output)
    vm, output = load("callee", engine=engine, memory_size=1 << 20)
    limit = 0
    while vm.run(cycle_limit=limit).stop is Stop.CYCLE_LIMIT:
        assert vm.cycles == limit  # every instruction costs 1
        limit += 1 if limit < 40 else 61
    assert vm.run() == end
    assert (state(vm), bytes(output)) == expected


def test_a_limit_that_is_passed_already(load: Load, engine: str) -> None:
    vm, _ = load("forever", engine=engine)
    vm.run(cycle_limit=100)
    before = state(vm)
    for limit in (0, 50, 99, 100):
        result = vm.run(cycle_limit=limit)
        assert (result.stop, result.cycles) == (Stop.CYCLE_LIMIT, 100)
    assert state(vm) == before


def test_a_dear_instruction_is_not_started(load: Load, engine: str) -> None:
    code = assemble("_start: nop\n ecall")
    vm, _ = load(elf(code), engine=engine, profile=Profile("ckb", syscalls="linux"))
    for limit in (1, 2, 500):
        result = vm.run(cycle_limit=limit)
        assert (result.stop, result.cycles, result.pc) == (Stop.CYCLE_LIMIT, 1, code.base + 4)
    assert vm.run(cycle_limit=501).pc == code.end  # -ENOSYS, then what follows cannot be fetched
    assert vm.cycles == 501


@pytest.mark.parametrize("limit", [-1, 1 << 63, 1 << 64])
def test_impossible_limits(load: Load, limit: int) -> None:
    vm, _ = load("forever", engine="interp")
    with pytest.raises(ConfigError, match=str(limit)):
        vm.run(cycle_limit=limit)
    assert vm.run(cycle_limit=5).cycles == 5


# Steps.


def test_steps(load: Load, engine: str) -> None:
    vm, _ = load("forever", engine=engine)
    again = vm.address_of("again")
    start = vm.pc
    vm.run(until="again")
    before = vm.cycles
    for index, pc in enumerate((again + 4, again + 8, again)):
        result = vm.step()
        assert (result.stop, result.cycles) == (Stop.STEP, before + index + 1)
        assert abs(result.pc - pc) <= 4  # compressed or not
    assert vm.pc == again
    vm.step(3000)
    assert (vm.pc, vm.registers["s1"]) == (again, 1001)
    assert start < again


@pytest.mark.parametrize("count", [0, -1])
def test_impossible_steps(load: Load, count: int) -> None:
    vm, _ = load("forever", engine="interp")
    with pytest.raises(ConfigError, match="step count"):
        vm.step(count)


def test_a_step_carries_out_a_system_call(load: Load, engine: str) -> None:
    vm, output = load("callee", engine=engine)
    other, expected = load("callee", engine="interp")
    other.run()
    while vm.step(97).stop is Stop.STEP:
        pass
    assert (vm.exit_code, output) == (0, expected)
    assert vm.cycles == other.cycles


def test_a_step_ends_at_a_fault(load: Load, engine: str) -> None:
    vm, _ = load(elf(assemble("_start: nop\n .half 0")), engine=engine)
    result = vm.step(10)
    assert (result.stop, result.cycles) == (Stop.FAULT, 1)


# Breakpoints.


def test_until_a_symbol_an_address_or_any_of_several(load: Load, engine: str) -> None:
    vm, _ = load("callee", engine=engine)
    main = vm.address_of("main")
    result = vm.run(until="main")
    assert (result.stop, result.pc, vm.pc) == (Stop.BREAKPOINT, main, main)
    add, fact = vm.address_of("add"), vm.address_of("fact")
    seen = []
    while (result := vm.run(until=["fact", add])).stop is Stop.BREAKPOINT:
        seen.append(result.pc)
    assert seen == [add, *[fact] * 10]
    assert (result.stop, result.exit_code) == (Stop.EXIT, 0)


def test_a_breakpoint_at_the_current_pc_is_run_first(load: Load, engine: str) -> None:
    vm, _ = load("forever", engine=engine)
    vm.run(until="again")
    for rounds in range(1, 6):
        result = vm.run(until="again")
        assert result.stop is Stop.BREAKPOINT
        assert vm.registers["s1"] == rounds
    assert vm.run(cycle_limit=vm.cycles + 30).stop is Stop.CYCLE_LIMIT  # no breakpoints now
    assert vm.registers["s1"] == 15


def test_a_limit_comes_before_a_breakpoint(load: Load, engine: str) -> None:
    vm, _ = load("forever", engine=engine)
    vm.run(until="again")
    result = vm.run(until="again", cycle_limit=vm.cycles + 2)
    assert result.stop is Stop.CYCLE_LIMIT
    # All three instructions of the loop fit, so it is the breakpoint that stops it.
    result = vm.run(until="again", cycle_limit=vm.cycles + 1)
    assert (result.stop, vm.registers["s1"]) == (Stop.BREAKPOINT, 1)


def test_a_breakpoint_behind_a_system_call(load: Load, engine: str) -> None:
    code = assemble("""
        _start: li a7, 172
                ecall
        after:  nop
                ecall
        again:  j after
    """)
    vm, _ = load(elf(code), engine=engine)
    for place in ("after", "again", "after", "again"):
        result = vm.run(until=["after", "again"], cycle_limit=1000)
        assert (result.stop, result.pc) == (Stop.BREAKPOINT, code[place])


def test_unknown_places(load: Load) -> None:
    vm, _ = load("callee", engine="interp")
    with pytest.raises(UnknownSymbol, match="nowhere") as caught:
        vm.run(until="nowhere")
    assert isinstance(caught.value, KeyError)
    assert caught.value.symbol == "nowhere"
    assert vm.cycles == 0


def test_breakpoints_do_not_change_what_a_run_does(load: Load, engine: str) -> None:
    vm, output = load("callee", engine=engine, memory_size=1 << 20)
    end = vm.run()
    expected = state(vm), bytes(output)
    vm, output = load("callee", engine=engine, memory_size=1 << 20)
    places = [address for address, _, _ in vm.program.symbols.functions()]
    stops = 0
    while vm.run(until=places).stop is Stop.BREAKPOINT:
        stops += 1
    assert stops > 15
    assert vm.run() == end
    assert (state(vm), bytes(output)) == expected


# Time.


def test_a_timeout_is_exact_and_can_be_gone_on_from(load: Load, engine: str) -> None:
    vm, _ = load("forever", engine=engine)
    for _ in range(3):
        before = time.monotonic()
        result = vm.run(timeout=0.05)
        took = time.monotonic() - before
        assert result.stop is Stop.TIMEOUT
        assert 0.04 < took < 5
    limit = vm.cycles + 1000
    result = vm.run(cycle_limit=limit)
    assert (result.stop, result.cycles) == (Stop.CYCLE_LIMIT, limit)
    other, _ = load("forever", engine="jit")
    other.run(cycle_limit=limit)
    assert (other.pc, tuple(other.registers)) == (vm.pc, tuple(vm.registers))
    assert other.memory.read(other.address_of("counter"), 8) == vm.memory.read(
        vm.address_of("counter"), 8
    )


def test_a_timeout_of_zero_and_one_that_is_never_reached(load: Load) -> None:
    vm, _ = load("forever", engine="jit")
    assert vm.run(timeout=0).stop is Stop.TIMEOUT
    vm, _ = load("callee", engine="jit")
    for timeout in (1e6, float("inf")):
        assert vm.run(timeout=timeout, cycle_limit=vm.cycles + 10).stop is Stop.CYCLE_LIMIT
    assert vm.run(timeout=1000.0).stop is Stop.EXIT


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan")])
def test_impossible_timeouts(load: Load, timeout: float) -> None:
    vm, _ = load("forever", engine="interp")
    with pytest.raises(ConfigError, match="timeout"):
        vm.run(timeout=timeout)
    assert vm.run(cycle_limit=5).stop is Stop.CYCLE_LIMIT


def test_a_late_timeout_does_not_reach_the_next_run(load: Load) -> None:
    """The timer may fire while a run ends for another reason; that run alone may see it."""
    vm, _ = load("forever", engine="jit")
    vm.run(cycle_limit=1000)
    for _ in range(100):
        vm.run(timeout=0.0005, cycle_limit=vm.cycles + 300_000)
        limit = vm.cycles + 50
        assert vm.run(cycle_limit=limit) == RunResult(Stop.CYCLE_LIMIT, limit, vm.pc)


# Writable code: what the host changes between runs is run.


def test_code_written_from_python_is_run(load: Load, engine: str) -> None:
    code = assemble("""
        _start: li a0, 1
        here:   addi a0, a0, 1
                j here
    """)
    vm, _ = load(elf(code, R | W | X), engine=engine)
    vm.run(cycle_limit=101)
    assert vm.registers["a0"] == 51
    vm.memory.write(code["here"], assemble("addi a0, a0, 16").data)
    vm.run(cycle_limit=201)
    assert vm.registers["a0"] == 51 + 50 * 16

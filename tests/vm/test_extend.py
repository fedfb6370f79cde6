"""System calls, host functions and guest calls that Python adds; also inside one another."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from rvjit import (
    VM,
    CallStopped,
    ConfigError,
    Exit,
    IllegalInstruction,
    OutOfBounds,
    Profile,
    Stop,
    UnknownSymbol,
    UnknownSyscall,
)
from tests.engines.assemble import assemble, elf

Load = Callable[..., tuple[VM, bytearray]]

CALLS = elf(
    assemble("""
        _start: li a0, 11
                li a1, 22
                li a5, 66
                li a7, 5000
        first:  ecall
        behind: mv s0, a0
        second: ecall
        last:   li a7, 93
                ecall
    """)
)


# System calls.


def test_a_system_call_of_the_users(load: Load, engine: str) -> None:
    vm, _ = load(CALLS, engine=engine)
    seen = []

    @vm.syscall(5000)
    def handler(call):
        seen.append((call.number, call.args, call.machine.cycles, call.pc))
        assert call.memory is vm.machine.memory
        return -5 if len(seen) == 1 else None

    result = vm.run()
    assert seen[0][:3] == (5000, (11, 22, 0, 0, 0, 66), 6)
    assert seen[0][3] == vm.address_of("first")
    assert vm.registers["s0"] == (1 << 64) - 5
    assert seen[1][1][0] == (1 << 64) - 5
    assert (result.stop, result.exit_code) == (Stop.EXIT, 0xFB)  # None left a0 alone


def test_it_comes_before_the_profiles_own(load: Load, engine: str) -> None:
    vm, output = load("callee", engine=engine)
    written = bytearray()

    @vm.syscall(64)
    def write(call):
        written.extend(call.memory.read(call.args[1], call.args[2]))
        return call.args[2]

    assert vm.run().exit_code == 0
    assert b"fact: 3628800\n" in written
    assert output == b""


def test_it_may_end_the_guest(load: Load, engine: str) -> None:
    vm, _ = load(CALLS, engine=engine)
    vm.syscall(5000)(lambda call: Exit(300))
    result = vm.run()
    assert (result.stop, result.exit_code, result.pc) == (
        Stop.EXIT, 300 & 255, vm.address_of("behind"),
    )  # fmt: skip


def test_an_error_of_its_own_leaves_the_machine_usable(load: Load, engine: str) -> None:
    vm, _ = load(CALLS, engine=engine)

    class OwnError(Exception):
        pass

    tries = []

    @vm.syscall(5000)
    def handler(call):
        tries.append(vm.cycles)
        if len(tries) == 1:
            raise OwnError

    with pytest.raises(OwnError):
        vm.run(timeout=60)
    assert vm.pc == vm.address_of("behind") - 4  # the call did not happen
    assert vm.cycles == tries[0] - 1
    assert vm.run().stop is Stop.EXIT
    assert tries[:2] == [tries[0]] * 2


@pytest.mark.parametrize(
    ("profile", "stop"), [("linux", Stop.EXIT), (Profile("ckb", isa="imcba"), Stop.FAULT)]
)
def test_a_bad_pointer_in_it_is_what_the_profile_says(
    load: Load, engine: str, profile: Profile | str, stop: Stop
) -> None:
    vm, _ = load(CALLS, engine=engine, profile=profile)
    vm.syscall(5000)(lambda call: call.memory.read_int(1 << 60, 8))
    result = vm.run()
    assert result.stop is stop
    if stop is Stop.EXIT:
        assert vm.registers["s0"] == (1 << 64) - 14
    else:
        assert isinstance(result.fault, OutOfBounds)
        assert result.pc == result.fault.pc == vm.address_of("first")


def test_a_fault_it_raises_is_the_guests(load: Load, engine: str) -> None:
    vm, _ = load(CALLS, engine=engine)

    @vm.syscall(5000)
    def handler(call):
        raise UnknownSyscall(call.number)

    result = vm.run()
    assert result.stop is Stop.FAULT
    assert isinstance(result.fault, UnknownSyscall)
    assert (result.pc, result.cycles) == (vm.address_of("first"), 6)  # charged, as an ecall is


def test_it_can_charge_cycles(load: Load, engine: str) -> None:
    vm, _ = load(CALLS, engine=engine)
    vm.syscall(5000)(lambda call: call.charge(1000))
    assert vm.run(cycle_limit=500).stop is Stop.CYCLE_LIMIT
    assert (vm.cycles, vm.pc) == (1006, vm.address_of("behind"))
    assert vm.run().cycles == 2010


def test_code_that_it_writes_is_run(load: Load, engine: str) -> None:
    code = assemble("""
        _start: li a7, 5000
                li s1, 5
        again:  ecall
        patch:  addi a0, a0, 1
                addi s1, s1, -1
                bnez s1, again
                li a7, 93
                ecall
    """)
    vm, _ = load(elf(code, flags=7), engine=engine)
    values = iter((1, 10, 100, 1000, 7))

    @vm.syscall(5000)
    def patch(call):
        word = assemble(f"addi a0, a0, {next(values)}").data
        call.memory.write(code["patch"], word)

    assert vm.run().exit_code == 1118 & 255


# Host functions.


def test_a_host_function_replaces_a_guest_function(load: Load, engine: str) -> None:
    vm, output = load("callee", engine=engine)
    seen = []

    @vm.host_function("fact")
    def fact(call):
        seen.append(call.args[0])
        return 1 << 64 | 99

    assert vm.run().exit_code == 0
    assert seen == [10]
    assert b"fact: 99\n" in output


def test_host_functions_cost_nothing_and_may_be_breakpoints(load: Load, engine: str) -> None:
    vm, _ = load("callee", engine=engine)
    vm.host_function("add")(lambda call: None)
    result = vm.run(until="add")
    before = result.cycles
    assert (result.stop, result.pc) == (Stop.BREAKPOINT, vm.address_of("add"))
    back = vm.registers["ra"]
    assert vm.run(until=["add", back]).pc == back
    assert vm.cycles == before
    assert vm.run().stop is Stop.EXIT


def test_a_host_function_is_one_step(load: Load, engine: str) -> None:
    vm, _ = load("callee", engine=engine)
    vm.host_function("add")(lambda call: 5)
    vm.run(until="add")
    cycles = vm.cycles
    assert vm.step().stop is Stop.STEP
    assert (vm.pc, vm.cycles, vm.registers["a0"]) == (vm.registers["ra"], cycles, 5)


def test_a_host_function_added_while_its_code_is_compiled(load: Load, engine: str) -> None:
    vm, _ = load("callee", engine=engine)
    assert vm.call("fact", 5) == 120
    vm.host_function("fact")(lambda call: 7)
    assert vm.call("fact", 5) == 7


def test_a_host_function_with_a_bad_pointer_faults(load: Load, engine: str) -> None:
    vm, _ = load("callee", engine=engine)
    vm.host_function("add")(lambda call: call.memory.read_int(0, 8))
    result = vm.run()
    assert result.stop is Stop.FAULT
    assert isinstance(result.fault, OutOfBounds)
    assert result.fault.pc == result.pc == vm.address_of("add")


def test_what_a_host_function_may_return(load: Load) -> None:
    vm, _ = load("callee", engine="interp")
    vm.host_function("add")(lambda call: "five")
    with pytest.raises(ConfigError, match="'five'"):
        vm.run()
    with pytest.raises(UnknownSymbol):
        vm.host_function("nothing")


# Calls into the guest.


def test_calls_with_numbers_and_bytes(load: Load, engine: str) -> None:
    vm, _ = load("callee", engine=engine)
    before = list(vm.registers), vm.pc
    assert vm.call("add", 2, 40) == 42
    assert vm.call("add", -1, 0) == (1 << 64) - 1
    assert vm.call("fact", 20) == 2432902008176640000
    numbers = b"".join(number.to_bytes(8, "little") for number in (1, 2, 3, 1 << 40))
    assert vm.call("sum", numbers, 4) == 6 + (1 << 40)
    assert vm.call(vm.address_of("add"), 1, 2) == 3
    assert (list(vm.registers), vm.pc) == before
    assert vm.cycles > 0
    assert vm.run().exit_code == 0  # the program itself is where it was
    assert vm.call("add", 1, 1) == 2  # and after its end
    assert vm.run().stop is Stop.EXIT


def test_a_call_that_faults(load: Load, engine: str) -> None:
    vm, _ = load("callee", engine=engine)
    before = list(vm.registers), vm.pc
    with pytest.raises(CallStopped, match="call of crash did not return") as caught:
        vm.call("crash", 4)
    result = caught.value.result
    assert (result.stop, caught.value.function) == (Stop.FAULT, "crash")
    assert isinstance(result.fault, OutOfBounds)
    assert (result.fault.address, result.fault.access) == (0, "store")
    for name in ("crash_c", "crash_b", "crash_a", "crash"):
        assert name in str(caught.value)
    assert (list(vm.registers), vm.pc) == before
    assert vm.call("add", 1, 2) == 3


def test_a_call_that_stops_at_a_bound(load: Load, engine: str) -> None:
    vm, _ = load("callee", engine=engine)
    with pytest.raises(CallStopped) as caught:
        vm.call("fact", 1000, cycle_limit=500)
    assert (caught.value.result.stop, vm.cycles) == (Stop.CYCLE_LIMIT, 500)
    vm.pause()
    with pytest.raises(CallStopped, match="pause"):
        vm.call("fact", 5)
    assert vm.call("fact", 5) == 120


def test_a_call_that_exits(load: Load, engine: str) -> None:
    vm, _ = load(elf(assemble("_start: nop\n ends: li a7, 93\n li a0, 9\n ecall")), engine=engine)
    with pytest.raises(CallStopped) as caught:
        vm.call("ends")
    assert (caught.value.result.stop, caught.value.result.exit_code) == (Stop.EXIT, 9)
    assert vm.exit_code is None


def test_a_call_that_jumps_into_nowhere(load: Load, engine: str) -> None:
    vm, _ = load("callee", engine=engine)
    with pytest.raises(CallStopped) as caught:
        vm.call(0x40)
    assert caught.value.result.fault.access == "fetch"
    assert caught.value.result.pc == 0x40


def test_impossible_calls(load: Load) -> None:
    vm, _ = load("callee", engine="interp")
    with pytest.raises(ConfigError, match="9 arguments"):
        vm.call("add", *range(9))
    with pytest.raises(UnknownSymbol):
        vm.call("nothing")
    vm.registers["sp"] = 64
    with pytest.raises(OutOfBounds):
        vm.call("sum", bytes(16), 2)
    assert vm.registers["sp"] == 64
    assert vm.cycles == 0


# One inside the other.


def test_a_handler_may_call_the_guest(load: Load, engine: str) -> None:
    vm, output = load("callee", engine=engine)

    @vm.host_function("add")
    def add(call):
        return vm.call("fact", 5) + vm.call("sum", bytes(7) + b"\1" + bytes(8), 2)

    assert vm.run().exit_code == 0
    assert b"fact: 3628800\n" in output
    assert f"add: {120 + (1 << 56)}\n".encode() in output


def test_calls_three_deep(load: Load, engine: str) -> None:
    vm, _ = load("callee", engine=engine)
    vm.host_function("store_at")(lambda call: vm.call("sum", bytes([call.args[0]]) + bytes(7), 1))
    vm.host_function("add")(lambda call: vm.call("store_at", call.args[0] * 2) + 1)
    assert vm.call("add", 21) == 43


def test_the_limit_of_a_run_holds_around_calls_from_handlers(load: Load, engine: str) -> None:
    code = assemble("""
        _start: li a7, 5000
        again:  ecall
                j again
        leaf:   addi a0, a0, 1
                ret
    """)
    vm, _ = load(elf(code), engine=engine)
    vm.syscall(5000)(lambda call: vm.call("leaf"))
    result = vm.run(cycle_limit=1002, timeout=60)
    assert (result.stop, result.cycles) == (Stop.CYCLE_LIMIT, 1002)


def test_a_limit_inside_a_call_from_a_handler_is_seen_there(load: Load, engine: str) -> None:
    code = assemble("""
        _start: li a7, 5000
                ecall
        leaf:   j leaf
    """)
    vm, _ = load(elf(code), engine=engine)
    vm.syscall(5000)(lambda call: vm.call("leaf"))
    with pytest.raises(CallStopped, match="cycle_limit"):
        vm.run(cycle_limit=1000, timeout=60)
    assert vm.cycles == 999  # what the call ran is charged; the ecall is yet to be made
    with pytest.raises(CallStopped, match="cycle_limit"):
        vm.run(cycle_limit=1100, timeout=60)
    assert vm.cycles == 1099


def test_breakpoints_hold_around_calls_from_handlers(load: Load, engine: str) -> None:
    vm, _ = load("callee", engine=engine)
    vm.host_function("add")(lambda call: vm.call("fact", 3))
    places = ["fact", "sum"]
    assert vm.run(until="add").stop is Stop.BREAKPOINT
    result = vm.run(until=places)
    assert vm.run(until=["sum"]).pc == vm.address_of("sum")
    assert result.pc == vm.address_of("fact")
    assert vm.registers["a0"] != 3  # the fact of main, not the one that was called


def test_errors_of_handlers_inside_calls_pass_through(load: Load) -> None:
    vm, _ = load("callee", engine="jit")

    def fail(call):
        raise ZeroDivisionError

    vm.host_function("store_at")(fail)
    vm.host_function("add")(lambda call: vm.call("store_at"))
    with pytest.raises(ZeroDivisionError):
        vm.run()
    assert vm.pc == vm.address_of("add")
    vm.host_function("store_at")(lambda call: None)
    vm.host_function("add")(lambda call: None)
    assert vm.run().stop is Stop.EXIT


def test_streams_may_be_anything_callable(load: Load, engine: str) -> None:
    chunks: list[bytes] = []
    vm, _ = load("echo", engine=engine, stdin=b"some input\n", stdout=chunks.append, args=["one"])
    assert vm.run().exit_code == 0
    assert b"some input\n" in b"".join(chunks)
    assert b"one" in b"".join(chunks)


def test_a_closed_machine_does_not_run(load: Load, engine: str) -> None:
    vm, _ = load("callee", engine=engine)
    vm.run(cycle_limit=100)
    vm.close()
    vm.close()
    for entry in (vm.run, vm.step, lambda: vm.call("add", 1, 2)):
        with pytest.raises(ConfigError, match="closed"):
            entry()
    assert vm.cycles == 100
    assert isinstance(vm.backtrace()[0].pc, int)


def test_illegal_words_are_shown_as_they_are(load: Load, engine: str) -> None:
    for half, text in ((".half 0", "0x0000"), (".word 0xffffffff", "0xffffffff")):
        vm, _ = load(elf(assemble(f"_start: {half}\n nop")), engine=engine)
        fault = vm.run().fault
        assert isinstance(fault, IllegalInstruction)
        assert f"illegal instruction {text} (pc 0x10000)" in str(fault)


# Time, in runs inside runs.

LOOPS = """
    _start: li a7, 5000
            ecall
            li a7, 93
            beqz a0, leaves
    endless: addi a0, a0, 1
            j endless
    leaves: ecall
    soon:   ret
"""


@pytest.mark.parametrize("inner", [None, 60.0])
def test_the_time_of_the_outer_run_ends_the_call_inside_it_and_the_run(
    load: Load, engine: str, inner: float | None
) -> None:
    vm, _ = load(elf(assemble(LOOPS)), engine=engine, memory_size=1 << 20)
    stops = []

    @vm.syscall(5000)
    def call_back(call):
        with pytest.raises(CallStopped) as stopped:
            vm.call("endless", timeout=inner)
        stops.append(stopped.value.result.stop)
        return 1

    limit = 1 << 40  # hours: only a time-out that was lost gets there
    result = vm.run(timeout=0.05, cycle_limit=limit)
    assert (stops, result.stop) == ([Stop.TIMEOUT], Stop.TIMEOUT)
    assert result.pc == vm.address_of("_start") + 12  # right behind the call
    assert vm.run(cycle_limit=vm.cycles + 10).stop is Stop.CYCLE_LIMIT


def test_a_time_that_is_over_before_the_call_inside_is_not_withdrawn_with_it(load: Load) -> None:
    vm, _ = load(elf(assemble(LOOPS)), engine="interp", memory_size=1 << 20)

    @vm.syscall(5000)
    def call_back(call):
        while not vm.machine.pending():
            time.sleep(0.001)
        for depth in (1, 2):
            with pytest.raises(CallStopped):
                vm.call("soon", timeout=60 * depth)
        return 1

    assert vm.run(timeout=0.01, cycle_limit=1 << 40).stop is Stop.TIMEOUT
    assert vm.run(cycle_limit=vm.cycles + 10).stop is Stop.CYCLE_LIMIT


def test_the_time_of_a_call_inside_ends_only_the_call(load: Load) -> None:
    vm, _ = load(elf(assemble(LOOPS)), engine="jit", memory_size=1 << 20)

    @vm.syscall(5000)
    def call_back(call):
        with pytest.raises(CallStopped) as stopped:
            vm.call("endless", timeout=0.01)
        assert stopped.value.result.stop is Stop.TIMEOUT
        return 0

    assert vm.run(timeout=60).stop is Stop.EXIT

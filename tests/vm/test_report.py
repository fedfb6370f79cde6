"""Reports of faults: the function, and how the guest got there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from rvjit import VM, Aborted, Frame, Stop
from rvjit.vm.result import fault_as_dict
from tests.engines.assemble import R, W, X, assemble, elf

Load = Callable[..., tuple[VM, bytearray]]


def test_the_chain_of_a_crash(load: Load, engine: str) -> None:
    vm, _ = load("callee", engine=engine)
    vm.run(until="main")
    vm.registers["a0"] = 20
    caller = vm.pc + 4
    vm.registers["ra"] = caller
    vm.pc = vm.address_of("crash")
    result = vm.run()
    assert result.stop is Stop.FAULT
    frames = vm.backtrace()
    assert [frame.function for frame in frames[:5]] == [
        "crash_c", "crash_b", "crash_a", "crash", "main",
    ]  # fmt: skip
    assert frames[0].pc == result.pc
    assert frames[4].pc == caller
    for frame in frames[:4]:
        assert vm.address_of(frame.function or "") + frame.offset == frame.pc
    report = vm.fault_report(result).splitlines()
    assert report[0] == f"{result.fault}, after {result.cycles} cycles"
    assert "store of 8 bytes at 0x0" in report[0]
    assert report[1].startswith(f"  #0 {result.pc:#x} crash_c+0x")
    assert report[4].split()[2].startswith("crash+")


def test_recursion(load: Load) -> None:
    vm, _ = load("callee", engine="interp")
    vm.run(until="fact")
    for _ in range(4):
        vm.run(until="fact")
    frames = vm.backtrace()
    # The innermost has not run its prologue: its caller is in ra.
    assert [frame.function for frame in frames[:6]] == ["fact"] * 5 + ["main"]
    assert frames[0] == Frame(vm.address_of("fact"), "fact", 0)
    assert str(frames[0]) == f"{vm.pc:#x} fact"[: len(hex(vm.pc)) + 5] + "+0x0"


def test_deep_recursion_is_cut(load: Load, engine: str) -> None:
    vm, _ = load("recurse", engine=engine, memory_size=1 << 20)
    result = vm.run()
    assert result.stop is Stop.FAULT
    frames = vm.backtrace()
    assert len(frames) == 64
    assert {frame.function for frame in frames} == {"descend"}


def test_a_report_counts_the_frames_of_recursion(load: Load) -> None:
    vm, _ = load("recurse", engine="threaded", args=["5000"], memory_size=1 << 24)
    vm.run(until="descend")
    for _ in range(3):
        vm.run(until="descend")
    three = vm.fault_report(vm.run(cycle_limit=vm.cycles)).splitlines()
    assert [line.split()[2].partition("+")[0] for line in three[1:3]] == ["descend", "descend"]
    assert three[3] == "  ... 2 more like #1"
    assert three[4].startswith("  #4 ")
    assert "main+" in three[4]
    deepest = vm.run(cycle_limit=vm.cycles + 5000 * 11)
    lines = vm.fault_report(deepest).splitlines()
    assert len(lines) == len(three)
    more = int(lines[3].split()[1])
    assert more > 3000
    assert lines[4].startswith(f"  #{2 + more} ")
    assert lines[4].split()[1:] == three[4].split()[1:]
    assert len(vm.backtrace()) == 64
    assert len(vm.backtrace(limit=10_000)) == 2 + more + len(lines) - 4
    assert len(vm.backtrace(limit=1)) == 1


def test_a_report_of_functions_that_call_each_other(load: Load) -> None:
    code = assemble("""
        _start: li a0, 7
                call even
                nop
        even:   addi sp, sp, -16
                sd ra, 8(sp)
                addi a0, a0, -1
                bnez a0, . + 8
                ebreak
                call odd
                nop
        odd:    addi sp, sp, -16
                sd ra, 8(sp)
                addi a0, a0, -1
                bnez a0, . + 8
                ebreak
                call even
                nop
    """)
    vm, _ = load(elf(code), engine="interp")
    lines = vm.fault_report(vm.run()).splitlines()
    assert [line.split()[2].partition("+")[0] for line in lines[2:4]] == ["odd", "even"]
    assert lines[4] == "  ... 4 more like #1 to #2"
    assert lines[5].split()[0] == "#7"
    assert "_start" in lines[-1]


def test_a_report_without_end_is_cut(load: Load) -> None:
    vm, _ = load("recurse", engine="threaded", memory_size=1 << 24)
    lines = vm.fault_report(vm.run()).splitlines()
    assert lines[3:] == ["  ... at least 9998 more like #1"]


def test_without_symbols(load: Load) -> None:
    code = assemble("_start: nop\n ld a0, 0(zero)")
    bare = dataclasses.replace(code, labels={})
    vm, _ = load(elf(bare), engine="interp")
    result = vm.run()
    assert vm.backtrace() == [Frame(code.base + 4, None, 0)]
    assert vm.fault_report(result).endswith(f"after 2 cycles\n  #0 {code.base + 4:#x}")


def test_a_stack_that_is_nonsense_ends_the_trace(load: Load) -> None:
    vm, _ = load("callee", engine="interp")
    vm.run(until="fact")
    vm.run(until="fact")
    vm.step(6)
    for sp in (0, 1, (1 << 64) - 8, vm.memory.base + vm.memory.size - 4):
        vm.registers["sp"] = sp
        vm.registers["s0"] = sp
        assert vm.backtrace()[0].function == "fact"


def test_a_wild_pc_has_a_frame(load: Load, engine: str) -> None:
    vm, _ = load("callee", engine=engine)
    for pc in (0, 1, vm.memory.base + 1, (1 << 64) - 2):
        vm.pc = pc
        result = vm.run()
        assert result.stop is Stop.FAULT
        assert vm.backtrace()[0].pc == pc
        assert hex(pc) in vm.fault_report(result)


def test_an_abort_says_its_signal_and_place(load: Load, engine: str) -> None:
    vm, _ = load("abort_musl", engine=engine)
    result = vm.run()
    assert isinstance(result.fault, Aborted)
    assert result.fault.signal == 6
    assert result.fault.pc == result.pc == vm.pc
    assert vm.memory.read(vm.pc, 4) == assemble("ecall").data
    assert "ended by signal 6" in vm.fault_report(result)


def test_a_report_of_a_run_that_did_not_fault(load: Load) -> None:
    vm, _ = load("callee", engine="interp")
    result = vm.run(until="main")
    assert vm.fault_report(result).startswith(
        f"stopped: breakpoint, after {result.cycles} cycles\n  #0 {vm.pc:#x} main+0x0"
    )


def test_faults_as_json(load: Load) -> None:
    code = assemble("_start: li a0, 0x30ffd\n sd a0, 0(a0)\n .half 0")
    vm, _ = load(elf(code, R | X, ((0x30000, bytes(4096), R | W),)), engine="interp")
    fault = vm.run().fault
    shown = fault_as_dict(fault)
    assert shown == {
        "kind": "permission_denied",
        "address": "0x30ffd",
        "size": 8,
        "access": "store",
        "pc": hex(code.end - 6),
        "word": None,
        "message": str(fault),
    }
    vm.pc = code.end - 2
    shown = fault_as_dict(vm.run().fault)
    assert shown is not None
    assert (shown["kind"], shown["word"], shown["address"]) == ("illegal_instruction", "0x0", None)
    assert fault_as_dict(None) is None

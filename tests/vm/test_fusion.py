"""Fused operations as a user meets them: cycles, stops, steps, breakpoints, on every engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rvjit import VM, Profile, Stop
from rvjit.machine.memory import Memory
from rvjit.machine.pages import PAGE_SIZE
from tests.engines.assemble import Code, R, W, X, assemble, elf

Load = Callable[..., tuple[VM, bytearray]]

EXIT = "li a7, 93\n ecall"  # 501 cycles

ADC = """
            add a0, a0, a1
    second: sltu a1, a0, a1
    third:  add a0, a0, a2
            sltu a2, a0, a2
            or a1, a1, a2
    after:
"""


# Few different rules: the threaded engine is compiled anew for each.
def fusing(version: int = 2) -> Profile:
    return Profile("ckb", vm_version=version, isa="all")


FREE = Profile("linux", isa="imcba_zicond_mop")


def start(load: Load, source: str, engine: str, version: int = 2) -> tuple[VM, dict[str, int]]:
    code = assemble(f"_start: {source}\n {EXIT}")
    vm, _ = load(elf(code), profile=fusing(version), engine=engine)
    return vm, code.labels


def test_what_a_sequence_costs(load: Load, engine: str) -> None:
    source = f"li a0, -1\n li a1, 1\n li a2, 7\n {ADC} slli a1, a1, 3\n add a0, a0, a1"
    for isa, cycles in (("all", 3 + 1 + 2 + 501), ("imcba", 3 + 5 + 2 + 501)):
        code = assemble(f"_start: {source}\n {EXIT}")
        vm, _ = load(elf(code), profile=Profile("ckb", isa=isa), engine=engine)
        result = vm.run()
        assert (result.exit_code, result.cycles) == (7 + 8, cycles)


def test_far_jumps_of_version_1_leave_the_register(load: Load, engine: str) -> None:
    source = """
                li t0, 77
                auipc t0, 0
                jalr ra, 12(t0)
                addi t0, t0, 100
                mv a0, t0
    """
    for version, exit_code, cycles in ((1, 77, 1 + 3 + 1 + 501), (2, None, 1 + 1 + 3 + 1 + 501)):
        vm, labels = start(load, source, engine, version)
        result = vm.run()
        assert result.cycles == cycles
        assert vm.registers["ra"] == labels["_start"] + 12
        if exit_code is not None:
            assert result.exit_code == exit_code
        else:
            assert vm.registers["t0"] == labels["_start"] + 4  # auipc's own


def test_a_far_jump_links_behind_all_of_it(load: Load, engine: str) -> None:
    source = """
                lui ra, 0x10
                jalr ra, 20(ra)
                li a0, 1
                j out
                .word 0
                addi a0, a0, 5
                jalr zero, 0(ra)
        out:    addi a0, a0, 1
    """
    vm, labels = start(load, source, engine)
    assert labels["_start"] == 0x10000
    result = vm.run()
    assert (result.exit_code, result.cycles) == (2, 3 + 1 + 3 + 1 + 3 + 1 + 501)


def test_a_far_jump_out_of_memory(load: Load, engine: str) -> None:
    vm, _ = start(load, "lui ra, 0x80000\n jalr ra, 0(ra)", engine)
    result = vm.run()
    assert (result.stop, result.cycles) == (Stop.FAULT, 3)
    assert (result.ckb_error, result.pc) == ("MemOutOfBound", (1 << 64) - (1 << 31))


def test_a_stop_never_splits_an_operation(load: Load, engine: str) -> None:
    source = "li a1, 7\n li a2, 3\n divu a3, a1, a2\n remu a4, a1, a2\n mv a0, a4"
    for limit in range(2, 34):
        vm, labels = start(load, source, engine)
        result = vm.run(cycle_limit=limit)
        assert (result.stop, result.cycles) == (Stop.CYCLE_LIMIT, 2)
        assert result.pc == labels["_start"] + 8
        assert vm.registers["a3"] == vm.registers["a4"] == 0
    result = vm.run(cycle_limit=34)
    assert (result.cycles, result.pc) == (34, labels["_start"] + 16)
    assert (vm.registers["a3"], vm.registers["a4"]) == (2, 1)
    assert vm.run().exit_code == 1


def test_a_step_runs_all_of_it(load: Load, engine: str) -> None:
    vm, labels = start(load, f"li a0, 1\n li a1, 2\n {ADC}", engine)
    vm.step(2)
    result = vm.step()
    assert (result.stop, result.cycles, result.pc) == (Stop.STEP, 3, labels["after"])
    assert vm.registers["a0"] == 3


def test_a_breakpoint_inside_is_for_those_that_jump_there(load: Load, engine: str) -> None:
    source = f"""
                li a0, 1
                li s0, 2
        again:  {ADC}
                addi s0, s0, -1
                beqz s0, out
                j third
        out:    mv a0, s0
    """
    vm, labels = start(load, source, engine, version=1)
    result = vm.run(until=("second", "third"))
    assert (result.stop, result.pc) == (Stop.BREAKPOINT, labels["third"])
    # 1 each but for the branch and the jump; what remains of the sequence is three instructions.
    assert result.cycles == 2 + 1 + 1 + 3 + 3
    assert vm.run(until="after").cycles == result.cycles + 3
    assert vm.run().exit_code == 0


def test_what_is_fused_changes_with_the_next_page(load: Load, engine: str) -> None:
    """Whatever is changed in the next page, however far behind the head: the next fetch sees it."""
    base = 0x10000
    data = assemble(ADC).data
    for before in range(4, 20, 2):  # bytes of the sequence that are in the first page
        head = base + PAGE_SIZE - before
        start = assemble("_start: j . + 0").data.ljust(PAGE_SIZE - before, b"\0") + data[:before]
        rest = data[before:]
        program = elf(Code(base, start, {}), R | W | X, ((base + PAGE_SIZE, rest, R | W),))
        vm, _ = load(program, profile=FREE, engine=engine)
        memory = vm.machine.memory
        page = base + PAGE_SIZE
        memory.write(page + len(rest), assemble("j . + 0").data)

        def run_on(vm: VM = vm, head: int = head) -> tuple[int, Stop]:
            cycles = vm.cycles
            vm.pc = head
            result = vm.run(until=head + 20)
            return result.cycles - cycles, result.stop

        def allow(memory: Memory = memory, page: int = page, **allowed: bool) -> None:
            memory.protect(page, PAGE_SIZE, read=True, **allowed)

        alone, stop = run_on()
        assert stop is Stop.FAULT
        for _ in range(2):
            allow(write=False, execute=True)
            assert run_on() == (1, Stop.BREAKPOINT)
            allow(write=True, execute=False)
            assert run_on() == (alone, Stop.FAULT)
        allow(write=True, execute=True)
        for _ in range(2):
            memory.write(page, b"\xff" * len(rest))
            assert run_on()[1] is Stop.FAULT
            memory.write(page, rest)
            assert run_on() == (1, Stop.BREAKPOINT)


def test_a_kept_region_is_not_taken_for_other_members(load: Load) -> None:
    """The head's block ends at a breakpoint, what tells whether it is fused is behind that."""
    source = f"""
        _start: li a0, 1
        {ADC.replace("or a1, a1, a2", "or a1, a1, a3")}
                {EXIT}
    """
    code = assemble(source)
    program = elf(code, R | W | X)
    profile = Profile("linux", isa="imcba_zicond_mop", vm_version=1)
    fourth = code["after"] - 4
    for last, stops_inside in (("or a1, a1, a3", True), ("or a1, a1, a2", False)):
        vm, _ = load(program, profile=profile, engine="jit", name="one")
        vm.memory[fourth : fourth + 4] = assemble(last).data
        result = vm.run(until=(code["second"], code["after"]))
        assert result.pc == (code["second"] if stops_inside else code["after"])
        assert result.cycles == 2


@pytest.mark.parametrize("changes", ["or a1, a1, a2", "or a1, a1, a3"])
def test_a_sequence_that_rewrites_its_own_end(load: Load, engine: str, changes: str) -> None:
    """The last of five members is stored, right before the sequence, in every turn."""
    source = f"""
        _start: la s0, slot
                lw s1, 0(s0)
                la t0, other
                lw s2, 0(t0)
                li s3, 100
        loop:   li a1, 1
                sw s2, 0(s0)
                add a0, a0, a1
                sltu a1, a0, a1
                add a0, a0, a2
                sltu a2, a0, a2
        slot:   or a1, a1, a2
                mv t0, s1
                mv s1, s2
                mv s2, t0
                addi s3, s3, -1
                bnez s3, loop
                andi a0, a0, 127
                {EXIT}
        other:  {changes}
    """
    code = assemble(source)
    vm, _ = load(elf(code, R | W | X), profile=FREE, engine=engine)
    result = vm.run()
    assert result.exit_code == 100
    # Otherwise they are two sums with a carry, and the last: 10 operations a turn instead of 8.
    unfused = 0 if changes == "or a1, a1, a2" else 50
    assert result.cycles == 5 + 100 * 8 + unfused * 2 + 3

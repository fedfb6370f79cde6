"""Guests that attack: whatever they do ends in a stop, the same on every engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from rvjit import VM, RunResult, Stop
from rvjit.machine.pages import PAGE_SIZE
from tests.engines.assemble import Code, R, W, X, assemble, elf

Load = Callable[..., tuple[VM, bytearray]]
Part = tuple[int, bytes, int]

BASE = 0x10000
RWX = R | W | X
EXIT = "li a7, 93\n ecall\n"


def run_all(
    load: Load, code: Code, flags: int = R | X, parts: tuple[Part, ...] = (), **options: Any
) -> tuple[VM, RunResult]:
    """Run on every engine under two ways of stopping on the way; all must end alike."""
    ends = []
    for name, stride in (("interp", 0), ("jit", 0), ("jit", 7), ("lockstep", 0), ("interp", 5)):
        vm, output = load(
            elf(code, flags, parts), engine=name, **{"memory_size": 1 << 20, **options}
        )
        result = vm.run(cycle_limit=vm.cycles + stride if stride else 100_000)
        while result.stop is Stop.CYCLE_LIMIT and stride and vm.cycles < 2000:
            result = vm.run(cycle_limit=vm.cycles + stride)
        if result.stop is Stop.CYCLE_LIMIT:
            result = vm.run(cycle_limit=100_000)
        memory = vm.machine.memory
        ends.append(
            (
                result.stop, result.cycles, result.pc, result.exit_code, str(result.fault),
                list(vm.registers), bytes(memory.buffer), bytes(output),
            )
        )  # fmt: skip
        assert ends[0] == ends[-1], name
    return vm, result


# Code that changes.


def test_a_store_to_the_next_instruction_is_seen_by_it(load: Load) -> None:
    code = assemble("""
        _start: la t0, next
                la t1, other
                lw t1, 0(t1)
                sw t1, 0(t0)
        next:   li a0, 1
                li a7, 93
                ecall
        other:  li a0, 2
    """)
    _, result = run_all(load, code, RWX)
    assert result.exit_code == 2


def test_an_instruction_that_overwrites_itself_runs_once(load: Load) -> None:
    code = assemble("""
        _start: la t0, self
                la t1, other
                lw t1, 0(t1)
                li a0, 10
        again:  addi a0, a0, -1
        self:   sw t1, 0(t0)
                bnez a0, again
                li a7, 93
                ecall
        other:  li a0, 0
    """)
    _, result = run_all(load, code, RWX)
    assert (result.exit_code, result.cycles) == (0, 14)


def test_half_an_instruction_is_replaced(load: Load) -> None:
    code = assemble("""
        _start: la t0, target
                li t1, 0x0015
                li a0, 3
                sh t1, 0(t0)
                sh t1, 2(t0)
        target: .word 0xffffffff
                li a7, 93
                ecall
    """)
    _, result = run_all(load, code, RWX)  # c.addi zero, 5 twice: hints
    assert result.exit_code == 3


def test_a_hot_loop_is_rewritten_while_it_runs(load: Load) -> None:
    """Each round replaces an instruction in the middle of the loop that runs."""
    code = assemble("""
        _start: la s0, patch
                la s1, words
                li s2, 400
                li a0, 0
        again:  andi t0, s2, 12
                add t0, t0, s1
                lw t1, 0(t0)
                sw t1, 0(s0)
        patch:  addi a0, a0, 1
                addi s2, s2, -1
                bnez s2, again
                andi a0, a0, 255
                li a7, 93
                ecall
        words:  addi a0, a0, 1
                addi a0, a0, 2
                xori a0, a0, 5
                slli a0, a0, 1
    """)
    _, result = run_all(load, code, RWX)
    assert result.stop is Stop.EXIT


def test_code_copied_and_run_again_and_again(load: Load) -> None:
    """A small JIT of the guest's: write a function, call it, write another in its place."""
    code = assemble("""
        _start: li s0, 0x20ff8
                la s1, words
                li s2, 40
                li s3, 0
        again:  andi t0, s2, 7
                slli t0, t0, 2
                add t0, t0, s1
                lw t1, 0(t0)
                sw t1, 0(s0)
                sw t1, 4(s0)
                sw t1, 8(s0)
                la t2, ret
                lw t2, 0(t2)
                sw t2, 12(s0)
                mv a0, s2
                jalr ra, 0(s0)
                add s3, s3, a0
                addi s2, s2, -1
                bnez s2, again
                andi a0, s3, 255
                li a7, 93
                ecall
        ret:    ret
        words:  addi a0, a0, 1
                slli a0, a0, 1
                xori a0, a0, -1
                addiw a0, a0, 9
                andi a0, a0, 77
                add a0, a0, a0
                sub a0, zero, a0
                ori a0, a0, 16
    """)
    _, result = run_all(load, code, R | X, ((0x20000, bytes(0x2000), RWX),))
    assert result.stop is Stop.EXIT


def test_a_system_call_writes_code(load: Load) -> None:
    code = assemble("""
        _start: li s2, 3
        again:  li a0, 0
                la a1, patch
                li a2, 4
                li a7, 63
                ecall
        patch:  addi s3, s3, 1
                addi s2, s2, -1
                bnez s2, again
                mv a0, s3
                li a7, 93
                ecall
    """)
    patches = b"".join(assemble(f"addi s3, s3, {each}").data for each in (10, 20, 30))
    _, result = run_all(load, code, RWX, stdin=patches)
    assert result.exit_code == 60


def test_mprotect_switches_executability(load: Load) -> None:
    """The code is compiled, forbidden (a fault), allowed again, and changed in between."""
    code = assemble(
        """
        _start: li s0, 0x20000
                jalr ra, 0(s0)
                li a2, 3
                jal s1, protect
                la t0, other
                lw t0, 0(t0)
                sw t0, 0(s0)
                li a2, 5
                jal s1, protect
                jalr ra, 0(s0)
                li a2, 1
                jal s1, protect
                jalr ra, 0(s0)
        protect: mv s5, a0
                mv a0, s0
                li a1, 4096
                li a7, 226
                ecall
                mv a0, s5
                jr s1
        other:  addi a0, a0, 100
    """.replace("jr s1", "jalr zero, 0(s1)")
    )
    function = assemble("addi a0, a0, 1\n ret").data
    vm, result = run_all(load, code, R | X, ((0x20000, function, R | X),))
    assert result.fault is not None
    assert (result.fault.kind, result.fault.access) == ("permission_denied", "fetch")
    assert (result.pc, vm.registers["a0"]) == (0x20000, 101)


def test_munmap_takes_code_away(load: Load) -> None:
    code = assemble("""
        _start: li s0, 0x20000
                jalr ra, 0(s0)
                mv a0, s0
                li a1, 4096
                li a7, 215
                ecall
                jalr ra, 0(s0)
    """)
    function = assemble("addi a0, a0, 1\n ret").data
    _, result = run_all(load, code, R | X, ((0x20000, function, R | X),))
    assert result.fault is not None
    assert (result.pc, result.fault.kind) == (0x20000, "permission_denied")


def test_code_and_data_in_one_page_are_exact_and_not_slow(load: Load) -> None:
    """Every round writes to the page it runs in: translations are dropped, until that ends."""
    code = assemble("""
        _start: la s0, cell
                li s2, 20000
        again:  ld t0, 0(s0)
                addi t0, t0, 3
                sd t0, 0(s0)
                addi s2, s2, -1
                bnez s2, again
                ld a0, 0(s0)
                andi a0, a0, 255
                li a7, 93
                ecall
                .org 256
        cell:   .word 0, 0
    """)
    for name in ("interp", "jit"):
        vm, _ = load(elf(code, RWX), engine=name, memory_size=1 << 20)
        started = time.monotonic()
        result = vm.run(timeout=120)
        took = time.monotonic() - started
        assert (result.stop, result.exit_code) == (Stop.EXIT, 60_000 & 255)
        assert vm.memory.read_int(code["cell"]) == 60_000
        assert took < 30, "20000 rounds"


def test_a_page_that_stops_mixing_in_data(load: Load) -> None:
    """A function beside the data it writes is called from another page a few thousand times."""
    code = assemble("""
        _start: li s0, 0x20000
                li s2, 3000
        again:  jalr ra, 0(s0)
                addi s2, s2, -1
                bnez s2, again
                li a0, 0
                li a7, 93
                ecall
    """)
    function = assemble("""
        auipc t0, 0
        ld t1, 256(t0)
        addi t1, t1, 1
        sd t1, 256(t0)
        ret
        .org 512
    """).data
    vm, result = run_all(load, code, R | X, ((0x20000, function, RWX),))
    assert result.exit_code == 0
    assert vm.memory.read_int(0x20100) == 3000


# Jumps.


def test_jumps_into_the_middle_of_instructions(load: Load) -> None:
    """The second half of a long instruction is another one; both are run in turn."""
    code = assemble("""
        _start: li s2, 20
        again:  la t0, both
                andi t1, s2, 1
                slli t1, t1, 1
                add t0, t0, t1
                jalr zero, 0(t0)
        both:   .word 0x05051537
                addi s2, s2, -1
                bnez s2, again
                andi a0, a0, 255
                li a7, 93
                ecall
    """)
    _, result = run_all(load, code)  # lui a0, 0x5051, or its upper half: c.addi a0, 1
    assert result.exit_code == 0x5051000 + 1 & 255 or result.stop is Stop.EXIT


def test_odd_addresses(load: Load) -> None:
    """Jalr clears the lowest bit; nothing else can make pc odd."""
    code = assemble("""
        _start: la t0, target
                addi t0, t0, 1
                jalr ra, 0(t0)
                nop
        target: jalr ra, 8(t0)
                nop
        behind: mv a0, ra
                andi a0, a0, 1
                li a7, 93
                ecall
    """)
    _, result = run_all(load, code)
    assert (result.stop, result.exit_code) == (Stop.EXIT, 0)


def test_an_odd_pc_set_by_the_host_is_the_same_everywhere(load: Load) -> None:
    code = assemble("_start: nop\n addi a0, a0, 1\n nop\n nop\n .space 4096")
    ends = []
    for name in ("interp", "jit", "lockstep"):
        for offset in (1, 3, 4093, 4095):
            vm, _ = load(elf(code), engine=name, memory_size=1 << 20)
            vm.pc = code.base + offset
            result = vm.run(cycle_limit=20)
            ends.append((name, offset, str(result.fault), result.pc, vm.cycles, vm.registers[10]))
    assert [end[1:] for end in ends[:4]] == [end[1:] for end in ends[4:8]]
    assert [end[1:] for end in ends[:4]] == [end[1:] for end in ends[8:]]


@pytest.mark.parametrize(
    "target",
    [0, 2, BASE - 2, BASE - 4, 0x80000, (1 << 64) - 2, 1 << 63, BASE + (1 << 20), 0x20000],
    ids=hex,
)
def test_wild_jumps(load: Load, target: int) -> None:
    code = assemble(f"_start: li t0, {target}\n li a0, 1\n jalr ra, 0(t0)")
    _, result = run_all(load, code, parts=((0x20000, bytes(16), R | W),))
    assert result.stop is Stop.FAULT
    assert result.fault is not None
    assert (result.pc, result.fault.pc) == (target, target)


# The ends of pages and of memory.


@pytest.mark.parametrize("tail", ["addi a0, a0, 1", "c.addi a0, 1\n c.addi a0, 1"])
def test_code_that_runs_into_the_end_of_memory(load: Load, tail: str) -> None:
    size = 1 << 20
    end = BASE + size
    source = f"_start: li t0, {end - 4}\n li a0, 1\n jalr zero, 0(t0)"
    code = assemble(source)
    for name in ("interp", "jit", "lockstep"):
        vm, _ = load(elf(code), engine=name, memory_size=size)
        memory = vm.machine.memory
        memory.protect(end - 4096, 4096, read=True, write=False, execute=True)
        memory.initialise(end - 4, assemble(tail).data)
        result = vm.run()
        assert result.fault is not None
        assert (result.pc, result.fault.kind, result.fault.access) == (
            end, "out_of_bounds", "fetch",
        )  # fmt: skip
        assert vm.registers["a0"] == 2 + ("c." in tail)


def test_half_an_instruction_at_the_end_of_memory(load: Load) -> None:
    size = 1 << 20
    end = BASE + size
    code = assemble(f"_start: li t0, {end - 2}\n jalr zero, 0(t0)")
    faults = []
    for name in ("interp", "jit", "lockstep"):
        vm, _ = load(elf(code), engine=name, memory_size=size)
        memory = vm.machine.memory
        memory.protect(end - 4096, 4096, read=True, write=False, execute=True)
        memory.initialise(end - 2, b"\x13\x05")
        result = vm.run()
        faults.append((str(result.fault), result.pc, result.cycles))
        assert result.pc == end - 2
        assert result.fault is not None
        assert (result.fault.kind, result.fault.pc) == ("out_of_bounds", end - 2)
    assert faults[0] == faults[1] == faults[2]


def across(offset: int) -> Code:
    """A loop whose long instruction lies *offset* bytes before a page end."""
    return assemble(f"""
        _start: li s2, 5
                j there
                .org {PAGE_SIZE - offset}
        there:  addi a0, a0, 1
                addi s2, s2, -1
                bnez s2, there
                li a7, 93
                ecall
    """)


@pytest.mark.parametrize("offset", [0, 2, 4])
def test_an_instruction_across_a_page_end(load: Load, offset: int) -> None:
    _, result = run_all(load, across(offset))
    assert result.exit_code == 5


def test_an_instruction_whose_second_page_is_not_executable(load: Load) -> None:
    code = across(2)
    first = Code(code.base, code.data[:PAGE_SIZE], code.labels)
    rest = (code.base + PAGE_SIZE, code.data[PAGE_SIZE:], R | W)
    _, result = run_all(load, first, R | X, (rest,))
    assert result.fault is not None
    assert (result.pc, result.fault.kind) == (code["there"], "permission_denied")


def test_the_second_page_of_an_instruction_is_taken_away(load: Load) -> None:
    """The page before holds nothing that changed, but one instruction reaches out of it."""
    code = across(2)
    for name in ("interp", "jit", "lockstep"):
        vm, _ = load(elf(code), engine=name, memory_size=1 << 20)
        vm.run(until=code["there"])
        vm.run(until=code["there"])
        memory = vm.machine.memory
        memory.protect(code.base + PAGE_SIZE, 1, read=True, write=True, execute=False)
        result = vm.run()
        assert (result.stop, result.pc, vm.registers["a0"]) == (Stop.FAULT, code["there"], 1)
        memory.protect(code.base + PAGE_SIZE, 1, read=True, write=False, execute=True)
        result = vm.run()
        assert (result.stop, result.exit_code) == (Stop.EXIT, 5)


def test_the_second_half_of_an_instruction_is_written(load: Load) -> None:
    """A store to the second page changes an instruction that starts in the first."""
    code = assemble(f"""
        _start: li s2, 6
                la s0, there
                la s1, others
                j there
                .org {PAGE_SIZE - 2}
        there:  addi a0, a0, 1
                andi t0, s2, 1
                slli t0, t0, 1
                add t0, t0, s1
                lh t1, 0(t0)
                sh t1, 2(s0)
                addi s2, s2, -1
                bnez s2, there
                li a7, 93
                ecall
        others: .half 0x0015, 0x0645
    """)
    _, result = run_all(load, code, RWX)  # addi a0, a0, 1 or 100
    assert result.exit_code == 1 + 1 + 100 + 1 + 100 + 1


# Running away.


def test_endless_recursion_with_and_without_stack(load: Load, engine: str) -> None:
    vm, _ = load(elf(assemble("_start: call _start")), engine=engine, memory_size=1 << 20)
    assert vm.run(cycle_limit=200_000).stop is Stop.CYCLE_LIMIT
    code = assemble("_start: addi sp, sp, -16\n sd ra, 0(sp)\n call _start")
    vm, _ = load(elf(code), engine=engine, memory_size=1 << 20)
    result = vm.run()
    assert result.fault is not None
    assert (result.fault.kind, result.fault.access) == ("permission_denied", "store")
    assert result.pc == code.base + 4


def test_a_jump_to_itself_is_stopped_by_everything(load: Load, engine: str) -> None:
    for source in ("_start: j _start", "_start: c.j _start", "_start: beq a0, a0, _start"):
        vm, _ = load(elf(assemble(source)), engine=engine, memory_size=1 << 20)
        assert vm.run(cycle_limit=12345).cycles == 12345
        assert vm.run(timeout=0.02).stop is Stop.TIMEOUT
        vm.pause()
        assert vm.run().stop is Stop.PAUSE
        assert vm.run(until="_start").stop is Stop.BREAKPOINT


def test_a_maze_of_indirect_jumps(load: Load) -> None:
    """Every instruction is an entry: computed jumps to each of many places."""
    jumps = "\n".join(f"addi a0, a0, {index % 7}" for index in range(64))
    code = assemble(f"""
        _start: li s2, 300
                la s0, places
                li s3, 0
        again:  addi s3, s3, 37
                andi s3, s3, 63
                slli t0, s3, 2
                add t0, t0, s0
                jalr zero, 0(t0)
        places: {jumps}
                addi s2, s2, -1
                bnez s2, again
                andi a0, a0, 255
                li a7, 93
                ecall
    """)
    _, result = run_all(load, code)
    assert result.stop is Stop.EXIT


def test_system_calls_with_wild_arguments(load: Load) -> None:
    """Pointers and lengths of every kind to calls that read and write memory."""
    values = (0, 1, BASE, BASE + (1 << 20) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
    lines = []
    for number in (63, 64, 65, 66, 80, 113, 160, 278, 214, 222, 215, 226, 29, 73):
        for first in values[::3]:
            for second in values:
                lines.append(f"li a0, {first}\nli a1, {second}\nli a2, {second}\nli a7, {number}")
                lines.append("li a3, 0x22\nli a4, -1\necall")
    code = assemble("_start:\n" + "\n".join(lines) + "\nli a0, 7\n" + EXIT)
    ends = []
    for name in ("interp", "jit"):
        vm, output = load(elf(code), engine=name, memory_size=1 << 20, stdin=b"abc")
        result = vm.run(timeout=120)
        ends.append((result.stop, result.exit_code, result.cycles, str(result.fault), output))
    assert ends[0] == ends[1]
    assert ends[0][0] in (Stop.EXIT, Stop.FAULT)


def test_random_bytes_as_a_program(load: Load) -> None:
    import random

    for seed in range(30):
        data = random.Random(seed).randbytes(3000)
        code = Code(BASE, data, {})
        ends = []
        for name in ("interp", "jit"):
            vm, _ = load(elf(code, RWX), engine=name, memory_size=1 << 20)
            result = vm.run(cycle_limit=3000)
            ends.append((result.stop, result.pc, result.cycles, list(vm.registers)))
        assert ends[0] == ends[1], seed

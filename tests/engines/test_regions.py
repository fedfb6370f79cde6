"""What compiled regions take for granted, and what happens where it stops being true.

Jump tables are read when a region is made; loops look at page flags for many turns at once;
registers are loaded from the state buffer as late as they can be.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from rvjit import VM, Stop
from rvjit.codegen.blocks import find_region
from rvjit.machine.pages import PAGE_SIZE
from tests.differential.rig import state_difference
from tests.engines.assemble import R, W, X, assemble, elf

Load = Callable[..., tuple[VM, bytearray]]

RWX = R | W | X
MEMORY = 0x50000  # all of it is compared at every stop

# a0 counts down; a1 picks the case, which changes in each turn; a2 collects.
SWITCH = """
    _start: li a0, {turns}
            la s1, table
            li s2, 3
            li a1, 0
            li a2, 0
    loop:   addi a1, a1, 1
            andi a3, a1, {mask}
            bltu s2, a3, other
            slli a4, a3, 2
            add a4, a4, s1
            lw a5, 0(a4)
            {relative}
            jr a5
    zero:   addi a2, a2, 1
            j next
    one:    addi a2, a2, 16
            j next
    two:    slli a2, a2, 1
            j next
    three:  xori a2, a2, 85
    {change}
    next:   addi a0, a0, -1
            bnez a0, loop
            andi a0, a2, 127
            li a7, 93
            ecall
    other:  addi a2, a2, 3
            j next
    wild:   addi a2, a2, 7
            j next
    table:  {entries}
"""


def switch(*, relative: bool, turns: int = 200, mask: int = 3, change: str = "") -> bytes:
    """A program around a jump table, whose entries are addresses or distances to the table."""
    source = SWITCH.format(
        turns=turns, mask=mask, change=change, relative="add a5, a5, s1" if relative else "",
        entries=".space 16",
    )  # fmt: skip
    code = assemble(source)
    entries = "\n".join(
        f".word {code[name] - (code['table'] if relative else 0) & 0xFFFF_FFFF}"
        for name in ("zero", "one", "two", "three")
    )
    return elf(assemble(source.replace(".space 16", entries)), RWX)


def same_everywhere(load: Load, program: bytes, strides: tuple[int, ...] = (0, 1, 64)) -> VM:
    """Run under several ways of stopping; every stop of the JIT must be the interpreter's."""
    for stride in strides:
        ran, _ = load(program, engine="jit", memory_size=MEMORY)
        reference, _ = load(program, engine="interp", memory_size=MEMORY)
        while True:
            limit = ran.cycles + stride if stride and ran.cycles < 64 * stride else 1_000_000
            results = [vm.run(cycle_limit=limit) for vm in (ran, reference)]
            assert results[0].stop is results[1].stop
            assert state_difference(ran.machine, reference.machine) is None
            if results[0].stop is not Stop.CYCLE_LIMIT:
                break
    return ran


@pytest.mark.parametrize("relative", [False, True])
def test_a_jump_table_is_part_of_the_region(load: Load, relative: bool) -> None:
    program = switch(relative=relative)
    vm, _ = load(program, engine="interp", memory_size=MEMORY)
    vm.run(until=vm.program.entry + 40)  # the registers hold what the table is found by
    source = find_region(vm.machine, vm.program.entry, frozenset())
    assert source is not None
    tables = [node for node in source.nodes.values() if node.table is not None]
    assert len(tables) == 1
    assert len(tables[0].cases) == 4
    assert None not in tables[0].cases
    same_everywhere(load, program)


@pytest.mark.parametrize("relative", [False, True])
def test_a_table_that_changes_while_it_is_used(load: Load, relative: bool) -> None:
    # From the turn on in which a0 is 100, the first entry leads where no region has seen it lead.
    change = f"""
            li t0, 100
            bne a0, t0, next
            la t1, wild
            {"la t2, table" if relative else "li t2, 0"}
            sub t1, t1, t2
            sw t1, 0(s1)
    """
    changed = same_everywhere(load, switch(relative=relative, turns=202, change=change))
    plain = same_everywhere(load, switch(relative=relative, turns=202), (0,))
    assert changed.registers["a2"] != plain.registers["a2"]


def test_numbers_beyond_the_table(load: Load) -> None:
    same_everywhere(load, switch(relative=False, mask=7))


def fill(store: str, step: int, count: int, start: int) -> bytes:
    """A loop that stores *count* times, *step* bytes apart."""
    code = assemble(f"""
        _start: li a0, {start}
                li a1, {count}
        loop:   {store}
                addi a0, a0, {step}
                addi a1, a1, -1
                bnez a1, loop
                li a7, 93
                li a0, 0
                ecall
    """)
    return elf(code, R | X, ((0x20000, bytes(40 * PAGE_SIZE), R | W),))


@pytest.mark.parametrize("step", [1, 2, 4, 8, 12, 64, 1000, 2040, -8, -64, 0])
def test_loops_that_store_across_pages(load: Load, step: int) -> None:
    # Pages become dirty one by one, never before a store reaches them.
    width = next(width for width in (8, 4, 2, 1) if step % width == 0)
    store = {1: "sb a1, 0(a0)", 2: "sh a1, 0(a0)", 4: "sw a1, 0(a0)", 8: "sd a1, 0(a0)"}[width]
    count = min(20 * PAGE_SIZE // max(abs(step), 1), 6000)
    start = 0x20000 + (PAGE_SIZE - 32 if step >= 0 else 39 * PAGE_SIZE + 64)
    same_everywhere(load, fill(store, step, count, start), (0, 501))


@pytest.mark.parametrize("offset", [0, 3, 4090, 4095])
def test_loops_whose_stores_cross_pages(load: Load, offset: int) -> None:
    same_everywhere(load, fill("sd a1, 0(a0)", 24, 2000, 0x20000 + offset), (0, 333))


def test_a_loop_that_stores_into_what_it_may_not(load: Load) -> None:
    # Past the last writable page: everything before has happened, nothing behind.
    vm = same_everywhere(load, fill("sd a1, 0(a0)", 8, 100_000, 0x20000 + 38 * PAGE_SIZE))
    assert vm.pc == vm.program.entry + 12 or vm.machine.fault is not None


def test_a_step_known_only_at_run_time(load: Load) -> None:
    for step in (1, 3, 64, 4096, 9000, -16):
        code = assemble(f"""
            _start: li a0, {0x20000 if step > 0 else 0x20000 + 30 * PAGE_SIZE}
                    li a1, {min(30 * PAGE_SIZE // abs(step), 3000)}
                    li a2, {step}
            loop:   sb a1, 0(a0)
                    lbu a3, 0(a0)
                    add a0, a0, a2
                    addi a1, a1, -1
                    bnez a1, loop
                    li a7, 93
                    ecall
        """)
        program = elf(code, R | X, ((0x20000, bytes(40 * PAGE_SIZE), R | W),))
        same_everywhere(load, program, (0, 777))


def test_registers_that_only_some_ways_need(load: Load, seeds: Callable[[int], range]) -> None:
    # Random mazes of short blocks, with calls: each block reads and writes a few of the registers
    # that no call passes in host registers.
    registers = ["s2", "s3", "s4", "t0", "t1", "a3", "a4", "a5"]
    for seed in seeds(12):
        rng = random.Random(seed)
        lines = ["_start: li s0, 400"]
        lines += [f"li {name}, {rng.getrandbits(20)}" for name in registers]
        for block in range(12):
            lines.append(f"b{block}:")
            for _ in range(rng.randrange(4)):
                rd, rs1, rs2 = (rng.choice(registers) for _ in range(3))
                lines.append(f"{rng.choice(('add', 'sub', 'xor', 'mul'))} {rd}, {rs1}, {rs2}")
            if rng.random() < 0.4:
                lines.append(f"call f{rng.randrange(3)}")
            lines += ["addi s0, s0, -1", "beqz s0, out"]
            first, second = (f"b{rng.randrange(12)}" for _ in range(2))
            lines.append(f"bltu {rng.choice(registers)}, {rng.choice(registers)}, {first}")
            lines.append(f"j {second}")
        lines += ["out: li a7, 93", "andi a0, s2, 127", "ecall"]
        for function in range(3):
            # Long enough not to be taken in, and with a loop of its own.
            lines += [f"f{function}: li t2, {1 + function}", f"g{function}:"]
            for _ in range(34):
                rd, rs1, rs2 = (rng.choice(registers) for _ in range(3))
                lines.append(f"{rng.choice(('add', 'xor', 'or'))} {rd}, {rs1}, {rs2}")
            lines += ["addi t2, t2, -1", f"bnez t2, g{function}", "ret"]
        same_everywhere(load, elf(assemble("\n".join(lines)), RWX), (0, 97))

"""What only the threaded engine has: marks, heat, records, growth; and its use of the reference."""

from __future__ import annotations

import random
import threading

import pytest

from rvjit.codegen.llvm import compiler
from rvjit.codegen.threaded import compile_threaded
from rvjit.codegen.threaded_abi import ENTRIES, TABLE, key
from rvjit.isa import Isa
from rvjit.isa.cost import MAX_PRICE, Cost, PriceModel
from rvjit.machine.machine import Machine
from rvjit.machine.memory import Memory
from rvjit.machine.pages import HOLDS_CODE, PAGE_SIZE, STORE_FAST
from rvjit.machine.rules import Rules
from rvjit.machine.stop import Exit, Stop
from rvjit.threaded.engine import Threaded
from tests.differential.programs import random_guest
from tests.differential.rig import CKB, LINUX, STRICT, Guest, Part, Rig
from tests.engines.assemble import Code, assemble

BASE = 0x10000
CODE = BASE + PAGE_SIZE
SIZE = 64 * PAGE_SIZE
LOOP = """
        li a0, 0
        li a1, 1000
    loop:
        addi a0, a0, 1
    branch:
        bne a0, a1, loop
        ecall
"""


def machine_with(code: Code, *, allow_writes: bool = False, rules: Rules = LINUX) -> Machine:
    memory = Memory(SIZE, BASE)
    memory.initialise(code.base, code.data, dirty=False)
    memory.protect(code.base, len(code.data), read=True, write=allow_writes, execute=True)
    machine = Machine(memory, rules)
    machine.pc = code.base
    return machine


def load(source: str, **options: object) -> tuple[Code, Machine, Threaded]:
    code = assemble(source, CODE)
    machine = machine_with(code, **options)  # type: ignore[arg-type]
    return code, machine, Threaded(machine, counts=True)


# Hand-over to compiled code.


def test_a_compiled_pc_is_left_to_its_code() -> None:
    code, machine, engine = load(LOOP)
    engine.mark_compiled(code["loop"])
    assert engine.begin() is None
    for round_ in range(5):
        assert engine.enter() is Exit.ENTER
        assert (machine.pc, machine.x[10], machine.cycles) == (code["loop"], round_, 2 + 2 * round_)
        assert engine.resolve(Exit.ENTER) is None
        assert engine.advance(2) is Stop.STEP  # what the code would do
        machine.arm_limit()
    engine.unmark(code["loop"])
    assert engine.run() is Stop.SYSCALL
    assert machine.x[10] == 1000


def test_marks_are_seen_by_code_that_falls_into_them() -> None:
    """Also where the instruction before shares a handler with the marked one."""
    code, machine, engine = load("addi a0, a0, 1\nhere: addi a0, a0, 2\naddi a0, a0, 3\necall")
    assert engine.step(1) is Stop.STEP  # decodes all
    machine.pc = CODE
    engine.mark_compiled(code["here"])
    assert engine.begin() is None
    assert engine.enter() is Exit.ENTER
    assert (machine.pc, machine.x[10]) == (code["here"], 2)


def test_a_dropped_page_has_no_compiled_code() -> None:
    code, machine, engine = load(LOOP, allow_writes=True)
    engine.mark_compiled(code["loop"])
    engine.step(1)
    machine.memory.write(CODE, code.data)
    machine.pc = CODE
    assert engine.run() is Stop.SYSCALL


@pytest.mark.parametrize("first", [1, 7, 256])
@pytest.mark.parametrize("rounds", [1, 3])
def test_hot_after_so_many_visits(first: int, rounds: int) -> None:
    code, machine, engine = load(LOOP)
    engine.hot_after(rounds, first)
    assert engine.begin() is None
    visits = first + 256 * (rounds - 1)
    assert engine.enter() is Exit.HOT
    assert (machine.pc, machine.x[10]) == (code["loop"], visits)
    assert engine.rounds(code["loop"]) == rounds
    assert engine.enter() is Exit.SYSCALL  # it is said once
    engine.set_rounds(code["loop"], 0)
    machine.pc = CODE
    assert engine.enter() is Exit.HOT


def test_calls_and_register_jumps_are_counted_returns_are_not() -> None:
    source = """
            li s0, 600
        again:
            call function
        back:
            addi s0, s0, -1
            bnez s0, again
            ecall
        function:
            la t0, inside
            jr t0
        inside:
            ret
    """
    code, machine, engine = load(source)
    engine.hot_after(1, 100)
    engine.begin()
    seen = []
    while engine.enter() is Exit.HOT:
        seen.append(machine.pc)
    assert sorted(seen) == sorted([code["function"], code["inside"], code["again"]])


def test_steps_do_not_stop_where_it_is_hot_or_compiled() -> None:
    code, machine, engine = load(LOOP)
    engine.hot_after(1, 5)
    engine.mark_compiled(code["loop"])
    assert engine.step(2 + 2 * 500) is Stop.STEP
    assert (machine.pc, machine.x[10]) == (code["loop"], 500)
    machine.breakpoints = frozenset({code["branch"]})
    assert engine.advance(100) is Stop.BREAKPOINT
    assert machine.x[10] == 501


# Records.


def test_decoding_marks_pages_and_stores_there_are_seen() -> None:
    source = """
            la s0, target
            li t0, 0x00150513       # addi a0, a0, 1
            li a0, 0
            sw t0, 0(s0)
        target:
            addi a0, a0, 8
            ecall
    """
    code, machine, engine = load(source, allow_writes=True)
    assert engine.run() is Stop.SYSCALL
    assert machine.x[10] == 1
    flags = machine.memory.flags[(code.base - BASE) // PAGE_SIZE]
    assert flags & HOLDS_CODE
    assert not flags & STORE_FAST


def test_what_ran_together_is_forgotten_together() -> None:
    """The host rewrites code behind a page end, again and again, at every distance from it."""
    rng = random.Random(5)
    for shift in range(0, 24, 2):
        filler = "c.nop\n" * ((PAGE_SIZE - shift) // 2)
        body = "\n".join(
            rng.choice(("c.addi a0, 1", "addi a0, a0, 1", "c.add a0, a1", "add a1, a0, a1"))
            for _ in range(20)
        )
        code = assemble(f"{filler}{body}\necall", CODE)
        changed = assemble(f"{filler}{body.replace('1', '2').replace('a2', 'a1')}\necall", CODE)
        part = Part(CODE, code.data, "rwx")
        guest = Guest((part,), CODE, (0,) * 32, BASE, SIZE, LINUX, f"shift {shift}")
        rig = Rig(guest, first_name="threaded")
        for turn in range(4):
            data = (changed, code)[turn % 2].data[PAGE_SIZE : len(code.data) - 4]
            for machine in rig.machines:
                machine.pc = CODE
                machine.memory.write(CODE + PAGE_SIZE, data)
            assert rig.run() is Stop.SYSCALL


def test_code_that_appears_outside_the_span() -> None:
    code, machine, engine = load("li t0, 0x40000\njr t0")
    other = assemble("li a0, 5\necall", 0x40000)
    memory = machine.memory
    assert engine.step(1) is Stop.STEP
    memory.initialise(other.base, other.data)
    memory.protect(other.base, PAGE_SIZE, read=True, write=False, execute=True)
    machine.breakpoints = frozenset({other.end - 4})
    assert engine.run() is Stop.BREAKPOINT
    assert machine.x[10] == 5
    assert engine.run() is Stop.SYSCALL
    assert code.base == CODE


def test_odd_addresses_are_left_to_the_reference() -> None:
    code = assemble("c.nop\n" * 20 + "ecall", CODE)
    data = b"\x01" + code.data  # everything is one byte later
    part = Part(CODE, data, "rx")
    guest = Guest((part,), CODE + 1, (0,) * 32, BASE, SIZE, LINUX, "odd")
    rig = Rig(guest, first_name="threaded")
    for _ in range(3):
        rig.step(3)
    assert rig.run() is Stop.SYSCALL


@pytest.mark.parametrize("where", [0, BASE - 2, BASE + SIZE, BASE + SIZE - 2, (1 << 64) - 2])
def test_jumps_to_nowhere(where: int) -> None:
    for source in (f"li t0, {where}\njr t0", f"li t0, {where}\njalr ra, 0(t0)"):
        code = assemble(source, CODE)
        part = Part(CODE, code.data, "rx")
        guest = Guest((part,), CODE, (0,) * 32, BASE, SIZE, LINUX, source)
        assert Rig(guest, first_name="threaded").run() is Stop.FAULT


def test_direct_jumps_out_of_the_span() -> None:
    for offset in (-(1 << 20), (1 << 20) - 2, -4096, 4094):
        code = assemble(f"jal ra, . + {offset}", CODE)
        part = Part(CODE, code.data, "rx")
        guest = Guest((part,), CODE, (0,) * 32, BASE, SIZE, LINUX, str(offset))
        rig = Rig(guest, first_name="threaded")
        for _ in range(600):  # visits are counted there, too
            assert rig.run() is Stop.FAULT
            rig.reset()


# Limits and prices.


def test_large_prices() -> None:
    prices = {cost: 1 << 31 | number for number, cost in enumerate(Cost)}
    prices[Cost.BRANCH] = MAX_PRICE
    rules = Rules(isa=Isa.parse("imcba_zicond"), prices=PriceModel("large", prices))
    guest = random_guest(3, rules=rules, size=20)
    rig = Rig(guest, first_name="threaded")
    rig.run()
    total = rig.machines[0].cycles
    assert total > MAX_PRICE
    rng = random.Random(1)
    for _ in range(40):
        rig.reset()
        rig.run(rng.randrange(total))


def test_a_limit_that_was_lowered() -> None:
    _, machine, engine = load(LOOP)
    machine.cycle_limit = 50
    assert engine.run() is Stop.CYCLE_LIMIT
    before = machine.pc, machine.cycles
    for limit in (10, 0, 50):
        machine.cycle_limit = limit
        assert engine.run() is Stop.CYCLE_LIMIT
        assert engine.step(3) is Stop.CYCLE_LIMIT
        assert (machine.pc, machine.cycles) == before


@pytest.mark.parametrize("limit", [0, 1])
def test_a_fault_of_fetching_costs_nothing(limit: int) -> None:
    """Not even where nothing is left, in runs as in steps."""
    for source in (".word 0", "nop\n.word 0"):
        part = Part(CODE, assemble(source, CODE).data, "rx")
        guest = Guest((part,), CODE, (0,) * 32, BASE, SIZE, LINUX, source)
        rig = Rig(guest, first_name="threaded")
        first = rig.run(limit)
        rig.reset()
        for machine in rig.machines:
            machine.cycle_limit = limit
        stops = [engine.step(5) for engine in rig.engines]
        rig.compare(source, stops)
        assert stops[0] is first


def test_a_withdrawn_request_stops_nobody() -> None:
    _, machine, engine = load(LOOP)
    machine.request(Stop.PAUSE)
    machine.withdraw(Stop.PAUSE)
    assert engine.run() is Stop.SYSCALL


def test_no_pause_is_lost() -> None:
    """Requests come at any time, also between the steps of a native step."""
    _, machine, engine = load("loop: addi a0, a0, 1\nbeqz zero, loop")
    asked = threading.Event()
    served = threading.Event()

    def ask() -> None:
        for _ in range(300):
            machine.request(Stop.PAUSE)
            asked.set()
            served.wait()
            served.clear()

    thread = threading.Thread(target=ask)
    thread.start()
    rng = random.Random(2)
    for _ in range(300):
        stop = Stop.STEP
        while stop is Stop.STEP:
            stop = engine.step(rng.randrange(1, 5000)) if rng.random() < 0.7 else engine.run()
        assert stop is Stop.PAUSE
        assert machine.cycles in (2 * machine.x[10], 2 * machine.x[10] - 1)
        served.set()
    thread.join()
    assert asked.is_set()


@pytest.mark.parametrize(
    "loop",
    [
        "jal zero, . + 0",
        "beq zero, zero, . + 0",
        "addi a0, a0, 0\nbeq zero, zero, . + 0",
        "li t0, 0x11004\njr t0",
        "li ra, 0x11004\njr ra",
        "j next\nback: j back2\nnext: j back\nback2: j next",
    ],
)
def test_the_smallest_loops_can_be_paused(loop: str) -> None:
    _, machine, engine = load(loop)
    for _ in range(3):
        timer = threading.Timer(0.01, machine.request, [Stop.PAUSE])
        timer.start()
        assert engine.run() is Stop.PAUSE
        timer.join()


# The native code as a whole.


def test_the_key_names_every_rule() -> None:
    rules = [
        LINUX,
        CKB,
        STRICT,
        Rules(isa=LINUX.isa, ebreak_stops=False),
        Rules(isa=LINUX.isa, aligned_atomics=False),
        Rules(isa=LINUX.isa, ckb_reservation=True),
        Rules(isa=LINUX.isa, strict_loads=True),
        Rules(isa=Isa.parse("imcba_zicond", strict_fences=True)),
        Rules(isa=Isa.parse("imc")),
    ]
    assert len({key(each, counts=False) for each in rules}) == len(rules)
    same = Rules(isa=Isa.parse("imcba_zicond"))
    assert key(same, counts=True) == key(LINUX, counts=True) != key(LINUX, counts=False)


def test_code_depends_on_nothing_but_the_rules() -> None:
    """Twice the same bytes, no relocation, and nothing but the entries and the table is named."""
    rules = Rules(isa=Isa.parse("imc"))
    first, second = (compile_threaded(rules, compiler(), counts=True) for _ in range(2))
    assert first == second
    assert set(first.symbols) == {*ENTRIES, TABLE}


@pytest.mark.parametrize("name", ["threaded", "jit"])
def test_an_amo_needs_a_readable_page_with_strict_loads(name: str) -> None:
    source = "li a0, 0x20000\namoadd.w a1, a2, (a0)\necall"
    code = assemble(source, CODE)
    rules = Rules(isa=LINUX.isa, strict_loads=True)
    parts = (Part(CODE, code.data, "rx"), Part(0x20000, b"\1" * 8, "w"))
    guest = Guest(parts, CODE, (0,) * 32, BASE, SIZE, rules, source)
    assert Rig(guest, first_name=name).run() is Stop.FAULT

"""The tracer says what instructions did: cases written by hand, and runs rebuilt from a trace."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from rvjit import VM, Stop, example
from rvjit.isa.registers import ABI_NAMES
from rvjit.machine.pages import PAGE_SIZE
from rvjit.replay.tracer import TraceEntry, Tracer
from tests.engines.assemble import R, W, X, assemble, elf

DATA = 0x40000


def trace(source: str, count: int, *, engine: str = "interp", **options: Any) -> list[TraceEntry]:
    """What the first *count* instructions of a program do that has a writable page at DATA."""
    code = assemble(source)
    file = elf(code, R | W | X, ((DATA, bytes(range(1, 65)), R | W),))
    vm = VM.from_elf(file, engine=engine, **options)
    tracer = Tracer(vm.machine, vm.engine)
    entries = [tracer.step()[1] for _ in range(count)]
    assert None not in entries
    return [entry for entry in entries if entry is not None]


# Typed by hand from the manual: what each line shows of its instruction.
CASES = {
    "lui a0, 0x12": ({"a0": "0x12000"}, None),
    "addi a0, zero, -1": ({"a0": "0xffffffffffffffff"}, None),
    "addi zero, zero, 5": (None, None),
    "nop": (None, None),
    "ld a1, 8(t0)": ({"a1": "0x100f0e0d0c0b0a09"}, ("load", 0x40008, 8, 0x100F0E0D0C0B0A09)),
    "lb a1, 1(t0)": ({"a1": "0x2"}, ("load", 0x40001, 1, 2)),
    "ld zero, 0(t0)": (None, ("load", 0x40000, 8, 0x0807060504030201)),
    "sw t1, 4(t0)": (None, ("store", 0x40004, 4, 0x9ABCDEF0)),
    "sb t1, 0(t0)": (None, ("store", 0x40000, 1, 0xF0)),
    "c.sw a5, 0(a4)": (None, ("store", 0x40000, 4, 0x0)),
    "jal ra, . + 4": ({"ra": "0x{next}"}, None),
    "lr.w a0, (t0)": ({"a0": "0x4030201"}, ("load", 0x40000, 4, 0x4030201)),
}


@pytest.mark.parametrize("line", CASES)
def test_one_instruction(line: str) -> None:
    registers, access = CASES[line]
    before = f"li t0, {DATA:#x}\nmv a4, t0\nli t1, 0x123456789abcdef0\nplace: "
    code = assemble(f"_start: {before}{line}")
    at = code["place"]
    vm = VM.from_elf(elf(code, R | X, ((DATA, bytes(range(1, 65)), R | W),)), engine="interp")
    vm.run(until=at)
    cycle = vm.cycles
    stop, entry = Tracer(vm.machine, vm.engine).step()
    assert stop is Stop.STEP
    assert entry is not None
    found = json.loads(entry.line())
    assert (found["cycle"], found["pc"]) == (cycle, hex(at))
    assert found["insn"].split()[0] == ("addi" if line == "nop" else line.split(maxsplit=1)[0])
    length = 2 if line.startswith("c.") else 4
    word = int.from_bytes(code.data[at - code.base :][:length], "little")
    assert int(found["word"], 16) == word
    wanted = {key: text.format(next=f"{at + 4:x}") for key, text in (registers or {}).items()}
    assert found.get("registers", {}) == wanted
    shown = [(e["access"], int(e["address"], 16), e["size"], int(e["value"], 16))
             for e in found.get("memory", ())]  # fmt: skip
    assert shown == ([access] if access else [])


def test_atomics() -> None:
    entries = trace(
        f"""
        _start: lui t0, {DATA >> 12:#x}
                addi t1, zero, 7
                amoadd.w a0, t1, (t0)
                sc.w a1, t1, (t0)
                lr.w a2, (t0)
                sc.w a3, t1, (t0)
                lr.w a2, (t0)
                sc.d a3, t1, (t0)
        """,
        8,
    )
    amo, lost, _, kept, _, wrong_size = entries[2:]
    assert [tuple(each) for each in amo.memory] == [
        ("load", DATA, 4, 0x4030201),
        ("store", DATA, 4, 0x4030208),
    ]
    assert (lost.memory, lost.register) == ((), (11, 1))
    assert [tuple(each) for each in kept.memory] == [("store", DATA, 4, 7)]
    assert kept.register == (13, 0)
    assert (wrong_size.memory, wrong_size.register) == ((), (13, 1))


def test_faults_say_what_was_tried() -> None:
    entries = trace("_start: li a0, 8\nld a1, 0(a0)\n.word 0", 2)
    assert entries[1].text == "ld a1, 0(a0)"
    assert "load of 8 bytes at 0x8" in (entries[1].fault or "")
    assert (entries[1].register, entries[1].memory) == (None, ())
    illegal = trace("_start: .word 0xffffffff", 1)
    assert (illegal[0].text, illegal[0].word) == (None, None)
    assert "illegal instruction" in (illegal[0].fault or "")
    outside = trace(f"_start: lui t0, {DATA >> 12:#x}\njr t0", 3)
    assert (outside[1].fault, outside[2].word) == (None, None)
    assert "fetch" in (outside[2].fault or "")


def test_code_that_changes_is_shown_as_it_is_then() -> None:
    source = """
        _start: la t0, place
                li t1, 0x00100513       # li a0, 1
        place:  addi a0, zero, 2
                sw t1, 0(t0)
                j place
    """
    entries = trace(source, 8)
    at_place = [entry for entry in entries if entry.text and entry.text.startswith("addi a0")]
    assert [entry.register for entry in at_place] == [(10, 2), (10, 1)]


def test_nothing_is_begun_beyond_the_limit(load: Callable[..., Any]) -> None:
    vm, _ = load("callee", engine="interp")
    tracer = Tracer(vm.machine, vm.engine)
    vm.machine.cycle_limit = 3
    stops = [tracer.step()[0] for _ in range(4)]
    assert stops == [Stop.STEP] * 3 + [Stop.CYCLE_LIMIT]
    assert tracer.step()[1] is None


@pytest.mark.parametrize(("name", "argument"), [("sha256", "1"), ("json", "1"), ("fib", "5")])
def test_a_run_can_be_rebuilt_from_its_trace(name: str, argument: str) -> None:
    """Registers and memory follow from the state before and the effects alone."""
    vm = VM.from_elf(
        example(name),
        args=[argument],
        engine="threaded",
        memory_size=4 << 20,
        stdout=lambda data: None,
    )
    machine, base = vm.machine, vm.machine.memory.base
    registers = machine.x.tolist()
    memory = bytearray(machine.memory.buffer)
    tracer = Tracer(machine, vm.engine)
    for _ in range(10_000):
        stop, entry = tracer.step()
        if stop is not Stop.STEP:
            break
        assert entry is not None
        if entry.register is not None:
            registers[entry.register[0]] = entry.register[1]
        for access, address, size, value in entry.memory:
            at = address - base
            if access == "store":
                memory[at : at + size] = value.to_bytes(size, "little")
            else:
                assert int.from_bytes(memory[at : at + size], "little") == value
        assert entry.cycle + 1 == machine.cycles
    assert machine.cycles > 500
    assert dict(zip(ABI_NAMES, registers, strict=True)) == dict(
        zip(ABI_NAMES, machine.x, strict=True)
    )
    for page in range(0, len(memory), PAGE_SIZE):
        assert memory[page : page + PAGE_SIZE] == machine.memory.buffer[page : page + PAGE_SIZE]

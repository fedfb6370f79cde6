"""Lockstep finds what one engine does wrong, and names the first instruction that differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rvjit import VM, EngineMismatch, InternalError, PriceModel, Profile, Stop
from rvjit.codegen.lower import Lowering
from rvjit.interp import translate
from rvjit.isa import Cost
from rvjit.isa.expr import Op, Val
from rvjit.values import replace
from tests.engines.assemble import Code, R, W, X, assemble, elf

Load = Callable[..., tuple[VM, bytearray]]

PROGRAM = assemble("""
    _start: li a0, 100
            li a1, 0x12345
            li a3, 0x80000000
    again:  addi a1, a1, 7
            xor a2, a1, a0
    planted: rol a3, a3, a2
            add a1, a1, a3
            addi a0, a0, -1
            bnez a0, again
            li a7, 93
            ecall
""")

PROGRAM_CYCLES = (PROGRAM["planted"] - PROGRAM.base) // 4


@pytest.fixture
def rotates_wrong_when_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The JIT rotates the other way, but only from the fifth round on can that be seen."""
    right = Lowering.lower

    def lower(self: Lowering, value: Val) -> str:
        if value.op is Op.ROL:
            value = Val(Op.ROR, value.width, value.args, value.payload)
        return right(self, value)

    monkeypatch.setattr(Lowering, "lower", lower)


@pytest.fixture
def rotates_wrong_when_interpreted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    right = translate.expression

    def expression(value: Val) -> str:
        if value.op is Op.ROL:
            value = Val(Op.ROR, value.width, value.args, value.payload)
        return right(value)

    translate.factory.cache_clear()
    monkeypatch.setattr(translate, "expression", expression)
    yield
    translate.factory.cache_clear()


# Nothing that others compiled, and nothing that others get: some of it is wrong on purpose.
ALONE: dict[str, Any] = {"engine": "lockstep", "memory_size": 1 << 20, "cache": False}


def mismatch(load: Load, code: Code = PROGRAM, **options: Any) -> EngineMismatch:
    vm, _ = load(elf(code, R | W | X), **ALONE, **options)
    with pytest.raises(EngineMismatch) as caught:
        vm.run(timeout=60)
    return caught.value


def check_rotation(found: EngineMismatch) -> None:
    assert isinstance(found, InternalError)
    assert (found.field, found.pc) == ("x13 (a3)", PROGRAM["planted"])
    assert found.text == "rol a3, a3, a2"
    assert found.first != found.second
    for part in ("rol a3, a3, a2", hex(PROGRAM["planted"]), found.first, found.second, "a3"):
        assert str(part) in str(found)
    assert found.cycles == PROGRAM_CYCLES  # before it ran for the first time


@pytest.mark.usefixtures("rotates_wrong_when_compiled")
def test_a_wrong_lowering_is_found(load: Load) -> None:
    check_rotation(mismatch(load))


@pytest.mark.usefixtures("rotates_wrong_when_interpreted")
def test_a_wrong_translation_is_found(load: Load) -> None:
    check_rotation(mismatch(load))


@pytest.mark.usefixtures("rotates_wrong_when_compiled")
def test_nothing_is_found_where_it_makes_no_difference(load: Load) -> None:
    code = assemble("_start: li a0, 5\n rol a0, a0, zero\n li a7, 93\n ecall")
    vm, _ = load(elf(code), **ALONE)
    assert vm.run().exit_code == 5


@pytest.mark.usefixtures("rotates_wrong_when_compiled")
def test_it_is_found_far_into_a_run(load: Load) -> None:
    """Many chunks were equal before; the rest of the run must not hide it either."""
    code = assemble("""
        _start: li a0, 205000
        again:  addi a0, a0, -1
                bnez a0, again
                li a1, 0x1234567
        planted: rol a2, a1, a1
                li a0, 1000
        more:   addi a0, a0, -1
                bnez a0, more
                li a7, 93
                ecall
    """)
    found = mismatch(load, code)
    assert (found.pc, found.text, found.field) == (code["planted"], "rol a2, a1, a1", "x12 (a2)")
    assert found.cycles == 410_004


def test_wrong_memory_flags_cycles_and_stops_are_found(load: Load) -> None:
    """Everything public is compared: each change here is made behind lockstep's back."""

    def in_memory(vm: VM) -> None:
        vm.machine.memory.buffer[0x5000] ^= 1
        vm.machine.memory.buffer[0x4000 - 4096 + 8] ^= 1

    def in_flags(vm: VM) -> None:
        vm.machine.memory.flags[7] ^= 1

    for change, field in (
        (in_memory, "byte at 0x13008"),
        (in_flags, "flags of the page at 0x17000"),
    ):
        code = assemble("""
            _start: li a0, 0x13000
            again:  ld a1, 0(a0)
                    addi a1, a1, 1
                    sd a1, 0(a0)
                    li a7, 5000
                    ecall
                    j again
        """)
        program = elf(code, R | X, ((0x13000, bytes(64), R | W),))
        vm, _ = load(program, **ALONE)
        vm.syscall(5000)(lambda call, vm=vm, change=change: change(vm) if vm.cycles > 50 else None)
        with pytest.raises(EngineMismatch) as caught:
            vm.run(cycle_limit=100)
        assert caught.value.field == field


def test_a_price_that_differs_is_found(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    from rvjit.codegen import emit

    class Wrong(PriceModel):
        def __getitem__(self, cost: Cost) -> int:
            return self.prices[cost] + (cost is Cost.DIV)

    right = emit.RegionEmitter.__init__

    def init(self, source, rules, *args, **named):

        prices = Wrong("wrong", rules.prices.prices)
        right(self, source, replace(rules, prices=prices), *args, **named)

    monkeypatch.setattr(emit.RegionEmitter, "__init__", init)
    code = assemble("_start: li a0, 3\n nop\n div a1, a0, a0\n again: addi a1, a1, 1\n j again")
    vm, _ = load(elf(code), **ALONE)
    with pytest.raises(EngineMismatch):
        vm.run(cycle_limit=100)


def test_a_run_without_differences_is_like_any_other(load: Load) -> None:
    results = []
    for name in ("lockstep", "interp"):
        vm, output = load("atomics", engine=name, memory_size=1 << 20)
        results.append((vm.run(), bytes(output), list(vm.registers)))
    assert results[0] == results[1]


def test_what_the_host_changes_is_seen_by_both(load: Load) -> None:
    vm, _ = load("callee", **ALONE)
    memory = vm.machine.memory
    sp = vm.registers["sp"]
    vm.run(cycle_limit=500)
    vm.memory.write(sp - 4096, b"x" * 2000)
    memory.initialise(sp - 4096, b"y" * 10)
    memory.zero(sp - 8192, 4096)
    memory.protect(vm.address_of("main"), 4, read=True, write=True, execute=True)
    memory.set_flag(3, 1)
    memory.clear_flag(3, 1)
    vm.registers["t6"] = 99
    assert vm.run().stop is Stop.EXIT


def test_dear_instructions_do_not_hold_it_up(load: Load) -> None:
    prices = PriceModel("dear", dict.fromkeys(Cost, 1 << 30))
    vm, _ = load(
        "callee",
        **ALONE,
        profile=Profile(prices=prices),
    )
    assert vm.run(cycle_limit=50 << 30).cycles == 50 << 30

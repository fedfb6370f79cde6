"""Profiles and options: each part can be chosen alone, and impossible ones are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rvjit import (
    CKB_PRICES,
    UNIT_PRICES,
    VM,
    ConfigError,
    Cost,
    Isa,
    LoadError,
    PriceModel,
    Profile,
    Stop,
)
from tests.engines.assemble import assemble, elf

Load = Callable[..., tuple[VM, bytearray]]

NOP = elf(assemble("_start: nop\n mul a0, a0, a0\n ld a1, 0(sp)\n ebreak"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"profile": "windows"}, "unknown profile 'windows'"),
        ({"engine": "qemu"}, "unknown engine 'qemu'"),
        ({"memory_size": 0}, "memory size 0x0"),
        ({"memory_size": 4097}, "memory size 0x1001"),
        ({"memory_size": -4096}, "memory size -0x1000"),
        ({"memory_size": (64 << 30) + 4096}, "memory size 0x1000001000"),
        ({"args": ["a\0b"]}, "NUL"),
        ({"args": [b"\0"]}, "NUL"),
        ({"env": {"A": "b\0"}}, "NUL"),
        ({"env": {"A\0": "b"}}, "NUL"),
        ({"args": ["x" * 40_000_000]}, "room for"),
        ({"name": "a\0b"}, "NUL"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_impossible_options(load: Load, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        load(NOP, **options)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"name": "mac"}, "known are linux, ckb"),
        ({"isa": "imq"}, "q"),
        ({"isa": "ima"}, "lacks c"),
        ({"isa": ""}, "nothing named"),
        ({"isa": "imac_zfoo"}, "zfoo"),
        ({"isa": "all", "vm_version": 0}, "part of versions 1 and 2"),
        ({"vm_version": -1}, "VM version -1"),
        ({"vm_version": 3}, "VM version 3"),
        ({"vm_version": "2"}, "VM version '2'"),
        ({"syscalls": "bsd"}, "unknown system calls 'bsd'"),
        ({"memory_size": 5}, "memory size 0x5"),
        ({"name": "ckb", "memory_size": 1 << 40}, "memory size"),
    ],
    ids=str,
)
def test_impossible_profiles(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Profile(**parts)


def test_a_file_that_is_not_there(tmp_path) -> None:
    with pytest.raises(LoadError, match="No such file"):
        VM.from_elf(tmp_path / "none.elf")
    with pytest.raises(LoadError, match="cannot read"):
        VM.from_elf(str(tmp_path))


def test_what_the_profiles_are() -> None:
    linux, ckb = Profile(), Profile("ckb")
    assert str(linux.isa) == "rv64imac_zba_zbb_zbc_zbs_zicond"
    assert str(ckb.isa) == "rv64imc_zba_zbb_zbc_zbs_mop"
    assert (linux.memory_size, ckb.memory_size) == (64 << 20, 4 << 20)
    assert (linux.prices, ckb.prices) == (UNIT_PRICES, CKB_PRICES)
    assert (linux.syscalls, ckb.syscalls) == ("linux", "ckb")
    assert (linux.memory_base, ckb.memory_base) == (0x10000, 0)
    assert (linux.is_ckb, ckb.is_ckb, ckb.vm_version) == (False, True, 2)
    assert (linux.rules.ebreak_stops, ckb.rules.ebreak_stops) == (True, False)
    assert linux == Profile("linux")
    assert linux != ckb


def test_each_part_can_be_chosen_alone(load: Load, engine: str) -> None:
    """One program: what it costs and where it ends shows which part is whose."""

    def run(**parts: Any) -> tuple[Stop, int, str]:
        vm, _ = load(NOP, engine=engine, profile=Profile(**parts))
        result = vm.run()
        assert result.fault is not None
        return result.stop, result.cycles, result.fault.kind

    assert run() == (Stop.FAULT, 4, "breakpoint")
    # Under ckb ebreak goes on, to what is not executable.
    assert run(name="ckb")[1:] == (508, "illegal_instruction")
    assert run(name="ckb", prices=UNIT_PRICES)[1:] == (4, "illegal_instruction")
    assert run(prices=CKB_PRICES) == (Stop.FAULT, 508, "breakpoint")
    assert run(isa="imc")[1:] == (4, "breakpoint")


def test_the_isa_decides_what_is_an_instruction(load: Load, engine: str) -> None:
    program = elf(assemble("_start: sh1add a0, a0, a0\n czero.eqz a0, a0, a0\n lr.d a0, (sp)"))
    for isa, done in (("imc", 0), ("imcb", 1), ("imcb_zicond", 2), ("imcba_zicond", 3)):
        vm, _ = load(program, engine=engine, profile=Profile(isa=isa))
        assert vm.run().cycles == done
        vm, _ = load(program, engine=engine, profile=Profile(isa=Isa.parse(isa)))
        assert vm.run().cycles == done


def test_the_callers_own_prices(load: Load, engine: str) -> None:
    prices = PriceModel("own", {cost: 10 + index for index, cost in enumerate(Cost)})
    vm, _ = load(NOP, engine=engine, profile=Profile(prices=prices))
    expected = sum(prices[cost] for cost in (Cost.ALU, Cost.MUL, Cost.LOAD_D, Cost.SYSTEM))
    assert vm.run().cycles == expected
    vm, _ = load(NOP, engine=engine, profile=Profile(prices=prices))
    for limit in range(expected):
        vm.run(cycle_limit=limit)
        assert vm.cycles <= limit
    assert vm.run().cycles == expected


def test_dear_prices_do_not_overflow(load: Load, engine: str) -> None:
    prices = PriceModel("dear", dict.fromkeys(Cost, 1 << 32))
    code = assemble("_start: addi a0, a0, 1\n j _start")
    vm, _ = load(elf(code), engine=engine, profile=Profile(prices=prices))
    vm.machine.cycles = (1 << 63) - (5 << 32)
    result = vm.run()
    assert result.stop is Stop.CYCLE_LIMIT
    assert result.cycles == (1 << 63) - (1 << 32)
    assert vm.registers["a0"] == 2


@pytest.mark.parametrize(
    ("prices", "words"),
    [
        ({}, "no price for alu"),
        ({cost: 1 for cost in Cost if cost is not Cost.DIV}, "no price for div"),
        (dict.fromkeys(Cost, 1) | {"alu": 1}, "unknown classes"),
        (dict.fromkeys(Cost, 1) | {Cost.ALU: 0}, "outside"),
        (dict.fromkeys(Cost, 1) | {Cost.ALU: -1}, "outside"),
        (dict.fromkeys(Cost, 1) | {Cost.ALU: 1.5}, "outside"),
        (dict.fromkeys(Cost, 1) | {Cost.ALU: 1 << 33}, "outside"),
    ],
    ids=["none", "one missing", "extra", "zero", "negative", "fraction", "huge"],
)
def test_impossible_prices(prices: dict[Any, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        PriceModel("bad", prices)


def test_strict_loads(load: Load, engine: str) -> None:
    program = elf(assemble("_start: li a0, 0x80000\n ld a1, 0(a0)"))
    vm, _ = load(program, engine=engine)
    vm.run()
    assert vm.cycles == 2  # reads zero, then there is no more code
    vm, _ = load(program, engine=engine, profile=Profile(strict_loads=True))
    result = vm.run()
    assert result.fault is not None
    assert (result.fault.kind, result.cycles) == ("permission_denied", 2)
    assert result.pc == vm.program.entry + 4


def test_argv_by_profile(load: Load) -> None:
    for profile, args, expected in (
        ("linux", ["a", b"b"], [b"prog", b"a", b"b"]),
        ("linux", [], [b"prog"]),
        (Profile("ckb", isa="imcba"), ["a", b"b"], [b"a", b"b"]),
        (Profile("ckb", isa="imcba"), [], []),
    ):
        vm, _ = load(NOP, engine="interp", profile=profile, args=args, name="prog")
        sp = vm.registers["sp"]
        count = vm.memory.read_int(sp)
        argv = [vm.memory.read_int(sp + 8 * (1 + index)) for index in range(count)]
        assert [vm.memory.read_string(address) for address in argv] == expected


def test_missing_engines_say_why(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import platform

    from rvjit import EngineUnavailable
    from rvjit.codegen import llvm
    from rvjit.jit import engine as jit

    monkeypatch.setenv("RVJIT_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(llvm, "_compiler", None)
    monkeypatch.setattr(jit, "_runtime", None)
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    for name in ("jit", "lockstep"):
        with pytest.raises(EngineUnavailable, match="riscv64"):
            load(NOP, engine=name)
    assert load(NOP, engine="interp")[0].run().stop is Stop.FAULT

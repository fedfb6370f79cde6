"""What callers get wrong: a clear error at once, and nothing half done."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest

import rvjit
from rvjit import VM, ConfigError, Isa, PriceModel, Profile, Stop
from rvjit.isa import Cost

Load = Callable[..., tuple[VM, bytearray]]


@pytest.mark.parametrize(
    "options",
    [
        {"prices": {}},
        {"prices": {Cost.ALU: 1}},
        {"isa": 5},
        {"isa": "all", "vm_version": 0},
        {"isa": "imc_mop", "name": "linux", "vm_version": 0},
        {"memory_size": "4M"},
        {"memory_size": 1.5},
    ],
)
def test_an_impossible_profile(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"\S"):
        Profile(**options)


def test_an_isa_is_made_of_known_extensions() -> None:
    with pytest.raises(ConfigError):
        Isa(frozenset({"i", "m", "c", "q"}))


def test_ckb_is_strict_about_fences_however_the_isa_is_given() -> None:
    assert Profile("ckb", isa="imc").rules == Profile("ckb", isa=Isa.parse("imc")).rules


@pytest.mark.parametrize(
    "options",
    [{"args": [1]}, {"args": b"ab"}, {"args": "abc"}, {"env": {"a": 1}}, {"profile": None}],
)
def test_impossible_arguments(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        VM.from_elf(rvjit.example("hello"), **options)


def test_a_handler_that_returns_nonsense_has_not_made_its_call(engine: str) -> None:
    vm = VM.from_elf(rvjit.example("hello"), engine=engine, stdout=lambda data: None)
    answers: list[Any] = ["x", 1.5, 0]
    vm.syscall(64)(lambda call: answers.pop(0))
    for _ in range(2):
        with pytest.raises(ConfigError, match="system call 64"):
            vm.run()
    assert vm.memory[vm.pc : vm.pc + 4] == b"\x73\0\0\0"
    vm.syscall(64)(lambda call: call.args[2])
    assert vm.run().stop is Stop.EXIT


def test_closing_inside_a_handler_is_refused() -> None:
    vm = VM.from_elf(rvjit.example("hello"), engine="interp", stdout=lambda data: None)
    vm.syscall(64)(lambda call: vm.close())
    with pytest.raises(ConfigError, match="handler"):
        vm.run()


def test_errors_results_and_profiles_can_be_sent_to_other_processes() -> None:
    errors = [
        rvjit.ElfError("e_type", 7, "nonsense"),
        rvjit.OutOfBounds(0x10, 4, "load", 0x10000),
        rvjit.IllegalInstruction(0x1234, 0x10000),
        rvjit.UnknownSymbol("main", "a.elf"),
    ]
    for error in errors:
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert again.__dict__ == error.__dict__
    profile = Profile("ckb", isa="imcba", prices=PriceModel("mine", dict.fromkeys(Cost, 3)))
    assert pickle.loads(pickle.dumps(profile)) == profile == copy.deepcopy(profile)


@pytest.mark.parametrize("size", [128 << 10, 256 << 10])
def test_a_small_host_stack_is_enough(size: int, engine: str) -> None:
    vm = VM.from_elf(rvjit.example("fib"), args=["14"], engine=engine, stdout=lambda data: None)
    stops = []
    before = threading.stack_size(size)
    try:
        thread = threading.Thread(target=lambda: stops.append(vm.run(timeout=60).stop))
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    assert stops == [Stop.EXIT]

"""Deep recursion: a million guest frames, far more than the host's stack has room for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rvjit import VM, ConfigError, Stop
from rvjit.engines import NAMES

Load = Callable[..., tuple[VM, bytearray]]

MIB = 1 << 20
FRAMES = 1_000_000


def check(load: Load, engine: str, frames: int, stack: int) -> None:
    vm, output = load(
        "recurse", args=[str(frames)], engine=engine, memory_size=stack + 16 * MIB, stack_size=stack
    )
    assert vm.run().exit_code == 0
    assert output == b"sum: %d\n" % (frames * (frames + 1) // 2)


@pytest.mark.parametrize("name", ["threaded", "jit", "tiered"])
def test_a_million_frames(load: Load, name: str) -> None:
    check(load, name, FRAMES, 160 * MIB)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*NAMES} - {"threaded", "jit", "tiered"}))
def test_a_million_frames_on_slow_engines(load: Load, name: str) -> None:
    check(load, name, FRAMES, 160 * MIB)


def test_a_stack_that_is_too_small_is_a_fault_below_it(load: Load, engine: str) -> None:
    stack = 1 * MIB
    vm, _ = load("recurse", engine=engine, memory_size=8 * MIB, stack_size=stack)
    result = vm.run()
    assert result.stop is Stop.FAULT
    end = vm.memory.base + vm.memory.size
    assert end - stack - 4096 <= result.fault.address < end - stack
    assert vm.registers["sp"] < end - stack + 4096


def test_the_default_stack_stays_as_it_was(load: Load) -> None:
    for memory, stack in ((MIB, MIB // 4), (64 * MIB, 8 * MIB), (1024 * MIB, 8 * MIB)):
        vm, _ = load("recurse", engine="interp", memory_size=memory)
        assert vm.memory.base + memory - vm.image.stack_low == stack


def test_ckb_has_no_stack_of_the_callers_size(load: Load) -> None:
    for options in ({"stack_size": MIB}, {"env": {"A": "1"}}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            load("recurse", engine="interp", profile="ckb", **options)

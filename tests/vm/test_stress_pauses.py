"""A million pauses from another thread, and none is lost."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from rvjit import VM, Stop

Load = Callable[..., tuple[VM, bytearray]]

PATIENCE = 60  # seconds without an answer: lost


def exchange(vm: VM, count: int) -> None:
    """Ask *count* times for a pause, each time as soon as the one before was served.

    The requests come before a run, in the middle of it, and between two: the asker lets some time
    pass, or none. A pause that is lost leaves the runner in an endless guest.
    """
    chance = random.Random(count)
    delays = [chance.choice((0, 0, 3, 10, 40)) for _ in range(997)]
    served = threading.Semaphore(0)
    asked = [0]
    lost = []

    def ask() -> None:
        for number in range(count):
            for _ in range(delays[number % len(delays)]):
                pass
            asked[0] += 1
            vm.pause()
            if not served.acquire(timeout=PATIENCE):
                lost.append(number)
                vm.pause()
                return

    asker = threading.Thread(target=ask)
    asker.start()
    answered = 0
    while answered < count and not lost:
        assert vm.run().stop is Stop.PAUSE
        answered += 1
        served.release()
    asker.join()
    assert not lost
    assert answered == asked[0] == count
    assert not vm.machine.pending()


def check(load: Load, engine: str, count: int) -> None:
    vm, _ = load("forever", engine=engine, memory_size=1 << 20)
    vm.run(cycle_limit=3000)
    exchange(vm, count)
    limit = vm.cycles + 1000
    assert vm.run(cycle_limit=limit).stop is Stop.CYCLE_LIMIT
    other, _ = load("forever", engine="jit", memory_size=1 << 20)
    other.run(cycle_limit=limit)
    assert tuple(vm.registers) == tuple(other.registers)
    assert vm.pc == other.pc


@pytest.mark.parametrize("name", ["jit", "threaded", "tiered"])
def test_some_thousand_pauses(load: Load, name: str) -> None:
    check(load, name, 5000)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jit", "tiered"])
def test_a_million_pauses(load: Load, name: str) -> None:
    check(load, name, 1_000_000)

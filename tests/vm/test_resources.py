"""What a VM takes from the host: memory only where it is touched, nothing after its end."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rvjit import VM, Stop
from rvjit.jit import shelf
from tests.engines.assemble import assemble, elf

Load = Callable[..., tuple[VM, bytearray]]

MIB = 1 << 20
GIB = 1 << 30


def resident() -> int:
    """Bytes of this process in physical memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("name", ["interp", "jit"])
@pytest.mark.parametrize("size", [4 * MIB, 256 * MIB, 4 * GIB, 64 * GIB])
def test_memory_is_taken_only_where_it_is_touched(load: Load, size: int, name: str) -> None:
    load("callee", engine=name)[0].run()  # what is loaded once
    gc.collect()
    before = resident()
    vm, output = load("callee", engine=name, memory_size=size)
    assert vm.run().exit_code == 0
    assert b"fact" in output
    # One flags byte for each page is looked at, and copied for a moment.
    assert resident() - before < 24 * MIB + 2 * (size >> 12)


def test_both_ends_of_64_gib_can_be_used(load: Load, engine: str) -> None:
    if engine == "lockstep":
        pytest.skip("it looks at every page of its three machines: half a minute")
    code = assemble(f"""
        _start: li a0, {64 * GIB + 0x10000 - 16}
                sd a0, 0(a0)
                ld a1, 0(a0)
                sd a0, 12(a0)
    """)
    vm, _ = load(elf(code), engine=engine, memory_size=64 * GIB)
    result = vm.run()
    assert vm.registers["a1"] == vm.registers["a0"]
    assert (result.stop, result.fault.kind) == (Stop.FAULT, "out_of_bounds")
    assert vm.memory.read_int(64 * GIB + 0x10000 - 16) == vm.registers["a1"]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_dropped_machines_leave_nothing(load: Load) -> None:
    def use() -> None:
        vm, _ = load("callee", engine="jit", memory_size=MIB)
        assert vm.call("add", 1, 2) == 3
        assert shelf.arena.used > 0

    for _ in range(3):
        use()
    gc.collect()
    before = shelf.arena.used, descriptors(), threading.active_count(), resident()
    for _ in range(100):
        use()
    gc.collect()
    assert shelf.arena.used == before[0]
    assert descriptors() == before[1]
    assert threading.active_count() == before[2]
    assert resident() - before[3] < 32 * MIB


def test_a_closed_machine_gives_its_code_back_at_once(load: Load) -> None:
    gc.collect()
    before = shelf.arena.used
    vm, _ = load("callee", engine="jit", memory_size=MIB)
    vm.call("add", 1, 2)
    assert shelf.arena.used > before
    vm.close()
    assert shelf.arena.used == before


def test_code_that_keeps_changing_does_not_pile_up(load: Load) -> None:
    vm, _ = load("callee", engine="jit", memory_size=MIB)
    memory = vm.machine.memory
    page = (vm.address_of("add") - memory.base) >> 12
    vm.call("add", 1, 2)
    used = shelf.arena.used
    for _ in range(20):
        memory.drop_code(page)
        vm.call("add", 1, 2)
        assert shelf.arena.used <= used + 4096


def test_many_runs_of_one_machine_do_not_grow(load: Load) -> None:
    vm, _ = load("forever", engine="jit", memory_size=MIB)
    vm.run(cycle_limit=1000)
    gc.collect()
    before = shelf.arena.used, resident(), descriptors(), threading.active_count()
    for _ in range(3000):
        vm.run(cycle_limit=vm.cycles + 100)
    assert shelf.arena.used - before[0] < 4096  # entries in the middle of the loop
    assert resident() - before[1] < 8 * MIB
    assert descriptors() == before[2]
    assert threading.active_count() == before[3]


def test_a_process_ends_cleanly_while_a_run_goes_on_elsewhere() -> None:
    """A daemon thread may still be in compiled code when the interpreter goes away."""
    from tests.conftest import GUESTS

    script = (
        "import rvjit, sys, threading, time\n"
        "vm = rvjit.VM.from_elf(sys.argv[1])\n"
        "threading.Thread(target=vm.run, daemon=True).start()\n"
        "time.sleep(0.5)\n"
        "print('done')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(GUESTS / "forever.elf")],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"done\n")

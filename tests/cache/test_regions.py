"""Kept and shared regions: used where they fit, byte for byte, and never elsewhere."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rvjit
from rvjit import VM, Stop
from rvjit.codegen.cache import code_cache
from rvjit.jit import engine as jit
from rvjit.jit import shelf
from rvjit.machine.pages import pages_touched

Load = Callable[..., tuple[VM, bytearray]]

EXAMPLE = ("quicksort", "200")

# Runs an example and prints what happened; the arguments are engine, example and its size.
SCRIPT = """
import json, sys
import rvjit
engine, name, size = sys.argv[1:]
vm = rvjit.VM.from_elf(rvjit.example(name), args=[size], engine=engine, stdout=lambda data: None)
result = vm.run(timeout=60)
vm.close()
found = {"cycles": result.cycles, "code": result.exit_code, "llvm": "llvmlite" in sys.modules}
if engine != "threaded":
    found |= {"regions": vm.engine.statistics.regions, "kept": vm.engine.statistics.cache_hits}
print(json.dumps(found))
"""


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, for regions: what is native and the same for all is there."""
    shared = code_cache().folder
    assert shared is not None
    target = tmp_path / "cache" / Path(shared.path).name
    target.mkdir(0o700, parents=True)
    target.parent.chmod(0o700)
    for path in Path(shared.path).glob("blob-*"):
        (target / path.name).write_bytes(path.read_bytes())
        (target / path.name).chmod(0o600)
    monkeypatch.setenv("RVJIT_CACHE_DIR", str(tmp_path / "cache"))
    return target


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The pcs of all regions that are compiled in this process."""
    compiled: list[int] = []
    right = jit.Job.emit

    def counted(job: jit.Job, *, pclmul: bool) -> str:
        compiled.append(job.source.pc)
        return right(job, pclmul=pclmul)

    monkeypatch.setattr(jit.Job, "emit", counted)
    return compiled


def in_process(engine: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, engine, *EXAMPLE],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


def bundle_of(folder: Path) -> Path:
    (path,) = folder.glob("regions-*")
    return path


@pytest.mark.parametrize("engine", ["jit", "tiered", "threaded"])
def test_a_warm_process_never_imports_llvmlite(fresh: Path, engine: str) -> None:
    first = in_process(engine)
    if engine != "threaded":  # what the race of tiers left out is there afterwards
        assert in_process("jit")["regions"] > 0
    second = in_process(engine)
    assert second["llvm"] is False
    assert (second["cycles"], second["code"]) == (first["cycles"], 0)
    if engine != "threaded":
        assert second["regions"] == second["kept"] > 0


def test_a_damaged_bundle_is_compiled_again(fresh: Path) -> None:
    first = in_process("jit")
    path = bundle_of(fresh)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    again = in_process("jit")
    assert again["cycles"] == first["cycles"]
    assert 0 < again["kept"] < again["regions"] == first["regions"]
    assert in_process("jit")["kept"] == first["regions"]


def test_many_processes_at_once_fill_one_bundle(fresh: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, "jit", *EXAMPLE]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    ended = [json.loads(each.communicate(timeout=60)[0]) for each in started]
    assert len({each["cycles"] for each in ended}) == 1
    last = in_process("jit")
    assert last["kept"] == last["regions"] == ended[0]["regions"]
    assert sorted(path.name.split("-")[0] for path in fresh.iterdir() if "blob" not in path.name) \
        == ["lock", "program", "regions"]  # fmt: skip


@pytest.mark.usefixtures("fresh")
def test_without_the_cache_nothing_is_kept(load: Load, fresh: Path) -> None:
    vm, _ = load("callee", engine="jit", cache=False)
    assert vm.call("add", 1, 2) == 3
    vm.close()
    assert list(fresh.glob("regions-*")) == []


@pytest.mark.usefixtures("fresh")
def test_machines_of_one_program_share_code(load: Load, compilations: list[int]) -> None:
    gc.collect()
    before = shelf.arena.used
    machines = [load("callee", engine="jit")[0] for _ in range(5)]
    assert [vm.call("add", 20, n) for n, vm in enumerate(machines)] == [20, 21, 22, 23, 24]
    assert len(compilations) == len(set(compilations)) > 0
    used = shelf.arena.used
    addresses = {placed.address for vm in machines for placed in vm.engine._regions.values()}
    assert len(addresses) == len(compilations)
    for vm in machines[1:]:
        vm.close()
    assert shelf.arena.used == used
    assert machines[0].call("add", 1, 2) == 3
    machines[0].close()
    assert shelf.arena.used == before


@pytest.mark.usefixtures("fresh")
def test_a_machine_that_changes_its_code_leaves_the_others_theirs(load: Load) -> None:
    """Two machines of one program; one gets another `add`, which subtracts."""
    first, second = (load("callee", engine="jit", profile="ckb")[0] for _ in range(2))
    assert first.call("add", 5, 3) == second.call("add", 5, 3) == 8
    change_add(first)
    assert first.call("add", 5, 3) == 2
    assert second.call("add", 5, 3) == 8
    assert load("callee", engine="jit", profile="ckb")[0].call("add", 5, 3) == 8


def change_add(vm: VM) -> None:
    """Make the guest's function `add` subtract."""
    address = vm.address_of("add")
    code = bytes.fromhex("3305b54067800000")  # sub a0, a0, a1; ret
    vm.machine.memory.initialise(address, code)


@pytest.mark.parametrize("engine", ["jit", "tiered"])
def test_what_is_kept_of_changed_code_is_for_the_changed_code(
    fresh: Path, load: Load, compilations: list[int], engine: str
) -> None:
    """Both variants of one pc are kept, and each run gets its own."""
    for changed in (False, True):
        vm, _ = load("callee", engine="jit", profile="ckb")
        if changed:
            change_add(vm)
        assert vm.call("add", 5, 3) == (2 if changed else 8)
        vm.close()
    assert bundle_of(fresh).stat().st_size > 0
    gc.collect()
    compilations.clear()
    for changed in (True, False, True):
        vm, _ = load("callee", engine=engine, profile="ckb")
        if changed:
            change_add(vm)
        assert vm.call("add", 5, 3) == (2 if changed else 8)
        assert vm.engine.statistics.cache_hits > 0
        vm.close()
    assert compilations == []


def test_every_part_of_what_a_region_was_made_from_counts(load: Load) -> None:
    vm, _ = load("callee", engine="jit", profile="ckb")
    vm.call("add", 5, 3)
    memory = vm.machine.memory
    (placed,) = [each for pc, each in vm.engine._regions.items() if pc == vm.address_of("add")]
    origin = placed.origin
    none: frozenset[int] = frozenset()
    assert origin.holds(memory, origin.slots, none)
    assert not origin.holds(memory, origin.slots + 1, none)
    for offset, data in origin.reads:
        inside = memory.base + offset
        assert not origin.holds(memory, origin.slots, frozenset({inside}))
        assert origin.holds(memory, origin.slots, frozenset({inside + len(data) + 4096}))
        for at in range(offset, offset + len(data)):
            memory.buffer[at] ^= 1
            assert not origin.holds(memory, origin.slots, none)
            memory.buffer[at] ^= 1
        for page in pages_touched(offset, len(data)):
            memory.flags[page] ^= 2
            assert not origin.holds(memory, origin.slots, none)
            memory.flags[page] ^= 2
    assert origin.holds(memory, origin.slots, none)


@pytest.mark.usefixtures("fresh")
def test_other_rules_and_windows_have_other_regions(
    load: Load, compilations: list[int], fresh: Path
) -> None:
    variants: list[dict[str, Any]] = [
        {"profile": "ckb"},
        {"profile": rvjit.Profile("ckb", prices=rvjit.UNIT_PRICES)},
        {"profile": rvjit.Profile("ckb", strict_loads=True)},
        {"profile": "ckb", "memory_size": 8 << 20},
        {"profile": "linux"},
    ]
    for number, options in enumerate(variants, 1):
        before = len(compilations)
        vm, _ = load("callee", engine="jit", **options)
        assert vm.call("add", 1, 2) == 3
        vm.close()
        assert len(compilations) > before
        assert len(list(fresh.glob("regions-*"))) == number


def test_a_breakpoint_is_met_in_kept_code(fresh: Path, load: Load) -> None:
    """The kept region goes over the address, so it is not used while a breakpoint is there."""
    name, size = EXAMPLE
    program = Path(rvjit.example(name))
    in_process("jit")
    for engine in ("jit", "tiered"):
        vm, _ = load(program, args=[size], engine=engine)
        ends = vm.address_of("main")
        assert vm.run(until=ends, timeout=60).stop is Stop.BREAKPOINT
        assert vm.pc == ends
        vm.step(3)
        middle = vm.pc
        other, _ = load(program, args=[size], engine=engine)
        assert other.run(until=middle, timeout=60).pc == middle
        assert other.cycles == vm.cycles
        assert other.run(timeout=60).stop is Stop.EXIT


def test_the_tiered_engine_compiles_once_for_all(
    load: Load, compilations: list[int], monkeypatch: pytest.MonkeyPatch, fresh: Path
) -> None:
    """Several machines become hot before the compiler has done the first; it does each once."""
    from rvjit.engines import tiered

    jobs: list[tuple[jit.Job, Any]] = []
    monkeypatch.setattr(tiered, "submit", lambda job, done: jobs.append((job, done)))
    machines = [load("forever", engine="tiered")[0] for _ in range(3)]
    for vm in machines:
        vm.run(cycle_limit=100_000)
    assert len(jobs) >= 3
    for job, done in jobs:
        job.build()
        done()(job)
    for vm in machines:
        vm.run(cycle_limit=300_000)
        assert vm.engine.statistics.regions > 0
    assert len(compilations) == len(set(compilations))
    late, _ = load("forever", engine="tiered")  # and who comes later is hot at once
    late.run(cycle_limit=2_000)
    assert late.engine.statistics.cache_hits > 0
    assert len(compilations) == len(set(compilations))


def private_bytes() -> int:
    """Memory of this process that nobody shares."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no Private_Dirty")


@pytest.mark.usefixtures("fresh")
def test_many_machines_of_one_program_cost_little(load: Load, compilations: list[int]) -> None:
    """A window of 64 MiB each, of which the guest touches about five pages."""
    program = Path(rvjit.example("quicksort"))

    def machine() -> VM:
        vm, _ = load(program, args=["200"], engine="jit")
        assert vm.run(timeout=60).exit_code == 0
        return vm

    first = machine()
    gc.collect()
    regions, used, open_files = len(compilations), shelf.arena.used, os.listdir("/proc/self/fd")
    before = private_bytes()
    machines = [machine() for _ in range(200)]
    assert len(compilations) == regions == first.engine.statistics.regions > 0
    assert shelf.arena.used == used
    assert len(os.listdir("/proc/self/fd")) <= len(open_files)
    assert len({id(vm.program.file) for vm in machines}) == 1
    assert (private_bytes() - before) // len(machines) < 256 << 10


def test_a_known_file_is_not_parsed_again(
    fresh: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rvjit.loader import elf, kept

    program = Path(rvjit.example("json"))
    parsed = load(program)[0].program
    monkeypatch.setattr(elf, "load_linux", None)
    monkeypatch.setattr(kept, "_programs", {})
    again, _ = load(program, args=["1"])
    assert again.program is not parsed
    assert again.program == parsed
    assert again.program.digest == parsed.digest
    assert again.address_of("main") == parsed.symbols.address("main")
    assert again.run(timeout=60).exit_code == 0
    monkeypatch.setattr(kept, "_programs", {})
    with pytest.raises(TypeError):  # another window: the parser would be needed
        load(program, memory_size=16 << 20)

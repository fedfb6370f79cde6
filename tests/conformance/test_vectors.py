"""What a real CKB-VM did with 60 random programs: every recorded stop and every recorded end.

``vectors/README.md`` describes the fields. Each program runs once, from recorded stop to recorded
stop, so that stops are compared and going on after them too.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rvjit import VM, Profile, Stop

VECTORS = Path(__file__).parent / "vectors"
RUNS: list[Any] = []
for _vector in json.loads((VECTORS / "vectors.json").read_text()):
    for _run in _vector["runs"]:
        _name = f"{_vector['name']}-v{_run['version']}-{_run['isa']}"
        RUNS.append(pytest.param(_vector["elf"], _run, id=_name))

# Compiling takes most of the time: a spread of programs on the JIT is in the fast tier.
FAST_ON_JIT = RUNS[::5]  # odd: programs have two runs
FAST_ON_LOCKSTEP = RUNS[7::41]


def slow(params: list[Any], done: list[Any]) -> list[Any]:
    """What of *params* is not in *done*, marked slow."""
    return [
        pytest.param(*each.values, id=each.id, marks=pytest.mark.slow)
        for each in params
        if each not in done
    ]


def digest(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


@dataclass
class Watched:
    """A VM that runs a vector, and its output."""

    vm: VM
    output: bytearray

    def state(self) -> dict[str, object]:
        machine = self.vm.machine
        return {
            "cycles": machine.cycles,
            "pc": hex(machine.pc),
            "registers": digest(struct.pack("<32Q", *machine.x)),
            "memory": digest(machine.memory.buffer),
            "stdout_bytes": len(self.output),
        }


def load(elf: str, run: dict[str, Any], engine: str) -> Watched:
    output = bytearray()
    profile = Profile("ckb", isa=run["isa"], vm_version=run["version"], syscalls="linux")
    vm = VM.from_elf(VECTORS / elf, profile=profile, engine=engine, stdout=output.extend)
    return Watched(vm, output)


def check(elf: str, run: dict[str, Any], engine: str) -> None:
    watched = load(elf, run, engine)
    for stop in sorted(run["stops"], key=lambda stop: stop["limit"]):
        result = watched.vm.run(cycle_limit=stop["limit"])
        assert result.stop is Stop.CYCLE_LIMIT
        wanted = {key: value for key, value in stop.items() if key != "limit"}
        assert watched.state() == wanted, f"limit {stop['limit']}"
    result = watched.vm.run()
    assert (result.stop, result.exit_code) == (Stop.EXIT, run["exit"])
    ended = watched.state() | {"stdout": digest(watched.output)}
    assert ended == {key: run.get(key, value) for key, value in ended.items()}
    assert {"cycles", "registers", "memory", "stdout", "stdout_bytes"} <= run.keys()


@pytest.mark.parametrize(("elf", "run"), RUNS)
def test_the_reference_does_what_ckb_vm_did(elf: str, run: dict[str, Any]) -> None:
    check(elf, run, "interp")


@pytest.mark.parametrize(("elf", "run"), RUNS)
def test_handlers_do_what_ckb_vm_did(elf: str, run: dict[str, Any]) -> None:
    check(elf, run, "threaded")


@pytest.mark.parametrize(("elf", "run"), FAST_ON_JIT + slow(RUNS, FAST_ON_JIT))
def test_compiled_code_does_what_ckb_vm_did(elf: str, run: dict[str, Any]) -> None:
    check(elf, run, "jit")


@pytest.mark.parametrize(("elf", "run"), FAST_ON_LOCKSTEP + slow(RUNS, FAST_ON_LOCKSTEP))
def test_lockstep_finds_nothing(elf: str, run: dict[str, Any]) -> None:
    check(elf, run, "lockstep")


@pytest.mark.parametrize("name", ["jit", "threaded", "interp"])
@pytest.mark.parametrize(("elf", "run"), RUNS[:: len(RUNS) // 3])
def test_a_stop_needs_no_stop_before_it(elf: str, run: dict[str, Any], name: str) -> None:
    for stop in run["stops"]:
        watched = load(elf, run, name)
        watched.vm.run(cycle_limit=stop["limit"])
        assert watched.state() == {key: stop[key] for key in watched.state()}


def test_the_fast_tier_has_fused_and_plain_runs() -> None:
    for chosen in (RUNS, FAST_ON_JIT, FAST_ON_LOCKSTEP):
        assert {"all"} < {param.values[1]["isa"] for param in chosen}

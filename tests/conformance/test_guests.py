"""Real programs: every engine prints what is recorded and ends in one and the same state."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rvjit import VM, Stop, example
from rvjit.examples import EXAMPLES
from rvjit.machine.pages import PUBLIC

TESTS = Path(__file__).parent.parent
GUESTS = TESTS / "guests"
CASES = json.loads((GUESTS / "expected" / "cases.json").read_text())
# Long runs: on lockstep they take ten seconds.
LONG = {"musl_stdio", "musl_stdio-no-file", "musl_stdio_pie", "syscalls", "syscalls-file"}
# The same program under another name or load address; compiling it takes seconds.
AGAIN = {"musl_stdio-no-file", "musl_stdio_pie", "musl_hello_pie", "syscalls-file"}

FORBIDDEN = [  # arguments of `wild` that must end in a fault, and its kind
    ("load-null", "out_of_bounds"),
    ("store-null", "out_of_bounds"),
    ("jump-null", "out_of_bounds"),
    ("load-below", "out_of_bounds"),
    ("store-below", "out_of_bounds"),
    ("store-into", "out_of_bounds"),
    ("load-high", "out_of_bounds"),
    ("store-high", "out_of_bounds"),
    ("jump-high", "out_of_bounds"),
    ("load-wrap", "out_of_bounds"),
    ("store-wrap", "out_of_bounds"),
    ("store-code", "permission_denied"),
    ("store-constant", "permission_denied"),
    ("store-straddle", "permission_denied"),
    ("jump-data", "permission_denied"),
    ("jump-end", "permission_denied"),
    ("illegal16", "illegal_instruction"),
    ("illegal32", "illegal_instruction"),
    ("csr", "illegal_instruction"),
    ("float", "illegal_instruction"),
    ("ebreak", "breakpoint"),
    ("c.ebreak", "breakpoint"),
    ("amo-misaligned", "misaligned"),
    ("lr-misaligned", "misaligned"),
    ("sc-misaligned", "misaligned"),
]


@dataclass(repr=False)
class End:
    """All there is to compare of a run that ended, equal for equal runs."""

    stop: Stop
    exit_code: int | None
    fault: str | None
    cycles: int
    pc: int
    registers: tuple[int, ...]
    flags: bytes
    stdout: bytes
    stderr: bytes
    memory: bytes

    def __repr__(self) -> str:
        """Leave out what is too long to read."""
        return f"End({self.stop}, {self.exit_code}, {self.fault}, {self.cycles}, {self.pc:#x})"


def end_of(vm: VM, stdout: bytes, stderr: bytes, **limits: Any) -> End:
    result = vm.run(**limits)
    memory = vm.machine.memory
    written = memory.flags.tobytes()
    return End(
        stop=result.stop,
        exit_code=result.exit_code,
        fault=None if result.fault is None else str(result.fault),
        cycles=result.cycles,
        pc=result.pc,
        registers=tuple(vm.registers),
        flags=written.translate(bytes(flags & PUBLIC for flags in range(256))),
        stdout=bytes(stdout),
        stderr=bytes(stderr),
        memory=bytes(memory.buffer),
    )


def run(program: Path, engine: str, limits: dict[str, Any] | None = None, **options: Any) -> End:
    stdout, stderr = bytearray(), bytearray()
    # A window just big enough, so that all of it can be compared.
    options = {"memory_size": 4 << 20, **options}
    vm = VM.from_elf(program, engine=engine, stdout=stdout.extend, stderr=stderr.extend, **options)
    end = end_of(vm, stdout, stderr, **(limits or {}))
    end.stdout, end.stderr = bytes(stdout), bytes(stderr)
    return end


_references: dict[str, End] = {}


def reference(key: str, make: Callable[[], End]) -> End:
    """The interpreter's end of a run, made once."""
    if key not in _references:
        _references[key] = make()
    return _references[key]


@pytest.mark.parametrize("one", EXAMPLES, ids=lambda one: one.name)
def test_examples_end_the_same_on_every_engine(one, engine: str) -> None:
    size = str(one.small_size)

    def end(name: str) -> End:
        return run(example(one.name), name, args=[size])

    expected = reference(f"example:{one.name}", lambda: end("interp"))
    assert (expected.stop, expected.exit_code) == (Stop.EXIT, 0)
    recorded = TESTS / "examples" / "expected" / f"{one.name}-{size}.txt"
    assert expected.stdout == recorded.read_bytes()
    assert end(engine) == expected


def run_case(case: dict[str, Any], engine: str) -> End:
    return run(
        GUESTS / f"{case['guest']}.elf",
        engine,
        name=f"{case['guest']}.elf",
        args=case["args"],
        env=case["env"],
        stdin=case["stdin"].encode(),
        directories=[(GUESTS, ".", False)],
    )


def is_slow(case: str, engine: str) -> bool:
    if engine in ("interp", "threaded"):
        return False
    return case in (LONG | AGAIN if engine == "lockstep" else AGAIN)


@pytest.mark.parametrize(
    ("case", "name"),
    [
        pytest.param(
            case,
            name,
            id=f"{case['name']}-{name}",
            marks=[pytest.mark.slow] if is_slow(case["name"], name) else [],
        )
        for case in CASES
        for name in ("interp", "threaded", "jit", "lockstep")
    ],
)
def test_guests_end_the_same_on_every_engine(case: dict[str, Any], name: str) -> None:
    expected = reference(f"guest:{case['name']}", lambda: run_case(case, "interp"))
    assert expected.stdout == (GUESTS / "expected" / f"{case['name']}.txt").read_bytes()
    if case["exit"] < 128:
        assert (expected.stop, expected.exit_code) == (Stop.EXIT, case["exit"])
    else:
        assert expected.stop is Stop.FAULT
        assert expected.fault is not None
        assert f"signal {case['exit'] - 128}" in expected.fault
    assert run_case(case, name) == expected


@pytest.mark.parametrize(("what", "kind"), FORBIDDEN)
def test_forbidden_things_are_the_same_fault_on_every_engine(what: str, kind: str) -> None:
    ends = []
    for name in ("interp", "threaded", "jit", "lockstep"):
        stdout = bytearray()
        vm = VM.from_elf(
            GUESTS / "wild.elf",
            engine=name,
            memory_size=1 << 20,
            args=[what],
            stdout=stdout.extend,
        )
        ends.append(end_of(vm, stdout, b""))
        result = vm.run()  # a fault is a stop like others: it happens again
        assert result.stop is Stop.FAULT
        assert result.fault is not None
        assert (result.fault.kind, result.fault.pc) == (kind, result.pc)
        assert b"survived" not in stdout
    assert ends[0] == ends[1] == ends[2]


def test_every_guest_is_run_by_some_test() -> None:
    elsewhere = {"forever", "wild"}
    assert {path.stem for path in GUESTS.glob("*.elf")} == {c["guest"] for c in CASES} | elsewhere


def test_the_end_of_the_stack_is_a_fault_on_every_engine(engine: str) -> None:
    end = run(GUESTS / "recurse.elf", engine, memory_size=1 << 20)
    assert end.stop is Stop.FAULT
    assert end.fault is not None
    assert "store of 8 bytes" in end.fault
    assert "the page does not allow it" in end.fault


def test_deep_recursion_returns(engine: str) -> None:
    end = run(GUESTS / "recurse.elf", engine, args=["3000"])
    assert (end.stop, end.exit_code) == (Stop.EXIT, 0)
    assert end.stdout == b"sum: 4501500\n"

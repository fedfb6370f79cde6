"""Reset: exactly the state after loading, at the cost of what was written."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rvjit
from rvjit import VM, ConfigError, MachineBusy, Profile, Stop
from rvjit.machine.layout import word_of
from rvjit.machine.pages import HOLDS_CODE, PAGE_SIZE
from tests.engines.assemble import R, W, assemble, elf
from tests.vm.test_pause import Runner

Load = Callable[..., tuple[VM, bytearray]]

SMALL = 1 << 22
EXAMPLES = [(example.name, str(example.small_size)) for example in rvjit.examples.EXAMPLES]
# Guests that map and protect memory, write code, fault, and use files and signals.
OTHERS = [
    ("syscalls", []),
    ("selfmod", []),
    ("straddle", []),
    ("musl_stdio", ["/data/notes.txt"]),
    ("abort_musl", []),
    ("wild", ["store-code"]),
    ("recurse", []),
]


def state(vm: VM) -> dict[str, object]:
    """All of a guest's state; of the flags only what depends on the engine is left out."""
    machine, memory, host = vm.machine, vm.machine.memory, vm.host
    words = {name: machine.words[word_of(name)] for name in ("reservation", "reservation_size")}
    return words | {
        "registers": tuple(vm.registers),
        "pc": vm.pc,
        "cycles": vm.cycles,
        "limit": machine.cycle_limit,
        "exit": (vm.exit_code, machine.fault),
        "flags": memory.flags.tobytes().translate(bytes(f & ~HOLDS_CODE for f in range(256))),
        "dirty": memory.dirty_pages,
        "clean": sorted(memory.clean_pages),
        "memory": bytes(memory.buffer),
        "host": (host.directory, host.limits, host.signals, host.entropy.position),
        "clock": (host.clock.slept, host.clock.wall(0)),
        "heap": (host.space.brk, list(host.space.mapped)),
        "open": {fd: type(each) for fd, each in host.descriptors._open.items()},
    }


def check_same(vm: VM, fresh: VM) -> None:
    found, expected = state(vm), state(fresh)
    for name, value in expected.items():
        assert found[name] == value, name


def check(make: Callable[[], tuple[VM, bytearray]], seed: object) -> None:
    """Run a VM to several places, reset it each time, and compare with one just loaded."""
    chance = random.Random(str(seed))
    vm, output = make()
    end = vm.run(timeout=60)
    expected = end.stop, end.cycles, end.pc, end.exit_code, str(end.fault), bytes(output)
    for limit in (None, chance.randrange(end.cycles + 1), 0):
        if limit is not None:
            vm.run(cycle_limit=limit)
        vm.reset()
        check_same(vm, make()[0])
        del output[:]
        end = vm.run(timeout=60)
        found = end.stop, end.cycles, end.pc, end.exit_code, str(end.fault), bytes(output)
        assert found == expected
        vm.reset()
    vm.close()


@pytest.mark.parametrize(("name", "size"), EXAMPLES)
def test_examples(load: Load, name: str, size: str) -> None:
    program = rvjit.example(name)
    check(lambda: load(program, engine="tiered", args=[size], memory_size=SMALL), name)


@pytest.mark.parametrize(("name", "args"), OTHERS)
def test_other_guests(load: Load, name: str, args: list[str], tmp_path: Path) -> None:
    check_guest(load, "threaded", name, args, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "args"), OTHERS)
def test_other_guests_on_every_engine(
    load: Load, engine: str, name: str, args: list[str], tmp_path: Path
) -> None:
    check_guest(load, engine, name, args, tmp_path)


def check_guest(load: Load, engine: str, name: str, args: list[str], folder: Path) -> None:
    (folder / "notes.txt").write_text("first line\nsecond line\n")
    options: dict[str, Any] = {
        "engine": engine, "args": args, "memory_size": 1 << 20, "stdin": b"some input\n",
        "directories": [(folder, "/data", False)],
    }  # fmt: skip
    check(lambda: load(name, **options), (name, engine))


@pytest.mark.parametrize(
    ("name", "engine"),
    [("sieve", "threaded"), ("sha256", "interp"), ("sieve", "lockstep"), ("json", "jit")],
)
def test_under_ckb(load: Load, name: str, engine: str) -> None:
    size = next(size for each, size in EXAMPLES if each == name)
    profile = Profile("ckb", isa="imcba", syscalls="linux")
    program = rvjit.example(name)
    check(lambda: load(program, engine=engine, args=["x", size], profile=profile), name)


MAPS = """
    _start: li a7, 222      # mmap 3 pages, all allowed
            li a0, 0
            li a1, 0x3000
            li a2, 7
            li a3, 0x22
            li a4, -1
            li a5, 0
            ecall
            mv s0, a0
            li t0, 0x00008067   # ret
            sw t0, 0(s0)
            jalr ra, 0(s0)
            li a7, 226      # the data page loses everything
            li a0, 0x20000
            li a1, 0x1000
            li a2, 0
            ecall
            li a7, 215      # the last mapped page goes
            li a1, 0x2000
            add a0, s0, a1
            li a1, 0x1000
            ecall
            li a7, 214      # the heap grows by 2 pages
            li a0, 0x23000
            ecall
            li t1, 0x22008
            sd t0, 0(t1)
            li a7, 226      # code that can be written, and is
            li a0, 0x10000
            li a1, 0x1000
            li a2, 7
            ecall
            la t2, last
            li t3, 0x00000013
            sw t3, 0(t2)
            lr.d t4, (s0)
    last:   ebreak
            li a7, 93
            li a0, 7
            ecall
"""


def test_pages_that_were_mapped_and_protected(load: Load, engine: str) -> None:
    program = elf(assemble(MAPS), more=((0x20000, b"data" * 400, R | W),))
    check(lambda: load(program, engine=engine, memory_size=1 << 20), engine)


def test_what_python_did_is_undone_too(load: Load, engine: str) -> None:
    vm, _ = load("callee", engine=engine, memory_size=1 << 20)
    vm.call("add", 1, b"bytes on the stack")
    vm.memory.write(vm.memory.base + vm.memory.size - 8, b"abcdefgh")
    vm.registers["s3"] = 5
    vm.pc = vm.address_of("fact")
    vm.machine.memory.initialise(vm.image.stack_low, b"hidden", dirty=False)
    vm.reset()
    check_same(vm, load("callee", engine=engine, memory_size=1 << 20)[0])
    assert vm.call("add", 1, 2) == 3


def test_a_dirty_list_that_was_emptied_meanwhile(load: Load, engine: str) -> None:
    """By somebody else who tracks writes."""
    vm, _ = load("callee", engine=engine, memory_size=1 << 20)
    for _ in range(2):
        vm.run(cycle_limit=500)
        vm.machine.memory.arm_tracking()
        vm.run(cycle_limit=900)
        vm.reset()
        check_same(vm, load("callee", engine=engine, memory_size=1 << 20)[0])


def test_many_changes_of_protection(load: Load) -> None:
    vm, _ = load("callee", engine="jit", memory_size=1 << 24)
    memory = vm.machine.memory
    for page in range(1, 3000):
        memory.protect(memory.base + page * PAGE_SIZE, 1, read=True, write=False, execute=False)
    vm.reset()
    check_same(vm, load("callee", engine="jit", memory_size=1 << 24)[0])


@pytest.mark.parametrize("name", ["jit", "threaded"])
def test_only_written_pages_are_touched(load: Load, name: str) -> None:
    """A large memory costs nothing: what is put back is asked for page by page."""
    vm, _ = load("callee", engine=name, memory_size=1 << 30)
    vm.run()
    asked: list[int] = []
    content = vm._pristine._content
    vm._pristine._content = lambda page: asked.append(page) or content(page)
    written = vm.machine.memory.dirty_pages
    vm.reset()
    assert sorted(asked) == sorted(written)
    assert len(asked) < 10
    vm.run()
    vm.reset()
    assert len(asked) == len(written)  # and is known the second time


def test_under_ckb_the_program_is_not_put_back_where_it_was_not_written(load: Load) -> None:
    profile = Profile("ckb", isa="imcba", syscalls="linux")
    vm, _ = load(rvjit.example("json"), engine="threaded", args=["x", "1"], profile=profile)
    program = len(vm.machine.memory.dirty_pages)
    vm.run()
    assert len(vm._pristine._written()) < program


def test_compiled_code_is_kept(load: Load) -> None:
    vm, _ = load(rvjit.example("sieve"), engine="jit", args=["1"])
    for _ in range(2):  # where the first run went to code that was not there yet, calls return now
        vm.run()
        vm.reset()
    regions = vm.engine.statistics.regions
    for _ in range(3):
        assert vm.run().exit_code == 0
        vm.reset()
    assert vm.engine.statistics.regions == regions
    assert vm.engine.statistics.dropped_regions == 0


def test_files_and_input(load: Load) -> None:
    vm, output = load("echo", engine="jit", stdin=b"12345\n", memory_size=1 << 20)
    vm.run()
    first = bytes(output)
    assert b"12345" in first
    vm.reset()
    vm.run()
    assert bytes(output) == 2 * first


def test_descriptors_that_the_guest_opened_are_closed(load: Load, tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("text\n")
    code = assemble("""
        _start: li a7, 56       # openat, three times
                li s0, 3
        again:  li a0, -100
                la a1, path
                li a2, 0
                ecall
                addi s0, s0, -1
                bnez s0, again
                li a7, 57       # close stdout
                li a0, 1
                ecall
        last:   j last
        path:   .word 0x7461642f, 0x6f6e2f61, 0x2e736574, 0x00747874
    """)
    vm, _ = load(elf(code), engine="jit", directories=[(tmp_path, "/data", False)])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        vm.run(cycle_limit=1000)
        assert len(os.listdir("/proc/self/fd")) == before + 3
        vm.reset()
        assert len(os.listdir("/proc/self/fd")) == before
        assert sorted(vm.host.descriptors._open) == [0, 1, 2]


def test_flags_of_streams_are_put_back(load: Load) -> None:
    code = assemble("_start: li a7, 25\n li a0, 1\n li a1, 4\n li a2, 0xC00\n ecall\n last: j last")
    vm, _ = load(elf(code), engine="jit")
    flags = vm.host.descriptors.get(1).flags
    vm.run(cycle_limit=100)
    assert vm.host.descriptors.get(1).flags != flags
    vm.reset()
    assert vm.host.descriptors.get(1).flags == flags


def test_handlers_and_open_requests_stay(load: Load) -> None:
    vm, _ = load("callee", engine="jit")
    calls = []
    vm.host_function("add")(lambda call: calls.append(call.args[:2]))
    vm.pause()
    vm.reset()
    assert vm.run().stop is Stop.PAUSE
    assert vm.run().stop is Stop.EXIT
    assert calls


def test_not_inside_a_handler_and_not_after_close(load: Load) -> None:
    vm, _ = load(elf(assemble("_start: li a7, 5000\n ecall")), engine="jit")
    vm.syscall(5000)(lambda call: vm.reset())
    with pytest.raises(ConfigError, match="inside a handler"):
        vm.run()
    vm.reset()
    vm.close()
    with pytest.raises(ConfigError, match="closed"):
        vm.reset()


def test_not_while_another_thread_runs(load: Load) -> None:
    vm, _ = load("forever", engine="jit", memory_size=1 << 20)
    runner = Runner(vm)
    runner.start()
    while not vm._entry.depth:
        pass
    with pytest.raises(MachineBusy):
        vm.reset()
    vm.pause()
    assert runner.join().stop is Stop.PAUSE
    vm.reset()
    assert vm.cycles == 0

"""Guests to stop and go on with, and what of a VM two runs must agree on."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pytest

from rvjit import VM, example
from rvjit.machine.pages import PUBLIC, READABLE, WRITABLE
from tests.engines.assemble import R, W, X, assemble, elf

_PROMISES = bytes(flags & (PUBLIC | READABLE | WRITABLE) for flags in range(256))


def state_of(vm: VM) -> dict[str, Any]:
    """Everything of a guest that can be observed, host state included."""
    machine = vm.machine
    return {
        "registers": machine.x.tolist(),
        "pc": machine.pc,
        "cycles": machine.cycles,
        "reservation": (machine.state.reservation, machine.state.reservation_size),
        "flags": sha256(machine.memory.flags.tobytes().translate(_PROMISES)).hexdigest(),
        "memory": sha256(machine.memory.buffer).hexdigest(),
        "host": {name: part.get_state() for name, part in vm.parts.items()},
        "exit_code": vm.exit_code,
    }


@dataclass
class Loaded:
    """A VM and its output."""

    vm: VM
    output: bytearray


# Writes to its data and stack, remaps, draws random numbers, reads input, sleeps; twenty rounds.
BUSY = """
    _start: li s0, 20
            li a7, 214          # brk(0), brk(+3 pages)
            li a0, 0
            ecall
            mv s1, a0
            li t0, 0x3000
            add a0, a0, t0
            ecall
    round:  li a7, 222          # mmap two pages
            li a0, 0
            li a1, 0x2000
            li a2, 3
            li a3, 0x22
            li a4, -1
            li a5, 0
            ecall
            mv s2, a0
            sd s0, 8(s2)
            sd s2, 0(s1)
            addi s1, s1, 1
            li a7, 278          # getrandom
            mv a0, s2
            li a1, 24
            li a2, 0
            ecall
            li a7, 63           # read
            li a0, 0
            addi a1, s2, 100
            li a2, 3
            ecall
            addi sp, sp, -512
            sd s2, 0(sp)
            lr.d t0, (sp)
            li a7, 113          # clock_gettime
            li a0, 1
            addi a1, sp, 16
            ecall
            li a7, 64           # write what there is
            li a0, 1
            mv a1, s2
            li a2, 128
            ecall
            li a7, 64
            li a0, 1
            addi a1, sp, 16
            li a2, 16
            ecall
            andi t0, s0, 1
            beqz t0, even
            li a7, 226          # mprotect: read-only
            mv a0, s2
            li a1, 0x1000
            li a2, 1
            ecall
    even:   andi t0, s0, 3
            bnez t0, next
            li a7, 215          # munmap
            mv a0, s2
            li a1, 0x1000
            ecall
    next:   addi s0, s0, -1
            bnez s0, round
            mv a0, s1
            li a7, 93
            ecall
"""


def busy_elf() -> bytes:
    data = bytes(range(256)) * 48
    return elf(assemble(BUSY), R | X, ((0x40000, data, R | W),))


INPUT = bytes(range(100))


def load_busy(engine: str = "threaded", **options: Any) -> Loaded:
    output = bytearray()
    options = {"memory_size": 4 << 20, "stdin": INPUT, "stdout": output.extend, **options}
    return Loaded(VM.from_elf(busy_elf(), engine=engine, **options), output)


def load_example(name: str, *args: str, engine: str = "threaded", **options: Any) -> Loaded:
    output = bytearray()
    path = example(name)
    vm = VM.from_elf(path, args=args, name=name, engine=engine, stdout=output.extend, **options)
    return Loaded(vm, output)


@pytest.fixture(scope="session")
def busy() -> bytes:
    return busy_elf()

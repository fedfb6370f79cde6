"""A guest without an engine: memory, a machine and a host, and a way to make calls by hand."""

from __future__ import annotations

import pytest

from rvjit.bits import MASK64
from rvjit.machine.machine import Machine
from rvjit.machine.memory import Memory
from rvjit.machine.rules import Rules
from rvjit.syscalls import Call, Host, ProcessImage
from rvjit.syscalls.ckb import CKB
from rvjit.syscalls.linux import LINUX

BASE = 0x10000
SIZE = 4 << 20
PAGE = 4096
IMAGE_END = BASE + 4 * PAGE
STACK = 16 * PAGE
END = BASE + SIZE
BUFFER = END - STACK  # the stack serves as scratch memory
PC = BASE + 0x100


class Guest:
    """Makes system calls of the linux table; the image is four pages, R, RX and two RW."""

    def __init__(self, *, size=SIZE, table=LINUX, wxorx=False, **settings):
        base = 0 if wxorx else BASE
        self.memory = Memory(size, base, wxorx=wxorx)
        self.table = table
        if not wxorx:
            self.memory.protect(BASE, PAGE, read=True, write=False, execute=False)
            self.memory.protect(BASE + PAGE, PAGE, read=True, write=False, execute=True)
            self.memory.protect(BASE + 2 * PAGE, 2 * PAGE, read=True, write=True, execute=False)
            self.memory.protect(base + size - STACK, STACK, read=True, write=True, execute=False)
        self.machine = Machine(self.memory, Rules())
        self.machine.pc = PC + 4
        self.machine.cycles = 1000
        self.out, self.err, self.prints = [], [], []
        self.host = Host(
            stdout=self.out.append, stderr=self.err.append, debug=self.prints.append, **settings
        )
        self.stack = base + size - STACK
        image = ProcessImage(base + 4 * PAGE, self.stack - PAGE, self.stack, exe="/bin/guest")
        self.host.attach(self.memory, image)

    def raw(self, number, *args):
        args = tuple(arg & MASK64 for arg in args)
        return self.table.dispatch(Call(self.machine, self.host, number, args))

    def __call__(self, name, *args):
        number = next(e.number for e in self.table.entries.values() if e.name == name)
        return self.raw(number, *args)

    def put(self, data, address=None):
        address = self.stack if address is None else address
        self.memory.write(address, data)
        return address

    def get(self, size, address=None):
        return self.memory.read(self.stack if address is None else address, size)

    def path(self, text, address=None):
        return self.put(text.encode() + b"\0", self.stack + 0x8000 if address is None else address)

    def capture(self):
        return {name: part.get_state() for name, part in self.host.parts.items()}

    def restore(self, states):
        for name, state in states.items():
            self.host.parts[name].set_state(state)

    @property
    def output(self):
        return b"".join(self.out)


@pytest.fixture
def guest():
    made = Guest()
    yield made
    made.host.close()


@pytest.fixture
def make_guest():
    made = []

    def make(**settings):
        made.append(Guest(**settings))
        return made[-1]

    yield make
    for each in made:
        each.host.close()


@pytest.fixture
def ckb(make_guest):
    return make_guest(table=CKB, wxorx=True)

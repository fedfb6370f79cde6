"""Registers and memory of a VM as users see them."""

from __future__ import annotations

from collections.abc import Iterator

from rvjit.bits import MASK64
from rvjit.errors import ConfigError
from rvjit.isa.registers import ABI_NAMES, register_number
from rvjit.machine.machine import Machine
from rvjit.machine.pages import DIRTY, PAGE_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import overload


class Registers:
    """The integer registers, by number or ABI name: ``vm.registers["a0"]``, ``vm.registers[10]``.

    Values are unsigned 64-bit; assignments are taken modulo 2**64, those to x0 are dropped. An
    unknown register raises `ConfigError`.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def __getitem__(self, register: str | int) -> int:
        return self._machine.x[_number(register)]

    def __setitem__(self, register: str | int, value: int) -> None:
        number = _number(register)
        if number:
            self._machine.x[number] = value & MASK64

    def __iter__(self) -> Iterator[int]:
        """Yield x0 to x31."""
        return iter(self._machine.x.tolist())

    def __len__(self) -> int:
        return len(ABI_NAMES)

    def __repr__(self) -> str:
        """Name and value of every register, in hex."""
        pairs = zip(ABI_NAMES, self, strict=True)
        return f"<Registers {' '.join(f'{name}={value:#x}' for name, value in pairs)}>"


class MemoryView:
    """Guest memory by guest address: slices and `read` give bytes, writes obey page permissions.

    ``vm.memory[a:b]`` is a copy of the bytes, ``vm.memory[a]`` one byte as an int, and assignment
    to either writes. Outside the window everything raises `OutOfBounds`; a write that a page does
    not allow raises `PermissionDenied` and changes nothing.
    """

    def __init__(self, machine: Machine) -> None:
        self._memory = machine.memory

    @property
    def base(self) -> int:
        """Lowest address."""
        return self._memory.base

    @property
    def size(self) -> int:
        """Size of the window in bytes."""
        return self._memory.size

    def read(self, address: int, size: int) -> bytes:
        """Return *size* bytes at *address*."""
        return self._memory.read(address, size)

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Write *data* at *address*, as a store of the guest would."""
        self._memory.write(address, data)

    def read_int(self, address: int, size: int = 8) -> int:
        """Return the unsigned little-endian number of *size* bytes at *address*."""
        return self._memory.read_int(address, size)

    def write_int(self, address: int, value: int, size: int = 8) -> None:
        """Write the low *size* bytes of *value*, little-endian."""
        self._memory.write_int(address, value, size)

    def read_string(self, address: int) -> bytes:
        """Return the bytes up to the NUL at or after *address*, at most 1 MiB."""
        return self._memory.read_string(address)

    def view(self, address: int, size: int) -> memoryview:
        """Return a read-only view that shows the guest's bytes as they change."""
        offset = self._memory.offset(address, size, "load")
        return self._memory.buffer[offset : offset + size].toreadonly()

    @property
    def dirty_pages(self) -> list[int]:
        """Addresses of DIRTY pages, ascending: those that were written.

        Under `linux` that is since the program was loaded, under `ckb` loading counts.
        """
        memory = self._memory
        dirty = (page for page in memory.pages_in_use() if memory.flags[page] & DIRTY)
        return [memory.base + page * PAGE_SIZE for page in dirty]

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, where: int) -> int: ...

        @overload
        def __getitem__(self, where: slice) -> bytes: ...

    def __getitem__(self, where: int | slice) -> int | bytes:
        if isinstance(where, slice):
            start, size = self._range(where)
            return self.read(start, size)
        return self.read(where, 1)[0]

    def __setitem__(self, where: int | slice, data: int | bytes) -> None:
        if isinstance(where, slice):
            start, size = self._range(where)
            if not isinstance(data, bytes | bytearray | memoryview) or len(data) != size:
                raise ConfigError(f"a slice of {size} bytes needs {size} bytes, not {data!r}")
            self.write(start, data)
        elif isinstance(data, int):
            self.write_int(where, data, 1)
        else:
            raise ConfigError(f"one byte needs an int, not {data!r}")

    def _range(self, where: slice) -> tuple[int, int]:
        if where.step not in (None, 1) or where.start is None or where.stop is None:
            raise ConfigError(f"{where}: a slice of memory needs a start and a stop, and no step")
        return where.start, max(where.stop - where.start, 0)


def _number(register: str | int) -> int:
    try:
        return register_number(register)
    except KeyError:
        raise ConfigError(f"unknown register {register!r}") from None

"""What going back to a checkpoint costs, by pages written and size of the guest's memory.

    python -m benchmarks.checkpoints

Prints microseconds, the least of many: `restore`, `push` and `pop`, called from Python, and to
compare what the C library's memcpy takes for as many pages, called from Python too, and for a copy
of a whole memory.
"""

from __future__ import annotations

import ctypes
import random
import time
from collections.abc import Callable

from rvjit import VM, example
from rvjit.machine.memory import reserve
from rvjit.machine.pages import PAGE_SIZE

SIZES = (4 << 20, 64 << 20, 1 << 30)
COUNTS = (0, 1, 16, 64, 256)
_FIRST = 1 << 20  # offset of the first page that is written
_SECONDS = 0.4  # for each number

_memcpy = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)(
    ctypes.cast(ctypes.CDLL(None).memcpy, ctypes.c_void_p).value or 0
)


def least(action: Callable[[], object], before: Callable[[], object]) -> float:
    """Return the least microseconds that *action* took, each time after *before*."""
    best = empty = 1.0
    end = time.perf_counter() + _SECONDS
    while time.perf_counter() < end:
        before()
        started = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - started)
        started = time.perf_counter()
        empty = min(empty, time.perf_counter() - started)
    return (best - empty) * 1e6


class Guest:
    """A VM with a checkpoint, some of whose pages are written by the host."""

    def __init__(self, size: int) -> None:
        self.vm = VM.from_elf(example("hello"), memory_size=size, engine="threaded")
        self.memory = self.vm.machine.memory
        self.start = self.memory.base + _FIRST
        room = max(COUNTS) * PAGE_SIZE
        self.memory.protect(self.start, room, read=True, write=True, execute=False)
        self.memory.write(self.start, random.Random(1).randbytes(room))
        self.root = self.vm.checkpoint()
        self._other = reserve(room)

    def measure(self, count: int) -> list[float]:
        """Return the microseconds of restore, push, pop and memcpy of *count* pages."""
        vm, root, memory = self.vm, self.root, self.memory
        addresses = [self.start + page * PAGE_SIZE for page in range(count)]
        target = ctypes.addressof(ctypes.c_char.from_buffer(self._other))
        source, size = memory.addresses[0] + _FIRST, count * PAGE_SIZE

        def write() -> None:
            for address in addresses:
                memory.write_int(address, 1, 8)

        def write_at_root() -> None:
            root.restore(0)
            write()

        def write_and_push() -> None:
            write_at_root()
            vm.push()

        times = [
            least(vm.restore, write),
            least(vm.push, write_at_root),
            least(vm.pop, write_and_push),
            least(lambda: _memcpy(target, source, size), write),
        ]
        root.restore(0)
        assert not root.verify()
        return times


def main() -> None:
    """Measure and print."""
    print("| memory | k | restore | push | pop | memcpy of k pages |")
    print("|---|---|---|---|---|---|")
    for size in SIZES:
        guest = Guest(size)
        for count in COUNTS:
            shown = " | ".join(f"{each:.2f}" for each in guest.measure(count))
            print(f"| {size >> 20} MiB | {count} | {shown} |")
    source, target = reserve(SIZES[1]), reserve(SIZES[1])
    source[:] = b"x" * SIZES[1]
    addresses = [ctypes.addressof(ctypes.c_char.from_buffer(each)) for each in (target, source)]
    whole = least(lambda: _memcpy(*addresses, SIZES[1]), lambda: None)
    print(f"\nA copy of {SIZES[1] >> 20} MiB: {whole:.0f}")


if __name__ == "__main__":
    main()

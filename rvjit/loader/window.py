"""LinuxWindow: where program, heap, mappings and stack lie in the window of a `linux` guest.

From low to high: segments; the heap (brk), growing up; mappings, taken from `mmap_top` downwards;
one guard page that nothing maps, so that stores to it fault; the stack, up to the window's end.
"""

from __future__ import annotations

from rvjit.errors import ConfigError
from rvjit.machine.pages import PAGE_SIZE, round_down, round_up
from rvjit.values import dataclass

LARGEST_STACK = 8 << 20  # unless the caller asks for more
_SMALLEST_WINDOW = 4 * PAGE_SIZE  # one page each for program, guard and stack, and one to spare


@dataclass(frozen=True)
class LinuxWindow:
    """The window ``[base, base + size)``; the stack gets a quarter of it, at most 8 MiB.

    With *wanted_stack*, in bytes, it gets that, rounded up to whole pages. Raises `ConfigError` for
    a window under four pages or not made of whole pages, and where such a stack leaves no page for
    a program.
    """

    base: int
    size: int
    wanted_stack: int | None = None

    def __post_init__(self) -> None:
        if self.size < _SMALLEST_WINDOW or (self.base | self.size) % PAGE_SIZE or self.base < 0:
            raise ConfigError(
                f"window of {self.size:#x} bytes at {self.base:#x}: a linux guest needs whole "
                f"pages, and at least {_SMALLEST_WINDOW:#x} bytes"
            )
        most = self.size - 2 * PAGE_SIZE
        if self.wanted_stack is not None and not 0 < self.wanted_stack <= most:
            raise ConfigError(
                f"stack of {self.wanted_stack:#x} bytes in {self.size:#x} bytes of memory: "
                f"must be between 1 and {most:#x}"
            )

    @property
    def end(self) -> int:
        """First address after the window, and after the stack."""
        return self.base + self.size

    @property
    def stack_size(self) -> int:
        """Bytes of stack, whole pages."""
        if self.wanted_stack is not None:
            return round_up(self.wanted_stack)
        return round_down(min(LARGEST_STACK, self.size // 4))

    @property
    def stack_low(self) -> int:
        """Lowest address of the stack."""
        return self.end - self.stack_size

    @property
    def mmap_top(self) -> int:
        """Start of the guard page; mappings end there or lower, segments too."""
        return self.stack_low - PAGE_SIZE

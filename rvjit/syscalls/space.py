"""AddressSpace: which pages of the guest's window are mapped, its heap and its mappings.

What a page allows stands in the page's flags; here is only whether it is mapped, since a page that
allows nothing is still mapped. Pages that are not mapped hold zeros: that makes a fresh mapping
cost nothing, and what is given back is zeroed at once.
"""

from __future__ import annotations

import errno

from rvjit.machine.memory import Memory
from rvjit.machine.pages import EXECUTABLE, PAGE_SHIFT, PAGE_SIZE, READABLE, WRITABLE, round_up
from rvjit.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rvjit.syscalls.ranges import Ranges

MAX_RANGES = 65536  # of mapped pages; Linux has a similar limit (vm.max_map_count)
_COPY = 1 << 16  # bytes
_ZEROS = bytes(_COPY)
_PERMISSIONS = READABLE | WRITABLE | EXECUTABLE
_IS_SET = bytes([0]) + bytes([1]) * 255
_PERMISSION_OF = bytes(flags & _PERMISSIONS for flags in range(256))


@dataclass(frozen=True)
class Protection:
    """What a page allows."""

    read: bool = False
    write: bool = False
    execute: bool = False


READ_WRITE = Protection(read=True, write=True)
NOTHING = Protection()


class AddressSpace:
    """The mapped pages of one `linux` process.

    *brk_start*, *mmap_top* and *stack_low* are page-aligned addresses in the window, ascending. The
    heap grows up from *brk_start*; mappings are placed below *mmap_top*, highest first; the stack
    is ``[stack_low, end of the window)``. What is mapped below *brk_start* and above *mmap_top* is
    read from the page flags at the first use, so the image has to be loaded by then.

    Under W^X nothing can be mapped: the break does not move and everything else is refused.
    Methods raise `OSError` with ENOMEM, EINVAL or EEXIST, and have then changed nothing. Addresses
    and sizes may be any 64-bit numbers where nothing else is said.
    """

    def __init__(self, memory: Memory, brk_start: int, mmap_top: int, stack_low: int) -> None:
        self.memory = memory
        self.brk_start = brk_start
        self.mmap_top = mmap_top
        self.stack_low = stack_low
        self.brk = brk_start
        self._mapped: Ranges | None = None

    @property
    def end(self) -> int:
        """First address behind the window."""
        return self.memory.base + self.memory.size

    @property
    def mapped(self) -> Ranges:
        """The mapped addresses; for reading only."""
        if self._mapped is None:
            from rvjit.syscalls.ranges import Ranges  # simple guests map nothing

            self._mapped = Ranges(
                [
                    *self._flagged(self.memory.base, self.brk_start),
                    *self._flagged(self.mmap_top, self.end),
                ]
            )
        return self._mapped

    def reset(self) -> None:
        """Go back to what the loader left, as the page flags, which come from elsewhere, do."""
        self.brk = self.brk_start
        self._mapped = None

    def restore(self, brk: int, mapped: tuple[tuple[int, int], ...]) -> None:
        """Take over the book-keeping of another moment; pages and flags come from elsewhere."""
        from rvjit.syscalls.ranges import Ranges

        self.brk = brk
        self._mapped = Ranges(mapped)

    # The calls.

    def set_brk(self, wanted: int) -> int:
        """Move the end of the heap to *wanted* if that is possible, and return where it is."""
        if self.memory.wxorx or wanted < self.brk_start:
            return self.brk
        old, new = round_up(self.brk), round_up(wanted)
        if new > old:
            if new > self.mmap_top or self._is_full or self.mapped.meets(old, new):
                return self.brk
            self._map(old, new, READ_WRITE)
        elif new < old:
            if self._is_full:
                return self.brk
            self._unmap(new, old)
        self.brk = wanted
        return wanted

    def map(self, size: int, protection: Protection) -> int:
        """Map *size* bytes, more than 0, of zeros where there is room; return the address."""
        self._need_room()
        size = round_up(size)
        address = self.mapped.highest_gap(size, round_up(self.brk), self.mmap_top)
        if address is None:
            raise OSError(errno.ENOMEM, "the window is full")
        self._map(address, address + size, protection)
        return address

    def map_at(
        self, address: int, size: int, protection: Protection, *, replace: bool = True
    ) -> None:
        """Map *size* bytes of zeros at *address* in place of what is there."""
        self._need_room()
        start, end = self._pages(address, size)
        if start < self.memory.base or end > self.end:
            raise OSError(errno.ENOMEM, "outside the window")
        if not replace and self.mapped.meets(start, end):
            raise OSError(errno.EEXIST, "mapped already")
        # Whatever lies there unmapped could have been written by the host: start clean.
        self.memory.zero(start, end - start)
        self._map(start, end, protection)

    def unmap(self, address: int, size: int) -> None:
        """Unmap the pages of a range; what is not mapped does not matter."""
        start, end = self._pages(address, size)
        self._need_room()
        self._unmap(max(start, self.memory.base), min(end, self.end))

    def protect(self, address: int, size: int, protection: Protection) -> None:
        """Set what mapped pages allow; ENOMEM where not all of them are mapped."""
        start, end = self._pages(address, size)
        if self.memory.wxorx or not self.mapped.covers(start, end):
            raise OSError(errno.ENOMEM, "not mapped")
        self._protect(start, end, protection)

    def discard(self, address: int, size: int) -> None:
        """Set mapped pages of heap and mappings to zero; those of image and stack stay."""
        start, end = self._pages(address, size)
        self.check_mapped(start, end - start)
        low, high = max(start, self.brk_start), min(end, self.mmap_top)
        if low < high:
            self.memory.zero(low, high - low)

    def check_mapped(self, address: int, size: int) -> None:
        """Raise ENOMEM where not all pages of a range are mapped."""
        start, end = self._pages(address, size)
        if self.memory.wxorx or not self.mapped.covers(start, end):
            raise OSError(errno.ENOMEM, "not mapped")

    def move(
        self, address: int, size: int, new_size: int, *, may_move: bool, target: int | None = None
    ) -> int:
        """Resize the mapping at *address* from *size* to *new_size*, moving it if allowed.

        With *target* it moves there, in place of what is there. Contents and permissions go along;
        new pages are zero. EFAULT where not all is mapped, or the pages do not all allow the same.
        """
        self._need_room(splits=2)
        start, end = self._pages(address, size)
        new_size = round_up(new_size)
        if not start < end or not new_size:
            raise OSError(errno.EINVAL, "an empty range")
        if not self.mapped.covers(start, end):
            raise OSError(errno.EFAULT, "not mapped")
        protection = self._one_protection(start, end)
        if target is not None:
            found, found_end = self._pages(target, new_size)
            if found < end and start < found_end:
                raise OSError(errno.EINVAL, "source and target overlap")
            self.map_at(found, new_size, protection)
        elif start + new_size <= end:
            self._unmap(start + new_size, end)
            return start
        elif self._can_grow(start, end, start + new_size):
            self._map(end, start + new_size, protection)
            return start
        elif may_move:
            found = self.map(new_size, protection)
        else:
            raise OSError(errno.ENOMEM, "no room behind the mapping")
        self._copy(start, min(end, start + new_size), found, protection)
        self._unmap(start, end)
        return found

    # How they do it.

    def _can_grow(self, start: int, end: int, new_end: int) -> bool:
        """Whether the pages behind a mapping are free up to *new_end*."""
        limit = self.mmap_top if start < self.mmap_top else self.end
        return new_end <= limit and not self.mapped.meets(end, new_end)

    def _copy(self, start: int, end: int, to: int, protection: Protection) -> None:
        """Copy the contents of mapped pages to fresh ones at *to*."""
        memory = self.memory
        self._protect(to, to + end - start, READ_WRITE)
        for at in range(0, end - start, _COPY):
            part = memory.read(start + at, min(_COPY, end - start - at))
            if part != _ZEROS[: len(part)]:  # untouched pages stay untouched
                memory.write(to + at, part)
        self._protect(to, to + end - start, protection)

    def _one_protection(self, start: int, end: int) -> Protection:
        """Return what all pages of a range allow; EFAULT where they differ."""
        base = self.memory.base
        first = (start - base) >> PAGE_SHIFT
        flags = self.memory.flags[first : (end - base) >> PAGE_SHIFT].tobytes()
        flags = flags.translate(_PERMISSION_OF)
        if flags.count(flags[:1]) != len(flags):
            raise OSError(errno.EFAULT, "pages of several kinds")
        return self._protection_of(start)

    def _protection_of(self, address: int) -> Protection:
        flags = self.memory.flags[(address - self.memory.base) >> PAGE_SHIFT]
        return Protection(bool(flags & READABLE), bool(flags & WRITABLE), bool(flags & EXECUTABLE))

    def _map(self, start: int, end: int, protection: Protection) -> None:
        self.mapped.add(start, end)
        self._protect(start, end, protection)

    def _unmap(self, start: int, end: int) -> None:
        for low, high in self.mapped.within(start, end):
            self.memory.zero(low, high - low)
            self._protect(low, high, NOTHING)
        self.mapped.remove(start, end)

    def _protect(self, start: int, end: int, protection: Protection) -> None:
        self.memory.protect(
            start,
            end - start,
            read=protection.read,
            write=protection.write,
            execute=protection.execute,
        )

    def _pages(self, address: int, size: int) -> tuple[int, int]:
        """Return the pages of a range that starts at a page; EINVAL where it does not."""
        if address % PAGE_SIZE:
            raise OSError(errno.EINVAL, "not the start of a page")
        return address, address + round_up(size)

    @property
    def _is_full(self) -> bool:
        return len(self.mapped) >= MAX_RANGES

    def _need_room(self, splits: int = 1) -> None:
        """Raise ENOMEM where the book-keeping is full or pages cannot be mapped at all."""
        if self.memory.wxorx or len(self.mapped) + splits > MAX_RANGES:
            raise OSError(errno.ENOMEM, "no further mappings")

    def _flagged(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return the ranges of pages in ``[start, end)`` that have any flag."""
        base = self.memory.base
        first = (start - base) >> PAGE_SHIFT
        marks = self.memory.flags[first : (end - base) >> PAGE_SHIFT].tobytes().translate(_IS_SET)
        found = []
        at = marks.find(b"\x01")
        while at >= 0:
            stop = marks.find(b"\x00", at)
            stop = len(marks) if stop < 0 else stop
            found.append((start + (at << PAGE_SHIFT), start + (stop << PAGE_SHIFT)))
            at = marks.find(b"\x01", stop)
        return found

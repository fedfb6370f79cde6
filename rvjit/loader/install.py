"""Image: put a loaded program into a fresh `Memory` and say how it starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rvjit.errors import ConfigError
from rvjit.loader.program import Program, Segment
from rvjit.loader.stack import build_linux_stack
from rvjit.loader.window import LinuxWindow
from rvjit.machine.memory import Memory
from rvjit.machine.pages import PAGE_SIZE, round_down, round_up
from rvjit.values import dataclass, field


@dataclass(frozen=True)
class Image:
    """How an installed program starts; all addresses are the guest's.

    *brk* is where the heap starts and *mmap_top* where mappings end (growing down); both are 0
    under `ckb`, which has neither. *stack_low* is the lowest address of the stack. *loaded_bytes*
    is what CKB charges for: file bytes loaded plus stack bytes used. *stack* holds the bytes from
    *sp* to the end of memory, *base* is where memory starts.
    """

    pc: int
    sp: int
    brk: int
    mmap_top: int
    stack_low: int
    loaded_bytes: int
    program: Program
    base: int
    stack: bytes = field(repr=False)

    def page(self, index: int) -> bytes:
        """Return what loading put into the page with this index in memory."""
        start = self.base + index * PAGE_SIZE
        found = bytearray(PAGE_SIZE)
        for segment in self.program.segments:
            _overlay(found, start, segment.address, segment.data)
        _overlay(found, start, self.sp, self.stack)
        return bytes(found)


def _overlay(page: bytearray, start: int, address: int, data: bytes) -> None:
    """Put those of *data*, which is at *address*, into *page* that lie in it."""
    low, high = max(start, address), min(start + PAGE_SIZE, address + len(data))
    if low < high:
        page[low - start : high - start] = data[low - address : high - address]


def install_linux(
    program: Program,
    memory: Memory,
    args: Sequence[bytes],
    env: Sequence[bytes],
    random16: bytes,
    *,
    execfn: bytes | None = None,
    stack_size: int | None = None,
) -> Image:
    """Put *program* and its first stack into *memory*, fresh and of the window it was loaded for.

    *stack_size* is the one that it was loaded with, too.

    Pages get what their segments allow; where two segments share a page it allows what either does
    (W with X is possible). W implies R, as on RISC-V Linux. The stack is readable and writable,
    whatever PT_GNU_STACK says.

    Bytes of the program do not count as written (no DIRTY): a dirty snapshot holds what differs
    from the loaded program. The arguments differ from run to run, so their pages are DIRTY.

    Raises `ConfigError` where *memory* is not for this program or the arguments do not fit in half
    the stack.
    """
    window = LinuxWindow(memory.base, memory.size, stack_size)
    if memory.wxorx:
        raise ConfigError("a linux program needs memory without W^X")
    for segment in program.segments:
        if segment.address < window.base or segment.end > window.mmap_top:
            raise ConfigError(
                f"segment from {segment.address:#x} to {segment.end:#x} is outside "
                f"{window.base:#x} to {window.mmap_top:#x}: loaded for another window"
            )
    for address, size, permission in _page_permissions(program.segments):
        memory.protect(
            address,
            size,
            read=bool(permission & (_READ | _WRITE)),
            write=bool(permission & _WRITE),
            execute=bool(permission & _EXECUTE),
        )
    for segment in program.segments:
        memory.initialise(segment.address, segment.data, dirty=False)
    memory.protect(window.stack_low, window.stack_size, read=True, write=True, execute=False)
    sp = build_linux_stack(
        memory,
        program,
        window.end,
        args,
        env,
        random16,
        execfn=execfn,
        limit=window.stack_size // 2,
    )
    return Image(
        pc=program.entry,
        sp=sp,
        brk=round_up(program.end),
        mmap_top=window.mmap_top,
        stack_low=window.stack_low,
        loaded_bytes=program.file_bytes_loaded + window.end - sp,
        program=program,
        base=memory.base,
        stack=memory.read(sp, window.end - sp),
    )


_READ, _WRITE, _EXECUTE = 1, 2, 4


def _page_permissions(segments: Sequence[Segment]) -> Iterator[tuple[int, int, int]]:
    """Yield (address, size, permission) for ranges of pages; a later range overrides.

    *segments* are in order of address, so only the last page so far can be shared with the next.
    """
    last_page, last_permission = -1, 0
    for segment in segments:
        if not segment.size:
            continue
        permission = (
            _READ * segment.readable | _WRITE * segment.writable | _EXECUTE * segment.executable
        )
        first = round_down(segment.address)
        end = round_up(segment.end)
        yield first, end - first, permission
        if first == last_page:
            shared = last_permission | permission
            yield first, PAGE_SIZE, shared
            last_permission = shared if end == first + PAGE_SIZE else permission
        else:
            last_permission = permission
        last_page = end - PAGE_SIZE

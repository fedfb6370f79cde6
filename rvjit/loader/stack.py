"""What a program finds on its stack when it starts: arguments, environment, auxiliary vector."""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence

from rvjit.bits import MASK32
from rvjit.errors import ConfigError, OutOfBounds, PermissionDenied
from rvjit.loader.program import Program
from rvjit.machine.memory import Memory
from rvjit.machine.pages import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, WRITABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Types of auxiliary vector entries (Linux, include/uapi/linux/auxvec.h).
AT_NULL, AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_BASE, AT_FLAGS = 0, 3, 4, 5, 6, 7, 8
AT_ENTRY = 9
AT_UID, AT_EUID, AT_GID, AT_EGID, AT_HWCAP, AT_CLKTCK, AT_SECURE = 11, 12, 13, 14, 16, 17, 23
AT_RANDOM, AT_EXECFN = 25, 31

USER_ID = 1000  # user and group that a guest is told it runs as
CLOCK_TICKS = 100
# One bit for each single-letter extension. Zba, Zbb, Zbc and Zbs have no letter of their own, and
# B, which names only three of them, is younger than this interface: not announced.
HWCAP: Final = sum(1 << (ord(letter) - ord("a")) for letter in "imac")
_RANDOM_SIZE = 16
_STACK_ALIGNMENT = 16
_WORD = 8


def build_linux_stack(
    memory: Memory,
    program: Program,
    top: int,
    args: Sequence[bytes],
    env: Sequence[bytes],
    random16: bytes,
    *,
    execfn: bytes | None = None,
    limit: int | None = None,
) -> int:
    """Write what Linux gives a new program below *top*; return the stack pointer, 16-byte aligned.

    Ascending from it: argc, argv, NULL, envp, NULL, the auxiliary vector, padding, the random
    bytes, the strings. *execfn* (AT_EXECFN) is the first argument by default. A program whose
    headers are not in memory is told AT_PHDR 0 and AT_PHNUM 0. The bytes count as written (DIRTY),
    for they belong to this run, not to the program. *limit* bounds the bytes used. Raises
    `ConfigError`: a string with a NUL in it, *random16* not of 16 bytes, or too many bytes.
    """
    if len(random16) != _RANDOM_SIZE:
        raise ConfigError(f"AT_RANDOM takes {_RANDOM_SIZE} bytes, not {len(random16)}")
    if execfn is None:
        execfn = args[0] if args else b""
    for text in (execfn, *args, *env):
        if b"\0" in text:
            raise ConfigError(f"argument {text[:32]!r} has a NUL byte in it")
    strings = b"".join(text + b"\0" for text in (*args, *env, execfn))
    strings_at = top - len(strings)
    random_at = (strings_at - _RANDOM_SIZE) & -_STACK_ALIGNMENT
    pointers = []
    at = strings_at
    for text in (*args, *env):
        pointers.append(at)
        at += len(text) + 1
    auxiliary = _auxiliary_vector(program, random_at=random_at, execfn_at=at)
    words = [
        len(args),
        *pointers[: len(args)],
        0,
        *pointers[len(args) :],
        0,
        *(word for entry in auxiliary for word in entry),
    ]
    sp = (random_at - len(words) * _WORD) & -_STACK_ALIGNMENT
    used = top - sp
    room = top - memory.base if limit is None else limit
    if used > room:
        raise ConfigError(
            f"{len(args)} arguments and {len(env)} environment variables need {used} bytes of "
            f"stack; there is room for {room}"
        )
    block = bytearray(used)
    struct.pack_into(f"<{len(words)}Q", block, 0, *words)
    block[random_at - sp : random_at - sp + _RANDOM_SIZE] = random16
    block[strings_at - sp :] = strings
    memory.initialise(sp, memoryview(block))
    return sp


def _auxiliary_vector(
    program: Program, *, random_at: int, execfn_at: int
) -> tuple[tuple[int, int], ...]:
    return (
        (AT_HWCAP, HWCAP),
        (AT_PAGESZ, PAGE_SIZE),
        (AT_CLKTCK, CLOCK_TICKS),
        (AT_PHDR, program.phdr_address),
        (AT_PHENT, program.phentsize),
        (AT_PHNUM, program.phnum if program.phdr_address else 0),
        (AT_BASE, 0),
        (AT_FLAGS, 0),
        (AT_ENTRY, program.entry),
        (AT_UID, USER_ID),
        (AT_EUID, USER_ID),
        (AT_GID, USER_ID),
        (AT_EGID, USER_ID),
        (AT_SECURE, 0),
        (AT_RANDOM, random_at),
        (AT_EXECFN, execfn_at),
        (AT_NULL, 0),
    )


def build_ckb_stack(
    memory: Memory,
    args: Collection[bytes],
    version: int,
    *,
    stack_start: int | None = None,
    stack_size: int | None = None,
) -> tuple[int, int]:
    """Write *args* as CKB-VM's initialize_stack; return (stack pointer, bytes used).

    The stack is the last quarter of memory unless told otherwise. Version 0 aligns nothing, stores
    only 32 bits of each 8-byte slot and no NULL; from version 1 on nothing is written without
    arguments. Registers other than sp stay 0. Raises `CkbElfError`: MemOutOfStack after all stores,
    or what the first store that fails ran into (MemOutOfBound, MemWriteOnExecutablePage).
    """
    from rvjit.loader.ckb import CkbElfError, check_version

    check_version(version)
    size = memory.size // 4 if stack_size is None else stack_size
    start = memory.size - size if stack_start is None else stack_start
    top = start + size
    sp = top
    pointers = []
    # As long as no store can fail, those of many arguments are one.
    safe = _writable_from(memory, start, top) if args else top
    held: list[bytes] = []
    for arg in args:
        below = sp - len(arg) - 1
        if below >= safe:
            held.append(arg + b"\0")
        else:
            _store_strings(memory, sp, held)
            if arg:
                _store(memory, below, arg)
            _store(memory, below + len(arg), b"\0")
        sp = below
        pointers.append(sp)
    _store_strings(memory, sp, held)
    if version == 0:
        sp -= _WORD * (len(args) + 1)
        for position, word in enumerate((len(args), *pointers)):
            _store(memory, sp + _WORD * position, (word & MASK32).to_bytes(4, "little"))
    elif not args:
        sp = (top - _WORD) & -_STACK_ALIGNMENT
    else:
        sp = (sp - _WORD * (len(args) + 2)) & -_STACK_ALIGNMENT
        _store(memory, sp, struct.pack(f"<{len(args) + 2}Q", len(args), *pointers, 0))
    if sp < start:
        reason = f"more than the {size:#x} bytes of stack from {start:#x} on"
        raise CkbElfError("MemOutOfStack", "bytes of arguments", top - sp, reason)
    return sp, top - sp


def _writable_from(memory: Memory, start: int, top: int) -> int:
    """Return the lowest address from *start* on above which all pages are writable, up to *top*."""
    first, last = start >> PAGE_SHIFT, top >> PAGE_SHIFT
    if top & PAGE_MASK or not 0 <= first < last <= memory.page_count:
        return top
    return (first + memory.flags[first:last].tobytes().translate(_REFUSES).rfind(1) + 1) * PAGE_SIZE


_REFUSES = bytes(not flags & WRITABLE for flags in range(256))


def _store_strings(memory: Memory, address: int, held: list[bytes]) -> None:
    """Store *held*, first to last downwards, so that the last is at *address*; and forget them."""
    if held:
        memory.write(address, b"".join(reversed(held)))
        held.clear()


def _store(memory: Memory, address: int, data: bytes) -> None:
    from rvjit.loader.ckb import CkbElfError

    try:
        memory.write(address, data)
    except OutOfBounds as error:
        reason = "the arguments do not fit in memory"
        raise CkbElfError("MemOutOfBound", "stack", address, reason) from error
    except PermissionDenied as error:
        reason = "the arguments reach into an executable page"
        raise CkbElfError("MemWriteOnExecutablePage", "stack", address, reason) from error

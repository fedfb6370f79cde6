"""Programs that were loaded before: by this process, or, as the code cache knows, by another.

What is kept of a file is where its segments go, so a start with a known file needs no ELF parser:
importing pyelftools alone takes as long as everything else together. The bytes always come from the
file at hand, and the digest of the whole file is the name of what is kept.
"""

from __future__ import annotations

import marshal
import weakref

from rvjit.codegen.cache import CodeCache, dump
from rvjit.codegen.digests import digest
from rvjit.loader.program import Program, Segment, SymbolTable

# Programs in use, so that machines of one program share its bytes.
_programs: weakref.WeakValueDictionary[tuple[bytes, str], Program] = weakref.WeakValueDictionary()


def load_linux_once(
    file: bytes,
    key: bytes,
    cache: CodeCache,
    *,
    window_base: int,
    window_size: int,
    stack_size: int | None,
    name: str,
) -> Program:
    """As `rvjit.loader.elf.load_linux`, where *key* is the digest of *file*."""
    key = digest(key + f"{window_base:#x} {window_size:#x} {stack_size}".encode())
    program = _programs.get((key, name))
    if program is None:
        program = _from_disk(file, key, cache, name)
        if program is None:
            from rvjit.loader.elf import load_linux

            program = load_linux(
                file,
                window_base=window_base,
                window_size=window_size,
                stack_size=stack_size,
                name=name,
            )
            cache.keep(_bundle_name(key), [(0, _record(program))])
        _programs[key, name] = program
    return program


def _bundle_name(key: bytes) -> str:
    return f"program-{key.hex()}"


def _record(program: Program) -> bytes:
    # Bytes are kept as where in the file they are; any place with the same bytes will do.
    segments = tuple(
        (
            each.address,
            program.file.index(each.data),
            len(each.data),
            each.size,
            (int(each.readable), int(each.writable), int(each.executable)),
        )
        for each in program.segments
    )
    return dump(
        (
            segments,
            program.entry,
            (program.phdr_address, program.phentsize, program.phnum),
            (int(program.is_pie), program.load_bias, program.file_bytes_loaded),
        )
    )


def _from_disk(file: bytes, key: bytes, cache: CodeCache, name: str) -> Program | None:
    bundle = cache.bundle(_bundle_name(key))
    for record in () if bundle is None else bundle.read(0):
        segments, entry, (phdr_address, phentsize, phnum), rest = marshal.loads(record)
        is_pie, load_bias, file_bytes_loaded = rest
        return Program(
            entry=entry,
            segments=tuple(
                Segment(address, file[start : start + length], size, *map(bool, allowed))
                for address, start, length, size, allowed in segments
            ),
            phdr_address=phdr_address,
            phentsize=phentsize,
            phnum=phnum,
            symbols=SymbolTable(file, load_bias),
            name=name,
            file=file,
            is_pie=bool(is_pie),
            load_bias=load_bias,
            file_bytes_loaded=file_bytes_loaded,
        )
    return None

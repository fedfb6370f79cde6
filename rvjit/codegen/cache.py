"""The code cache: native code and what else is dear to make, kept on disk from run to run.

It only ever saves time. Whatever is wrong with it (damaged, not ours, not writable, full), things
are made anew, and `CodeCache.problem` has what was wrong.

What is kept depends on nothing but the parts of `fingerprint`, which names the folder, and on what
the caller gives as name. `RVJIT_CACHE_DIR` is where the folders are (by default ``rvjit`` in the
user's cache folder), `RVJIT_CACHE_SIZE` how many bytes they may have, with K, M or G; 0 for none.
"""

from __future__ import annotations

import marshal
import os
from collections.abc import Callable, Iterable
from functools import cached_property

from rvjit.codegen.blob import Blob
from rvjit.codegen.bundle import Bundle, Record, merge, pack
from rvjit.codegen.digests import digest
from rvjit.codegen.fingerprint import fingerprint
from rvjit.codegen.folder import Folder, shrink
from rvjit.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DIRECTORY = "RVJIT_CACHE_DIR"
SIZE = "RVJIT_CACHE_SIZE"
DEFAULT_SIZE = 512 << 20

_UNITS = {"": 0, "k": 10, "m": 20, "g": 30}

# No flags for references or interned strings: equal values have equal bytes.
_MARSHAL_VERSION = 2


class CodeCache:
    """What is kept in one folder, at most *size* bytes; for any number of threads.

    *announce* is called before a blob is made, which can take a second.
    """

    def __init__(self, root: str, size: int) -> None:
        self.root = root
        self.size = size
        self.problem: OSError | None = None
        self.announce: Callable[[], None] | None = None

    @cached_property
    def folder(self) -> Folder | None:
        """The folder for this CPU, LLVM and rvjit; None where nothing can be kept."""
        name = fingerprint() if self.size else None
        return None if name is None else Folder(self.root, name)

    def why_not(self) -> str | None:
        """Return what keeps the cache from being used or filled; None if nothing does."""
        if not self.size:
            return f"{SIZE} is 0, or nobody's home folder is known"
        if self.folder is None:
            return "this CPU or llvmlite cannot be identified"
        try:
            self.folder.probe()
        except OSError as error:
            return f"{error.filename or self.root}: {error.strerror}"
        return None

    def blob(self, name: str, make: Callable[[], Blob]) -> Blob:
        """Return the code that is kept as *name*, or *make* it and keep it."""
        file = f"blob-{digest(name.encode()).hex()}"
        bundle = self.bundle(file)
        for record in bundle.read(0) if bundle is not None else ():
            kept, code, symbols = marshal.loads(record)
            if kept == name.encode():
                return Blob(code, {key.decode(): offset for key, offset in symbols})
        if self.announce is not None:
            self.announce()
        blob = make()
        symbols = tuple((key.encode(), offset) for key, offset in blob.symbols.items())
        self.keep(file, [(0, dump((name.encode(), blob.code, symbols)))])
        return blob

    def bundle(self, name: str) -> Bundle | None:
        """Open the bundle *name*; None where there is none that can be trusted."""
        if self.folder is None:
            return None
        try:
            file = self.folder.open(name)
        except OSError as error:
            self.problem = error
            return None
        return None if file is None else Bundle(file)

    def keep(self, name: str, records: Iterable[Record]) -> None:
        """Add *records* to the bundle *name*."""
        if self.folder is None:
            return
        if fingerprint() != self.folder.name:
            return  # rvjit or llvmlite were changed under our feet: what made this is unknown
        try:
            with self.folder.locked():
                there = self.bundle(name)
                old = [] if there is None else there.records()
                self.folder.replace(name, pack(merge(records, old)))
                shrink(self.root, self.size)
        except OSError as error:
            self.problem = error


def dump(value: tuple[Any, ...]) -> bytes:
    """Return a tuple of ints, bytes and tuples as a record for `marshal.loads`."""
    return marshal.dumps(value, _MARSHAL_VERSION)


NO_CACHE = CodeCache("", 0)

_caches: dict[tuple[str | None, str | None, str], CodeCache] = {}


def code_cache() -> CodeCache:
    """Return the cache that the environment asks for.

    Raises `ConfigError` for a size that is none.
    """
    environ = os.environ
    home = environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    key = environ.get(DIRECTORY), environ.get(SIZE), home
    if key not in _caches:
        root = key[0] or os.path.join(os.path.expanduser(home), "rvjit")
        size = 0 if root.startswith("~") else _read_size(key[1])  # nobody's home is known
        _caches[key] = CodeCache(os.path.abspath(root), size)
    return _caches[key]


def _read_size(text: str | None) -> int:
    if not text:
        return DEFAULT_SIZE
    digits = text.strip().lower().removesuffix("b").removesuffix("i")
    unit = digits[-1:] if digits[-1:] in _UNITS else ""
    digits = digits.removesuffix(unit)
    if not (digits.isascii() and digits.isdigit()):
        raise ConfigError(f"{SIZE}={text}: give bytes, or a number with K, M or G; 0 for none")
    return int(digits) << _UNITS[unit]

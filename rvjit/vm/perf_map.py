"""PerfMap: names of guest functions for `perf report`, in the file that perf looks for."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from rvjit.codegen.arena import use_anonymous_memory
from rvjit.errors import ConfigError
from rvjit.loader.program import SymbolTable

if TYPE_CHECKING:
    from rvjit.vm.vm import VM

_FOLDER = Path("/tmp")
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class PerfMap:
    """Writes ``/tmp/perf-PID.map``: a line for each piece of native code, as soon as there is one.

    Make it before the first VM: perf does not use the map for native code that was there already.
    Where a region goes and another takes its place, both have a line, and perf cannot tell which
    ran. Raises `ConfigError` where the file cannot be made, or is somebody else's.
    """

    def __init__(self) -> None:
        self.path = _FOLDER / f"perf-{os.getpid()}.map"
        try:
            file = os.open(self.path, _FLAGS, 0o600)
        except OSError as error:
            raise ConfigError(f"cannot write {self.path}: {error.strerror}") from error
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            os.close(file)
            raise ConfigError(f"cannot write {self.path}: it is somebody else's")
        self._file = os.fdopen(file, "w", encoding="utf-8", buffering=1)
        use_anonymous_memory()

    def attach(self, vm: VM) -> None:
        """Write what native code *vm* has, and what comes, named by its program's symbols."""
        vm.engine.observe(_Names(self, vm.program.symbols))

    def write(self, name: str, address: int, size: int) -> None:
        """Write a line; nothing happens after `close`."""
        if not self._file.closed:
            shown = "".join(char if char.isprintable() else "?" for char in name)
            self._file.write(f"{address:x} {size:x} {shown}\n")

    def close(self) -> None:
        """Close the file; it stays, since perf reads it afterwards."""
        self._file.close()


class _Names:
    """Names the code of one VM; a `CodeObserver`."""

    def __init__(self, target: PerfMap, symbols: SymbolTable) -> None:
        self._target = target
        self._symbols = symbols

    def region(self, pc: int, address: int, size: int) -> None:
        found = self._symbols.find(pc)
        if found is None:
            name = f"guest_{pc:#x}"
        else:
            name = f"{found[0]}+{found[1]:#x}" if found[1] else found[0]
        self._target.write(name, address, size)

    def support(self, name: str, address: int, size: int) -> None:
        self._target.write(name, address, size)

"""What compiled code depends on besides its guest: this CPU, LLVM, and rvjit's own sources.

It has to be cheap, since every process that uses the cache asks for it, and must not import
llvmlite. So sizes and times stand for the contents of files, as they do for Python's own bytecode.
"""

from __future__ import annotations

import os
import sys

from rvjit.codegen.digests import digest

# Lines of /proc/cpuinfo that say which instructions there are and what LLVM tunes for; others
# change from one moment to the next.
_CPU_LINES = (b"vendor_id", b"cpu family", b"model", b"stepping", b"flags")

# Everything that has a part in what is cached: what generates code, and what loads programs.
_PACKAGES = (
    "",
    "codegen",
    "isa",
    "isa/ext",
    "jit",
    "loader",
    "machine",
    "threaded",
)


def fingerprint() -> str | None:
    """Return 32 hexadecimal digits; None where the parts cannot be found, so nothing can be kept.

    Two processes with the same fingerprint make the same native code of the same guest.
    """
    try:
        parts = [_cpu(), _llvm(), _sources(), sys.version.encode()]
    except OSError:
        return None
    return digest(b"\0".join(parts)).hex()


def _cpu() -> bytes:
    """Return what the kernel says of the first CPU."""
    with open("/proc/cpuinfo", "rb") as file:
        first = file.read(1 << 14).partition(b"\n\n")[0]
    return b"\n".join(line for line in first.splitlines() if line.startswith(_CPU_LINES))


def _llvm() -> bytes:
    """Return size and time of the files of llvmlite's library."""
    specs = (finder.find_spec("llvmlite", None) for finder in sys.meta_path)
    found = next((spec for spec in specs if spec is not None), None)
    if found is None or found.origin is None:
        raise FileNotFoundError("llvmlite")
    return _stamps(os.path.join(os.path.dirname(found.origin), "binding"), (".so", "ffi.py"))


def _sources() -> bytes:
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return b"".join(_stamps(os.path.join(package, each), (".py",)) for each in _PACKAGES)


def _stamps(folder: str, suffixes: tuple[str, ...]) -> bytes:
    """Return name, size and time of the files in *folder* that end like this."""
    with os.scandir(folder) as entries:
        found = sorted((each.name, each) for each in entries if each.name.endswith(suffixes))
    stamps = []
    for name, entry in found:
        facts = entry.stat()
        stamps.append(f"{name} {facts.st_size} {facts.st_mtime_ns}\n")
    return "".join(stamps).encode()

"""What a result depends on besides the code: processor, system, versions, commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.backends import ROOT, Backend

_LIBRARIES = ("llvmlite", "unicorn", "pyelftools", "msgpack", "rich")
_MEASURED = ("rvjit", "benchmarks")


def describe_host() -> dict[str, Any]:
    """Return processor, cores, memory, system and the load of the last minute."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(
            os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30), 1
        ),
        "os": f"{_distribution()}, {platform.system()} {platform.release()}, {platform.machine()}",
        "load": round(os.getloadavg()[0], 2),
    }


def describe_versions(backends: Iterable[Backend]) -> dict[str, str]:
    """Return the versions of Python, of the libraries and of every backend that is here."""
    found = {"Python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if "llvmlite" in found:
        from llvmlite import binding

        found["LLVM"] = ".".join(str(part) for part in binding.llvm_version_info)
    found.update({one.title: one.version() for one in backends if one.name != "python"})
    return found


def describe_commit() -> str:
    """Return the git commit, marked where what is measured differs from it."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return "unknown"
    changed = _git("status", "--porcelain", "--", *_MEASURED, ":!benchmarks/RESULTS.md",
                   ":!benchmarks/results")  # fmt: skip
    return f"{commit} with changes" if changed else commit


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpu() -> str:
    try:
        facts = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or "unknown"
    name = re.search(r"^model name\s*:\s*(.+)$", facts, re.MULTILINE)
    family = re.search(r"^cpu family\s*:\s*(\d+)$", facts, re.MULTILINE)
    model = re.search(r"^model\s*:\s*(\d+)$", facts, re.MULTILINE)
    shown = name.group(1) if name else "unknown"
    if family and model:
        shown += f" (family {family.group(1)}, model {model.group(1)})"
    return shown


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    except OSError:
        return "unknown"

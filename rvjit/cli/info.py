"""`rvjit info`: what is in a program, or what this installation can do."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import rvjit
from rvjit import engines
from rvjit.cli import COMMANDS, cache, output, programs, status
from rvjit.cli.elf_facts import read_facts
from rvjit.cli.parser import Parser
from rvjit.errors import ElfError, EngineUnavailable
from rvjit.isa.isa import VM_VERSIONS
from rvjit.loader.elf import load_linux
from rvjit.loader.install_ckb import install_ckb
from rvjit.loader.symbols import SymbolTable
from rvjit.loader.window import LinuxWindow
from rvjit.machine.machine import Machine
from rvjit.machine.memory import MAX_SIZE
from rvjit.machine.pages import PAGE_SIZE, round_up
from rvjit.vm.profile import NAMES, Profile

_CPUINFO = Path("/proc/cpuinfo")
_PACKAGES = ("llvmlite", "pyelftools", "msgpack", "rich")


def make_parser() -> Parser:
    """Make the command's parser."""
    parser = Parser("info", COMMANDS["info"], epilog=status.table())
    parser.add_argument("program", metavar="PROG", nargs="?", help="ELF file or example:NAME")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    return parser


def main(args: Namespace) -> int:
    """Print what is known."""
    if args.program is None:
        found = installation()
        text = "" if args.json else _installation_text(found)
    else:
        with programs.named(args.program):
            found = describe(programs.read(args.program), args.program)
        text = "" if args.json else _program_text(found)
    if args.json:
        output.write_json(sys.stdout, found)
    else:
        output.write(sys.stdout, text)
    return 0


# A program.


def describe(file: bytes, name: str) -> dict[str, Any]:
    """Return what is in *file*. Raises `ElfError` where it is no ELF file at all."""
    facts = read_facts(file)
    found: dict[str, Any] = {
        "program": name,
        "size": len(file),
        "sha256": hashlib.sha256(file).hexdigest(),
    }
    if facts is not None:
        symbols = SymbolTable(file)
        where = symbols.find(facts.entry)
        found |= {
            "type": facts.kind,
            "machine": facts.machine,
            "abi": facts.abi,
            "isa": facts.isa,
            "dynamically_linked": facts.dynamic,
            "entry": hex(facts.entry),
            "entry_symbol": None if where is None else where[0],
            "functions": sum(1 for _ in symbols.functions()),
            "segments": [
                {
                    "address": hex(load.address),
                    "size": load.size,
                    "file_size": load.file_size,
                    "permissions": load.permissions,
                }
                for load in facts.loads
            ],
        }
    found["least_linux_memory"] = least_linux_memory(file)
    found["profiles"] = _refusals(file)
    return found


def least_linux_memory(file: bytes) -> int | None:
    """Return the smallest memory in bytes in which `linux` loads *file*; None where none does.

    Heap and arguments need more.
    """
    base = Profile("linux").memory_base
    try:
        program = load_linux(file, window_base=base, window_size=MAX_SIZE)
    except ElfError:
        return None
    low, high = 3, MAX_SIZE // PAGE_SIZE  # pages; the first does not do, the second does
    while high - low > 1:
        middle = (low + high) // 2
        if LinuxWindow(base, middle * PAGE_SIZE).mmap_top >= round_up(program.end):
            high = middle
        else:
            low = middle
    return high * PAGE_SIZE


def _refusals(file: bytes) -> dict[str, str | None]:
    """Return for each profile why it would not load *file* in its default memory, or None."""
    found: dict[str, str | None] = {}
    for version in VM_VERSIONS:
        memory = Profile("ckb", vm_version=version).make_memory()
        try:
            install_ckb(file, memory, (), version)
            found[f"ckb {version}"] = None
        except ElfError as error:
            found[f"ckb {version}"] = str(error)
    linux = Profile("linux").make_memory()
    try:
        load_linux(file, window_base=linux.base, window_size=linux.size)
        found["linux"] = None
    except ElfError as error:
        found["linux"] = str(error)
    return found


def _program_text(found: dict[str, Any]) -> str:
    rows = [
        ("program", found["program"]),
        ("size", f"{found['size']:,} bytes"),
        ("SHA-256", found["sha256"]),
    ]
    if "type" in found:
        symbol = f" <{found['entry_symbol']}>" if found["entry_symbol"] else ""
        linking = "dynamically linked " if found["dynamically_linked"] else ""
        abi = f" ({found['abi']})" if found["abi"] else ""
        rows += [
            ("type", f"{linking}{found['type']}, {found['machine']}{abi}"),
            ("ISA", found["isa"] or "not recorded"),
            ("entry", found["entry"] + symbol),
            ("functions", f"{found['functions']:,}"),
        ]
    for profile, refusal in found["profiles"].items():
        rows.append((profile, "loads" if refusal is None else f"refuses: {refusal}"))
    if found["least_linux_memory"] is not None:
        least = output.human_size(found["least_linux_memory"])
        rows.append(("memory", f"at least {least} under linux, without heap and arguments"))
    lines = output.columns(rows)
    if found.get("segments"):
        heads = ("SEGMENT", "SIZE", "IN FILE", "ALLOWS")
        table = [
            (each["address"], f"{each['size']:,}", f"{each['file_size']:,}", each["permissions"])
            for each in found["segments"]
        ]
        lines += ["", *output.columns([heads, *table], right=frozenset({0, 1, 2}))]
    return "\n".join(lines)


# This installation.


def installation() -> dict[str, Any]:
    """Return versions, CPU, engines, profiles and exit statuses."""
    return {
        "rvjit": rvjit.__version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "llvm": _llvm_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "engines": {name: _why_not(name) for name in engines.NAMES},
        "profiles": {name: _profile(Profile(name)) for name in NAMES},
        "vm_versions": {
            str(version): str(Profile("ckb", vm_version=version).isa) for version in VM_VERSIONS
        },
        "cache": cache.facts(),
        "exit_statuses": status.MEANINGS,
    }


def _why_not(engine: str) -> str | None:
    """Return why *engine* cannot run here; None where it can."""
    profile = Profile("ckb")
    try:
        engines.make(engine, Machine(profile.make_memory(), profile.rules))
    except (EngineUnavailable, ImportError, OSError) as error:
        return str(error)
    return None


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _llvm_version() -> str | None:
    try:
        from rvjit.codegen.llvm import LLVM_VERSION
    except (ImportError, OSError):  # no llvmlite, or one whose library cannot be loaded
        return None
    return LLVM_VERSION


def _cpu() -> str:
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def _profile(profile: Profile) -> dict[str, Any]:
    assert profile.prices is not None
    return {
        "isa": str(profile.isa),
        "prices": profile.prices.name,
        "memory_size": profile.memory_size,
        "memory_base": hex(profile.memory_base),
        "syscalls": profile.syscalls,
    }


def _installation_text(found: dict[str, Any]) -> str:
    packages = ", ".join(
        f"{name} {version or 'missing'}" for name, version in found["packages"].items()
    )
    rows = [
        ("rvjit", found["rvjit"]),
        ("Python", found["python"]),
        ("packages", packages),
        ("LLVM", found["llvm"] or "missing"),
        ("platform", found["platform"]),
        ("CPU", f"{found['cpu']} ({found['cpus']} CPUs)"),
        ("cache", cache.summary(found["cache"])),
    ]
    rows += [
        (f"engine {name}", "available" if reason is None else f"not available: {reason}")
        for name, reason in found["engines"].items()
    ]
    for name, each in found["profiles"].items():
        size = output.human_size(each["memory_size"])
        where = f"{size} at {each['memory_base']}"
        words = (each["isa"], f"{each['prices']} prices", where, f"{each['syscalls']} system calls")
        rows.append((f"profile {name}", ", ".join(words)))
    rows += [(f"VM version {version}", isa) for version, isa in found["vm_versions"].items()]
    return "\n".join([*output.columns(rows), "", status.table()])

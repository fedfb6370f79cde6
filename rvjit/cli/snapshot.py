"""`rvjit snapshot`: keep a program as it is at a cycle, and look into snapshots."""

from __future__ import annotations

import sys
from argparse import REMAINDER, Namespace
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from typing import Any

from rvjit import Snapshot, Stop
from rvjit.cli import COMMANDS, arguments, output, programs, run, status
from rvjit.cli.guest_output import GuestOutput
from rvjit.cli.parser import Parser
from rvjit.isa.registers import ABI_NAMES
from rvjit.machine.pages import PAGE_SIZE
from rvjit.snapshot.pages import Kind

_USAGE = """rvjit snapshot --at CYCLES -o FILE [OPTION]... PROG [ARG]...
       rvjit snapshot PROG --at CYCLES -o FILE [OPTION]... [ARG]...
       rvjit snapshot info FILE [--json FILE]
       rvjit snapshot diff FILE FILE [--json FILE]
       rvjit snapshot verify FILE..."""
_EPILOG = """info shows what is in a snapshot, diff which registers, pages, bytes and host state
differ between two (exit status 1 where any does), verify reads files and checks all
of their checksums.
"""


def make_parser() -> Parser:
    """Make the command's parser."""
    parser = Parser("snapshot", COMMANDS["snapshot"], epilog=f"{_EPILOG}\n{status.table()}")
    parser.usage = _USAGE
    parser.add_argument(
        "command",
        nargs=REMAINDER,
        metavar="PROG [ARG]... | info | diff | verify",
        help="static RV64 ELF file or example:NAME, and its arguments; or what to do with files",
    )
    parser.add_argument(
        "--at", type=arguments.natural, metavar="CYCLES", help="the cycle to stop at"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="the file to write")
    parser.add_argument(
        "--kind",
        choices=("full", "dirty"),
        default="full",
        help="all of memory, or what differs from the loaded program (default full)",
    )
    parser.add_argument("--compress", action="store_true", help="compress it (needs rvjit[zstd])")
    run.add_machine(parser)
    run.add_world(parser)
    return parser


def main(args: Namespace) -> int:
    """Do what was asked and return the exit status."""
    command = run.program_of(args, "snapshot")
    if command[0] in _ACTIONS:
        return _ACTIONS[command[0]](command[1:])
    if args.at is None or args.output is None:
        # Options may also stand between PROG and its arguments.
        args = make_parser().parse_args(command[1:], args)
        command = [command[0], *run.words_of(args)]
    if args.at is None or args.output is None:
        message = "give --at CYCLES and -o FILE (see rvjit snapshot --help)"
        raise status.CommandError(message, status.Status.USAGE)
    stdout, stderr = GuestOutput(sys.stdout), GuestOutput(sys.stderr)
    with closing(run.load(args, command, stdout, stderr)) as vm:
        for stream in (stdout, stderr):
            stream.pending = vm.machine.pending
            stream.close = vm.pause
        run.collect_garbage()
        result = vm.run(cycle_limit=args.at)
        for stream in (stdout, stderr):
            stream.finish()
        if result.stop is not Stop.CYCLE_LIMIT:
            message = (
                f"the run ended ({result.stop.value}) at cycle {result.cycles}, before {args.at}: "
                f"{args.output} was not written"
            )
            raise status.CommandError(message, status.Status.USAGE)
        vm.save_snapshot(args.output, args.kind, compress=args.compress)
    return 0


def _info(words: list[str]) -> int:
    args = _parse("info", words, 1)
    found = _facts(_load(args.files[0]))
    if args.json is not None:
        return _write_json(args.json, found)
    rows = [
        (output.as_label(name), _text(value))
        for name, value in found.items()
        if name != "registers"
    ]
    registers = found["registers"]
    rows += [(name, value) for name, value in registers.items() if value != "0x0"]
    output.write(sys.stdout, "\n".join(output.columns(rows)))
    return 0


def _diff(words: list[str]) -> int:
    from rvjit.snapshot.compare import compare

    args = _parse("diff", words, 2)
    first, second = map(_load, args.files)
    found = compare(first, second)
    if args.json is not None:
        _write_json(args.json, found.as_dict())
    else:
        for line in found.lines():
            output.write(sys.stdout, line)
    return 1 if found else 0


def _verify(words: list[str]) -> int:
    args = _parse("verify", words, None)
    rows = []
    for file in args.files:
        taken = _load(file)
        digest = sha256()
        for part in taken.parts():
            digest.update(part)
        rows.append((file, "good", f"sha256 {digest.hexdigest()}"))
    if args.json is not None:
        keys = ("file", "state", "digest")
        return _write_json(args.json, [dict(zip(keys, row, strict=True)) for row in rows])
    output.write(sys.stdout, "\n".join(output.columns(rows)))
    return 0


_ACTIONS: dict[str, Callable[[list[str]], int]] = {
    "info": _info,
    "diff": _diff,
    "verify": _verify,
}


def _load(file: str) -> Snapshot:
    with programs.named(file):
        return Snapshot.open(file)


def _parse(action: str, words: list[str], files: int | None) -> Namespace:
    parser = Parser(f"snapshot {action}", COMMANDS["snapshot"], epilog=_EPILOG)
    parser.add_argument("files", nargs="+" if files is None else files, metavar="FILE")
    parser.add_argument("--json", metavar="FILE", help="write a report; - is standard output")
    return parser.parse_args(words)


def _write_json(path: str, value: object) -> int:
    if path == "-":
        output.write_json(sys.stdout, value)
    else:
        with open(path, "w", encoding="utf-8") as file:
            output.write_json(file, value)
    return 0


def _facts(taken: Snapshot) -> dict[str, Any]:
    """Return what `info` shows."""
    identity, cpu, pages = taken.identity, taken.cpu, taken.pages
    counts = {
        kind.name.lower(): sum(each.length for each in pages.extents if each.kind is kind)
        for kind in Kind
    }
    return {
        "kind": taken.kind.value,
        "program": identity.name,
        "program_sha256": identity.program,
        "profile": identity.profile,
        "isa": identity.isa,
        "vm_version": identity.vm_version,
        "syscalls": identity.syscalls,
        "memory_base": hex(identity.memory_base),
        "memory_size": identity.memory_size,
        "pc": hex(cpu.pc),
        "cycles": cpu.cycles,
        "exit_code": cpu.exit_code,
        "pages": counts,
        "bytes_of_pages": len(pages.literals) * PAGE_SIZE,
        "host": sorted(taken.host),
        "unknown_sections": [name for name, _ in taken.extra],
        "registers": dict(zip(ABI_NAMES, map(hex, cpu.x), strict=True)),
    }


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{number:,} {name}" for name, number in value.items() if number) or "none"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)

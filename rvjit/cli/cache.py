"""`rvjit cache`: what is kept on disk from run to run."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from rvjit.cli import COMMANDS, output
from rvjit.cli.parser import Parser
from rvjit.codegen.cache import DIRECTORY, SIZE, code_cache
from rvjit.codegen.folder import clear, kept_files

_EPILOG = f"""\
Native code is kept in the user's cache folder, or in {DIRECTORY}. All files
together have at most {SIZE} bytes (with K, M or G; default 512M, 0 for
no cache); the oldest go first. Whatever is wrong with the cache, runs go on
without it; info says what."""


def make_parser() -> Parser:
    """Make the command's parser."""
    parser = Parser("cache", COMMANDS["cache"], epilog=_EPILOG)
    parser.add_argument(
        "action", choices=("info", "clear"), help="show what is there, or remove all of it"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def main(args: Namespace) -> int:
    """Show or clear."""
    if args.action == "clear":
        files, size = clear(code_cache().root)
        if args.json:
            output.write_json(sys.stdout, {"removed_files": files, "removed_bytes": size})
        else:
            output.write(sys.stdout, f"removed {_amount(files, size)}")
        return 0
    found = facts()
    if args.json:
        output.write_json(sys.stdout, found)
    else:
        rows = [
            ("folder", found["path"]),
            ("limit", output.human_size(found["limit"]) if found["limit"] else "no cache"),
            ("kept", _amount(found["files"], found["bytes"])),
            ("for this machine", _amount(found["current_files"], found["current_bytes"])),
            ("usable", "yes" if found["problem"] is None else f"no: {found['problem']}"),
        ]
        output.write(sys.stdout, "\n".join(output.columns(rows)))
    return 0


def facts() -> dict[str, Any]:
    """Return what there is to know of the cache, as JSON has it; sizes in bytes."""
    cache = code_cache()
    files = kept_files(cache.root)
    folder = cache.folder
    current = [] if folder is None else [each for each in files if folder.holds(each[2])]
    return {
        "path": cache.root,
        "limit": cache.size,
        "files": len(files),
        "bytes": sum(size for _, size, _ in files),
        "current_files": len(current),
        "current_bytes": sum(size for _, size, _ in current),
        "problem": cache.why_not(),
    }


def summary(found: dict[str, Any]) -> str:
    """Return `facts` in a line."""
    if found["problem"] is not None:
        return f"not usable: {found['problem']}"
    return f"{_amount(found['files'], found['bytes'])} in {found['path']}"


def _amount(files: int, size: int) -> str:
    return f"{files} file{'s' * (files != 1)}, {output.human_size(size)}"

"""`rvjit examples`: list the example programs."""

from __future__ import annotations

import sys
from argparse import Namespace

from rvjit import examples
from rvjit.cli import COMMANDS, output
from rvjit.cli.parser import Parser


def make_parser() -> Parser:
    """Make the command's parser."""
    parser = Parser(
        "examples", COMMANDS["examples"], epilog="run one: rvjit run example:NAME [SIZE]"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def main(args: Namespace) -> int:
    """Print the list."""
    if args.json:
        listed = [
            vars(example) | {"path": str(examples.path(example.name))}
            for example in examples.EXAMPLES
        ]
        output.write_json(sys.stdout, listed)
        return 0
    rows = [
        (example.name, str(example.default_size), str(example.small_size), example.summary)
        for example in examples.EXAMPLES
    ]
    heads = ("NAME", "SIZE", "SMALL", "WHAT IT DOES")
    lines = output.columns([heads, *rows], right=frozenset({1, 2}))
    lines += ["", "rvjit run example:NAME [SIZE] runs one; SIZE is what it takes by default."]
    output.write(sys.stdout, "\n".join(lines))
    return 0

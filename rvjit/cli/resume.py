"""`rvjit resume`: go on from a snapshot, in this process, to the same end."""

from __future__ import annotations

import sys
from argparse import Namespace

from rvjit import VM
from rvjit.cli import COMMANDS, programs, run, status
from rvjit.cli.guest_output import GuestOutput
from rvjit.cli.parser import Parser


def make_parser() -> Parser:
    """Make the command's parser."""
    parser = Parser("resume", COMMANDS["resume"], epilog=status.table())
    parser.add_argument("file", metavar="FILE", help="a snapshot")
    parser.add_argument(
        "--program",
        metavar="PROG",
        help="the program: needed for a dirty snapshot, and for names in reports",
    )
    run.add_limits(parser)
    machine = parser.add_argument_group("machine")
    run.add_engine(machine)
    run.add_directories(parser.add_argument_group("what the guest sees"))
    run.add_reports(parser)
    return parser


def main(args: Namespace) -> int:
    """Go on and return the guest's exit code, or ours."""
    stdout = GuestOutput(sys.stdout, digest=args.digest)
    stderr = GuestOutput(sys.stderr)

    def make() -> VM:
        with programs.named(args.file):
            return VM.from_snapshot(
                args.file,
                program=None if args.program is None else programs.locate(args.program),
                engine=args.engine,
                stdin=run.standard_input(),
                stdout=stdout,
                stderr=stderr,
                directories=args.directories,
                cache=not args.no_cache,
            )

    return run.execute(args, args.program or args.file, make, (stdout, stderr))

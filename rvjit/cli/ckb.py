"""`rvjit ckb run`: run a script of CKB with its scheduler, off the chain."""

from __future__ import annotations

import sys
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from rvjit.cli import COMMANDS, arguments, ckb_report, output, programs, run, status
from rvjit.cli.guest_output import GuestOutput
from rvjit.cli.parser import Parser
from rvjit.errors import ConfigError, CyclesExceeded, ScriptError, ScriptPaused
from rvjit.scheduler.events import Event, Observer, write_lines
from rvjit.scheduler.limits import MAX_CYCLES
from rvjit.scheduler.mock import load_mock, parse_mock
from rvjit.scheduler.offchain import OffChain
from rvjit.scheduler.runner import PauseSignal
from rvjit.scheduler.scheduler import PauseOrLimit, Scheduler
from rvjit.scheduler.suspended import FullSuspendedState
from rvjit.scheduler.timeline import Timeline
from rvjit.scheduler.transaction import TransactionContext
from rvjit.syscalls import Host

_EPILOG = """\
Without --tx a transaction is made up, with PROG as the lock of its only input
and in its only cell dep. Scripts may use ckb-debugger's calls for files (see
--dir, --read-file), which no node has."""


def parse(words: list[str]) -> Namespace:
    """Read the command line: the one action there is, and its options."""
    if words[:1] in (["-h"], ["--help"]):
        words = ["run", *words]
    if words[:1] != ["run"]:
        found = words[0] if words else "nothing"
        raise status.CommandError(
            f"expected rvjit ckb run, not {found} (see rvjit ckb run --help)", status.Status.USAGE
        )
    return make_parser().parse_args(words[1:])


def make_parser() -> Parser:
    """Make the command's parser."""
    parser = Parser("ckb run", COMMANDS["ckb"], epilog=f"{_EPILOG}\n\n{status.table()}")
    parser.usage = "rvjit ckb run [OPTION]... [PROG [ARG]...]"
    parser.add_argument(
        "command",
        nargs="...",
        metavar="PROG [ARG]...",
        help="the script's ELF file, in place of the transaction's, and the root's arguments",
    )
    what = parser.add_argument_group("what to run")
    what.add_argument("--tx", metavar="FILE", help="mock transaction, JSON; - is standard input")
    what.add_argument(
        "--script",
        metavar="CELL",
        help="which script of it: input.0.lock (default), output.1.type, ... or 0x and its hash",
    )
    what.add_argument(
        "--vm-version", type=arguments.integer, metavar="N", help="0, 1 or 2 (default: by script)"
    )
    what.add_argument("--isa", metavar="NAME", help="extensions (default: CKB's for the version)")
    what.add_argument(
        "--resume", metavar="FILE", help="go on from what --suspend wrote, with the same data"
    )
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--cycles", type=arguments.natural, metavar="N", help="stop when N cycles are passed"
    )
    limits.add_argument(
        "--timeout", type=arguments.seconds, metavar="S", help="stop after S seconds of wall time"
    )
    limits.add_argument(
        "--suspend", metavar="FILE", help="where to keep a script that a limit has stopped"
    )
    limits.add_argument(
        "--corrected",
        action="store_true",
        help="count so that limits and --suspend change no total; CKB loses or repeats charges",
    )
    run.add_engine(parser.add_argument_group("machine"))
    world = parser.add_argument_group("what scripts see off the chain")
    world.add_argument(
        "--dir",
        type=arguments.directory,
        action="append",
        default=[],
        dest="directories",
        metavar="HOST:GUEST[:ro|rw]",
        help="let scripts open files of a directory (read-only by default)",
    )
    world.add_argument("--read-file", metavar="FILE", help="what call 9000 reads; - is stdin")
    world.add_argument("--seed", type=arguments.integer, default=0, metavar="N")
    world.add_argument("--real-time", action="store_true", help="show them the host's clock")
    reports = parser.add_argument_group("reports")
    reports.add_argument(
        "--trace", metavar="FILE", help="write what happens, as lines of JSON; - is stdout"
    )
    reports.add_argument(
        "--timeline", metavar="FILE", help="write it for Chrome or Perfetto, VMs as tracks"
    )
    reports.add_argument(
        "--step-log", metavar="FILE", help="write VM and pc of every instruction; slow"
    )
    reports.add_argument("--json", metavar="FILE", help="write a report; - is standard output")
    reports.add_argument("--quiet", action="store_true", help="say nothing of a script that ends")
    return parser


def main(args: Namespace) -> int:
    """Run the script and return its exit code, or ours."""
    command = run.words_of(args)
    context = _context(args, command[0] if command else None)
    with ExitStack() as stack:
        observers: list[Observer] = []
        if args.trace is not None:
            observers.append(write_lines(_open(args.trace, stack)))
        timeline = Timeline(command[0] if command else args.tx) if args.timeline else None
        if timeline is not None:
            target = _open(args.timeline, stack)
            observers.append(timeline)
            stack.callback(timeline.write, target)
        json_target = None if args.json is None else _open(args.json, stack)
        step_log = None if args.step_log is None else _open(args.step_log, stack)
        world = OffChain(_content(args.read_file))
        stack.callback(world.close)
        stdout = GuestOutput(sys.stdout)
        host = Host(
            stdin=None if args.read_file == "-" or args.tx == "-" else 0,
            stdout=stdout,
            stderr=GuestOutput(sys.stderr),
            directories=args.directories,
            seed=args.seed,
            real_time=args.real_time,
        )
        stack.callback(host.close)
        options = {
            "isa": args.isa,
            "engine": args.engine,
            "cache": not args.no_cache,
            "debug": lambda data: stdout(data + b"\n"),
            "observer": _together(observers),
            "step": None if step_log is None else ckb_report.log_steps(step_log),
            "syscalls": world.handlers,
            "host": host,
        }
        scheduler = _scheduler(args, context, command[1:], options)
        stack.callback(scheduler.close)
        return _run(args, scheduler, json_target)


def _context(args: Namespace, program: str | None) -> TransactionContext:
    """Return the transaction, with the script chosen and its program."""
    file = None if program is None else programs.read(program)
    if args.tx is None:
        if file is None:
            raise status.CommandError(
                "PROG or --tx is missing (see rvjit ckb run --help)", status.Status.USAGE
            )
        return TransactionContext.around(file)
    if args.tx == "-":
        context = parse_mock(sys.stdin.read(), folder=Path())
    else:
        try:
            context = load_mock(args.tx)
        except OSError as error:
            message = f"cannot read {args.tx}: {error.strerror}"
            raise status.CommandError(message, status.Status.LOAD) from error
    return context.choose(args.script or "input.0.lock", program=file)


def _content(path: str | None) -> bytes:
    if path is None:
        return b""
    return sys.stdin.buffer.read() if path == "-" else programs.read(path)


def _scheduler(
    args: Namespace, context: TransactionContext, script_args: list[str], options: dict[str, object]
) -> Scheduler:
    if args.resume is not None:
        for option in ("vm_version", "corrected"):
            if getattr(args, option):
                name = "--" + option.replace("_", "-")
                raise ConfigError(f"{name}: comes from the file that is resumed")
        state = FullSuspendedState.load(args.resume)
        return Scheduler.resume(context, state, **options)
    return Scheduler(
        context,
        version=args.vm_version,
        args=[arg.encode("utf-8", "surrogateescape") for arg in script_args],
        corrected=args.corrected,
        **options,  # type: ignore[arg-type]
    )


def _run(args: Namespace, scheduler: Scheduler, json_target: TextIO | None) -> int:
    run.collect_garbage()
    signal = PauseSignal()
    limit = MAX_CYCLES if args.cycles is None else args.cycles
    error: ScriptError | None = None
    result = None
    started = time.perf_counter()
    try:
        with _alarm(signal, args.timeout):
            result = scheduler.run(PauseOrLimit(signal, limit))
    except ScriptError as found:
        error = found
    seconds = time.perf_counter() - started
    if isinstance(error, CyclesExceeded | ScriptPaused) and args.suspend is not None:
        scheduler.suspend().save(args.suspend)
        output.say(f"suspended: go on with the same data and --resume {args.suspend}")
    end = ckb_report.End(scheduler, result, error, seconds)
    if not (args.quiet and result is not None):
        ckb_report.say(end)
    if json_target is not None:
        output.write_json(json_target, ckb_report.as_dict(end))
    if result is not None:
        return result.exit_code & 0xFF
    if isinstance(error, CyclesExceeded):
        return status.Status.CYCLE_LIMIT
    return status.Status.TIMEOUT if isinstance(error, ScriptPaused) else status.Status.FAULT


@contextmanager
def _alarm(signal: PauseSignal, seconds: float | None) -> Iterator[None]:
    """Have the run pause when its time is over."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), signal.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _together(observers: list[Observer]) -> Observer | None:
    if len(observers) < 2:
        return observers[0] if observers else None

    def observe(event: Event) -> None:
        for each in observers:
            each(event)

    return observe


def _open(path: str, stack: ExitStack) -> TextIO:
    """Open a report before the run, so that no run is lost for a mistyped path."""
    if path == "-":
        return sys.stdout
    try:
        return stack.enter_context(open(path, "w", encoding="utf-8"))
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise status.CommandError(message, status.Status.HOST) from error

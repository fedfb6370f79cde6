"""`rvjit run`: run a program, then say how it ended."""

from __future__ import annotations

import gc
import os
import sys
import time
from contextlib import ExitStack, closing

from rvjit import engines
from rvjit.cli import COMMANDS, arguments, output, programs, status
from rvjit.cli.guest_output import GuestOutput
from rvjit.codegen.cache import code_cache
from rvjit.machine.stop import Stop
from rvjit.vm.profile import NAMES, SYSCALLS, Profile
from rvjit.vm.result import RunResult
from rvjit.vm.vm import DEFAULT_ENGINE, VM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable
    from typing import TextIO

    from rvjit.cli.parser import Parser
    from rvjit.cli.progress import Progress
    from rvjit.replay.ring import CheckpointRing
    from rvjit.vm.perf_map import PerfMap

_STDIN = 0
_REMAINDER = "..."  # argparse.REMAINDER
_MORE_FAILURES = ("cycle_limit", "interrupt")
_CHECKPOINT_KINDS = ("auto", "memory", "fork")


def parse(words: list[str]) -> Namespace | arguments.Defaults:
    """Read the command line. Where it has no options that takes no argparse."""
    if words and not words[0].startswith("-"):
        plain = arguments.Defaults()
        add_options(plain)
        plain.command = words
        return plain
    return make_parser().parse_args(words)


def make_parser() -> Parser:
    """Make the command's parser."""
    from rvjit.cli.parser import Parser

    parser = Parser("run", COMMANDS["run"], epilog=status.table())
    parser.usage = "rvjit run [OPTION]... PROG [ARG]..."
    add_options(parser)
    return parser


def add_options(parser: arguments.Options) -> None:
    """Add everything that the command takes."""
    parser.add_argument(
        "command",
        nargs=_REMAINDER,
        metavar="PROG [ARG]...",
        help="static RV64 ELF file or example:NAME, and its arguments, whatever they look like",
    )
    add_limits(parser)
    add_machine(parser)
    add_world(parser)
    add_reports(parser)


def add_limits(parser: arguments.Options) -> None:
    """Add the options that end a run."""
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--cycles", type=arguments.natural, metavar="N", help="stop before cycle N is passed"
    )
    limits.add_argument(
        "--timeout", type=arguments.seconds, metavar="S", help="stop after S seconds of wall time"
    )
    limits.add_argument(
        "--suspend",
        metavar="FILE",
        help="where the run stops before its end, write a snapshot for `rvjit resume`",
    )


def add_machine(parser: arguments.Options) -> None:
    """Add the options that say what machine there is."""
    machine = parser.add_argument_group("machine")
    machine.add_argument(
        "--profile", choices=NAMES, default="linux", help="rules of the machine (default linux)"
    )
    machine.add_argument(
        "--isa",
        metavar="NAME",
        help="extensions, such as imcba, imac_zba or, with CKB's fusion, imcb_mop or all",
    )
    machine.add_argument(
        "--vm-version",
        type=arguments.integer,
        metavar="N",
        help="CKB-VM's version, 0, 1 or 2 (default 2)",
    )
    machine.add_argument("--syscalls", choices=SYSCALLS, help="system calls (default by profile)")
    machine.add_argument(
        "--memory", type=arguments.size, metavar="SIZE", help="4M, 64MiB, 1G, 0x400000 or bytes"
    )
    machine.add_argument(
        "--stack-size",
        type=arguments.size,
        metavar="SIZE",
        help="of that, the stack (default a quarter, at most 8M; not under ckb)",
    )
    machine.add_argument(
        "--strict-loads", action="store_true", help="loads from unmapped pages are faults"
    )
    add_engine(machine)


def add_engine(group: arguments.Options) -> None:
    """Add the choice of an engine."""
    group.add_argument(
        "--engine",
        choices=engines.NAMES,
        default=DEFAULT_ENGINE,
        help=f"how to run it; the results are the same (default {DEFAULT_ENGINE})",
    )
    group.add_argument(
        "--no-cache", action="store_true", help="neither use nor fill the code cache on disk"
    )


def add_world(parser: arguments.Options) -> None:
    """Add the options that say what the guest can reach."""
    world = parser.add_argument_group("what the guest sees")
    world.add_argument(
        "--env",
        type=arguments.variable,
        action="append",
        default=[],
        metavar="K=V",
        help="set an environment variable (there are none by default)",
    )
    add_directories(world)
    world.add_argument(
        "--seed",
        type=arguments.integer,
        metavar="N",
        help="start of its random numbers (default 0)",
    )
    world.add_argument("--real-time", action="store_true", help="show it the host's clock")
    world.add_argument("--tty", action="store_true", help="its streams look like terminals")


def add_directories(group: arguments.Options) -> None:
    """Add what the guest may open."""
    group.add_argument(
        "--dir",
        type=arguments.directory,
        action="append",
        default=[],
        dest="directories",
        metavar="HOST:GUEST[:ro|rw]",
        help="let the guest open files of a directory (read-only by default)",
    )


def add_reports(parser: arguments.Options) -> None:
    """Add the options about what is said of a run."""
    reports = parser.add_argument_group("reports")
    reports.add_argument(
        "--stats", action="store_true", help="print cycles, time, speed and engine statistics"
    )
    reports.add_argument("--json", metavar="FILE", help="write a report; - is standard output")
    reports.add_argument(
        "--digest",
        action="store_true",
        help="SHA-256 of registers, memory and stdout, in the report or on stderr",
    )
    reports.add_argument(
        "--dump-ir",
        action="append",
        default=[],
        metavar="REGION",
        help="after the run, print what is compiled of the code at a symbol or address: guest "
        "code, LLVM IR before and after its passes, host code; 'all' for all that was compiled",
    )
    reports.add_argument(
        "--perf-map",
        action="store_true",
        help="write /tmp/perf-PID.map, by which perf report names guest functions",
    )
    add_failure(parser)
    reports.add_argument("--progress", action="store_true", help="show how far the run is")
    reports.add_argument("--quiet", action="store_true", help="no summary on a terminal")


def add_failure(parser: arguments.Options) -> None:
    """Add what is done where a run fails."""
    failure = parser.add_argument_group("failures")
    failure.add_argument(
        "--on-failure",
        metavar="FILE",
        help="where the run fails, go back to a checkpoint and write what every instruction did "
        "from there on, as JSON lines; the guest's output is not written again. Failures are "
        "faults, exit codes other than 0, --timeout, and what lockstep finds",
    )
    failure.add_argument(
        "--failure",
        action="append",
        default=[],
        choices=_MORE_FAILURES,
        help="another kind of end that counts: --cycles was reached, or Ctrl-C",
    )
    failure.add_argument(
        "--trace-last",
        type=arguments.cycles_or_all,
        metavar="N",
        help="cycles before the failure that are traced, such as 500K, or all since the checkpoint "
        "(default 100K)",
    )
    failure.add_argument(
        "--checkpoint-every",
        type=arguments.interval,
        metavar="N",
        help="cycles (such as 10M) or time (2s, 50ms) between checkpoints (default 1s)",
    )
    failure.add_argument(
        "--checkpoints",
        type=arguments.positive,
        metavar="K",
        help="how many are kept, the newest; a replay begins at the oldest (default 2)",
    )
    failure.add_argument(
        "--checkpoint-bytes",
        type=arguments.size,
        metavar="SIZE",
        help="memory for them; fewer are kept where it is short (default 256M)",
    )
    failure.add_argument(
        "--checkpoint-kind",
        choices=_CHECKPOINT_KINDS,
        help="memory: copies of the pages that were written; fork: sleeping processes (Linux); "
        "auto, the default: memory where --checkpoint-bytes has room for twice the guest's",
    )


def main(args: Namespace | arguments.Defaults) -> int:
    """Run the program and return its exit code, or ours."""
    command = program_of(args, "run")
    stdout = GuestOutput(sys.stdout, digest=args.digest)
    stderr = GuestOutput(sys.stderr)
    if output.is_terminal(sys.stderr) and not args.quiet:
        code_cache().announce = _Announcement()
    make = lambda: load(args, command, stdout, stderr)  # noqa: E731
    return execute(args, command[0], make, (stdout, stderr))


def collect_garbage() -> None:
    """Let Python collect it again, now that imports are over, which the script `rvjit` put off.

    To look through what they made would take 2 ms, so that is kept for good.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def words_of(args: Namespace | arguments.Defaults) -> list[str]:
    """Return what follows the options, without the ``--`` that may be between."""
    words: list[str] = args.command
    return words[1:] if words[:1] == ["--"] else words


def program_of(args: Namespace | arguments.Defaults, name: str) -> list[str]:
    """Return PROG and its arguments. Raises `CommandError` of the command *name* without one."""
    command = words_of(args)
    if not command:
        message = f"PROG is missing (see rvjit {name} --help)"
        raise status.CommandError(message, status.Status.USAGE)
    return command


def execute(
    args: Namespace | arguments.Defaults,
    program: str,
    make: Callable[[], VM],
    streams: tuple[GuestOutput, GuestOutput],
) -> int:
    """Run the VM that *make* makes as the options of limits and reports say.

    Returns the exit status.
    """
    stdout, stderr = streams
    with ExitStack() as stack:
        if args.suspend is not None:
            from rvjit.cli import suspend

            suspend.check(args.suspend)
        names = stack.enter_context(closing(_perf_map())) if args.perf_map else None
        vm = stack.enter_context(closing(make()))
        target = _open_report(args.json, stack)
        for where in args.dump_ir:
            from rvjit.cli import tuning

            tuning.address_of(vm, where)  # mistakes are told before the run
        if names is not None:
            names.attach(vm)
        for stream in (stdout, stderr):
            stream.pending = vm.machine.pending
            stream.close = vm.pause
        shown = _progress((stdout, stderr)) if args.progress else None
        ring = stack.enter_context(_ring(vm, args)) if _wants_ring(args) else None
        try:
            result, seconds = _run(vm, args.cycles, args.timeout, shown, ring)
        finally:
            if ring is not None:
                from rvjit.cli import failure

                failure.say(ring)
        for name, stream in (("stdout", stdout), ("stderr", stderr)):
            if dropped := stream.finish():
                output.say(f"{dropped} bytes of the guest's {name} had no reader and are lost")
        _report(args, program, vm, (result, seconds), stdout, target, ring)
        if args.suspend is not None:
            from rvjit.cli import suspend

            suspend.save(vm, result, args.suspend)
        for where in args.dump_ir:
            from rvjit.cli import tuning

            tuning.dump_ir(vm, where)
    return status.of_result(result)


def _wants_ring(args: Namespace | arguments.Defaults) -> bool:
    """Whether a failure is to be replayed. Raises `CommandError` for options without that."""
    if args.on_failure is not None:
        return True
    for name in ("failure", "trace_last", "checkpoint_every", "checkpoints", "checkpoint_bytes",
                 "checkpoint_kind"):  # fmt: skip
        if getattr(args, name):
            option = "--" + name.replace("_", "-")
            message = f"{option} has no meaning without --on-failure"
            raise status.CommandError(message, status.Status.USAGE)
    return False


def _ring(vm: VM, args: Namespace | arguments.Defaults) -> CheckpointRing:
    from rvjit.cli import failure

    return failure.make_ring(vm, args)


def _perf_map() -> PerfMap:
    from rvjit.vm.perf_map import PerfMap

    return PerfMap()


def load(
    args: Namespace | arguments.Defaults,
    command: list[str],
    stdout: GuestOutput,
    stderr: GuestOutput,
) -> VM:
    """Load PROG as the options of machine and world say."""
    program, *guest_arguments = command
    _refuse_unused(args)
    profile = Profile(
        args.profile,
        isa=args.isa,
        vm_version=2 if args.vm_version is None else args.vm_version,
        syscalls=args.syscalls,
        memory_size=args.memory,
        strict_loads=args.strict_loads,
    )
    with programs.named(program):
        return VM.from_elf(
            programs.locate(program),
            name=program,
            args=guest_arguments,
            env=dict(args.env),
            profile=profile,
            stack_size=args.stack_size,
            engine=args.engine,
            stdin=standard_input(),
            stdout=stdout,
            stderr=stderr,
            directories=args.directories,
            seed=args.seed or 0,
            real_time=args.real_time,
            tty=args.tty,
            cache=not args.no_cache,
        )


def _refuse_unused(args: Namespace | arguments.Defaults) -> None:
    """Raise for options that say nothing to the machine that was chosen."""
    syscalls = args.syscalls or args.profile
    linux, linux_calls = args.profile == "linux", syscalls == "linux"
    used = {
        "--env": linux,
        "--stack-size": linux,
        "--seed": linux or linux_calls,
        "--dir": linux_calls,
        "--real-time": linux_calls,
        "--tty": linux_calls,
        "--vm-version": not (linux and linux_calls) or _fuses(args.isa),
    }
    for option, is_used in used.items():
        name = "directories" if option == "--dir" else option[2:].replace("-", "_")
        value = getattr(args, name)
        given = value is not None and value is not False and value != []
        if given and not is_used:
            raise status.CommandError(
                f"{option} has no meaning under --profile {args.profile} with the system calls "
                f"of {syscalls}",
                status.Status.USAGE,
            )


def _fuses(isa: str | None) -> bool:
    from rvjit.isa.isa import Isa

    return isa is not None and Isa.parse(isa).fuses


class _Announcement:
    """Says, once, why the first start takes longer."""

    def __init__(self) -> None:
        self._said = False

    def __call__(self) -> None:
        if not self._said:
            self._said = True
            output.say("preparing native code for this machine; it is kept for later runs")


def standard_input() -> int | None:
    """Return our standard input, None where we were started without one."""
    try:
        os.fstat(_STDIN)
    except OSError:
        return None
    return _STDIN


def _open_report(path: str | None, stack: ExitStack) -> TextIO | None:
    """Open the JSON report before the run, so that no run is lost for a mistyped path."""
    if path is None:
        return None
    if path == "-":
        return sys.stdout
    try:
        return stack.enter_context(open(path, "w", encoding="utf-8"))
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise status.CommandError(message, status.Status.HOST) from error


def _progress(streams: tuple[GuestOutput, ...]) -> Progress:
    from rvjit.cli import progress

    return progress.make(streams)


def _run(
    vm: VM,
    cycle_limit: int | None,
    timeout: float | None,
    shown: Progress | None,
    ring: CheckpointRing | None,
) -> tuple[RunResult, float]:
    """Run to the end and return how it ended and the seconds it took."""
    collect_garbage()
    started = time.perf_counter()
    try:
        if ring is not None:
            with ring.guarding():
                result = _run_on(vm, ring.advance, cycle_limit, timeout, shown)
        else:
            result = _run_on(vm, vm.run, cycle_limit, timeout, shown)
    except KeyboardInterrupt:  # the guest stands, exactly
        result = RunResult(Stop.INTERRUPT, vm.cycles, vm.pc)
    seconds = time.perf_counter() - started
    if shown is not None:
        shown.hide()
    if ring is not None:
        ring.judge(result)
    return result, seconds


def _run_on(
    vm: VM,
    run: Callable[..., RunResult],
    cycle_limit: int | None,
    timeout: float | None,
    shown: Progress | None,
) -> RunResult:
    """Run, where progress is shown in slices of wall time.

    Running code keeps its counter where nobody sees it. Slices change no result, as a stop for time
    is exact and can be gone on from.
    """
    if shown is None:
        return run(cycle_limit=cycle_limit, timeout=timeout)
    from rvjit.cli import report
    from rvjit.cli.progress import describe

    started = time.perf_counter()
    while True:
        used = time.perf_counter() - started
        left = shown.interval if timeout is None else timeout - used
        result = run(cycle_limit=cycle_limit, timeout=max(min(shown.interval, left), 0))
        used = time.perf_counter() - started
        if result.stop is not Stop.TIMEOUT or (timeout is not None and used >= timeout):
            return result
        speed = report.speed(vm, result.cycles, used)
        shown.show(describe(result.cycles, used, speed, cycle_limit))


def _report(
    args: Namespace | arguments.Defaults,
    program: str,
    vm: VM,
    end: tuple[RunResult, float],
    stdout: GuestOutput,
    target: TextIO | None,
    ring: CheckpointRing | None,
) -> None:
    summary = args.stats or (output.is_terminal(sys.stderr) and not args.quiet)
    result, seconds = end
    if result.stop is Stop.EXIT and not (summary or target is not None or args.digest):
        return  # most runs of scripts: what makes reports is not even imported
    from rvjit.cli import report

    run = report.Run(program, vm, result, seconds, stdout)
    report.say_how_it_ended(run, cycle_limit=args.cycles, timeout=args.timeout)
    if summary:
        report.say_summary(run)
    if args.stats:
        report.say_statistics(run)
    if target is not None:
        found = report.as_dict(run, with_digest=args.digest)
        if ring is not None:
            from rvjit.cli import failure

            found["replay"] = failure.as_dict(ring)
        output.write_json(target, found)
    elif args.digest:
        report.say_digests(report.digests(run))

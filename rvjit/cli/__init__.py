"""The command line: `rvjit COMMAND ...`. One module a command, imported when it is used."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from rvjit.cli.status import CommandError, Status, of_error
from rvjit.errors import RvjitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# Each is a module here with `make_parser()` and `main(args) -> int`, and `parse(words)` where one
# does without the parser.
COMMANDS: dict[str, str] = {
    "run": "run a RISC-V program",
    "resume": "go on from a snapshot",
    "snapshot": "stop a program at a cycle and keep it, or look into snapshots",
    "ckb": "run a script of CKB with its scheduler, off the chain: rvjit ckb run",
    "disasm": "print a program's instructions",
    "info": "show what is in a program, or what this installation can do",
    "examples": "list the example programs that come with rvjit",
    "cache": "show or clear what is kept on disk from run to run",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (by default the process's own) and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return _fail("interrupted", Status.INTERRUPT)
    except BrokenPipeError:
        _forget_stdout()
        return Status.STOPPED
    except (RvjitError, OSError, MemoryError, ImportError) as error:
        label = "internal error: " if of_error(error) == Status.INTERNAL else "error: "
        return _fail(label + (str(error) or type(error).__name__), of_error(error))
    except Exception as error:  # our bug
        if os.environ.get("RVJIT_TRACEBACK"):
            raise
        return _fail(f"internal error: {_where(error)}; please report this", Status.INTERNAL)
    return status


def process() -> NoReturn:
    """Be the process `rvjit`: `main`, and then the end.

    Python would take all modules apart first, which is a tenth of a short run.
    """
    status = main()
    atexit._run_exitfuncs()  # noqa: SLF001 - as the children of multiprocessing do
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)


def _run(arguments: list[str]) -> int:
    name = arguments[0] if arguments else "--help"
    if name in COMMANDS:
        command = getattr(__import__("rvjit.cli", fromlist=[name]), name)
        try:
            parse = getattr(command, "parse", None) or command.make_parser().parse_args
            parsed = parse(arguments[1:])
        except SystemExit as exit_:  # --help
            return exit_.code if isinstance(exit_.code, int) else 0
        status: int = command.main(parsed)
        return status
    if name in ("-h", "--help", "help"):
        print(_help())
        return 0 if arguments else Status.USAGE
    if name in ("-V", "--version"):
        from rvjit import __version__

        print(f"rvjit {__version__}")
        return 0
    raise CommandError(
        f"unknown command {name!r}: known are {', '.join(COMMANDS)} (see rvjit --help)",
        Status.USAGE,
    )


def _help() -> str:
    width = max(map(len, COMMANDS))
    rows = [f"  {name:{width}}  {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            "usage: rvjit [--help] [--version] COMMAND ...",
            "",
            "Run RISC-V (RV64) programs in a deterministic, metered virtual machine.",
            "",
            *rows,
            "",
            "rvjit COMMAND --help tells more. Try: rvjit run example:mandelbrot",
            "With RVJIT_TRACEBACK=1 in the environment a bug of rvjit shows its traceback.",
        ]
    )


def _fail(message: str, status: int) -> int:
    from rvjit.cli.output import say

    say(message)
    return status


def _where(error: Exception) -> str:
    """Say what *error* is and which line raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    line = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}: {error}{line}"


def _forget_stdout() -> None:
    """Nobody reads it; without this Python would complain when it flushes at the end."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        return
    os.close(null)

"""What is done where a run fails: checkpoints on the way, and a trace of what led to it."""

from __future__ import annotations

from rvjit.cli import arguments, output, suspend
from rvjit.replay.ring import FAILURES, KEEP, LAST, MAX_BYTES, CheckpointRing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

    from rvjit.vm.vm import VM


def make_ring(vm: VM, args: Namespace | arguments.Defaults) -> CheckpointRing:
    """Make the ring that the options ask for. Raises `CommandError` where no trace can be written.

    Failures are those of `CheckpointRing`, and those asked for.
    """
    suspend.check(args.on_failure)
    every = args.checkpoint_every
    return CheckpointRing(
        vm,
        args.on_failure,
        every=every if isinstance(every, int) else None,
        seconds=every if isinstance(every, float) else None,
        keep=args.checkpoints or KEEP,
        max_bytes=args.checkpoint_bytes or MAX_BYTES,
        kind=args.checkpoint_kind or "auto",
        last=None if args.trace_last == "all" else args.trace_last or LAST,
        failures=(*FAILURES, *args.failure),
    )


def say(ring: CheckpointRing) -> None:
    """Say what became of a replay, if there was one."""
    if ring.replay is not None:
        output.say(str(ring.replay))
    if ring.problem is not None:
        output.say(f"there is no trace: {ring.problem}")


def as_dict(ring: CheckpointRing) -> dict[str, Any] | None:
    """Return the same for the JSON report; None where nothing was replayed."""
    return None if ring.replay is None else {**vars(ring.replay), "path": str(ring.replay.path)}

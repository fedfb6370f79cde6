"""The compiler thread: one for the process, started when something is hot for the first time."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable

from rvjit.jit.engine import Job, build_together

Done = Callable[[Job], None]
_Task = tuple[Job, "weakref.WeakMethod[Done]"]


# Instructions that are built together: what a module costs by itself is as much as ten of them do.
_TOGETHER = 64


class _Worker:
    """Builds jobs in the order of their arrival, as long as somebody still wants them."""

    def __init__(self) -> None:
        self._tasks: deque[_Task] = deque()
        self._changed = threading.Condition()  # of what is above and below
        self._stopping = False
        self.building = threading.Lock()  # held while LLVM and locks of ours may be in use
        self._thread = threading.Thread(target=self._work, name="rvjit-compiler", daemon=True)
        self._thread.start()

    def submit(self, task: _Task) -> None:
        """Queue a job."""
        with self._changed:
            self._tasks.append(task)
            self._changed.notify()

    def stop(self) -> None:
        """Finish what is being compiled, drop the rest: LLVM must not run while Python ends."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _take(self) -> list[_Task]:
        """Wait for a job; those behind it that are small come along. Empty at the end."""
        with self._changed:
            while not self._tasks and not self._stopping:
                self._changed.wait()
            taken: dict[int, _Task] = {}  # by pc
            room = _TOGETHER
            while self._tasks and not self._stopping:
                job, done = self._tasks[0]
                if taken and (job.insn_count > room or job.source.pc in taken):
                    break
                self._tasks.popleft()
                if not job.stale and done() is not None:
                    taken[job.source.pc] = job, done
                    room -= job.insn_count
            return [*taken.values()]

    def _work(self) -> None:
        while not self._stopping:
            tasks = self._take()
            with self.building:
                build_together([job for job, _ in tasks])
            while tasks:  # nobody else may be kept alive from here
                job, done = tasks.pop(0)
                wanted = done()
                if wanted is not None:
                    wanted(job)
                del job, done, wanted


_worker: _Worker | None = None


def submit(job: Job, done: weakref.WeakMethod[Done]) -> None:
    """Compile *job* soon, then call *done* with it on the compiler's thread."""
    global _worker  # noqa: PLW0603
    if _worker is None:
        _worker = _Worker()
        atexit.register(_worker.stop)
    _worker.submit((job, done))


# Forks. A child that goes on running guests needs LLVM and the locks of ours to be free, so a fork
# waits for the job that is being built. Checkpoints (`rvjit.replay.forked`) do not come by here.

_held: _Worker | None = None  # whose lock the forking thread holds


def _quiesce() -> None:
    global _held  # noqa: PLW0603
    if _worker is not None:
        _worker.building.acquire()
        _held = _worker


def _resume() -> None:
    global _held
    if _held is not None:
        held, _held = _held, None
        held.building.release()


def _forget_worker() -> None:
    """In a forked child the thread is gone; what it had queued stays cold until asked for again."""
    global _worker, _held  # noqa: PLW0603
    if _worker is not None:
        atexit.unregister(_worker.stop)
    _worker = _held = None


os.register_at_fork(before=_quiesce, after_in_parent=_resume, after_in_child=_forget_worker)

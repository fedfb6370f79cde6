"""Regions that are built together, in one module."""

from __future__ import annotations

import struct
import threading
import time
import weakref
from collections.abc import Callable

import pytest

import rvjit
from rvjit import VM
from rvjit.codegen.llvm import compiler
from rvjit.codegen.objects import link_each
from rvjit.engines import tiered, worker
from rvjit.engines.compare import first_difference
from rvjit.jit.engine import Job, build_together

Done = Callable[[], Callable[[Job], None]]

WAIT = 60


def make(engine: str) -> VM:
    return VM.from_elf(rvjit.example("json"), args=["1"], engine=engine,
                       stdout=lambda data: None, cache=False)  # fmt: skip


def sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiered, "_ROUNDS", 1)
    monkeypatch.setattr(tiered, "_FIRST_VISITS", 1)


def test_regions_that_are_built_together_run_as_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[tuple[Job, Done]] = []
    sizes: list[int] = []

    def submit(job: Job, done: Done) -> None:
        waiting.append((job, done))
        if len(waiting) < 3:
            return
        build_together([each for each, _ in waiting])
        sizes.append(len(waiting))
        for each, told in waiting:
            told()(each)
        waiting.clear()

    sooner(monkeypatch)
    monkeypatch.setattr(tiered, "submit", submit)
    vm, expected = make("tiered"), make("threaded")
    assert vm.run() == expected.run()
    assert first_difference(vm.machine, expected.machine) is None
    assert len(sizes) > 1
    assert vm.engine.statistics.regions >= 3
    assert vm.engine.statistics.compiled_cycles


def test_each_region_gets_its_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: dict[int, Job] = {}

    def submit(job: Job, _done: Done) -> None:
        jobs.setdefault(job.source.pc, job)

    sooner(monkeypatch)
    monkeypatch.setattr(tiered, "submit", submit)
    make("tiered").run()
    assert len(jobs) > 2
    build_together([*jobs.values()])
    llvm, own = compiler(), 0
    for job in jobs.values():
        assert job.placed is not None
        ((symbol, blob),) = llvm.compile(job.emit(pclmul=llvm.pclmul)).items()
        assert job.seconds > 0
        if job.placed.symbols[symbol] == 0:  # others use constants
            assert job.placed.size == len(blob.code)
            own += 1
    assert own > 2


def test_a_function_with_constants_keeps_all_there_is() -> None:
    module = compiler()._parse(
        """
        @table = private constant [4 x i64] [i64 3, i64 1, i64 4, i64 1]
        define i64 @first(i64 %i) nounwind {
          %at = getelementptr [4 x i64], ptr @table, i64 0, i64 %i
          %found = load i64, ptr %at
          ret i64 %found
        }
        define i64 @second(i64 %i) nounwind {
          ret i64 %i
        }
        """
    )
    blobs = link_each(compiler()._generate(module))
    assert blobs["first"].code[-32:] == struct.pack("<4Q", 3, 1, 4, 1)
    assert len(blobs["second"].code) < 16
    assert blobs["second"].symbols == {"second": 0}


class Noted:
    """A job that notes what it was built with."""

    stale = False
    origin = None

    def __init__(self, pc: int, insns: int, log: list[int], gate: threading.Event) -> None:
        self.pc = pc
        self.source = self
        self.insn_count = insns
        self.shelf = self
        self._log = log
        self._gate = gate

    def made(self, _origin: None) -> str:
        assert self._gate.wait(WAIT)
        self._log.append(self.pc)
        return "somebody else's"


class Listener:
    """Hears of jobs that are done."""

    def __init__(self, count: int) -> None:
        self.jobs: list[int] = []
        self.all = threading.Event()
        self._count = count

    def done(self, job: Noted) -> None:
        self.jobs.append(job.pc)
        if len(self.jobs) == self._count:
            self.all.set()


def test_what_is_small_comes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[list[int]] = []

    def together(jobs: list[Noted]) -> None:
        groups.append([job.pc for job in jobs])
        for job in jobs:
            job.made(None)

    monkeypatch.setattr(worker, "build_together", together)
    monkeypatch.setattr(worker, "_worker", None)
    monkeypatch.setattr(worker.atexit, "register", lambda function: None)
    gate, log = threading.Event(), []  # type: threading.Event, list[int]
    half = worker._TOGETHER // 2
    sizes = [(1, 1000), (2, half), (3, half), (4, 1), (4, 1), (5, 2), (6, 1000), (7, 1)]
    listener = Listener(len(sizes))
    for pc, insns in sizes:
        job = Noted(pc, insns, log, gate)
        worker.submit(job, weakref.WeakMethod(listener.done))  # type: ignore[arg-type]
        while pc == 1 and not groups:
            time.sleep(0.001)  # until it is alone in the making
    gate.set()
    assert listener.all.wait(WAIT)
    assert groups == [[1], [2, 3], [4], [4, 5], [6], [7]]
    assert listener.jobs == log == [pc for pc, _ in sizes]
    made = worker._worker
    assert made is not None
    made.stop()

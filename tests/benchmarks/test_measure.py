"""Measuring tiny programs, and the pieces it takes. Nothing here looks at how long it took."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import backends
from benchmarks import measure as measuring
from benchmarks.backends import BACKENDS, BY_NAME, Backend, Task
from benchmarks.caches import Caches
from benchmarks.launch import RunFailed, run_process
from benchmarks.lineup import LARGE, MEDIUM, RUNGS, SERIES, SPECIAL, Point, State, plan
from benchmarks.measure import Runner
from benchmarks.programs import PROGRAMS, Rung

# What the guests print is checked in test_guests.py; here all have to print the same.
SIEVE_1 = b"primes: 168\nlargest: 997\nchecksum: "


def run_python(code: str, tmp_path: Path, timeout: float = 60.0):
    return run_process(
        [sys.executable, "-c", code],
        report=tmp_path / "report",
        environment=dict(os.environ),
        timeout=timeout,
    )


# Plan.


def test_every_series_has_a_backend_and_every_backend_a_series() -> None:
    assert {series.backend for series in SERIES} == set(BY_NAME)
    assert len(BY_NAME) == len(BACKENDS)
    keys = {key for role in (*RUNGS, *SPECIAL.values()) for key in role.series}
    assert keys == {series.key for series in SERIES}


def test_there_are_guests_of_every_kind_also_in_quick_mode() -> None:
    assert len(PROGRAMS) >= 16
    kinds = {program.kind for program in PROGRAMS}
    assert kinds == {program.kind for program in PROGRAMS if program.quick}


@pytest.mark.parametrize("quick", [True, False])
def test_sizes_grow_from_rung_to_rung(quick) -> None:
    for program in PROGRAMS:
        sizes = [rung.size(program, quick=quick) for rung in Rung]
        assert sizes == sorted(set(sizes))


def test_series_of_one_point_share_the_size_and_absent_backends_are_left_out() -> None:
    points = plan(["lz"], ["tiered", "native", "unicorn"], quick=True)
    assert [(point.role.name, point.series) for point in points] == [
        ("small", ("native", "unicorn")),
        ("medium", ("native", "tiered", "tiered-cold", "unicorn")),
        ("large", ("native", "tiered")),
    ]
    large = points[2].size
    assert points[1].fill_sizes["tiered"] == large > points[1].size
    assert plan(["hello"], ["qemu"], quick=True)[0].series == ("qemu",)


# One process.


def test_a_sample_has_cpu_time_output_and_what_the_process_reports(tmp_path) -> None:
    report = tmp_path / "report"
    sample = run_python(
        f"print('out'); open({str(report)!r}, 'w').write('instructions 7\\nrun_seconds 2e-05\\n')",
        tmp_path,
    )
    assert sample.cpu_seconds > 0
    assert sample.wall_seconds > 0
    assert (sample.instructions, sample.run_seconds, sample.regions) == (7, 2e-05, None)
    assert sample.output_digest == run_python("print('out')", tmp_path).output_digest
    assert sample.output_digest != run_python("print('other')", tmp_path).output_digest


def test_an_old_report_is_not_taken_for_a_new_one(tmp_path) -> None:
    (tmp_path / "report").write_text("instructions 7\n")
    assert run_python("pass", tmp_path).instructions is None


def test_a_process_that_fails_is_told_with_its_last_line(tmp_path) -> None:
    with pytest.raises(RunFailed, match="status 1: no luck"):
        run_python("raise SystemExit('no luck')", tmp_path)


def test_a_process_that_takes_too_long_is_ended(tmp_path) -> None:
    with pytest.raises(RunFailed, match="not done"):
        run_python("import time; time.sleep(60)", tmp_path, timeout=0.2)


@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "python"])
def test_every_backend_prints_the_guests_output(name, tmp_path, capfdbinary) -> None:
    backend = BY_NAME[name]
    problem = backend.missing()
    if problem is not None:
        pytest.skip(problem)
    backend.prepare("sieve", tmp_path)
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    task = Task("sieve", 1, State.COLD, cache, tmp_path, tmp_path / "report")
    words = backend.command(task)
    environment = {
        **os.environ, "PYTHONPATH": str(measuring.ROOT), **backend.environment(task)
    }  # fmt: skip
    _, status = os.waitpid(os.posix_spawnp(words[0], words, environment), 0)
    assert status == 0
    assert capfdbinary.readouterr().out.startswith(SIEVE_1)


# Caches.


class Inline(Backend):
    """Runs Python code in place of a guest."""

    kind = ""

    def __init__(self, name: str, code: str = "", *, own: bool = False) -> None:
        self.name = self.title = name
        self.code = code
        self.keeps_own_code = own

    def absent(self) -> str | None:
        return None

    def version(self) -> str:
        return "1"

    def command(self, task: Task) -> list[str]:
        return [sys.executable, "-c", self.code, str(task.size)]


def test_caches_are_empty_cold_or_warm(tmp_path) -> None:
    fills = []

    def fill(backend, program, size, folder) -> None:
        fills.append((backend.name, program, size))
        (folder / program).write_text("")

    def names(backend, state) -> list[str]:
        return sorted(kept.name for kept in caches.folder(backend, state, "lz", 9).iterdir())

    caches = Caches(tmp_path, fill)
    ours, other = Inline("ours", own=True), Inline("other")
    for _ in range(2):
        assert names(ours, State.WARM) == ["hello", "lz"]
        assert names(ours, State.COLD) == ["hello"]
        assert names(ours, State.FIRST) == []
        assert names(other, State.COLD) == []
        assert names(other, State.WARM) == ["lz"]
    # Ours are run until nothing is added, the other one writes all it has at once.
    assert fills == [("ours", "hello", 1)] * 2 + [("ours", "lz", 9)] * 2 + [("other", "lz", 9)]
    assert caches.keeps_code(ours)
    assert not caches.keeps_code(Inline("oth"))


def test_an_engine_that_keeps_nothing_is_not_asked_to_fill_its_cache(tmp_path) -> None:
    fills = []
    caches = Caches(tmp_path, lambda *arguments: fills.append(arguments[1]))
    ours = Inline("ours", own=True)
    caches.folder(ours, State.WARM, "lz", 9)
    caches.folder(ours, State.WARM, "json", 9)
    assert fills == ["hello"]


def test_a_cache_that_never_settles_is_filled_a_few_times_only(tmp_path) -> None:
    fills = []

    def fill(backend, program, size, folder) -> None:
        fills.append(program)
        (folder / "code").write_text(str(len(fills)))

    Caches(tmp_path, fill).folder(Inline("ours", own=True), State.WARM, "hello", 1)
    assert fills == ["hello"] * 3


def test_an_engine_without_a_cache_is_known_as_one(tmp_path) -> None:
    caches = Caches(tmp_path, lambda *arguments: None)
    ours = Inline("ours", own=True)
    caches.folder(ours, State.WARM, "lz", 9)
    assert not caches.keeps_code(ours)


# The whole.


def test_a_tiny_run_gives_a_result_its_tables_and_plots(tmp_path, monkeypatch, capsys) -> None:
    only = Point("sieve", MEDIUM, 1, ("threaded",), fill_sizes={"threaded": 1})
    monkeypatch.setattr(measuring, "plan", lambda *_, **__: [only])
    out = tmp_path / "out"
    arguments = ["--quick", "--only", "sieve", "--backends", "threaded", "--out", str(out)]
    assert command.main(arguments) == 0
    results = json.loads((out / "results.json").read_text())
    assert (results["mode"], results["rounds"], results["skipped"]) == ("quick", 1, {})
    assert {"cpu", "cores", "os", "load", "load_while_measuring"} <= results["host"].keys()
    assert {"Python", "rvjit threaded"} <= results["versions"].keys()
    assert results["commit"]
    (sample,) = results["points"][0]["samples"]["threaded"]
    assert sample["instructions"] > 0
    assert 0 < sample["run_seconds"] <= sample["cpu_seconds"]
    assert sample["peak_bytes"] > 0
    captured = capsys.readouterr()
    assert captured.out == (out / "RESULTS.md").read_text()
    assert "[1/1] sieve medium threaded" in captured.err


def test_different_outputs_and_failures_are_noticed(tmp_path, monkeypatch) -> None:
    for name, code in (
        ("native", "import sys; print(sys.argv[1])"),
        ("qemu", "print('odd')"),
        ("unicorn", "raise SystemExit('broken')"),
    ):
        monkeypatch.setitem(backends.BY_NAME, name, Inline(name, code))
    steps: list[str] = []
    runner = Runner(tmp_path, timeout=60.0)
    keys = ("native", "qemu", "unicorn")
    point = Point("lz", LARGE, 3, keys, fill_sizes=dict.fromkeys(keys, 3))
    for number in range(2):
        runner.run_round(point, number, steps.append)
    assert not point.outputs_agree()
    assert [sample.round for sample in point.samples["qemu"]] == [0, 1]
    assert point.failures == {"unicorn": "status 1: broken"}
    assert steps == [f"lz large {key}" for key in keys] * 2


def test_a_missing_backend_is_skipped_and_the_reason_told(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    told: list[str] = []
    results = measuring.run_all(["hello"], ["qemu"], repeat=1, quick=True, note=told.append)
    assert results["skipped"] == {"qemu": "qemu-riscv64 is not installed"}
    assert told == ["qemu is skipped: qemu-riscv64 is not installed"]
    assert results["points"] == []


def test_quick_mode_begins_no_point_that_would_take_it_past_its_time(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(measuring, "_QUICK_SECONDS", -1.0)
    points = plan(["lz"], ["native"], quick=True)
    runner = Runner(tmp_path, timeout=60.0)
    done = measuring.measure(runner, points, repeat=3, quick=True, advance=print)
    assert done == (0, len(points))


def test_an_incomplete_result_is_told_and_not_published(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(measuring, "_QUICK_SECONDS", -1.0)
    monkeypatch.setattr(command, "publish", lambda _: pytest.fail("published"))
    assert command.main(["--quick", "--publish", "--out", str(tmp_path)]) == 1
    assert "time ran out" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["--only", "nonesuch"], ["--backends", ""], ["--repeat", "0"], ["--publish", "--only", "lz"],
     ["--publish", "--backends", "tiered"]],
)  # fmt: skip
def test_impossible_command_lines_are_refused(arguments, capsys) -> None:
    with pytest.raises(SystemExit):
        command.main(arguments)
    assert "error" in capsys.readouterr().err

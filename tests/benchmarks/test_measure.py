"""Measuring one tiny program, and the pieces it takes. Nothing here looks at how long it took."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from benchmarks import measure as measuring
from benchmarks.backends import BACKENDS, BY_NAME, Backend, Task
from benchmarks.launch import RunFailed, run_process
from benchmarks.measure import Point, Runner, main, plan
from benchmarks.programs import PROGRAMS, ROLES, STARTUP, size_of
from rvjit.examples import EXAMPLES

EXPECTED = Path(__file__).resolve().parents[1] / "examples" / "expected"


def run_python(code: str, tmp_path: Path, timeout: float = 60.0):
    command = [sys.executable, "-c", code]
    return run_process(
        command, report=tmp_path / "report", environment=dict(os.environ), timeout=timeout
    )


def launch(engine: str, tmp_path: Path) -> list[str]:
    backend = BY_NAME[engine]
    problem = backend.missing()
    if problem is not None:
        pytest.skip(problem)
    backend.prepare("fib", tmp_path)
    return backend.command(Task("fib", 10, 100, tmp_path, tmp_path / "report"))


# Plan.


def test_every_program_is_an_example_and_every_engine_has_a_backend() -> None:
    names = [program.name for program in PROGRAMS]
    assert names == [example.name for example in EXAMPLES if example.name != "hello"]
    assert {engine for role in (*ROLES, STARTUP) for engine in role.engines} == set(BY_NAME)


@pytest.mark.parametrize("quick", [True, False])
def test_sizes_grow_from_role_to_role(quick) -> None:
    for program in PROGRAMS:
        sizes = [size_of(program, role, quick=quick) for role in ROLES]
        assert sizes == sorted(set(sizes))


def test_engines_of_one_point_share_the_size_and_absent_ones_are_left_out() -> None:
    points = plan(["fib"], ["jit", "native", "unicorn"], quick=True)
    assert [(point.role, point.engines) for point in points] == [
        ("tiny", ("jit", "unicorn", "native")),
        ("medium", ("jit", "unicorn", "native")),
        ("large", ("jit", "native")),
    ]


# One process.


def test_a_sample_has_cpu_time_output_and_what_the_process_reports(tmp_path) -> None:
    report = tmp_path / "report"
    sample = run_python(
        f"print('out'); open({str(report)!r}, 'w').write('instructions 7\\nrun_seconds 2e-05\\n')",
        tmp_path,
    )
    assert sample.cpu_seconds > 0
    assert (sample.instructions, sample.run_seconds, sample.steady_seconds) == (7, 2e-05, None)
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


@pytest.mark.parametrize("engine", ["interp", "jit", "unicorn", "qemu", "native"])
def test_every_engine_prints_what_is_recorded(engine, tmp_path, capfdbinary) -> None:
    command = launch(engine, tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(measuring.ROOT)}
    pid = os.posix_spawnp(command[0], command, environment)
    _, status = os.waitpid(pid, 0)
    assert status == 0
    assert capfdbinary.readouterr().out == (EXPECTED / "fib-10.txt").read_bytes()


# The whole.


def test_one_tiny_program_on_the_interpreter_gives_a_result_and_its_tables(
    tmp_path, monkeypatch, capsys
) -> None:
    only = Point("fib", "tiny", 10, ("interp",))
    monkeypatch.setattr(measuring, "plan", lambda *_, **__: [only])
    monkeypatch.setattr(measuring, "WARM_UP", {"interp": 100})
    out = tmp_path / "out"
    arguments = ["--quick", "--only", "fib", "--engines", "interp", "--repeat", "1"]
    assert main([*arguments, "--out", str(out)]) == 0
    results = json.loads((out / "results.json").read_text())
    assert (results["mode"], results["rounds"], results["skipped"]) == ("quick", 1, {})
    assert {"cpu", "cores", "os", "load"} <= results["host"].keys()
    assert {"Python", "rvjit interp"} <= results["versions"].keys()
    assert results["commit"]
    (sample,) = results["points"][0]["samples"]["interp"]
    assert sample["instructions"] == sample["steady_instructions"] + 100
    assert sample["peak_bytes"] > 0
    captured = capsys.readouterr()
    assert captured.out == (out / "RESULTS.md").read_text()
    assert "[1/1] fib tiny interp" in captured.err


class Inline(Backend):
    """Runs Python code in place of a guest."""

    def __init__(self, name: str, code: str) -> None:
        self.name = self.title = name
        self.code = code

    def missing(self) -> str | None:
        return None

    def version(self) -> str:
        return "1"

    def command(self, task: Task) -> list[str]:
        return [sys.executable, "-c", self.code, str(task.size)]


def test_different_outputs_and_failures_are_noticed(tmp_path, monkeypatch) -> None:
    for backend in (
        Inline("fine", "import sys; print(sys.argv[1])"),
        Inline("odd", "print('odd')"),
        Inline("broken", "raise SystemExit('broken')"),
    ):
        monkeypatch.setitem(BY_NAME, backend.name, backend)
    steps: list[str] = []
    runner = Runner(tmp_path, timeout=60.0)
    point = Point("fib", "tiny", 3, ("fine", "odd", "broken"))
    for number in range(2):
        runner.run_round(point, number, steps.append)
    assert not point.outputs_agree()
    assert [sample.round for sample in point.samples["odd"]] == [0, 1]
    assert point.failures == {"broken": "status 1: broken"}
    assert steps == ["fib tiny fine", "fib tiny odd", "fib tiny broken"] * 2


def test_quick_mode_begins_no_point_that_would_take_it_past_its_time(monkeypatch) -> None:
    monkeypatch.setattr(measuring, "_QUICK_SECONDS", -1.0)
    points = plan(["fib"], ["python", "interp"], quick=True)
    assert measuring.measure(points, repeat=3, quick=True, advance=print) == (0, len(points))


def test_an_incomplete_result_is_told_and_not_published(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(measuring, "_QUICK_SECONDS", -1.0)
    monkeypatch.setattr(measuring, "publish", lambda _: pytest.fail("published"))
    assert main(["--quick", "--publish", "--out", str(tmp_path)]) == 1
    assert "time ran out" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["--only", "nonesuch"], ["--engines", ""], ["--repeat", "0"], ["--publish", "--only", "fib"]],
)
def test_impossible_command_lines_are_refused(arguments, capsys) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert "error" in capsys.readouterr().err


def test_backends_have_names_of_their_own() -> None:
    assert len(BY_NAME) == len(BACKENDS)

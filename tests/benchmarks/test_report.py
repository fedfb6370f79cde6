"""The report of a result file: ratios, means, gaps, and what went wrong."""

from __future__ import annotations

import json

import pytest

from benchmarks import plots, report
from benchmarks.report import main, write_markdown
from benchmarks.results import Results, geometric_mean


def runs(*seconds: float, **fields: float) -> list[dict]:
    return [
        {"cpu_seconds": each, "wall_seconds": each, "output_digest": "x", "round": number, **fields}
        for number, each in enumerate(seconds)
    ]


def point(program: str, role: str, *, size: int, samples: dict) -> dict:
    return {
        "program": program, "role": role, "size": size, "outputs_agree": True,
        "failures": {}, "samples": samples,
    }  # fmt: skip


@pytest.fixture
def content() -> dict:
    compiled = {"compile_seconds": 0.5, "compiled_instructions": 1000, "regions": 3}
    return {
        "schema": 2,
        "created": "2026-01-02T03:04:05+00:00",
        "mode": "quick",
        "rounds": 3,
        "points_lacking_in_last_round": 0,
        "seconds": 12.0,
        "host": {
            "cpu": "a processor", "cores": 2, "memory_gib": 4.0, "os": "an OS", "load": 0.1,
            "load_while_measuring": [0.5, 1.0, 1.5],
        },
        "versions": {"Python": "3.11.0"},
        "commit": "0123456789ab",
        "skipped": {"qemu": "qemu-riscv64 is not installed"},
        "keeping_code": ["tiered"],
        "points": [
            point("hello", "start", size=1, samples={"tiered": runs(0.03, peak_bytes=1 << 20)}),
            point("lz", "small", size=5,
                  samples={"unicorn": runs(1.0), "threaded": runs(2.0), "native": runs(0.25)}),
            point(
                "lz", "medium", size=20,
                samples={
                    "tiered": runs(1.5, 3.0, 1.5, run_seconds=1.0, instructions=200),
                    "tiered-cold": runs(2.0, 4.0, 2.0, **compiled),
                    "threaded": runs(4.0), "unicorn": runs(6.0), "native": runs(0.5, 1.0, 0.5),
                },
            ),
            point(
                "lz", "large", size=30,
                # The machine was twice as slow in the second round, for both.
                samples={
                    "tiered": runs(4.0, 8.0, 4.4, run_seconds=4.0, instructions=1000,
                                   exact_instructions=10, peak_bytes=1 << 20),
                    "native": runs(2.0, 4.0, 2.0),
                },
            ),
        ],
    }  # fmt: skip


def row(markdown: str, heading: str, name: str) -> list[str]:
    """Return the cells of the row called *name* in the table under *heading*."""
    lines = markdown.partition(f"## {heading}")[2].splitlines()
    found = next(line for line in lines if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_ratios_at_equal_size_are_paired_by_round(content) -> None:
    assert Results(content).ratio("lz", "large", "tiered") == pytest.approx(2.0)


def test_steady_state_is_what_a_larger_size_adds_to_a_smaller_one(content) -> None:
    # The run alone where the process timed it: by round 3 / 1.5, 3 / 3, 3 / 1.5.
    assert Results(content).steady_ratio("lz", "tiered") == pytest.approx(2.0)
    # The whole process elsewhere, and slow backends at smaller sizes: (6 - 1) / (0.5 - 0.25).
    assert Results(content).steady_ratio("lz", "unicorn") == pytest.approx(20.0)
    assert row(write_markdown(content), "Steady state", "lz") == [
        "lz", "strings", "30", "2.000", "2.00", "8.00", "20.00",
    ]  # fmt: skip


def test_cold_and_warm_processes_stand_side_by_side(content) -> None:
    cells = row(write_markdown(content), "Whole processes", "lz")
    assert cells == ["lz", "500.0", "3.00", "4.00", "8.00", "12.00"]


def test_engines_are_told_with_share_compile_cost_and_speed(content) -> None:
    cells = row(write_markdown(content), "Our engines", "lz")
    assert cells[2:7] == ["99.00%", "3", "1000", "500.0", "0.500"]
    assert Results(content).steady_speed("lz", "tiered") == pytest.approx(800 / 3)


def test_what_was_not_measured_is_a_dash(content) -> None:
    del content["points"][3]["samples"]["tiered"][0]["exact_instructions"]
    for run in content["points"][3]["samples"]["tiered"]:
        run.pop("exact_instructions", None)
    assert row(write_markdown(content), "Our engines", "lz")[2] == "-"


def test_the_result_names_machine_versions_commit_load_and_what_was_skipped(content) -> None:
    head = write_markdown(content).partition("##")[0]
    for fact in (
        "a processor", "an OS", "Python: 3.11.0", "0123456789ab", "0.5 to 1.5 while measuring",
        "skipped: qemu: qemu-riscv64 is not installed",
        "nothing was left in the code cache of threaded:",
    ):  # fmt: skip
        assert fact in head


def test_failures_and_different_outputs_are_told(content) -> None:
    content["points"][3]["outputs_agree"] = False
    content["points"][3]["failures"] = {"tiered": "status 3: no luck"}
    checks = write_markdown(content).partition("## Checks")[2]
    assert "outputs differ: lz large" in checks
    assert "lz large on tiered: status 3: no luck" in checks


def test_a_result_without_any_samples_still_gives_a_report(content) -> None:
    for each in content["points"]:
        each["samples"] = {}
    content["rounds"], content["points_lacking_in_last_round"] = 0, 4
    assert "4 points lack" in write_markdown(content)


@pytest.mark.parametrize(
    ("values", "mean"),
    [([2.0, 8.0], 4.0), ([5.0], 5.0), ([2.0, None], None), ([2.0, -1.0], None), ([], None)],
)
def test_the_geometric_mean_is_none_unless_every_value_is_there(values, mean) -> None:
    assert geometric_mean(values) == (None if mean is None else pytest.approx(mean))


def test_the_command_prints_the_tables(content, tmp_path, capsys) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps(content))
    assert main([str(file)]) == 0
    assert capsys.readouterr().out == write_markdown(content)


def test_published_are_the_report_the_plots_that_it_shows_and_the_numbers(
    content, tmp_path, monkeypatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(report, "HERE", tmp_path)
    monkeypatch.setattr(report, "PUBLISHED", tmp_path / "results")
    report.publish(content)
    markdown = (tmp_path / "RESULTS.md").read_text()
    for name, _ in plots.names(Results(content)):
        assert f"(results/{name})" in markdown
        assert (tmp_path / "results" / name).read_text().lstrip().startswith("<?xml")
    assert json.loads((tmp_path / "results" / "results.json").read_text()) == content
    before = {file: file.read_bytes() for file in (tmp_path / "results").iterdir()}
    report.publish(content)
    assert before == {file: file.read_bytes() for file in before}


def test_without_matplotlib_there_is_a_reason_instead_of_plots(
    content, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(plots.importlib.util, "find_spec", lambda _: None)
    assert plots.write_plots(content, tmp_path) == (
        "no plots: the package matplotlib is not installed"
    )
    assert list(tmp_path.iterdir()) == []

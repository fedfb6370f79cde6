"""The report of a result file: ratios, means, gaps, and what went wrong."""

from __future__ import annotations

import json

import pytest

from benchmarks.report import Results, geometric_mean, main, write_markdown


def runs(*seconds: float, **fields: float) -> list[dict]:
    return [
        {"cpu_seconds": each, "output_digest": "x", "round": number, **fields}
        for number, each in enumerate(seconds)
    ]


def point(program: str, role: str, *, size: int, samples: dict, **changes) -> dict:
    return {
        "program": program, "role": role, "size": size, "outputs_agree": True,
        "failures": {}, "samples": samples, **changes,
    }  # fmt: skip


@pytest.fixture
def content() -> dict:
    steady = {"instructions": 1000, "steady_seconds": 3.0, "steady_instructions": 500}
    medium = {"instructions": 200}
    return {
        "schema": 1,
        "created": "2026-01-02T03:04:05+00:00",
        "mode": "quick",
        "rounds": 3,
        "points_lacking_in_last_round": 0,
        "seconds": 12.0,
        "host": {
            "cpu": "a processor", "cores": 2, "memory_gib": 4.0, "os": "an OS", "load": 0.1,
            "load_after": 1.0,
        },
        "versions": {"Python": "3.11.0"},
        "commit": "0123456789ab",
        "skipped": {"qemu": "qemu-riscv64 is not installed"},
        "points": [
            point("fib", "tiny", size=5, samples={"interp": runs(9.0, **steady)}),
            point(
                "fib", "medium", size=20,
                samples={
                    "jit": runs(1.5, 3.0, 1.5, **medium),
                    "unicorn": runs(8.0),
                    "native": runs(0.5, 1.0, 0.5),
                },
            ),
            point(
                "fib", "large", size=30,
                # The machine was twice as slow in the second round, for both.
                samples={
                    "jit": runs(4.0, 8.0, 4.4, **steady, peak_bytes=1 << 20),
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
    assert Results(content).ratio("fib", "large", "jit") == pytest.approx(2.0)


def test_the_first_table_has_every_engine_and_a_dash_for_what_is_missing(content) -> None:
    cells = row(write_markdown(content), "CPU time of whole processes", "fib")
    # 1000 instructions take native code 2 s; after its warm-up the interpreter takes 6 ms for each.
    assert cells == ["fib", "30", "2.000", "1", "2.00", "-", "16.00", "3.00", "3.00"]


def test_steady_state_compares_what_the_large_size_adds_to_the_medium_one(content) -> None:
    markdown = write_markdown(content)
    # By round: (4 - 1.5) / (2 - 0.5), twice that over twice that, (4.4 - 1.5) / (2 - 0.5).
    assert row(markdown, "Steady state", "fib")[1:3] == ["1.67", "-"]
    assert Results(content).steady_speed("fib", "native") == pytest.approx((1000 - 200) / 1.5)


def test_the_result_names_machine_versions_commit_and_what_was_left_out(content) -> None:
    head = write_markdown(content).partition("##")[0]
    for fact in ("a processor", "an OS", "Python: 3.11.0", "0123456789ab", "left out: qemu"):
        assert fact in head


def test_failures_and_different_outputs_are_told(content) -> None:
    content["points"][2]["outputs_agree"] = False
    content["points"][2]["failures"] = {"jit": "status 3: no luck"}
    checks = write_markdown(content).partition("## Checks")[2]
    assert "outputs differ: fib large" in checks
    assert "fib large on jit: status 3: no luck" in checks


def test_a_result_without_any_samples_still_gives_a_report(content) -> None:
    for each in content["points"]:
        each["samples"] = {}
    content["rounds"], content["points_lacking_in_last_round"] = 0, 3
    assert "3 points lack" in write_markdown(content)


@pytest.mark.parametrize(
    ("values", "mean"), [([2.0, 8.0], 4.0), ([5.0], 5.0), ([2.0, None], None), ([], None)]
)
def test_the_geometric_mean_is_none_unless_every_value_is_there(values, mean) -> None:
    assert geometric_mean(values) == (None if mean is None else pytest.approx(mean))


def test_the_command_prints_the_tables(content, tmp_path, capsys) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps(content))
    assert main([str(file)]) == 0
    assert capsys.readouterr().out == write_markdown(content)

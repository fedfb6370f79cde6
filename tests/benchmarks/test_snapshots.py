"""The benchmark of snapshots measures what it says: states are right on all sides."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import snapshots


@pytest.mark.slow
def test_every_part_measures_something(tmp_path: Path) -> None:
    size = snapshots.SIZES[0]
    results = {
        "going back": snapshots.measure_going_back([size], 0),
        "levels": snapshots.measure_levels(0),
        "rounds": snapshots.measure_rounds(0),
        "clones": snapshots.measure_clones([size], 0),
        "files": snapshots.measure_files(0),
    }
    for title, rows in results.items():
        assert rows
        snapshots.show(title, rows)
    assert results["files"]["bytes"]["16"] - results["files"]["bytes"]["0"] <= 16 * 4112
    if find_spec("matplotlib") is not None:
        snapshots.plot(results, tmp_path / "plot.svg")
        assert (tmp_path / "plot.svg").read_text().count("restore, 4 MiB") >= 1


def test_unicorn_does_the_same() -> None:
    pytest.importorskip("unicorn")
    other = snapshots.Unicorn(snapshots.SIZES[0])
    vm = snapshots.load(snapshots.SIZES[0])
    vm.checkpoint()
    for count in (0, 1, 3):
        snapshots.write_pages(vm, count)
        other.write_pages(count)
        wanted = vm.memory[snapshots.DATA : snapshots.DATA + len(snapshots.CONTENTS)]
        assert other.machine.mem_read(snapshots.DATA, len(wanted)) == wanted
        vm.restore()
        other.restore()
        assert other.machine.mem_read(snapshots.DATA, len(wanted)) == snapshots.CONTENTS
    vm.pc = snapshots.CODE["small"]
    vm.exit_code = None
    data = bytes(range(24))
    vm.memory[snapshots.DATA : snapshots.DATA + 24] = data
    vm.run()
    other.round(data)
    size = snapshots.DATA, 512
    assert other.machine.mem_read(*size) == vm.memory.read(*size)

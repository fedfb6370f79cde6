"""Programs with outcomes recorded from a real CKB-VM end the same under the scheduler."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rvjit.loader.ckb import load_ckb
from rvjit.scheduler.offchain import OffChain
from rvjit.scheduler.scheduler import Scheduler
from rvjit.syscalls import Host

FOLDER = Path(__file__).parents[1] / "conformance" / "vectors"
VECTORS = json.loads((FOLDER / "vectors.json").read_text())
_STACK = 16  # bytes that loading takes of it without arguments


def check(vector) -> None:
    file = (FOLDER / vector["elf"]).read_bytes()
    for run in vector["runs"]:
        printed = bytearray()
        scheduler = Scheduler(
            file,
            version=run["version"],
            isa=run["isa"],
            engine="threaded",
            syscalls=OffChain().handlers,
            host=Host(stdout=printed.extend),
        )
        result = scheduler.run()
        scheduler.close()
        # The recorded cycles are without the price of loading.
        loading = -(-(load_ckb(file, run["version"]).file_bytes_loaded + _STACK) // 4)
        assert result == (run["exit"], run["cycles"] + loading)
        assert len(printed) == run["stdout_bytes"]


@pytest.mark.parametrize("vector", VECTORS[::12], ids=lambda each: each["name"])
def test_a_recorded_program(vector) -> None:
    check(vector)


@pytest.mark.slow
def test_all_recorded_programs() -> None:
    for vector in VECTORS:
        check(vector)

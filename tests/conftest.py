"""What every test may ask for: an engine, a way to run a guest, and seeds."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rvjit import VM, RunResult
from rvjit.engines import NAMES

GUESTS = Path(__file__).parent / "guests"

# One code cache for the whole run and all processes that tests start, so that the threaded engine
# is compiled once; nobody's real cache is read or written.
WORKER = "PYTEST_XDIST_WORKER" in os.environ
CACHE = os.environ["RVJIT_CACHE_DIR"] if WORKER else tempfile.mkdtemp(prefix="rvjit-tests-")
os.environ["RVJIT_CACHE_DIR"] = CACHE
os.environ.pop("RVJIT_CACHE_SIZE", None)

# The processes that tests start need not compile all modules each time, even where the caller's do.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ.setdefault("PYTHONPYCACHEPREFIX", os.path.join(CACHE, "modules"))


def pytest_unconfigure() -> None:
    if not WORKER:
        shutil.rmtree(CACHE, ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("random programs")
    group.addoption(
        "--seed",
        type=int,
        default=int(os.environ.get("RVJIT_SEED", "1")),
        help="first seed of random tests (also RVJIT_SEED); they print the one that failed",
    )
    group.addoption(
        "--count",
        type=int,
        default=int(os.environ.get("RVJIT_COUNT", "0")),
        help="programs for each random test, instead of its own number (also RVJIT_COUNT)",
    )


def pytest_report_header(config: pytest.Config) -> str:
    return f"random programs: --seed {config.getoption('--seed')}"


@pytest.fixture(params=NAMES)
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine by name; what a test shows holds for all of them."""
    return request.param


@pytest.fixture
def seeds(request: pytest.FixtureRequest) -> Callable[[int], range]:
    """Seeds for a number of programs, as the options say."""
    first = request.config.getoption("--seed")
    asked = request.config.getoption("--count")

    def make(count: int) -> range:
        count = asked or count
        print(f"seeds {first} to {first + count - 1}")  # noqa: T201
        return range(first, first + count)

    return make


@dataclass
class Ran:
    """A VM after a run, and what it wrote."""

    vm: VM
    result: RunResult
    stdout: bytes
    stderr: bytes


@pytest.fixture
def load() -> Callable[..., tuple[VM, bytearray]]:
    """Make a VM whose output is collected; guests of tests/guests go by name."""

    def make(program: str | Path | bytes, **options: Any) -> tuple[VM, bytearray]:
        output = bytearray()
        options = {"stdout": output.extend, "stderr": lambda data: None, **options}
        if isinstance(program, str):
            program = GUESTS / f"{program}.elf"
        return VM.from_elf(program, **options), output

    return make


@pytest.fixture
def run_guest(load: Callable[..., tuple[VM, bytearray]]) -> Callable[..., Ran]:
    """Run a guest to its first stop; *limits* go to `VM.run`."""

    def run(
        program: str | Path | bytes, limits: dict[str, Any] | None = None, **options: Any
    ) -> Ran:
        errors = bytearray()
        vm, output = load(program, stderr=errors.extend, **options)
        result = vm.run(**(limits or {}))
        return Ran(vm, result, bytes(output), bytes(errors))

    return run

"""The committed examples are what their sources say, and are laid out as the VM needs them."""

from __future__ import annotations

import importlib.util
import struct
import sys
from pathlib import Path
from types import ModuleType

import pytest

from rvjit.errors import ConfigError
from rvjit.examples import EXAMPLES, path

SOURCES = path("hello").parent / "src"
EXPECTED = Path(__file__).parent / "expected"


def load_build_script() -> ModuleType:
    """Import `build.py`, which belongs to no package."""
    spec = importlib.util.spec_from_file_location("rvjit_examples_build", SOURCES / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def segments(elf: bytes) -> list[tuple[int, int, int]]:
    """Return (flags, address, size in memory) of every PT_LOAD."""
    offset, size, count = struct.unpack_from("<Q14xHH", elf, 32)
    found = []
    for at in range(offset, offset + size * count, size):
        kind, flags, _, address, _, _, memory, _ = struct.unpack_from("<IIQQQQQQ", elf, at)
        if kind == 1:
            found.append((flags, address, memory))
    return found


def test_a_rebuilt_example_has_the_committed_bytes() -> None:
    build = load_build_script()
    problem = build.why_ziglang_is_unusable()
    if problem is not None:
        pytest.skip(problem)
    assert build.examples()["coremix"].is_current()


def test_the_list_names_every_source_and_every_elf() -> None:
    names = [example.name for example in EXAMPLES]
    assert names == sorted(names)
    assert names == sorted(p.stem for p in SOURCES.glob("*.c") if p.stem != "runtime")
    assert names == sorted(p.stem for p in SOURCES.parent.glob("*.elf"))


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="fib, hello"):
        path("nonesuch")


@pytest.mark.parametrize("name", [example.name for example in EXAMPLES])
def test_segments_start_on_pages_of_their_own_and_never_mix_w_and_x(name: str) -> None:
    found = segments(path(name).read_bytes())
    assert [flags for flags, _, _ in found] == [4, 5, 6]
    assert found[0][1] == 0x10000
    ends = [address + size for _, address, size in found]
    assert ends[-1] <= 0x110000
    for (_, address, _), end in zip(found[1:], ends[:-1], strict=True):
        assert address % 4096 == 0
        assert address >= end


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_expected_output_is_recorded_for_both_sizes(example) -> None:
    for size in (example.small_size, example.default_size):
        assert (EXPECTED / f"{example.name}-{size}.txt").read_text()

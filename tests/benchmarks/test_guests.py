"""The benchmark guests are what their sources say, and compute what they claim to."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator

import pytest

import rvjit
from benchmarks.guests import build

MASK = (1 << 64) - 1


def run(name: str, size: int, kind: str = "rv64") -> bytes:
    output = bytearray()
    guest = build.HERE / kind / f"{name}.elf"
    vm = rvjit.VM.from_elf(guest, args=[str(size)], engine="threaded", stdout=output.extend)
    assert vm.run().exit_code == 0
    return bytes(output)


def random32(state: int) -> Iterator[int]:
    """Xorshift, as `next_random` of the guests' runtime."""
    while True:
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFFFFFF
        yield state


def words(count: int, values: Iterator[int], size: int) -> bytes:
    return b"".join(next(values).to_bytes(size, "little") for _ in range(count))


def test_every_guest_is_built_in_every_kind() -> None:
    for kind, suffix in build.KINDS.items():
        found = sorted(file.name for file in (build.HERE / kind).iterdir())
        assert found == [f"{name}{suffix}" for name in build.names()]


@pytest.mark.parametrize("file", ["rv64/coremix.elf", "imac/sha256.elf", "wasm/forth.wasm"])
def test_a_rebuilt_guest_has_the_committed_bytes(file, tmp_path) -> None:
    script = build.load(build.EXAMPLES / "build.py", "rvjit_examples_build")
    problem = script.why_ziglang_is_unusable()
    if problem is not None:
        pytest.skip(problem)
    assert build.recipes(script, tmp_path)[file].is_current()


# Guests whose results something else can compute.


def test_sha256() -> None:
    assert (
        run("sha256", 2).decode().strip() == hashlib.sha256(words(512, random32(1), 4)).hexdigest()
    )


def test_blake2b() -> None:
    def values() -> Iterator[int]:
        state = 88172645463325252
        while True:
            state ^= state << 13 & MASK
            state ^= state >> 7
            state ^= state << 17 & MASK
            yield state

    digest = hashlib.blake2b(words(256, values(), 8)).hexdigest()
    assert run("blake2b", 2).decode().strip() == digest


def test_keccak() -> None:
    values = random32(161803)
    data = b"".join(
        (next(values) << 32 | block).to_bytes(8, "little") for block in range(3) for _ in range(17)
    )
    assert run("keccak", 3).decode().strip() == hashlib.sha3_256(data).hexdigest()


def test_crc32() -> None:
    values = random32(314159)
    data = bytes(next(values) >> 11 & 255 for _ in range(3 * 1024))
    assert run("crc32", 3).decode().strip() == f"{zlib.crc32(data):08x}"


def test_montgomery() -> None:
    modulus = 2**256 - 2**32 - 977
    seed, x = (sum(limb << 64 * i for i, limb in enumerate(limbs)) for limbs in
               ((1, 2, 3, 4), (5, 6, 7, 8)))  # fmt: skip
    inverse = pow(2**256, -1, modulus)
    for _ in range(1000):
        x = (x * x * inverse + seed) % modulus
    assert run("montgomery", 1).decode().strip() == f"{x:064x}"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("sieve", "primes: 78498"),  # below a million
        ("nqueens", "solutions: 1260"),  # 92 twice, 352, 724
        ("quicksort", "out of order: 0"),
        ("lz", "wrong: 0"),
    ],
)
def test_lines_that_are_known(name, line) -> None:
    sizes = {"sieve": 1000, "nqueens": 3, "quicksort": 1000, "lz": 1}
    assert line in run(name, sizes[name]).decode().splitlines()


@pytest.mark.parametrize("name", ["siphash", "bignum", "forth", "cold"])
def test_both_risc_v_builds_print_the_same(name) -> None:
    assert run(name, 1) == run(name, 1, "imac")

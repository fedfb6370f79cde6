"""Random 32-bit words against binutils: which are valid, and their text."""

from __future__ import annotations

import random

import pytest

from rvjit.isa import EXTENSIONS, Isa, disassemble
from tests.oracle.binutils import disassembly, normal, prefix
from tests.oracle.generate import forms, random_word

ISA = Isa.parse("imcba")
ARCH = "rv64imac_zba_zbb_zbc_zbs_zifencei"
SEED = 20240601

# What binutils decodes and we do not, all of it outside ISA: counters and CSRs, hypervisor and
# privileged words, and hints that have names of their own.
_OUTSIDE = (
    "csr", "rdinstret", "rdcycle", "rdtime", "sfence", "hfence", "hlv", "hsv", "hinval", "sinval",
    "mret", "sret", "uret", "dret", "mnret", "wfi", "wrs", "cbo", "prefetch", "pause", "sspush",
)  # fmt: skip


@pytest.mark.oracle
def test_random_instructions_read_as_objdump_prints_them() -> None:
    if prefix() is None:
        pytest.skip("no riscv64 binutils here")
    rng = random.Random(SEED)
    words = [
        random_word(rng, form, ISA).word
        for form in forms(ISA)
        if form.row.length == 4
        for _ in range(60)
    ]
    check(words)


@pytest.mark.oracle
@pytest.mark.parametrize("count", [20_000, pytest.param(2_000_000, marks=pytest.mark.slow)])
def test_random_words_are_valid_where_objdump_says_so(count: int) -> None:
    if prefix() is None:
        pytest.skip("no riscv64 binutils here")
    rng = random.Random(SEED + count)
    opcodes = sorted({form.row.match & 0x7F for form in forms(ISA) if form.row.length == 4})
    words = [rng.getrandbits(25) << 7 | rng.choice(opcodes) for _ in range(count)]
    check(words)


def check(words: list[int]) -> None:
    code = b"".join(word.to_bytes(4, "little") for word in words)
    listing = disassembly(code, ARCH)
    assert [word for _, word, _ in listing] == words
    wrong = []
    for pc, word, text in listing:
        insn = ISA.decoder.decode(word)
        mine = normal(disassemble(insn, pc)) if insn else None
        theirs = None if text.startswith((".", *_OUTSIDE)) else text
        if mine != theirs and not _reserved_fence(word, text):
            wrong.append(f"{word:#010x}: objdump {text!r}, ours {mine!r}")
    assert not wrong, f"seed {SEED}, {len(wrong)} differ:\n" + "\n".join(wrong[:20])


def _reserved_fence(word: int, theirs: str) -> bool:
    # The manual has implementations ignore reserved fields of FENCE and FENCE.I; objdump prints
    # them as data, or as "unknown" where a set is empty. `test_encoding` checks these by rule.
    if word & 0x7F != 0x0F:
        return False
    return theirs.startswith((".", "fence.tso", "pause")) or "unknown" in theirs


def test_all_extensions_are_covered() -> None:
    names = {extension.name for extension in EXTENSIONS} - {"fence_any", "link_first", "zicond"}
    assert names == ISA.extensions

"""All 49152 compressed halfwords against outside disassemblers: which are valid, and their text.

Where a disassembler has another notion than RV64C without floating point, the difference is listed
with its reason, and nothing else may differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import capstone
import pytest

from rvjit.isa import Isa, disassemble
from tests.oracle.binutils import disassembly, normal, prefix

ISA = Isa.parse("imac")
HALFWORDS = [word for word in range(1 << 16) if word & 3 != 3]

_FP = {(name, None): 2048 for name in ("c.fld", "c.fldsp", "c.fsd", "c.fsdsp")}

Difference = tuple[str | None, str | None]


def ours(word: int, pc: int) -> str | None:
    insn = ISA.decoder.decode(word)
    return normal(disassemble(insn, pc)) if insn else None


def differences(
    theirs: Iterable[tuple[int, int, str | None]],
) -> tuple[Counter[Difference], list[str]]:
    """Count differences by the two mnemonics; also list those where the mnemonics are equal."""
    counts: Counter[Difference] = Counter()
    wrong = []
    for pc, word, text in theirs:
        mine = ours(word, pc)
        if mine == text:
            continue
        names = (text.split()[0] if text else None, mine.split()[0] if mine else None)
        counts[names] += 1
        if names[0] == names[1]:
            wrong.append(f"{word:#06x}: {text!r} and {mine!r}")
    return counts, wrong


@pytest.mark.oracle
def test_every_halfword_is_what_objdump_says() -> None:
    if prefix() is None:
        pytest.skip("no riscv64 binutils here")
    code = b"".join(word.to_bytes(2, "little") for word in HALFWORDS)
    listing = disassembly(code, "rv64imafdc")
    assert [word for _, word, _ in listing] == HALFWORDS
    theirs = ((pc, word, None if text.startswith(".") else text) for pc, word, text in listing)
    counts, wrong = differences(theirs)
    assert not wrong, wrong[:5]
    assert counts == {
        **_FP,  # no floating point here
        # The manual: "C.NOP ... a HINT where imm is not 0"; objdump shows hints by the base form.
        ("c.addi", "c.nop"): 64,
        # "C.ADDI16SP ... the code point with nzimm = 0 is reserved"; objdump prints it.
        ("c.addi16sp", None): 1,
        # Shifts by zero are hints in RV64C; the names of RV128's shifts by 64 in objdump.
        ("c.slli64", "c.slli"): 32,
        ("c.srli64", "c.srli"): 8,
        ("c.srai64", "c.srai"): 8,
        ("c.unimp", None): 1,  # the defined illegal instruction, by the assembler's name
    }


def test_every_halfword_is_what_capstone_says() -> None:
    mode = capstone.CS_MODE_RISCV64 | capstone.CS_MODE_RISCVC
    disassembler = capstone.Cs(capstone.CS_ARCH_RISCV, mode)

    def theirs() -> Iterable[tuple[int, int, str | None]]:
        for word in HALFWORDS:
            found = next(disassembler.disasm_lite(word.to_bytes(2, "little"), 0, 1), None)
            yield 0, word, normal(f"{found[2]} {found[3]}") if found else None

    counts, wrong = differences(offset(theirs()))
    assert not wrong, wrong[:5]
    assert counts == {
        **_FP,
        # Hints (rd = x0; a c.nop with a negative number) that capstone 5 takes for invalid. The
        # manual: hints execute as no-ops; objdump, above, decodes them.
        (None, "c.add"): 31,
        (None, "c.li"): 64,
        (None, "c.lui"): 63,
        (None, "c.mv"): 31,
        (None, "c.nop"): 32,
        (None, "c.slli"): 64,
        # "The code points with nzimm = 0 are reserved" (C.LUI); capstone prints 30 of them.
        ("c.lui", None): 30,
        ("c.unimp", None): 1,
    }


def offset(
    found: Iterable[tuple[int, int, str | None]],
) -> Iterable[tuple[int, int, str | None]]:
    """Turn capstone's signed offsets of jumps into addresses, as `disassemble` prints them."""
    for pc, word, text in found:
        if text and text.split()[0] in ("c.j", "c.beqz", "c.bnez"):
            *head, last = text.split()
            yield pc, word, " ".join([*head, str(int(last) % (1 << 64))])
        else:
            yield pc, word, text


def test_illegal_words_of_the_manual() -> None:
    for word in (0x0000, 0x9C41, 0x9C61, 0x2000, 0x8000, 0x8002, 0x4002, 0x6002, 0x6101, 0x2001):
        assert ISA.decoder.decode(word) is None, hex(word)

"""Random guests for the rig: programs that end, and broken ones.

The generator of the oracles makes the code, which does not depend on where it is; here it is put
across page ends, into writable pages, and damaged.
"""

from __future__ import annotations

import random
import struct

from rvjit.isa import Isa
from rvjit.machine.pages import PAGE_SIZE
from rvjit.machine.rules import Rules
from tests.differential.rig import LINUX, RULES, Guest, Part
from tests.engines.assemble import word
from tests.oracle.generate import forms, random_value, random_word
from tests.oracle.programs import Options, random_program

BASE = 0x10000
CODE = 0x100000 - 4 * PAGE_SIZE
SIZE = 0x100000 + 0x8000 - BASE
END = BASE + SIZE


def random_guest(
    seed: int,
    *,
    rules: Rules = LINUX,
    size: int = 40,
    straddle: bool = False,
    wxorx: bool = False,
    damage: int = 0,
    code_allows: str = "rx",
    pointers_to_code: bool = False,
    endless: bool = False,
) -> Guest:
    """A guest that *seed* makes, the same each time.

    With *straddle* its code starts just before a page end; *damage* is how many halfwords of it are
    replaced; *pointers_to_code* lets its stores hit its own code, if *code_allows* that. *endless*
    programs start again where others end.
    """
    options = Options(
        isa=rules.isa,
        size=size,
        misaligned_atomics=not rules.aligned_atomics or damage > 0,
        any_reservation=True,
        sequences=0.4 if rules.isa.fuses else 0.0,
    )
    program = random_program(seed, options)
    rng = random.Random(seed)
    code = bytearray(program.code)
    if endless:
        end = program.end - program.base
        code[end : end + 4] = word(f"jal zero, . + {-end}").to_bytes(4, "little")
    at = CODE
    if straddle:
        at += PAGE_SIZE - 2 * rng.randrange(1, min(len(code) // 2, 1000))
    for _ in range(damage):
        _damage(rng, code, rules.isa)
    registers = list(program.registers)
    if pointers_to_code:
        for number in (2, 8, 9):
            registers[number] = at + rng.randrange(len(code)) & -rng.choice((1, 2, 4, 8))
    chosen = {
        "rules": next((f"RULES[{name!r}]" for name, each in RULES.items() if each is rules), None),
        "size": size,
        "straddle": straddle,
        "wxorx": wxorx,
        "damage": damage,
        "code_allows": code_allows if code_allows == "rx" else repr(code_allows),
        "pointers_to_code": pointers_to_code,
        "endless": endless,
    }
    text = ", ".join(f"{key}={value}" for key, value in chosen.items() if value not in (None, "rx"))
    return Guest(
        parts=(
            Part(at, bytes(code), code_allows),
            Part(program.data_base, program.data, "rw"),
        ),
        pc=at,
        registers=tuple(registers),
        base=0 if wxorx else BASE,
        size=END if wxorx else SIZE,
        rules=rules,
        reproduce=f"random_guest({seed}, {text})",
        wxorx=wxorx,
    )


def _damage(rng: random.Random, code: bytearray, isa: Isa) -> None:
    """Put something else somewhere: another instruction, or a fault of some kind."""
    at = rng.randrange(0, len(code) - 4, 2)
    kind = rng.randrange(8)
    if kind == 0:
        code[at : at + 2] = rng.randbytes(2)
    elif kind == 1:
        code[at : at + 4] = rng.randbytes(4)
    elif kind == 2:
        code[at : at + 4] = rng.choice((b"\0\0\0\0", b"\xff\xff\xff\xff"))
    elif kind == 3:
        code[at : at + 4] = struct.pack("<I", word(rng.choice(("ebreak", "ecall", "fence.i"))))
    elif kind == 4:
        register, offset = rng.randrange(32), rng.randint(-2048, 2047)
        name = rng.choice(("ld", "sd", "lw", "sw", "lb", "sb", "lh", "sh"))
        code[at : at + 4] = struct.pack("<I", word(f"{name} a0, {offset}(x{register})"))
    elif kind == 5:
        name = rng.choice(("amoadd.w", "amoswap.d"))
        code[at : at + 4] = struct.pack("<I", word(f"{name} a0, a1, (x{rng.randrange(32)})"))
    elif kind == 6:
        offset = rng.randint(-2048, 2047)
        code[at : at + 4] = struct.pack("<I", word(f"jalr ra, {offset}(x{rng.randrange(32)})"))
    else:
        insn = random_word(rng, rng.choice(forms(isa)), isa)
        code[at : at + insn.length] = insn.word.to_bytes(insn.length, "little")


def self_modifying(seed: int, rules: Rules = LINUX) -> Guest:
    """A loop that rewrites instructions before and behind itself, each time with others.

    Where the rules fuse, most of them can be parts of sequences. Words to write come from a table
    in the data; slots are nops at first. Some slots are on the other side of a page end, some are
    half in each page.
    """
    rng = random.Random(seed)
    isa = rules.isa
    names = _FUSABLE if isa.fuses else _HARMLESS
    plain = [form for form in forms(isa) if form.name in names]
    targets = (10, 11, 12) if isa.fuses else (6, 7, 10, 11, 12, 13, 14)

    def instruction(length: int) -> bytes:
        while True:
            insn = random_word(rng, rng.choice(plain), isa, targets)
            if insn.length == length:
                return insn.word.to_bytes(length, "little")

    table = b"".join(
        instruction(4) if rng.random() < 0.7 else instruction(2) * 2 for _ in range(64)
    )
    slots: list[int] = []
    code = bytearray()

    def emit(text: str) -> None:
        code.extend(word(text).to_bytes(4, "little"))

    def slot() -> None:
        if rng.random() < 0.3:
            code.extend(word("c.addi a1, 1").to_bytes(2, "little"))
        slots.append(len(code))
        code.extend(word("addi a0, a0, 1").to_bytes(4, "little"))
        while isa.fuses and rng.random() < 0.6:  # slots side by side
            slots.append(len(code))
            code.extend(instruction(4))

    # s0 code, s1 table (256 bytes), s2 index in it, s3 rounds left
    body = rng.randint(6, 30)
    writes = []
    for _ in range(body):
        kind = rng.random()
        if kind < 0.4:
            slot()
        elif kind < 0.8:
            emit("addi s2, s2, 4")
            emit("andi s2, s2, 252")
            emit("add t4, s1, s2")
            emit("lw t3, 0(t4)")
            writes.append(len(code))
            code.extend(bytes(4))
        elif kind < 0.9:
            emit("fence.i")
        else:
            emit(f"addi a{rng.randrange(5)}, a0, {rng.randint(-9, 9)}")
    if not slots:
        slot()
    for at in writes:
        near = [s for s in slots if s > at][:1]
        target = rng.choice(near or slots) if rng.random() < 0.5 else rng.choice(slots)
        name = rng.choice(("sw", "sw", "sh"))
        code[at : at + 4] = word(f"{name} t3, {target}(s0)").to_bytes(4, "little")
    emit("addi s3, s3, -1")
    back = -len(code)
    emit(f"beq s3, zero, . + {8}")
    emit(f"jal zero, . + {back - 4}")
    emit("ecall")
    base = CODE + PAGE_SIZE - 2 * rng.randrange(0, len(code) // 2)
    registers = [0 if number in (0, 3) else random_value(rng) for number in range(32)]
    registers[8], registers[9], registers[18] = base, BASE + PAGE_SIZE, 0
    registers[19] = rng.choice((3, 12, 40))
    return Guest(
        parts=(
            Part(base, bytes(code), "rwx"),
            Part(BASE + PAGE_SIZE, table, "rw"),
        ),
        pc=base,
        registers=tuple(registers),
        base=BASE,
        size=SIZE,
        rules=rules,
        reproduce=f"self_modifying({seed}, fuses={isa.fuses})",
    )


_HARMLESS_NAMES = """
    addi xori ori andi slti sltiu add sub xor or and sll srl sra slt sltu lui addiw addw subw
    slli srli srai mul mulh div remu c.addi c.li c.mv c.add c.xor c.or c.and c.sub c.slli andn
    clz cpop rol sh1add bset
"""
_HARMLESS = frozenset(_HARMLESS_NAMES.split())
_FUSABLE_NAMES = "add sub sltu or lui addiw mulhu mul c.add c.mv c.sub c.or"
_FUSABLE = frozenset(_FUSABLE_NAMES.split())

"""A model of CKB-VM's fusion, written from its rules and by nothing of the package.

It runs straight code on a register file and counts cycles, with the decisions spelled out sequence
by sequence, as a decoder in another language has them.
"""

from __future__ import annotations

from dataclasses import dataclass

M64 = (1 << 64) - 1
RA = 1


@dataclass(frozen=True)
class Plain:
    """An instruction: base name, registers, immediate, bytes. HINTs are ``addi x0, x0, 0``."""

    name: str
    rd: int = 0
    rs1: int = 0
    rs2: int = 0
    imm: int = 0
    size: int = 4


def signed(value: int, bits: int = 64) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def sext32(value: int) -> int:
    return signed(value, 32) & M64


def in_i32(value: int) -> bool:
    return -(1 << 31) <= value < 1 << 31


PRICES = dict.fromkeys(("mul", "mulh", "mulhu", "mulhsu"), 5) | dict.fromkeys(
    ("div", "divu", "rem", "remu"), 32
)


def divide(a: int, b: int, *, unsigned: bool) -> tuple[int, int]:
    """Quotient and remainder, 64 bits."""
    if b == 0:
        return M64, a
    if unsigned:
        return a // b, a % b
    x, y = signed(a), signed(b)
    quotient = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
    return quotient & M64, (x - quotient * y) & M64


def value_of(insn: Plain, x: list[int], pc: int) -> int:
    a, b = x[insn.rs1], x[insn.rs2]
    match insn.name:
        case "add":
            return a + b & M64
        case "sub":
            return a - b & M64
        case "sltu":
            return int(a < b)
        case "slt":
            return int(signed(a) < signed(b))
        case "or":
            return a | b
        case "xor":
            return a ^ b
        case "lui":
            return insn.imm & M64
        case "auipc":
            return pc + insn.imm & M64
        case "addi":
            return a + insn.imm & M64
        case "addiw":
            return sext32(a + insn.imm)
        case "mul":
            return a * b & M64
        case "mulh":
            return signed(a) * signed(b) >> 64 & M64
        case "mulhu":
            return a * b >> 64
        case "mulhsu":
            return signed(a) * b >> 64 & M64
        case "div" | "divu":
            return divide(a, b, unsigned=insn.name == "divu")[0]
        case "rem" | "remu":
            return divide(a, b, unsigned=insn.name == "remu")[1]
    raise AssertionError(insn.name)


def run(code: list[Plain], registers: list[int], version: int, base: int) -> tuple[list[int], int]:
    """Registers and cycles after *code* at *base*, under VM version 1 or 2 with fusion."""
    x = list(registers)
    cycles = index = 0
    pc = base
    while index < len(code):
        count, price = fused(code[index:], x, version, pc)
        if not count:
            insn = code[index]
            result = value_of(insn, x, pc)
            if insn.rd:
                x[insn.rd] = result
            count, price = 1, PRICES.get(insn.name, 1)
        pc += sum(insn.size for insn in code[index : index + count])
        index += count
        cycles += price
    return x, cycles


def fused(rest: list[Plain], x: list[int], version: int, pc: int) -> tuple[int, int]:
    """Run what is fused at the start of *rest*: members and price, or 0 members."""
    head = rest[0]
    if head.name == "add":
        tries = [_adc] if version == 1 else [_adc, _add3a, _add3b, _add3c, _adcs]
    elif head.name == "sub":
        tries = [_sbb] if version == 1 else [_sbb, _sbbs]
    elif len(rest) < 2:
        return 0, 0
    else:
        return _two(head, rest[1], x, version, pc)
    for attempt in tries:
        count = attempt(rest, x)
        if count:
            return count, 1
    return 0, 0


def _two(head: Plain, then: Plain, x: list[int], version: int, pc: int) -> tuple[int, int]:
    d = head.rd
    same = then.rd == d and then.rs1 == d
    if head.name == "lui" and then.name == "addiw" and same:
        put(x, d, sext32(head.imm + then.imm))
        return 2, 1
    if head.name == "auipc" and then.name == "addi" and same and version == 2:
        total = head.imm + then.imm
        if pc < 1 << 31 and in_i32(total) and in_i32(total + pc):
            put(x, d, total + pc & M64)
            return 2, 1
    wide = {"mulh": "mul", "mulhu": "mul", "mulhsu": "mul", "div": "rem", "divu": "remu"}
    if wide.get(head.name) == then.name:
        a, b = head.rs1, head.rs2
        if d not in (a, b, then.rd) and (then.rs1, then.rs2) == (a, b):
            high, low = value_of(head, x, pc), value_of(then, x, pc)
            put(x, d, high)
            put(x, then.rd, low)
            return 2, 5 if then.name == "mul" else 32
    return 0, 0


def put(x: list[int], register: int, value: int) -> None:
    if register:
        x[register] = value


def shape(insn: Plain) -> tuple[str, int, int, int]:
    return insn.name, insn.rd, insn.rs1, insn.rs2


def _adc(rest: list[Plain], x: list[int]) -> int:
    if len(rest) < 5:
        return 0
    r0, r1, r2 = rest[0].rd, rest[0].rs2, rest[2].rs2
    wanted = [
        ("add", r0, r0, r1),
        ("sltu", r1, r0, r1),
        ("add", r0, r0, r2),
        ("sltu", r2, r0, r2),
        ("or", r1, r1, r2),
    ]
    if [shape(insn) for insn in rest[:5]] != wanted or len({0, r0, r1, r2}) < 4:
        return 0
    first = x[r0] + x[r1] & M64
    carry1 = first < x[r1]
    second = first + x[r2] & M64
    carry2 = second < x[r2]
    x[r0], x[r2], x[r1] = second, int(carry2), int(carry1 or carry2)
    return 5


def _sbb(rest: list[Plain], x: list[int]) -> int:
    if len(rest) < 5:
        return 0
    r0, r1, r2, r3 = rest[0].rs1, rest[0].rd, rest[2].rs2, rest[1].rd
    wanted = [
        ("sub", r1, r0, r1),
        ("sltu", r3, r0, rest[1].rs2),  # whatever it is
        ("sub", r0, r1, r2),
        ("sltu", r2, r1, r0),
        ("or", r1, r2, r3),
    ]
    if [shape(insn) for insn in rest[:5]] != wanted or len({0, r0, r1, r2, r3}) < 5:
        return 0
    first = x[r0] - x[r1] & M64
    borrow1 = x[r0] < first
    second = first - x[r2] & M64
    borrow2 = first < second
    x[r0], x[r1], x[r2], x[r3] = second, int(borrow1 or borrow2), int(borrow2), int(borrow1)
    return 5


def _add3a(rest: list[Plain], x: list[int]) -> int:
    if len(rest) < 3:
        return 0
    r0, r1, r2, r3, r4 = rest[0].rd, rest[0].rs1, rest[1].rd, rest[2].rd, rest[2].rs2
    wanted = [("add", r0, r1, r0), ("sltu", r2, r0, r1), ("add", r3, r2, r4)]
    if [shape(insn) for insn in rest[:3]] != wanted:
        return 0
    if r0 == r1 or r4 in (r0, r2) or not r0 or not r2:
        return 0
    x[r0] = x[r0] + x[r1] & M64
    x[r2] = int(x[r0] < x[r1])
    put(x, r3, x[r2] + x[r4] & M64)
    return 3


def _add3b(rest: list[Plain], x: list[int]) -> int:
    if len(rest) < 3:
        return 0
    r0, r1, r2, r3, r4 = rest[0].rd, rest[0].rs1, rest[0].rs2, rest[2].rd, rest[2].rs2
    wanted = [("add", r0, r1, r2), ("sltu", r1, r0, r1), ("add", r3, r1, r4)]
    if [shape(insn) for insn in rest[:3]] != wanted:
        return 0
    if r0 == r1 or r4 in (r0, r1) or not r0 or not r1:
        return 0
    x[r0] = x[r1] + x[r2] & M64
    x[r1] = int(x[r0] < x[r1])
    put(x, r3, x[r1] + x[r4] & M64)
    return 3


def _add3c(rest: list[Plain], x: list[int]) -> int:
    if len(rest) < 3:
        return 0
    r0, r1, r2, r3, r4 = rest[0].rd, rest[0].rs1, rest[0].rs2, rest[1].rd, rest[2].rs2
    wanted = [("add", r0, r1, r2), ("sltu", r3, r0, r1), ("add", r3, r3, r4)]
    if [shape(insn) for insn in rest[:3]] != wanted:
        return 0
    if r0 == r1 or r4 in (r0, r3) or not r0 or not r3:
        return 0
    x[r0] = x[r1] + x[r2] & M64
    x[r3] = int(x[r0] < x[r1]) + x[r4] & M64
    return 3


def _adcs(rest: list[Plain], x: list[int]) -> int:
    if len(rest) < 2:
        return 0
    r0, r1, r2, r3 = rest[0].rd, rest[0].rs1, rest[0].rs2, rest[1].rd
    if r0 == r1 and r0 != r2:
        r1, r2 = r2, r1
    if shape(rest[1]) != ("sltu", r3, r0, r1) or r0 == r1 or not r0:
        return 0
    x[r0] = x[r1] + x[r2] & M64
    put(x, r3, int(x[r0] < x[r1]))
    return 2


def _sbbs(rest: list[Plain], x: list[int]) -> int:
    if len(rest) < 2:
        return 0
    r0, r1, r2, r3 = rest[0].rd, rest[0].rs1, rest[0].rs2, rest[1].rd
    if shape(rest[1]) != ("sltu", r3, r1, r2) or r0 in (r1, r2):
        return 0
    put(x, r0, x[r1] - x[r2] & M64)
    put(x, r3, int(x[r1] < x[r2]))
    return 2

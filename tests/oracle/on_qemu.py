"""Run a `GuestProgram` under qemu-riscv64, as an ELF file made here.

The program's ecall becomes a jump to a stub that writes all registers and the data to standard
output. gp, which programs leave alone, is the stub's one register.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

from rvjit.isa.ext import rv64i as i
from tests.oracle.guest import CODE_BASE, DATA_BASE, DATA_SIZE, GP, REGISTERS, GuestProgram, Outcome

_SAVE = 0x10000  # a page for the registers, below data and code
_PAGE = 4096
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_A0, _A1, _A2, _A7 = 10, 11, 12, 17
_WRITE, _EXIT = 64, 93
_RISCV = 243
_CTZW = bytes.fromhex("1b951560")  # ctzw a0, a1
_CZERO = bytes.fromhex("33d5c50e")  # czero.eqz a0, a1, a2


@lru_cache(maxsize=1)
def qemu_path() -> str | None:
    """Where qemu-riscv64 is, or None."""
    return shutil.which("qemu-riscv64") or shutil.which("qemu-riscv64-static")


class QemuError(Exception):
    """QEMU did not run the program to its end."""


def run_qemu(program: GuestProgram) -> Outcome:
    """Run *program* to its ecall. Raises `QemuError` where it does not get there."""
    with tempfile.NamedTemporaryFile(suffix=".elf", delete=False) as file:
        file.write(_elf(program))
    path = Path(file.name)
    try:
        path.chmod(0o700)
        found = subprocess.run(
            [str(qemu_path()), str(path)], capture_output=True, timeout=60, check=False
        )
    finally:
        path.unlink()
    size = 8 * REGISTERS + len(program.data)
    if found.returncode or len(found.stdout) != size:
        raise QemuError(
            f"{program.reproduce}: status {found.returncode}, {len(found.stdout)} bytes of {size}"
        )
    registers = list(struct.unpack_from("<32Q", found.stdout))
    registers[GP] = program.registers[GP]
    return Outcome(tuple(registers), found.stdout[8 * REGISTERS :])


def _runs(code: bytes, registers: dict[int, int]) -> Outcome | None:
    """Outcome of one instruction, None where QEMU does not know it."""
    values = tuple(registers.get(number, 0) for number in range(REGISTERS))
    code += i.ecall.encode().to_bytes(4, "little")
    program = GuestProgram(code, CODE_BASE + len(code) - 4, values, bytes(DATA_SIZE), "probe")
    try:
        return run_qemu(program)
    except QemuError:
        return None


@lru_cache(maxsize=1)
def unusable() -> dict[str, str]:
    """Instructions that this QEMU lacks or gets wrong, with the reason."""
    reasons = {}
    ctzw = _runs(_CTZW, {_A1: 1 << 33})
    if ctzw is None or ctzw.registers[_A0] != 32:
        # Debian 12's 7.2 looks at all 64 bits (right again in 8.0).
        reasons["ctzw"] = "this QEMU counts trailing zeros of the whole register"
    if _runs(_CZERO, {}) is None:
        reasons["czero.eqz"] = reasons["czero.nez"] = "this QEMU has no Zicond"
    return reasons


def _elf(program: GuestProgram) -> bytes:
    code = bytearray(program.code)
    finish = program.base + len(code)
    start = finish + 4 * 64
    at = program.end - program.base
    code[at : at + 4] = i.jal.encode(rd=GP, imm=finish - program.end).to_bytes(4, "little")
    code += _words(_finish(program)).ljust(4 * 64, b"\0")
    code += _words(_start(program.base - start))
    registers = struct.pack("<32Q", *program.registers)
    parts = [(program.base, bytes(code)), (program.data_base, program.data), (_SAVE, registers)]
    parts.sort()
    image = bytearray(_PAGE)
    headers = bytearray(
        _HEADER.pack(
            b"\x7fELF\x02\x01\x01", 2, _RISCV, 1, start, 64, 0, 1, 64, 56, len(parts), 64, 0, 0
        )
    )
    for address, content in parts:
        headers += _SEGMENT.pack(
            1, 7, len(image), address, address, len(content), len(content), _PAGE
        )
        image += content
        image += bytes(-len(image) % _PAGE)
    image[: len(headers)] = headers
    return bytes(image)


def _words(words: list[int]) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in words)


def _start(offset: int) -> list[int]:
    """Load all registers and go to the program, *offset* from here."""
    words = [i.lui.encode(rd=GP, imm=_SAVE)]
    order = [number for number in range(1, REGISTERS) if number != GP] + [GP]
    words += [i.ld.encode(rd=number, rs1=GP, imm=8 * number) for number in order]
    return [*words, i.jal.encode(rd=0, imm=offset - 4 * len(words))]


def _finish(program: GuestProgram) -> list[int]:
    """Store all registers, write them and the data to standard output, exit."""
    words = [i.lui.encode(rd=GP, imm=_SAVE)]
    words += [i.sd.encode(rs1=GP, rs2=number, imm=8 * number) for number in range(1, REGISTERS)]
    for address, size in ((_SAVE, 8 * REGISTERS), (program.data_base, len(program.data))):
        assert address % _PAGE == 0
        upper = (size + 0x800) & -_PAGE
        words += [
            i.addi.encode(rd=_A0, rs1=0, imm=1),
            i.lui.encode(rd=_A1, imm=address),
            i.lui.encode(rd=_A2, imm=upper),
            i.addi.encode(rd=_A2, rs1=_A2, imm=size - upper),
            i.addi.encode(rd=_A7, rs1=0, imm=_WRITE),
            i.ecall.encode(),
        ]
    words += [
        i.addi.encode(rd=_A0, rs1=0, imm=0),
        i.addi.encode(rd=_A7, rs1=0, imm=_EXIT),
        i.ecall.encode(),
    ]
    return words


assert DATA_BASE > _SAVE + _PAGE

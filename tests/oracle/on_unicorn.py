"""Run a `GuestProgram`, or one instruction, on Unicorn (QEMU 5's core as a library).

Unicorn 2.1 is right about RV64IMAC and has no bit manipulation at all.
"""

from __future__ import annotations

from collections.abc import Iterable

import unicorn
from unicorn import riscv_const as names

from rvjit.isa import Isa
from tests.oracle.guest import GP, GuestProgram, Outcome

ISA = Isa.parse("imac")

_NUMBERS = [getattr(names, f"UC_RISCV_REG_X{number}") for number in range(32)]
_PAGE = 4096
_TIMEOUT = 10_000_000  # microseconds


def _new(code_base: int, code: bytes, data_base: int, data: bytes) -> unicorn.Uc:
    machine = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV64)
    machine.mem_map(code_base, -(-len(code) // _PAGE) * _PAGE + _PAGE)
    machine.mem_write(code_base, code)
    machine.mem_map(data_base, -(-len(data) // _PAGE) * _PAGE)
    machine.mem_write(data_base, data)
    return machine


def _registers(machine: unicorn.Uc) -> tuple[int, ...]:
    return tuple(machine.reg_read(number) for number in _NUMBERS)


def run_unicorn(program: GuestProgram) -> Outcome:
    """Run *program* up to its ecall."""
    machine = _new(program.base, program.code, program.data_base, program.data)
    for number, value in zip(_NUMBERS[1:], program.registers[1:], strict=True):
        machine.reg_write(number, value)
    machine.emu_start(program.base, program.end, timeout=_TIMEOUT)
    stopped = machine.reg_read(names.UC_RISCV_REG_PC)
    assert stopped == program.end, f"{program.reproduce}: Unicorn stopped at {stopped:#x}"
    registers = list(_registers(machine))
    registers[GP] = program.registers[GP]
    data = bytes(machine.mem_read(program.data_base, len(program.data)))
    return Outcome(tuple(registers), data)


class Stepper:
    """Runs single instructions, each from its own registers, on one Unicorn.

    The instructions are given at the start and stand *stride* bytes apart, so that Unicorn never
    sees code change.
    """

    def __init__(
        self, base: int, codes: Iterable[bytes], data_base: int, data: bytes, stride: int = 8
    ) -> None:
        code = b"".join(each.ljust(stride, b"\0") for each in codes)
        self._base = base
        self._stride = stride
        self._data_base = data_base
        self._data = data
        self._machine = _new(base, code, data_base, data)

    def step(self, index: int, registers: tuple[int, ...]) -> tuple[int, Outcome]:
        """Run instruction *index*; return the pc after it and the rest."""
        machine = self._machine
        at = self._base + index * self._stride
        for number, value in zip(_NUMBERS[1:], registers[1:], strict=True):
            machine.reg_write(number, value)
        machine.mem_write(self._data_base, self._data)
        try:
            machine.emu_start(at, at + (1 << 40), count=1, timeout=_TIMEOUT)
        except unicorn.UcError as error:
            # The step itself is done; only what a jump goes to is not there.
            if error.errno != unicorn.UC_ERR_FETCH_UNMAPPED:
                raise
        pc = machine.reg_read(names.UC_RISCV_REG_PC)
        data = bytes(machine.mem_read(self._data_base, len(self._data)))
        return pc, Outcome(_registers(machine), data)

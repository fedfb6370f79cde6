"""The instruction set: definitions and what follows from them; no machine, no engine."""

from rvjit.isa.cost import CKB_PRICES, UNIT_PRICES, Cost, PriceModel
from rvjit.isa.decode import Decoder, Insn
from rvjit.isa.disasm import disassemble
from rvjit.isa.isa import DEFAULT_ISA, EXTENSIONS, Isa

__all__ = [
    "CKB_PRICES",
    "DEFAULT_ISA",
    "EXTENSIONS",
    "UNIT_PRICES",
    "Cost",
    "Decoder",
    "Insn",
    "Isa",
    "PriceModel",
    "disassemble",
]

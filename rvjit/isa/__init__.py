"""The instruction set: definitions and what follows from them; no machine, no engine."""

from __future__ import annotations

from rvjit.isa.cost import CKB_PRICES, UNIT_PRICES, Cost, PriceModel
from rvjit.isa.isa import DEFAULT_ISA, Isa

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rvjit.isa.decode import Decoder, Insn
    from rvjit.isa.disasm import disassemble
    from rvjit.isa.extensions import EXTENSIONS
    from rvjit.isa.fusion import Operation

__all__ = [
    "CKB_PRICES",
    "DEFAULT_ISA",
    "EXTENSIONS",
    "UNIT_PRICES",
    "Cost",
    "Decoder",
    "Insn",
    "Isa",
    "Operation",
    "PriceModel",
    "disassemble",
]

# What needs the definitions of instructions is imported when it is asked for.
_LATER = {
    "Decoder": "decode",
    "EXTENSIONS": "extensions",
    "Insn": "decode",
    "Operation": "fusion",
    "disassemble": "disasm",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(__import__(f"{__name__}.{_LATER[name]}", fromlist=[name]), name)
    return value

"""Register numbers and ABI names (RISC-V calling convention chapter)."""

from __future__ import annotations

ABI_NAMES = (
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1",
    "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7",
    "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11",
    "t3", "t4", "t5", "t6",
)  # fmt: skip

RA = 1
SP = 2
GP = 3
TP = 4
S0 = 8
A0 = 10
A7 = 17

NUMBERS: dict[str, int] = {name: number for number, name in enumerate(ABI_NAMES)}
NUMBERS |= {f"x{number}": number for number in range(32)}
NUMBERS["fp"] = S0


def register_number(name: str | int) -> int:
    """Return the number of register *name* (``a0``, ``x10``, ``fp``, or 10).

    Raises `KeyError` with the name where there is no such register.
    """
    if isinstance(name, int):
        if 0 <= name < len(ABI_NAMES):
            return name
        raise KeyError(name)
    return NUMBERS[name]

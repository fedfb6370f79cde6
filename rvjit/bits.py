"""Fixed-width arithmetic on Python ints.

Guest values are unsigned ints in ``[0, 2**width)``; only `to_signed` makes a negative number.
The reference interpreter calls the functions here for operations that Python has no operator for,
so each is the definition that the other engines are compared with.
"""

from __future__ import annotations

MASK32 = 0xFFFF_FFFF
MASK64 = 0xFFFF_FFFF_FFFF_FFFF


def mask(width: int) -> int:
    """Return *width* one bits."""
    return (1 << width) - 1


def to_signed(value: int, width: int) -> int:
    """Read the low *width* bits of *value* as a two's complement number."""
    value &= mask(width)
    return value - (1 << width) if value >> (width - 1) else value


def to_unsigned(value: int, width: int) -> int:
    """Return *value* modulo ``2**width``."""
    return value & mask(width)


def clz(value: int, width: int) -> int:
    """Count leading zero bits; *width* for zero."""
    return width - value.bit_length()


def ctz(value: int, width: int) -> int:
    """Count trailing zero bits; *width* for zero."""
    return (value & -value).bit_length() - 1 if value else width


def byte_swap(value: int, width: int) -> int:
    """Reverse the bytes of a *width*-bit value."""
    return int.from_bytes(value.to_bytes(width // 8, "little"), "big")


def or_bytes(value: int, width: int) -> int:
    """Set every byte to 0xff that holds any one bit (orc.b)."""
    result = 0
    for shift in range(0, width, 8):
        if value >> shift & 0xFF:
            result |= 0xFF << shift
    return result


def clmul(a: int, b: int) -> int:
    """Return the whole carry-less product of *a* and *b*."""
    product = 0
    while b:
        low = b & -b
        product ^= a * low
        b ^= low
    return product


def div_signed(a: int, b: int, width: int) -> int:
    """Divide as RISC-V does (M chapter): by zero gives all ones, overflow the dividend."""
    x, y = to_signed(a, width), to_signed(b, width)
    if y == 0:
        return mask(width)
    quotient = abs(x) // abs(y)
    return to_unsigned(-quotient if (x < 0) != (y < 0) else quotient, width)


def rem_signed(a: int, b: int, width: int) -> int:
    """Remainder as RISC-V does: the dividend's sign; by zero gives the dividend."""
    x, y = to_signed(a, width), to_signed(b, width)
    if y == 0:
        return a
    remainder = abs(x) % abs(y)
    return to_unsigned(-remainder if x < 0 else remainder, width)


def div_unsigned(a: int, b: int, width: int) -> int:
    """Divide unsigned; by zero gives all ones."""
    return a // b if b else mask(width)


def rem_unsigned(a: int, b: int) -> int:
    """Remainder unsigned; by zero gives the dividend."""
    return a % b if b else a

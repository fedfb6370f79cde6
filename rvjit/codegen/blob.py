"""Blob: linked machine code."""

from __future__ import annotations

from rvjit.values import dataclass


@dataclass(frozen=True)
class Blob:
    """Machine code that runs at any address; *symbols* are byte offsets of its functions."""

    code: bytes
    symbols: dict[str, int]

"""The one hash of everything that is kept: names of files and identities of programs."""

from __future__ import annotations

# Not through hashlib, which loads OpenSSL: 2 ms of a start that is to take 20.
from _blake2 import blake2b

_BYTES = 16


def digest(data: bytes) -> bytes:
    """Return 16 bytes that no other *data* has, whoever chose it."""
    return blake2b(data, digest_size=_BYTES).digest()

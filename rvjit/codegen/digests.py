"""The one hash of everything that is kept: names of files, identities of programs, checksums."""

from __future__ import annotations

# Not through hashlib where that can be avoided: it loads OpenSSL, 2 ms of a start.
try:
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

__all__ = ["blake2b", "checksum", "digest"]

_BYTES = 16


def digest(data: bytes) -> bytes:
    """Return 16 bytes that no other *data* has, whoever chose it."""
    return blake2b(data, digest_size=_BYTES).digest()


def checksum(data: bytes) -> int:
    """Return 32 bits that change with *data*; zlib's would load a library for it."""
    return int.from_bytes(blake2b(data, digest_size=4).digest(), "little")

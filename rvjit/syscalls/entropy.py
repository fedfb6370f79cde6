"""The guest's random bytes: one stream per seed, whatever the sizes of the requests."""

from __future__ import annotations

_BLOCK = 4096


class Entropy:
    """A deterministic stream of bytes that looks random.

    `position` is how many were taken; setting it winds the stream.
    """

    def __init__(self, seed: int = 0) -> None:
        self._key = b"rvjit" + str(seed).encode() + b":"
        self._index = -1
        self._block = b""
        self.position = 0

    def take(self, size: int) -> bytes:
        """Return the next *size* bytes."""
        parts = []
        while size > 0:
            index, at = divmod(self.position, _BLOCK)
            part = self._load(index)[at : at + size]
            parts.append(part)
            self.position += len(part)
            size -= len(part)
        return b"".join(parts)

    def _load(self, index: int) -> bytes:
        if index != self._index:
            # Not through hashlib where that can be avoided: it loads OpenSSL, 2 ms of a start.
            try:
                from _sha3 import shake_128  # type: ignore[import-not-found]
            except ImportError:
                from hashlib import shake_128

            self._index = index
            self._block = shake_128(self._key + str(index).encode()).digest(_BLOCK)
        return self._block

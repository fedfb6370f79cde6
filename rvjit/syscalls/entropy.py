"""The guest's random bytes: one stream per seed, whatever the sizes of the requests."""

from __future__ import annotations

_BLOCK = 64  # bytes, a whole digest


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
            from rvjit.codegen.digests import blake2b  # not every guest asks

            self._index = index
            self._block = blake2b(self._key + str(index).encode()).digest()
        return self._block

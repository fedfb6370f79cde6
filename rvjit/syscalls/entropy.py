"""The guest's random bytes: one stream per seed, whatever the sizes of the requests."""

from __future__ import annotations

_BLOCK = 64  # bytes, a whole digest


class Entropy:
    """A deterministic stream of bytes that looks random, one for each seed.

    `position` is how many were taken; setting it winds the stream.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = str(seed)
        self.position = 0
        self._loaded: tuple[str, int] | None = None
        self._block = b""

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
        if self._loaded != (self.seed, index):
            from rvjit.codegen.digests import blake2b  # not every guest asks

            self._loaded = self.seed, index
            self._block = blake2b(f"rvjit{self.seed}:{index}".encode()).digest()
        return self._block

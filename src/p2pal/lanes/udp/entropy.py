"""Unpredictable numbers out of a seed that the shell draws: a pure machine has no randomness of its own."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

from p2pal.lanes.udp.packet import NONCE_BYTES

SEED_BYTES: Final = 32


class Entropy:
    """A keyed hash of a counter (BLAKE2b, RFC 7693): nobody without the seed can tell the next number.

    Args:
        seed: 32 random bytes, used for nothing else.
    """

    __slots__ = ("_count", "_seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError("the seed is not 32 bytes long")
        self._seed = seed
        self._count = 0

    def nonce(self) -> bytes:
        """Return 16 bytes that were never returned before."""
        self._count += 1
        return blake2b(self._count.to_bytes(8, "big"), key=self._seed, digest_size=NONCE_BYTES).digest()

    def between(self, least: int, most: int) -> int:
        """Return a whole number from ``least`` to ``most``."""
        return least + int.from_bytes(self.nonce()[:8], "big") % (most - least + 1)

    def fractions(self) -> Iterator[float]:
        """Yield numbers in [0, 1), without end."""
        while True:
            yield int.from_bytes(self.nonce()[:6], "big") / 2**48

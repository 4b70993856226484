"""Slots: short numbers that cannot be guessed in order."""

from __future__ import annotations

import heapq
import secrets
from typing import Final

_POOL: Final = 16


class Slots:
    """Hands out one of the 16 smallest free numbers at random, so that they stay short but have no order."""

    __slots__ = ("_free", "_next", "_pool")

    def __init__(self) -> None:
        self._next = 1
        self._free: list[int] = []
        self._pool: list[int] = []

    def take(self) -> int:
        """Return a free number."""
        while len(self._pool) < _POOL:
            if self._free:
                self._pool.append(heapq.heappop(self._free))
            else:
                self._pool.append(self._next)
                self._next += 1
        return self._pool.pop(secrets.randbelow(len(self._pool)))

    def free(self, slot: int) -> None:
        """Take a number back; the caller has let it rest for long enough."""
        largest = max(self._pool, default=0)
        if slot < largest:
            self._pool.remove(largest)
            self._pool.append(slot)
            slot = largest
        heapq.heappush(self._free, slot)

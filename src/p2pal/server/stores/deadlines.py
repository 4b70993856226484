"""What is due when: a heap in which only the earliest entry of each transfer counts."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Final

_STALE: Final = 64
"""Entries that do not count any more and may stay in the heap, beside as many as count."""


class Deadlines:
    """Deadlines by rendezvous id. A later deadline than the one that is noted waits behind it: that one comes first."""

    __slots__ = ("_due", "_earlier", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}
        self._earlier = asyncio.Event()

    def __len__(self) -> int:
        """How much is remembered, with what does not count any more."""
        return len(self._heap)

    def note(self, rendezvous_id: str, due: float | None) -> None:
        """Have :meth:`pop` return the id at ``due`` seconds, or earlier; None changes nothing."""
        noted = self._due.get(rendezvous_id)
        if due is None or (noted is not None and noted <= due):
            return
        self._due[rendezvous_id] = due
        if len(self._heap) > 2 * len(self._due) + _STALE:
            self._heap = [(when, name) for name, when in self._due.items() if name != rendezvous_id]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (due, rendezvous_id))
        if self._heap[0][0] == due:
            self._earlier.set()

    def forget(self, rendezvous_id: str) -> None:
        """Never return this id, unless it is noted again."""
        self._due.pop(rendezvous_id, None)

    def pop(self, now: float) -> str | None:
        """Take out an id that is due, if there is one. It has to be noted again."""
        while self._heap and self._heap[0][0] <= now:
            due, rendezvous_id = heapq.heappop(self._heap)
            if self._due.get(rendezvous_id) == due:
                del self._due[rendezvous_id]
                return rendezvous_id
        return None

    async def wait(self, clock: Callable[[], float]) -> None:
        """Wait until something may be due."""
        self._earlier.clear()
        seconds = max(0.0, self._heap[0][0] - clock()) if self._heap else None
        try:
            async with asyncio.timeout(seconds):
                await self._earlier.wait()
        except TimeoutError:
            return

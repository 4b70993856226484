"""Waking the event loop from threads: at most once for everything that gathered since it last looked.

So ten thousand small files cost some hundred wake-ups.
"""

from __future__ import annotations

import asyncio


class LoopWakeup:
    """A doorbell for the loop: rung from any thread any number of times, heard once."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._rung = False

    def ring(self) -> None:
        """Wake the loop unless that is under way. The caller holds the lock that guards the queue."""
        if self._rung:
            return
        self._rung = True
        try:
            self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:  # the loop is closed: nobody listens any more
            self._rung = False

    def heard(self) -> None:
        """Everything was taken. The caller holds the lock."""
        self._rung = False
        self._event.clear()

    async def wait(self) -> None:
        """Return once the bell was rung."""
        await self._event.wait()

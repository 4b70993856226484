"""One timer, and whether the machine slept before it rang.

Time is ``time.monotonic``, not the loop's: a loop's clock may count whole milliseconds and stand still within a turn
(uvloop's does), and the congestion controller steers by less than that.
"""

from __future__ import annotations

import asyncio
import sys
import time
from time import monotonic
from typing import Final, Protocol

SLEPT: Final = 3.0
"""Seconds that a timer may be late. Later means that the process or the machine stood still, and the network may be
another one now."""


class Ring(Protocol):
    """What an alarm calls when its time has come."""

    def __call__(self, *, slept: bool) -> None:
        """It rings; ``slept`` tells that it is far too late."""


class Alarm:
    """Rings once, at the earliest time that it was set to.

    Args:
        ring: What it calls, on the event loop's thread.
    """

    __slots__ = ("_due", "_loop", "_ring", "_slept", "_timer")

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._slept = _slept()

    def set(self, due: float | None) -> None:
        """Ring at this time, in seconds of ``monotonic``, or earlier if that was wanted before; None changes nothing.

        A timer that fires too early costs one look; re-arming it at every frame would cost more.
        """
        if due is None or (self._timer is not None and self._due <= due):
            return
        self.stop()
        now = monotonic()
        self._due = max(due, now)
        self._timer = self._loop.call_later(self._due - now, self._on_timer)

    def stop(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        before, self._slept = self._slept, _slept()
        self._ring(slept=monotonic() - self._due > SLEPT or self._slept - before > SLEPT)


_GOES_ON: Final = {"linux": "CLOCK_BOOTTIME", "darwin": "CLOCK_MONOTONIC"}
"""By platform: the clock that goes on while the machine is suspended, where ``monotonic`` stands still.

On Windows that goes on itself, and a late alarm tells. On macOS Python's ``monotonic`` is another clock than the
system's of that name.
"""


def _slept(platform: str = sys.platform) -> float:
    """Seconds that this machine has been suspended, as far as the system tells."""
    clock = getattr(time, _GOES_ON.get(platform, ""), None)
    if sys.platform == "win32" or clock is None:
        return 0.0
    return time.clock_gettime(clock) - monotonic()

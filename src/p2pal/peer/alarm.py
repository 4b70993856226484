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


def _slept() -> float:
    """Seconds that this machine has been suspended, as far as the system tells: ``monotonic`` stands still then.

    On Windows it does not, and a late alarm tells. On macOS Python's is a clock that does, and the system's
    monotonic one does not.
    """
    if sys.platform == "win32":
        return 0.0
    if sys.platform == "darwin":
        return time.clock_gettime(time.CLOCK_MONOTONIC) - monotonic()
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return 0.0 if boot_time is None else time.clock_gettime(boot_time) - monotonic()

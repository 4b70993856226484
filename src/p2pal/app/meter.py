"""How fast and how long still: progress smoothed so that the figures on screen can be believed. Pure."""

from __future__ import annotations

import math
from typing import Final

SMOOTHING: Final = 3.0
"""Seconds over which the rate is averaged: a stall shows within a few, a hiccup does not make the time left jump."""

MIN_INTERVAL: Final = 0.05

STALL: Final = 3.0
"""Seconds without a byte after which the rate is 0, and not what is left of the average: nothing moves."""


class Meter:
    """An exponentially weighted rate (irregular samples, as in load averages).

    Args:
        now: The time at which the work starts, in seconds.
    """

    __slots__ = ("_bytes", "_last", "_moved_at", "_rate", "_weight")

    def __init__(self, now: float) -> None:
        self._last = self._moved_at = now
        self._bytes = 0
        self._rate = 0.0
        self._weight = 0.0

    def sample(self, done: int, now: float) -> float:
        """Tell how many bytes are done in all; return the smoothed rate in bytes per second."""
        elapsed = now - self._last
        if done > self._bytes:
            self._moved_at = now
        elif now - self._moved_at >= STALL:
            self._rate = self._weight = 0.0
            self._bytes, self._last = done, now
            return 0.0
        if elapsed >= MIN_INTERVAL:
            decay = math.exp(-elapsed / SMOOTHING)
            self._rate = self._rate * decay + (done - self._bytes) / elapsed * (1.0 - decay)
            # The weight corrects the start, when the average still holds the zero it began with.
            self._weight = self._weight * decay + (1.0 - decay)
            self._bytes, self._last = done, now
        return self.rate

    @property
    def rate(self) -> float:
        """The smoothed rate in bytes per second; 0 before the first sample."""
        return max(0.0, self._rate / self._weight) if self._weight else 0.0

    def eta(self, left: int) -> float | None:
        """Seconds that ``left`` bytes take at the present rate, or None while that cannot be told."""
        if left <= 0:
            return 0.0
        rate = self.rate
        return left / rate if rate >= 1.0 else None

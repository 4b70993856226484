"""How often the other side may cause work: so often at once, and then once in so many seconds. Pure arithmetic.

This is the generic cell rate algorithm (ITU-T I.371, annex A): one number, the time until which what was taken is paid
for.
"""

from __future__ import annotations


class Allowance:
    """A bucket that leaks.

    Args:
        burst: How often it may be taken at once.
        every: Seconds after which it may be taken once more.
    """

    __slots__ = ("_burst", "_every", "_paid_until")

    def __init__(self, burst: int, every: float) -> None:
        self._burst = burst
        self._every = every
        self._paid_until = float("-inf")

    @property
    def free_at(self) -> float:
        """When it may be taken next; in the past if it may be now."""
        return self._paid_until - (self._burst - 1) * self._every

    def may(self, now: float) -> bool:
        """Return whether it may be taken now."""
        return max(self._paid_until, now) <= now + (self._burst - 1) * self._every

    def take(self, now: float) -> bool:
        """Return whether it may be taken now, and take it. Asking in vain costs nothing."""
        if not self.may(now):
            return False
        self._paid_until = max(self._paid_until, now) + self._every
        return True

"""How often something may be said, by kind: a burst, then one in a while, and after many one in an hour. Pure.

The generic cell rate algorithm (ITU-T I.371): one number for each kind says when its allowance is whole again.
"""

from __future__ import annotations

from typing import Final

LATE_INTERVAL: Final = 3600.0
"""Seconds between two of a kind once ``most`` were said."""


class Throttle:
    """Admits what is said, kind by kind. The kinds are the program's own, never a stranger's.

    Args:
        burst: How many of one kind may come at once.
        interval: Seconds after which one more may.
        most: How many may come so; then one each :data:`LATE_INTERVAL`.
    """

    def __init__(self, *, burst: int, interval: float, most: float) -> None:
        self._burst = burst
        self._interval = interval
        self._most = most
        self._whole_at: dict[str, float] = {}
        self._admitted: dict[str, int] = {}

    def admit(self, kind: str, now: float) -> bool:
        """Take one of a kind from its allowance; False if there is none left at this time (seconds)."""
        if self.due(kind) > now:
            return False
        count = self._admitted[kind] = self._admitted.get(kind, 0) + 1
        if count < self._most:
            self._whole_at[kind] = max(self._whole_at.get(kind, now), now) + self._interval
        else:  # the burst is over, for good
            self._whole_at[kind] = now + LATE_INTERVAL + (self._burst - 1) * self._interval
        return True

    def due(self, kind: str) -> float:
        """Return the time (seconds) from which on one of a kind is admitted."""
        whole_at = self._whole_at.get(kind)
        return float("-inf") if whole_at is None else whole_at - (self._burst - 1) * self._interval

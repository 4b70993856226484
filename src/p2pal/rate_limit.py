"""How often something may happen: a burst at once, then one at a time, evenly spread. Pure arithmetic.

All of it is the generic cell rate algorithm (ITU-T I.371, annex A). One number says when an allowance will be whole
again. There is no history, and no window whose edges let twice as much through. Times are seconds of one clock.

:func:`spend` and :func:`reserve` leave that number to their caller, :class:`Allowance` keeps it, and :class:`Throttle`
keeps one for each kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LATE_INTERVAL: Final = 3600.0
"""Seconds between two of a kind once ``most`` were said."""

_ROUNDING: Final = 1e-9
"""Seconds that a sum of steps may be off by; as early as this nobody waits."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in a time: all at once after a pause, evenly spread in the long run. ``seconds`` is the time for all."""

    count: int
    seconds: float

    @property
    def interval(self) -> float:
        """Seconds after which one more may be taken."""
        return self.seconds / self.count


def spend(whole_at: float, now: float, rate: Rate) -> tuple[float, float]:
    """Take one from an allowance.

    Args:
        whole_at: When the allowance is whole; any time in the past if it is.
        now: The time.
        rate: What is allowed.

    Returns:
        When the allowance is whole after it, and the seconds to wait: 0 if one was taken.
    """
    after = _taken(whole_at, now, rate.interval)
    wait = after - now - rate.seconds
    return (whole_at, wait) if wait > _ROUNDING else (after, 0.0)


def reserve(whole_at: float, now: float, rate: Rate, count: int) -> tuple[float, float]:
    """Take so many from an allowance in any case: what it does not cover yet is waited for afterwards.

    Args:
        whole_at: When the allowance is whole; any time in the past if it is.
        now: The time.
        rate: What is allowed.
        count: How many are taken.

    Returns:
        When the allowance is whole after it, and the seconds until it covers what was taken.
    """
    after = _taken(whole_at, now, count * rate.seconds / rate.count)
    return after, max(0.0, after - now - rate.seconds)


class Allowance:
    """An allowance that keeps its own number.

    Args:
        burst: How often it may be taken at once.
        every: Seconds after which it may be taken once more.
    """

    __slots__ = ("_burst", "_every", "_whole_at")

    def __init__(self, burst: int, every: float) -> None:
        self._burst = burst
        self._every = every
        self._whole_at = float("-inf")

    @property
    def free_at(self) -> float:
        """When it may be taken next; in the past if it may be now."""
        return self._whole_at - (self._burst - 1) * self._every

    def may(self, now: float) -> bool:
        """Return whether it may be taken now."""
        return self.free_at <= now

    def take(self, now: float) -> bool:
        """Return whether it may be taken now, and take it. Asking in vain costs nothing."""
        if not self.may(now):
            return False
        self._whole_at = _taken(self._whole_at, now, self._every)
        return True

    def exhaust(self, until: float) -> None:
        """Let nothing be taken before this time, and then one at a time."""
        self._whole_at = until + (self._burst - 1) * self._every


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
        self._allowances: dict[str, Allowance] = {}
        self._admitted: dict[str, int] = {}

    def admit(self, kind: str, now: float) -> bool:
        """Take one of a kind from its allowance; False if there is none left at this time (seconds)."""
        allowance = self._allowances.setdefault(kind, Allowance(self._burst, self._interval))
        if not allowance.take(now):
            return False
        count = self._admitted[kind] = self._admitted.get(kind, 0) + 1
        if count >= self._most:  # the burst is over, for good
            allowance.exhaust(now + LATE_INTERVAL)
        return True

    def due(self, kind: str) -> float:
        """Return the time (seconds) from which on one of a kind is admitted."""
        allowance = self._allowances.get(kind)
        return float("-inf") if allowance is None else allowance.free_at


def _taken(whole_at: float, now: float, seconds: float) -> float:
    """Return when an allowance is whole after so many seconds of it were taken."""
    return max(whole_at, now) + seconds

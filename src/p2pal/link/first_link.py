"""How long two sides that never had a link try to get one. Pure arithmetic for the negotiator.

Where there is no path the user is to hear of it soon, however many retries there may be. So the time is short, and
begins anew whenever something moves: a slow network's candidates come late, one after the other. Only those of the
first generation count, or each try would lengthen the next. Time counts while both sides reach the server, because
otherwise they cannot even speak of a path; but that, too, is waited for only for a while.
"""

from __future__ import annotations

from typing import Final

FIRST_LINK: Final = 16.0
"""Seconds with both sides online that the first link gets, from the start and from each candidate of the first
generation. With what comes before and after, the user sees 20 where candidates come at once."""

FIRST_LINK_MOST: Final = 30.0
"""Seconds with both sides online that it gets in all, whatever moves."""

FIRST_SLACK: Final = 3.0
"""Seconds that the follower waits longer: the leader's last try is not to fail because of it."""

FIRST_ABSENCE: Final = 60.0
"""Seconds in all in which a side may be offline meanwhile."""

PROMPT: Final = 2.0
"""Seconds in which two sides on fast networks have said all that the first generation needs."""

FIRST_TRY: Final = 10.0
"""Seconds that the first generation gets from there on: what hangs on a fast network leaves time for another try.

On a slow one another try would have to say all of that again, and have no time for it.
"""


class Beginning:
    """The time that is left for the first link.

    Args:
        seconds: That it gets while both sides are online, and again after each move; None for no end.
        most: That it gets so in all.
        absence: Seconds in which one of them may be offline.
    """

    __slots__ = ("_absence", "_left", "_most_left", "_seconds", "_since", "_together")

    def __init__(self, seconds: float | None, most: float = FIRST_LINK_MOST, absence: float = FIRST_ABSENCE) -> None:
        self._seconds = self._left = seconds
        self._most_left = most
        self._absence = absence
        self._together = True
        self._since: float | None = None

    def start(self, now: float) -> None:
        """Both sides begin."""
        self._since = now

    def stop(self) -> None:
        """The link stands: it matters no more."""
        self._left = None

    def on_presence(self, both: bool, now: float) -> None:
        """From now on both sides reach the server, or not."""
        if both != self._together:
            self._settle(now)
            self._together = both

    def on_moved(self, now: float) -> None:
        """A candidate of the first generation, of either side, is known from now on."""
        self._settle(now)
        if self._left is not None and self._seconds is not None:
            self._left = max(self._left, min(self._seconds, self._most_left))

    def _settle(self, now: float) -> None:
        """Take off what passed."""
        if self._since is None or self._left is None:
            return
        gone = now - self._since
        if self._together:
            self._left = max(0.0, self._left - gone)
            self._most_left = max(0.0, self._most_left - gone)
        else:
            self._absence = max(0.0, self._absence - gone)
        self._since = now

    @property
    def ends_at(self) -> float | None:
        """When it has taken too long; None before the start, and if that does not matter."""
        if self._since is None or self._left is None:
            return None
        return self._since + (self._left if self._together else self._absence)


class FirstTry:
    """How fast the first generation was, and so how long it is worth to wait for its lane."""

    __slots__ = ("_begun_at", "_ours", "_theirs")

    def __init__(self) -> None:
        self._begun_at = 0.0
        self._ours = self._theirs = False

    def start(self, now: float) -> None:
        """It begins."""
        self._begun_at = now

    def on_last_candidate(self, *, ours: bool, now: float) -> float | None:
        """One side has no more candidates; return when another try is worth more, if that is known now."""
        known = self._ours and self._theirs
        self._ours, self._theirs = self._ours or ours, self._theirs or not ours
        if known or not (self._ours and self._theirs) or now > self._begun_at + PROMPT:
            return None
        return now + FIRST_TRY

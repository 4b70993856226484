"""How long two sides that never had a link try to get one. Pure arithmetic for the negotiator.

Where there is no path the user is to hear of it soon, however many retries there may be. Time counts while both sides
reach the server, because otherwise they cannot even speak of a path; but that, too, is waited for only for a while.
"""

from __future__ import annotations

from typing import Final

FIRST_LINK: Final = 16.0
"""Seconds with both sides online that the first link gets. With what comes before and after, the user sees 20."""

FIRST_SLACK: Final = 3.0
"""Seconds that the follower waits longer: the leader's last try is not to fail because of it."""

FIRST_ABSENCE: Final = 60.0
"""Seconds in all in which a side may be offline meanwhile."""


class Beginning:
    """The time that is left for the first link.

    Args:
        seconds: That it gets while both sides are online; None for no end.
        absence: Seconds in which one of them may be offline.
    """

    __slots__ = ("_absence", "_left", "_since", "_together")

    def __init__(self, seconds: float | None, absence: float = FIRST_ABSENCE) -> None:
        self._left = seconds
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
        if both == self._together:
            return
        if self._since is not None and self._left is not None:
            gone = now - self._since
            if self._together:
                self._left = max(0.0, self._left - gone)
            else:
                self._absence = max(0.0, self._absence - gone)
            self._since = now
        self._together = both

    @property
    def ends_at(self) -> float | None:
        """When it has taken too long; None before the start, and if that does not matter."""
        if self._since is None or self._left is None:
            return None
        return self._since + (self._left if self._together else self._absence)

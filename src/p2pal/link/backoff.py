"""How often, and for how long, a link that is lost is tried again. Pure arithmetic for the negotiator.

Two accounts are kept of each outage, from the moment at which the link was lost or fell silent:

- *Failures* count while both sides reach the server, because then it is the path that fails. More than
  ``max_retries`` of them end the link, but not before :data:`MIN_PATIENCE` seconds: a router that starts anew takes
  longer than a few quick attempts.
- *Waiting* is the time in which one of the sides does not reach the server. No attempt is made then, so none can
  fail; more than ``wait`` seconds of it in one outage end the link.

Without a limit on retries neither ends it. With ``max_retries`` of 0 the loss itself does. A link that never stood
gets its attempts, and little time for them: see :mod:`p2pal.link.first_link`.

An outage is over when the link has shown that it works: something new arrived, or the lane stood for
:data:`PROVEN` seconds. A lane that opens and is lost at once belongs to the same outage, or it could go on for ever.
"""

from __future__ import annotations

from typing import Final

MIN_PATIENCE: Final = 120.0
"""Seconds that a lost link gets at least."""

PROVEN: Final = 10.0
"""Seconds: an idle lane is probed after 5 and reported silent 3 later."""

MAX_BACKOFF: Final = 30.0
_MAX_DOUBLINGS: Final = 16


class Patience:
    """The accounts of one link.

    Args:
        max_retries: Failures that are tried again; None for no end.
        backoff: Seconds before the second attempt of an outage; doubles each time, up to :data:`MAX_BACKOFF`.
        wait: Seconds without the network or the other side, in one outage.

    Attributes:
        tries: Failures that count, since the link last worked.
        linked: Whether the link ever stood.
    """

    __slots__ = (
        "_absent_since",
        "_absent_total",
        "_backoff",
        "_failures",
        "_lost_at",
        "_max_retries",
        "_up_since",
        "_wait",
        "linked",
        "tries",
    )

    def __init__(self, *, max_retries: int | None, backoff: float, wait: float) -> None:
        self._max_retries = max_retries
        self._backoff = backoff
        self._wait = wait
        self.tries = 0
        self.linked = False
        self._failures = 0  # also those that do not count
        self._lost_at: float | None = None
        self._up_since: float | None = None
        self._absent_since: float | None = None
        self._absent_total = 0.0

    @property
    def hopeless(self) -> bool:
        """Whether a link that stood is not tried again once it is lost."""
        return self.linked and self._max_retries == 0

    @property
    def attempts(self) -> int | None:
        """How many attempts there are, for the user; None where the number says nothing."""
        if self._max_retries is None or not self.linked or self.tries > self._max_retries:
            return None
        return self._max_retries

    def on_up(self, now: float) -> None:
        """A lane opened."""
        self.linked = True
        self._up_since = now

    def on_progress(self) -> None:
        """The link works."""
        self._lost_at = None
        self._failures = self.tries = 0

    def on_lost(self, now: float) -> None:
        """The lane in use closed, or fell silent."""
        if self._up_since is not None and now >= self._up_since + PROVEN:
            self.on_progress()
        self._up_since = None
        if self._lost_at is None:
            self._lost_at = now
            self._absent_total = 0.0

    def on_failed(self, now: float, *, counted: bool) -> None:
        """An attempt failed, or the lane in use did."""
        if self._lost_at is None:
            self.on_lost(now)
        self._failures += 1
        self.tries += counted

    def exhausted(self, now: float) -> bool:
        """Whether the failures are too many."""
        if self._max_retries is None or self.tries <= self._max_retries:
            return False
        return not self.linked or self.hopeless or self._lost_at is None or now >= self._lost_at + MIN_PATIENCE

    def delay(self) -> float:
        """Seconds before the next attempt; 0 for the first of an outage."""
        doublings = self._failures - (2 if self.linked else 1)
        return 0.0 if doublings < 0 else min(self._backoff * 2 ** min(doublings, _MAX_DOUBLINGS), MAX_BACKOFF)

    def on_absent(self, absent: bool, now: float) -> None:
        """From now on the network or the other side is missed; or is not any more."""
        if absent and self._absent_since is None:
            self._absent_since = now
        elif not absent and self._absent_since is not None:
            self._absent_total += now - self._absent_since
            self._absent_since = None

    @property
    def absent_until(self) -> float | None:
        """When the waiting has taken too long; None while nothing is missed, or if that does not matter."""
        if self._absent_since is None or self._max_retries is None:
            return None
        return self._absent_since + max(0.0, self._wait - self._absent_total)

"""When a better path is looked for while the lane in use is well. Pure arithmetic for the negotiator.

The engine gathers candidates once for each connection: a network that appears later, or a way that was blocked when
its checks ran, is never taken by one that stands. So another connection is tried beside it, without relays:

- while the path in use is relayed, first after :data:`FIRST_LOOK` seconds, then ever less often, also if a direct path
  was found that did not last;
- when either side's networks changed, as soon as they had a second to settle.

Both are bounded, whatever the other side asks for: never two at a time, not sooner than :data:`DISTANCE` after the one
before, and only so many in the long run (:data:`LOOKS`), since each fills the mailbox by some 10 messages of the 512
that it holds. And a direct path that took the place of another is kept for a while (:data:`KEPT`): a side that calls
its networks cheaper each time would otherwise have the other one move without end.
"""

from __future__ import annotations

from typing import Final

from p2pal.rate_limit import Allowance

FIRST_LOOK: Final = 10.0
"""Seconds on a relayed path before a direct one is looked for again; doubles each time."""

RAREST_LOOK: Final = 1800.0

LOOKS: Final = 20
"""Looks that are had at that pace, whatever the reason; beyond them there is one in :data:`RAREST_LOOK` seconds."""

KEPT: Final = 60.0
"""Seconds that a direct path which took the place of another is kept; doubles each time."""

KEPT_MOST: Final = 3600.0

CALM: Final = 4.0
"""Times as long without such a change, and the next one is like the first."""

STEADY: Final = 60.0
"""Seconds that a direct path lasts at least to count as one that works."""

SETTLED: Final = 1.0
"""Seconds that networks get to settle: addresses, routes and names come one after the other."""

DISTANCE: Final = 5.0
"""Seconds from one look to the next at least."""


class Improvement:
    """The schedule of one side; the follower's says when it asks the leader.

    Args:
        enabled: Whether a better path is looked for at all.
    """

    __slots__ = (
        "_begun_at", "_direct_since", "_kept", "_kept_since", "_look_at", "_looks", "_networks_at", "_pause",
        "_relayed", "enabled",
    )  # fmt: skip

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled
        self._relayed = False
        self._pause = FIRST_LOOK
        self._looks = Allowance(LOOKS, RAREST_LOOK)
        self._kept = 0.0
        self._kept_since: float | None = None
        self._begun_at: float | None = None
        self._direct_since: float | None = None
        self._look_at: float | None = None
        self._networks_at: float | None = None

    @property
    def at(self) -> float | None:
        """When a better path is to be looked for; None if there is no reason."""
        due = min((at for at in (self._look_at, self._networks_at) if at is not None), default=None)
        if due is None or not self.enabled:
            return None
        if self._begun_at is not None:
            due = max(due, self._begun_at + DISTANCE, self._looks.free_at)
        if self._kept_since is not None and not self._relayed:
            due = max(due, self._kept_since + self._kept)
        return due

    def on_link(self) -> None:
        """Another lane is in use, and what kind of path it takes is not known yet.

        Networks that changed a moment ago may have come too late for it.
        """
        self._relayed = False
        self._look_at = None

    def on_better(self, now: float) -> None:
        """A path that was looked for is taken in the place of the one in use; before :meth:`on_link`."""
        if self._relayed:
            return
        if self._kept_since is None or now >= self._kept_since + CALM * self._kept:
            self._kept = KEPT
        else:
            self._kept = min(2 * self._kept, KEPT_MOST)
        self._kept_since = now

    def on_path(self, relayed: bool, now: float) -> None:
        """The lane in use takes such a path now."""
        if not relayed and self._direct_since is None:
            self._direct_since = now
        if relayed and self._direct_since is not None:
            if now >= self._direct_since + STEADY:
                self._pause = FIRST_LOOK
            self._direct_since = None
        if relayed != self._relayed:
            self._relayed = relayed
            self._plan(now)

    def on_networks(self, now: float) -> None:
        """Networks changed, here or at the other side."""
        self._pause = FIRST_LOOK
        if self._networks_at is None:
            self._networks_at = now + SETTLED

    def on_begun(self, now: float) -> None:
        """It is looked for."""
        self._begun_at = now
        self._looks.take(now)
        self._networks_at = None
        self._plan(now)

    def _plan(self, now: float) -> None:
        self._look_at = None
        if self._relayed:
            self._look_at = now + self._pause
            self._pause = min(2 * self._pause, RAREST_LOOK)

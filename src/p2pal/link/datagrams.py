"""When a datagram lane is tried, whether one carries the session, and when the engine stands by. Pure.

Both sides can use datagrams, or this machine rests. The leader numbers the lanes and begins each; the first begins with
the hellos of both sides. A lane finds its paths by itself, moves with its machine, and lives until it is silent for
long. So another is tried only after one is over: soon where it had worked, ever less often where it had not, and when a
network appeared. Two that ended because somebody broke the protocol were enough: the engine carries the rest.

While a datagram lane is open and heard it *carries*: DATA goes there, and nothing is missed. The engine starts
:data:`HEAD_START` seconds after the lane if that has not opened by then, and otherwise as a standby once data has moved
for :data:`STANDBY_AFTER` seconds.
"""

from __future__ import annotations

from typing import Final

from p2pal.link.deadlines import earliest, passed
from p2pal.rate_limit import Allowance
from p2pal.wire.signal import DATAGRAM_LANES

HEAD_START: Final = 0.3
"""Seconds for which the first datagram lane is tried before the engine starts."""

STANDBY_AFTER: Final = 5.0
"""Seconds from the first data over a datagram lane to the engine's start as a standby."""

STANDBY_PAUSE: Final = 30.0
"""Seconds from a standby that failed to the next; doubles each time."""

SOON: Final = 1.0
"""Seconds to the next try after a lane that had worked."""

FIRST_PAUSE: Final = 10.0
"""Seconds to the next try after one that had not; doubles each time."""

LONGEST_PAUSE: Final = 1800.0

STEADY: Final = 10.0
"""Seconds that a lane lasts at least to count as one that works."""

SETTLED: Final = 1.0
"""Seconds that networks get to settle."""

DISTANCE: Final = 5.0
"""Seconds from one try to the next at least, but after one that had worked."""

TRIES: Final = 20
"""Tries that are had at that pace; beyond them there is one in :data:`LONGEST_PAUSE` seconds."""

ANSWER: Final = 15.0
"""Seconds that the other side gets to say where a lane may reach it."""

NEVER: Final = float("inf")

MOST_BROKEN: Final = 2
"""Lanes that ended because somebody broke the protocol, after which none is tried any more."""


class DatagramSchedule:
    """One side's datagram lanes.

    Args:
        leader: Whether this side begins lanes.

    Attributes:
        enabled: Whether both sides can use datagrams, and it is worth to.
        lane: The number of the newest one.
        open: Whether that is open.
        carries: Whether it is open, and heard.
    """

    __slots__ = (
        "_answer_by", "_begun_at", "_broken", "_leader", "_live", "_next_at", "_opened_at", "_pause", "_standby_at",
        "_standby_pause", "_tries", "carries", "enabled", "lane", "open",
    )  # fmt: skip

    def __init__(self, *, leader: bool) -> None:
        self._leader = leader
        self._tries = Allowance(TRIES, LONGEST_PAUSE)
        self._pause = FIRST_PAUSE
        self._standby_pause = STANDBY_PAUSE
        self._begun_at = self._opened_at = 0.0
        self._next_at: float | None = None
        self._answer_by: float | None = None
        self._standby_at: float | None = None
        self._broken = 0
        self._live = False
        self.enabled = self.open = self.carries = False
        self.lane = DATAGRAM_LANES

    def start(self, now: float) -> int:
        """Both sides can: the first lane is tried. Return its number."""
        self.enabled = True
        return self.begin(now)

    def disable(self) -> None:
        """None is tried any more; one that is open stays."""
        self.enabled = False
        self._next_at = None

    def begin(self, now: float) -> int:
        """The next lane is tried; return its number."""
        self._take(self.lane + 1, now)
        return self.lane

    def accept(self, lane: int, now: float) -> bool:
        """Follower: the leader begins this lane; return whether it is taken. A late word of an older one is not."""
        if not self.enabled or lane <= self.lane or not self._tries.may(now):
            return False
        self._take(lane, now)
        return True

    def _take(self, lane: int, now: float) -> None:
        self.lane = lane
        self._live, self.open, self.carries = True, False, False
        self._begun_at = now
        self._next_at = None
        self._answer_by = now + ANSWER
        self._tries.take(now)

    def takes(self, lane: int) -> bool:
        """Whether what is said of this lane is of use: it is the newest, and lives."""
        return self._live and lane == self.lane

    def on_made(self) -> None:
        """Both sides said where it may reach them: from here on the lane has a time of its own."""
        self._answer_by = None

    def take_unanswered(self, now: float) -> bool:
        """Whether the other side said nothing of the newest lane for too long: then it is over; this says so once."""
        if not self._live or not passed(self._answer_by, now):
            return False
        self.on_closed(now, broken=False)
        return True

    # What happens to the newest lane

    def on_open(self, now: float) -> None:
        """It is open."""
        self.open = self.carries = True
        self._opened_at = now
        self._standby_at = None

    def on_silent(self) -> None:
        """Nothing comes over it."""
        self.carries = False

    def on_alive(self) -> None:
        """It is heard again."""
        self.carries = self.open

    def on_closed(self, now: float, *, broken: bool) -> None:
        """It is over.

        Args:
            now: The time.
            broken: Because somebody broke the protocol.
        """
        worked = self.open and now >= self._opened_at + STEADY
        self._live = self.open = self.carries = False
        self._standby_at = self._answer_by = None
        self._broken += broken
        if self._broken >= MOST_BROKEN:
            self.disable()
        if not self.enabled:
            return
        if worked:
            self._pause = FIRST_PAUSE
            self._next_at = now + SOON
        else:
            self._next_at = max(now + self._pause, self._begun_at + DISTANCE)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def on_networks(self, now: float) -> None:
        """This machine, or the other one, came into another network, or one more."""
        self._hurry(now + SETTLED)

    def on_missed(self, now: float) -> None:
        """The link is lost altogether: whatever comes first is welcome."""
        self._hurry(now)

    def _hurry(self, at: float) -> None:
        if not self._live and self._next_at is not None:
            self._next_at = min(self._next_at, max(at, self._begun_at + DISTANCE))

    # The standby

    def on_data(self, now: float) -> None:
        """Leader: data moves."""
        if self.carries and self._standby_at is None:
            self._standby_at = now + STANDBY_AFTER

    def on_stalled(self, now: float) -> None:
        """Leader: the lane stalls, and nothing stands by. The engine is to start at once, unless it failed before."""
        if self.carries and self._standby_pause == STANDBY_PAUSE:
            self._standby_at = now

    def on_standby_lost(self, now: float) -> None:
        """Leader: the engine's connection is over, or did not come up."""
        if self.carries:
            self._standby_at = now + self._standby_pause
            self._standby_pause = min(2 * self._standby_pause, LONGEST_PAUSE)

    def take_standby(self, now: float) -> bool:
        """Whether the engine shall stand by from now on; this says so once."""
        if not self.carries or not passed(self._standby_at, now):
            return False
        self._standby_at = NEVER
        return True

    # Time

    def take_due(self, now: float) -> bool:
        """Leader: whether the next lane is to begin now; this says so once."""
        if not self._leader or not self.enabled or self._live or not passed(self._due, now):
            return False
        self._next_at = None
        return True

    @property
    def _due(self) -> float | None:
        return None if self._next_at is None else max(self._next_at, self._tries.free_at)

    def next_timeout(self) -> float | None:
        """When :meth:`take_due`, :meth:`take_standby` or :meth:`take_unanswered` may say yes; None if never."""
        if not self._leader:
            return None
        standby_at = self._standby_at if self.carries and self._standby_at != NEVER else None
        return earliest(self._answer_by if self._live else self._due, standby_at)

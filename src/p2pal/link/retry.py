"""When a link that failed is tried again, when it has failed enough, and what is told of it. Pure, for the negotiator.

The negotiator says what happened to the lanes; from here it hears when the next generation starts. That is *due* at one
time: for the leader the start of its next generation, for the follower the moment at which the leader's offer should
have come long ago. While something is tried nothing is due, and its own deadline counts instead
(:mod:`p2pal.link.generations`).

**What counts.** An attempt that fails counts only if both sides reached the server all the while: otherwise it could
not succeed. While either side is known to be offline nothing is due; when both are back it is, at once. A short absence
(:data:`~p2pal.link.presence.FLAP`) is a socket that was replaced, and changes nothing. Before the first link all
failures count, and nobody waits for anybody: :mod:`p2pal.link.first_link` keeps that short.

**When it ends.** :mod:`p2pal.link.backoff` keeps the accounts of an outage. Without retries a closed lane is the end,
and so is a silent one that does not wake in time.

**What is told.** Each outage begins with one :class:`~p2pal.link.actions.Retrying` at least and ends with one
:class:`~p2pal.link.actions.LinkUp`, or with :class:`~p2pal.link.actions.GaveUp`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from p2pal.link.actions import GaveUp, LinkUp, NegotiatorEvent, Retrying, WaitingFor
from p2pal.link.backoff import MAX_BACKOFF, Patience
from p2pal.link.deadlines import earliest, passed
from p2pal.link.first_link import FIRST_LINK, FIRST_LINK_MOST, FIRST_SLACK, Beginning, FirstTry
from p2pal.link.generations import ATTEMPT_TIMEOUT
from p2pal.link.presence import Presence

CERTAIN: Final = 12.0
"""Seconds after the first report of silence, which comes after 3, in which a lane may wake that nobody retries."""


class Repair:
    """What is to be done about a link that is missed, and when.

    Args:
        leader: Whether this side starts generations.
        max_retries: Failures that are tried again, counted from the last progress; None for no end.
        backoff: Seconds before a retry that follows a failed one; doubles each time.
        jitter: Returns a factor around 1 for a delay.
        wait: Seconds that a link which is lost waits in all for the network or the other side.

    Attributes:
        due: When the next generation starts, or its offer is overdue; None while neither is to be.
        events: For the floor above.
    """

    __slots__ = (
        "_backoff", "_beginning", "_begun_at", "_certain_at", "_clean", "_first_try", "_jitter", "_leader", "_once",
        "_patience", "_presence", "_told", "due", "events",
    )  # fmt: skip

    def __init__(
        self, *, leader: bool, max_retries: int | None, backoff: float, jitter: Callable[[], float], wait: float
    ) -> None:
        self._leader = leader
        self._backoff = backoff
        self._jitter = jitter
        self._patience = Patience(max_retries=max_retries, backoff=backoff, wait=wait)
        slack = 0.0 if leader else FIRST_SLACK
        self._beginning = Beginning(None if max_retries is None else FIRST_LINK + slack, FIRST_LINK_MOST + slack)
        self._first_try = FirstTry()
        self._once = max_retries == 0
        self._presence = Presence()
        self._clean = True  # the attempt had both sides online so far
        self._begun_at = 0.0
        self._certain_at: float | None = None
        self._told = False  # that the link is tried again, since it was last up
        self.due: float | None = None
        self.events: deque[NegotiatorEvent] = deque()

    @property
    def linked(self) -> bool:
        """Whether the link ever stood."""
        return self._patience.linked

    @property
    def hopeless(self) -> bool:
        """Whether the link stood, and is not tried again once it is lost."""
        return self._patience.hopeless

    @property
    def both_online(self) -> bool:
        """Whether both sides reach the server."""
        return self._presence.both

    def start(self, now: float) -> None:
        """Both sides begin."""
        self._beginning.start(now)
        self._first_try.start(now)
        if not self._leader:
            self.await_offer(now)

    # What happened

    def on_begun(self, now: float) -> None:
        """A generation is tried, and not for a better path."""
        self._clean = self._presence.both
        self._begun_at = now
        self.due = None

    def on_first_candidate(self, *, ours: bool, last: bool, now: float) -> float | None:
        """The first generation has one more candidate, or the ``last`` is known.

        Return when it is to be over even if nothing fails, if that is known now. The leader's clock is the one that
        counts.
        """
        if not last:
            self._beginning.on_moved(now)
            return None
        ends = self._first_try.on_last_candidate(ours=ours, now=now)
        return ends if self._leader and not self._once else None

    def on_replaced(self) -> None:
        """The lane of what was tried is open, and takes the place of the one in use if there is one."""
        if self._patience.linked and not self._told:
            # Only the other side missed the old lane. Its challenger has won, so there was something to repair.
            self._tell_retry(0.0)
        self._beginning.stop()

    def on_up(self, generation: int, now: float) -> None:
        """This generation's lane is in use from now on."""
        self.due = self._certain_at = None
        self._patience.on_up(now)
        self._told = False
        self.events.append(LinkUp(generation))

    def on_carried(self, now: float) -> None:
        """A datagram lane carries the session from now on: nothing is missed, and nothing is due."""
        self._beginning.stop()
        self.on_up(0, now)

    def on_progress(self) -> None:
        """The link works: earlier failures no longer count."""
        self._patience.on_progress()

    def on_silent(self, now: float) -> None:
        """The lane in use fell silent."""
        self._patience.on_lost(now)
        if self._patience.hopeless:
            self._certain_at = now + CERTAIN

    def on_lost(self, now: float) -> None:
        """The lane in use closed."""
        self._patience.on_lost(now)

    def on_presence(self, here: bool, there: bool, now: float) -> float | None:
        """Note which side reaches the server. When that makes both be back, return the seconds they were not."""
        away = self._presence.on_change(here, there, now)
        self._beginning.on_presence(self._presence.both, now)
        return away

    # What follows

    def counts(self, now: float) -> bool:
        """Whether a failure of what is tried counts."""
        return self._clean and not self._presence.is_away(now)

    def excuse(self) -> None:
        """A failure of what is tried does not count."""
        self._clean = False

    def retry(self, now: float, *, counted: bool) -> bool:
        """Something failed: plan the next generation; return whether there is to be one."""
        self._patience.on_failed(now, counted=counted or not self._patience.linked)
        if self._patience.exhausted(now):
            return False
        if self._patience.linked and not self._presence.both:
            self.due = None  # until both are back
        elif self._leader:
            self._schedule(now, max(self._patience.delay() * self._jitter(), self._soonest(now)))
        else:
            self._schedule(now, 0.0)
        return True

    def resume(self, now: float) -> None:
        """Both sides are back: plan the next generation as soon as may be."""
        self._schedule(now, self._soonest(now) if self._leader else 0.0)

    def begin_at(self, due: float) -> None:
        """Plan the next generation for this time, whatever was planned; nobody is told."""
        self.due = due

    def challenge(self, now: float) -> None:
        """Plan one beside a lane that is heard here, unless one is planned. Nobody is told before it has won."""
        if not self._patience.hopeless and self.due is None:
            self.due = max(now, self._begun_at + self._backoff)

    def await_offer(self, now: float) -> None:
        """Follower: nothing is tried; the next offer is overdue some time from now, unless that is so before."""
        if self.due is None:
            self.due = now + _overdue()

    def take_due(self, now: float) -> bool:
        """Whether it is time for the next generation, or the other side's is overdue; this says so once."""
        if not passed(self.due, now):
            return False
        self.due = None
        return self._presence.both or not self._patience.linked  # it is no use until both are back

    def _soonest(self, now: float) -> float:
        """Seconds before another generation may start: a lane that opens and closes at once costs no more than this."""
        return max(0.0, self._begun_at + self._backoff - now) if self._patience.linked else 0.0

    def _schedule(self, now: float, delay: float) -> None:
        self.due = now + (delay if self._leader else _overdue())
        self._tell_retry(delay)

    def _tell_retry(self, delay: float) -> None:
        self._told = True
        self.events.append(Retrying(max(1, self._patience.tries), self._patience.attempts, delay))

    # The end

    def is_over(self, now: float) -> bool:
        """Whether the time of the link is."""
        ends = (self._patience.absent_until, self._certain_at, self._beginning.ends_at)
        return any(passed(time, now) for time in ends)

    def give_up(self) -> None:
        """Tell that this is the end."""
        self.events.append(GaveUp(self._patience.linked))

    # Time, and who is waited for

    def next_timeout(self, *, missed: bool) -> float | None:
        """When something is due, over, or to be told; ``missed`` as for :meth:`look_around`."""
        told_at = self._presence.tell_at() if missed and self._patience.linked else None
        return earliest(self.due, self._certain_at, self._patience.absent_until, self._beginning.ends_at, told_at)

    def look_around(self, now: float, *, missed: bool) -> None:
        """Keep account of who is waited for, and say when that changes.

        Args:
            now: The time.
            missed: Whether there is no lane that is heard, and one is wanted.
        """
        if self._presence.look(now, matters=missed and self._patience.linked):
            absent = self._presence.told
            self._patience.on_absent(bool(absent), now)
            until = self._patience.absent_until
            self.events.append(WaitingFor(absent, float("inf") if until is None else max(0.0, until - now)))


def _overdue() -> float:
    """Seconds that the follower waits for an offer: the leader's longest backoff and one full attempt."""
    return MAX_BACKOFF + ATTEMPT_TIMEOUT

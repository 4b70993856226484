"""The generations that live: which one is in use, which is tried, which is compared, and until when. Pure bookkeeping.

One that is tried gets so long from its offer to an open lane, and one that is to be compared so long until that is
done. The leader's clocks start earlier than the follower's, which adds some seconds: so it is the leader that gives a
generation up, and starts the next.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from p2pal.link.actions import Action, CreateAnswer, CreateOffer, DropConnection, Judge, TakeAnswer, TakeCandidate
from p2pal.link.offer_answer import Exchange
from p2pal.wire.signal import SILENT, Answer, Candidate, Offer, Retry

ATTEMPT_TIMEOUT: Final = 20.0
"""Seconds that one generation gets from its offer to an open lane."""

FIRST_ATTEMPT: Final = 30.0
"""Seconds that the first one gets instead: it is not over while it moves (:mod:`p2pal.link.first_link`)."""

FOLLOWER_SLACK: Final = 5.0
"""Seconds that the follower gives it beyond that."""

IMPROVEMENT_TIMEOUT: Final = 10.0
"""Seconds that a try at a better path gets from its offer to an open lane, and again to be compared."""


class Generations:
    """At most two generations, and what is to become of their connections.

    Args:
        leader: Whether this side starts them.

    Attributes:
        exchange: The newest one's offer, answer and candidates.
        used: The generation whose lane is in use, or 0.
        trying: The newest, while its lane is not open yet, or 0.
        improving: That one is tried for a better path, and the lane in use is well.
        rival: The newest, while its lane is open as well and may be the better one, or 0.
        attempt_ends: When the one that is tried has had its time, or None.
        judged_by: Leader: when the comparison with the rival has, or None.
        silent: Whether nothing comes over the lane in use.
        asked: Follower: the generation after which it asked for another, or 0.
        actions: For the engine.
    """

    __slots__ = (
        "_leader", "actions", "asked", "attempt_ends", "exchange", "improving", "judged_by", "rival", "silent",
        "trying", "used",
    )  # fmt: skip

    def __init__(self, *, leader: bool) -> None:
        self._leader: Final = leader
        self.exchange = Exchange(leader=leader)
        self.used = self.rival = self.trying = 0
        self.improving = self.silent = False
        self.asked = 0
        self.attempt_ends: float | None = None
        self.judged_by: float | None = None
        self.actions: deque[Action] = deque()

    @property
    def newest(self) -> int:
        """The newest generation, whether it lives or not; 0 before the first."""
        return self.exchange.generation

    @property
    def missed(self) -> bool:
        """Whether there is no lane that is heard."""
        return not self.used or self.silent

    def is_open(self, generation: int) -> bool:
        """Whether the lane of this generation is open, and kept."""
        return bool(generation) and generation in (self.used, self.rival)

    def takes(self, generation: int) -> bool:
        """Whether descriptions and candidates of this generation are of use: it is the newest, and lives."""
        return generation == self.newest and generation in (self.trying, self.rival, self.used) and bool(generation)

    def take(self, message: Answer | Candidate) -> None:
        """Hand the peer's answer or candidate to the newest one's connection.

        Raises:
            ProtocolError: If it comes too early or too often.
        """
        if isinstance(message, Answer):
            self.exchange.take_answer()
            self.actions.append(TakeAnswer(message.generation, message.sdp))
        else:
            self.exchange.take_candidate()
            self.actions.append(TakeCandidate(message))

    def fall_silent(self) -> None:
        """Nothing comes over the lane in use: a better path is no longer what is looked for."""
        self.silent = True
        self.drop_improvement()

    def wake(self) -> None:
        """The lane in use is heard again."""
        self.silent = False
        self.asked = 0

    def lose(self) -> bool:
        """The lane in use is over, and nothing takes its place; return whether it was silent."""
        self.drop_improvement()
        was_silent, self.silent = self.silent, False
        return was_silent

    def miss(self) -> None:
        """Follower: what it asked for did not come; it may ask for it again."""
        self.asked = 0

    def describe(self, generation: int, sdp: str) -> None:
        """Mail our description of this generation, unless it is over."""
        if self.takes(generation):
            self.exchange.describe(sdp)

    def ask(self, *, again: bool = False) -> None:
        """Follower: ask for the generation after the newest, once; the leader may not know that it is needed."""
        if self.newest and (again or self.asked < self.newest):
            self.asked = self.newest
            self.exchange.say(Retry(self.newest, SILENT if self.used else ""))

    def offer(self, now: float, *, better: bool = False) -> None:
        """Start the next one; for a ``better`` path beside the one in use."""
        self.drop_trying()
        self.drop_rival()
        self._begin(self.newest + 1, self.exchange.lane + 1, self.used if better else 0, now)
        self.actions.append(CreateOffer(self.newest, self.exchange.lane, direct=better))

    def answer(self, offer: Offer, now: float) -> None:
        """Take the leader's next one."""
        self._begin(offer.generation, offer.lane, offer.beside, now + FOLLOWER_SLACK)
        self.actions.append(CreateAnswer(offer.generation, offer.lane, offer.sdp, direct=bool(offer.beside)))

    def pass_over(self, offer: Offer) -> None:
        """Do not take it."""
        self.exchange.begin(offer.generation, offer.lane)

    def _begin(self, generation: int, lane: int, beside: int, now: float) -> None:
        self.exchange.begin(generation, lane, beside)
        self.trying, self.improving = generation, bool(beside)
        ordinary = FIRST_ATTEMPT if generation == 1 else ATTEMPT_TIMEOUT
        self.attempt_ends = now + (IMPROVEMENT_TIMEOUT if beside else ordinary)

    def shorten(self, ends: float) -> None:
        """The one that is tried has had its time then, at the latest."""
        if self.attempt_ends is not None:
            self.attempt_ends = min(self.attempt_ends, ends)

    def open(self, now: float) -> None:
        """The lane of the one that is tried is open: it is in use, or compared with the one that is."""
        if self.improving:
            self.rival = self.trying
            if self._leader:
                self.judged_by = now + IMPROVEMENT_TIMEOUT
                self.actions.append(Judge(self.rival, self.used))
        else:
            self.drop_used()
            self.used, self.silent = self.trying, False
        self._end_attempt()

    def take_rival(self) -> None:
        """It is in use, in the place of the other one."""
        self.drop_used()
        self.used, self.rival, self.judged_by, self.silent = self.rival, 0, None, False

    def drop_used(self) -> None:
        """The lane in use is no longer wanted."""
        self._drop(self.used)
        self.used = 0

    def drop_rival(self) -> None:
        """The other one is in use, and stays."""
        self._drop(self.rival)
        self.rival, self.judged_by = 0, None

    def drop_trying(self) -> None:
        """It failed, or is not needed any more."""
        self._drop(self.trying)
        self._end_attempt()

    def drop_improvement(self) -> None:
        """Something has to be repaired, for which this would not do."""
        if self.improving:
            self.drop_trying()
        self.drop_rival()

    def drop_all(self) -> None:
        """This is the end."""
        self.drop_used()
        self.drop_rival()
        self.drop_trying()

    def closed(self, generation: int) -> None:
        """The connection of this generation is over."""
        if generation == self.used:
            self.used = 0
        if generation == self.rival:
            self.rival, self.judged_by = 0, None
        if generation == self.trying:
            self._end_attempt()

    def forget(self) -> None:
        """Nothing more is done with any of them."""
        self.used = self.rival = 0
        self.judged_by = None
        self._end_attempt()

    def _end_attempt(self) -> None:
        self.trying, self.improving, self.attempt_ends = 0, False, None

    def _drop(self, generation: int) -> None:
        if generation:
            self.actions.append(DropConnection(generation))

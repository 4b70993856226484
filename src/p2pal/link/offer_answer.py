"""One generation's offer, answer and candidates: what may come when, and what has to wait for what. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from p2pal.errors import ProtocolError
from p2pal.rate_limit import Allowance
from p2pal.wire.signal import Answer, Candidate, Offer, Retry, SignalMessage

MAX_CANDIDATES: Final = 128
"""Remote candidates taken in one generation; a machine with many interfaces has a few dozen."""

MAX_OFFERS: Final = 32
"""Offers that the follower answers at once, each with a new connection. Those beyond are passed over."""

OFFER_PAUSE: Final = 1.0
"""Seconds after which it answers one more."""


class Exchange:
    """The newest generation's exchange, and what is to be mailed.

    Attributes:
        generation: Its number; 0 before the first.
        lane: The number of its lane.
    """

    __slots__ = (
        "_answered",
        "_beside",
        "_candidates",
        "_described",
        "_held",
        "_leader",
        "_messages",
        "_offers",
        "generation",
        "lane",
    )

    def __init__(self, *, leader: bool) -> None:
        self._leader = leader
        self.generation = 0
        self.lane = 0
        self._beside = 0
        self._candidates = 0
        self._answered = False
        self._described = False
        self._held: list[Candidate] = []
        self._offers = Allowance(MAX_OFFERS, OFFER_PAUSE)
        self._messages: deque[SignalMessage] = deque()

    def begin(self, generation: int, lane: int, beside: int = 0) -> None:
        """Start another generation; what was held for the one before is no longer wanted.

        Args:
            generation: Its number.
            lane: That of its lane.
            beside: The generation that stays in use whatever becomes of this one; 0 if it is to take its place.
        """
        self.generation, self.lane, self._beside = generation, lane, beside
        self._candidates = 0
        self._answered = self._described = False
        self._held.clear()

    def check(self, message: Offer | Answer | Candidate | Retry) -> None:
        """Check that the peer may say this at all.

        Raises:
            ProtocolError: If it plays the other role's part, or speaks of a generation that is still to come.
        """
        if isinstance(message, Offer):
            if self._leader:
                raise ProtocolError("both sides claim to lead")
            if message.generation > self.generation and message.lane <= self.lane:
                raise ProtocolError("the other side used a lane number twice")
        elif isinstance(message, (Answer, Retry)) and not self._leader:
            raise ProtocolError("both sides claim to follow")
        elif message.generation > self.generation:
            raise ProtocolError("the other side answered an offer that was never made")

    def say(self, message: SignalMessage) -> None:
        """Mail something."""
        self._messages.append(message)

    def describe(self, sdp: str) -> None:
        """Mail our description, and the candidates that wait for it."""
        self._described = True
        generation = self.generation
        self.say(Offer(generation, self.lane, sdp, self._beside) if self._leader else Answer(generation, sdp))
        self._messages.extend(self._held)
        self._held.clear()

    def local_candidate(self, candidate: Candidate) -> None:
        """Mail a candidate. The engine may find it before it hands out the description that it belongs behind."""
        if self._described:
            self.say(candidate)
        else:
            self._held.append(candidate)

    def may_answer(self, now: float) -> bool:
        """Whether an offer that comes now is answered: each costs a connection, however soon the next one ends it."""
        return self._offers.take(now)

    def take_answer(self) -> None:
        """The follower answered.

        Raises:
            ProtocolError: If it did so before.
        """
        if self._answered:
            raise ProtocolError("the other side answered an offer twice")
        self._answered = True

    def take_candidate(self) -> None:
        """The peer sent a candidate.

        Raises:
            ProtocolError: If its description did not come before, or if it floods.
        """
        if self._leader and not self._answered:
            raise ProtocolError("the other side sent candidates before its answer")
        self._candidates += 1
        if self._candidates > MAX_CANDIDATES:
            raise ProtocolError("the other side sent too many candidates")

    def messages(self) -> Iterator[SignalMessage]:
        """Drain what is to be mailed, in order."""
        while self._messages:
            yield self._messages.popleft()

"""How a link comes up, and comes back: a pure machine of generations (RFC 8829 offer and answer, RFC 8838 candidates).

The sender leads. A *generation* is one try at a connection: an offer, an answer, candidates, a lane. Only the leader
starts one, and numbers only grow, so a late message of an old generation is recognised and dropped. The follower
may ask for the next one (:class:`~p2pal.wire.signal.Retry`).

States of each side::

    IDLE ──start──▶ CONNECTING ──lane opens──▶ UP
                       ▲  │ attempt fails       │ lane lost
                       │  ▼                     ▼
                    WAITING (leader: backoff) ◀─┘        follower: WAITING for the next offer
                       │ tries used up, or waited too long
                       ▼
                     DEAD

An attempt fails when its lane closes, when the follower says so, or after :data:`ATTEMPT_TIMEOUT` seconds. Tries are
counted from the last time that the session made progress (:meth:`Negotiator.handle_progress`). Delays double from
``backoff`` and carry jitter, which the caller draws, because the machine has no randomness.

The shell carries out the actions in order, each to its end before the next: that is what keeps a candidate behind the
description it belongs to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from p2pal.errors import ProtocolError
from p2pal.wire.signal import Answer, Candidate, Offer, Retry, SignalMessage

ATTEMPT_TIMEOUT: Final = 20.0
"""Seconds that one generation gets from its offer to an open lane."""

FOLLOWER_SLACK: Final = 5.0
MAX_BACKOFF: Final = 30.0
MAX_CANDIDATES: Final = 128
"""Remote candidates taken in one generation; a machine with many interfaces has a few dozen."""


class State(Enum):
    """Where the link is."""

    IDLE = auto()
    CONNECTING = auto()
    UP = auto()
    WAITING = auto()
    DEAD = auto()


@dataclass(frozen=True, slots=True)
class CreateOffer:
    """Action: make a connection for this generation and lane; answer with ``handle_local_offer``."""

    generation: int
    lane: int


@dataclass(frozen=True, slots=True)
class CreateAnswer:
    """Action: make a connection from the peer's offer; answer with ``handle_local_answer``."""

    generation: int
    lane: int
    sdp: str


@dataclass(frozen=True, slots=True)
class TakeAnswer:
    """Action: give the peer's answer to this generation's connection."""

    generation: int
    sdp: str


@dataclass(frozen=True, slots=True)
class TakeCandidate:
    """Action: give one of the peer's candidates to this generation's connection."""

    generation: int
    candidate: str
    mid: str
    mline: int


@dataclass(frozen=True, slots=True)
class DropConnection:
    """Action: close this generation's connection."""

    generation: int


Action = CreateOffer | CreateAnswer | TakeAnswer | TakeCandidate | DropConnection


@dataclass(frozen=True, slots=True)
class LinkUp:
    """Event: this generation's lane is open."""

    generation: int


@dataclass(frozen=True, slots=True)
class Retrying:
    """Event: an attempt failed; the next, number ``attempt`` of ``attempts``, starts in ``delay`` seconds."""

    attempt: int
    attempts: int
    delay: float


@dataclass(frozen=True, slots=True)
class GaveUp:
    """Event: the tries are used up. ``connected_before`` tells a lost peer from an impossible connection."""

    connected_before: bool


Event = LinkUp | Retrying | GaveUp


class Negotiator:
    """One side of the link.

    Args:
        leader: Whether this side starts generations (the sender does).
        max_retries: Attempts after the first, counted from the last progress.
        backoff: Seconds before the first retry; doubles each time, up to :data:`MAX_BACKOFF`.
        jitter: Returns a factor around 1 for a delay.
    """

    def __init__(self, *, leader: bool, max_retries: int, backoff: float, jitter: Callable[[], float]) -> None:
        self._leader = leader
        self._max_retries = max_retries
        self._backoff = backoff
        self._jitter = jitter
        self._state = State.IDLE
        self._generation = 0
        self._lane = 0
        self._tries = 0
        self._candidates = 0
        self._answered = False
        self._described = False
        self._held: list[SignalMessage] = []
        self._connected_before = False
        self._deadline: float | None = None
        self._messages: deque[SignalMessage] = deque()
        self._actions: deque[Action] = deque()
        self._events: deque[Event] = deque()

    @property
    def state(self) -> State:
        """Where the link is."""
        return self._state

    @property
    def generation(self) -> int:
        """The current generation; 0 before the first."""
        return self._generation

    def start(self, now: float) -> None:
        """Begin: the leader makes its first offer, the follower waits for it."""
        if self._state is not State.IDLE:
            raise RuntimeError("the link was started before")
        if self._leader:
            self._next_generation(now)
        else:
            self._state = State.WAITING
            self._deadline = now + self._patience()

    def stop(self) -> None:
        """End: nothing more comes from here."""
        if self._state in (State.CONNECTING, State.UP):
            self._actions.append(DropConnection(self._generation))
        self._state = State.DEAD
        self._deadline = None

    def handle_message(self, message: Offer | Answer | Candidate | Retry, now: float) -> None:
        """Take a signaling message of the peer.

        Raises:
            ProtocolError: If the peer plays the other role's part, or floods.
        """
        if self._state is State.DEAD:
            return
        if self._state is State.IDLE:
            raise ProtocolError("the other side began to connect before the key exchange was over")
        if isinstance(message, Offer) and self._leader:
            raise ProtocolError("both sides claim to lead")
        if isinstance(message, (Answer, Retry)) and not self._leader:
            raise ProtocolError("both sides claim to follow")
        if isinstance(message, Offer):
            self._handle_offer(message, now)
        elif message.generation > self._generation:
            raise ProtocolError("the other side answered an offer that was never made")
        elif message.generation < self._generation:
            return  # late mail of a generation that is over
        elif isinstance(message, Answer):
            self._handle_answer(message)
        elif isinstance(message, Candidate):
            self._handle_candidate(message)
        elif self._state in (State.CONNECTING, State.UP):
            self._attempt_failed(now)

    def handle_local_offer(self, generation: int, sdp: str, now: float) -> None:  # noqa: ARG002 - one shape for all inputs
        """The engine made the offer that :class:`CreateOffer` asked for."""
        if self._current(generation):
            self._describe(Offer(generation, self._lane, sdp))

    def handle_local_answer(self, generation: int, sdp: str, now: float) -> None:  # noqa: ARG002
        """The engine made the answer that :class:`CreateAnswer` asked for."""
        if self._current(generation):
            self._describe(Answer(generation, sdp))

    def handle_local_candidate(self, generation: int, candidate: str, mid: str, mline: int, now: float) -> None:  # noqa: ARG002
        """The engine found a candidate; an empty one ends them."""
        if self._current(generation):
            # The engine may find candidates before it hands out the description they belong behind.
            (self._messages if self._described else self._held).append(Candidate(generation, candidate, mid, mline))

    def handle_lane_open(self, generation: int, now: float) -> None:  # noqa: ARG002
        """The lane of this generation is open."""
        if not self._current(generation) or self._state is State.UP:
            return
        self._state = State.UP
        self._connected_before = True
        self._deadline = None
        self._events.append(LinkUp(generation))

    def handle_lane_closed(self, generation: int, now: float) -> None:
        """The lane of this generation, or the connection before it opened, is over."""
        if not self._current(generation):
            return
        if not self._leader:
            self._messages.append(Retry(generation))
        self._attempt_failed(now, dropped=True)

    def handle_progress(self) -> None:
        """The session delivered something new: earlier failures no longer count."""
        self._tries = 0

    def handle_timeout(self, now: float) -> None:
        """The time that :meth:`next_timeout` named has come."""
        if self._deadline is None or now < self._deadline:
            return
        self._deadline = None
        if self._state is State.CONNECTING:
            if not self._leader:
                self._messages.append(Retry(self._generation))
            self._attempt_failed(now)
        elif self._state is State.WAITING:
            if self._leader:
                self._next_generation(now)
            else:
                self._give_up()

    def next_timeout(self) -> float | None:
        """When :meth:`handle_timeout` is due, or None."""
        return self._deadline

    def messages(self) -> Iterator[SignalMessage]:
        """Drain the messages for the peer, in order."""
        while self._messages:
            yield self._messages.popleft()

    def actions(self) -> Iterator[Action]:
        """Drain the actions for the engine, in order."""
        while self._actions:
            yield self._actions.popleft()

    def events(self) -> Iterator[Event]:
        """Drain what happened."""
        while self._events:
            yield self._events.popleft()

    def _current(self, generation: int) -> bool:
        return generation == self._generation and self._state in (State.CONNECTING, State.UP)

    def _describe(self, description: Offer | Answer) -> None:
        self._described = True
        self._messages.append(description)
        self._messages.extend(self._held)
        self._held.clear()

    def _begin(self, generation: int, lane: int, deadline: float) -> None:
        self._generation, self._lane = generation, lane
        self._candidates = 0
        self._answered = self._described = False
        self._held.clear()
        self._state = State.CONNECTING
        self._deadline = deadline

    def _handle_offer(self, offer: Offer, now: float) -> None:
        if offer.generation <= self._generation:
            return
        if offer.lane <= self._lane:
            raise ProtocolError("the other side used a lane number twice")
        if self._state in (State.CONNECTING, State.UP):
            self._actions.append(DropConnection(self._generation))
        # The leader's clock started earlier: the follower never gives an attempt up first.
        self._begin(offer.generation, offer.lane, now + ATTEMPT_TIMEOUT + FOLLOWER_SLACK)
        self._actions.append(CreateAnswer(offer.generation, offer.lane, offer.sdp))

    def _handle_answer(self, answer: Answer) -> None:
        if self._answered:
            raise ProtocolError("the other side answered an offer twice")
        if self._state in (State.CONNECTING, State.UP):
            self._answered = True
            self._actions.append(TakeAnswer(answer.generation, answer.sdp))

    def _handle_candidate(self, message: Candidate) -> None:
        if self._leader and not self._answered:
            if self._state is State.CONNECTING:
                raise ProtocolError("the other side sent candidates before its answer")
            return
        self._candidates += 1
        if self._candidates > MAX_CANDIDATES:
            raise ProtocolError("the other side sent too many candidates")
        if self._state in (State.CONNECTING, State.UP):
            self._actions.append(TakeCandidate(message.generation, message.candidate, message.mid, message.mline))

    def _next_generation(self, now: float) -> None:
        self._begin(self._generation + 1, self._lane + 1, now + ATTEMPT_TIMEOUT)
        self._actions.append(CreateOffer(self._generation, self._lane))

    def _attempt_failed(self, now: float, *, dropped: bool = False) -> None:
        if not dropped:
            self._actions.append(DropConnection(self._generation))
        if self._tries >= self._max_retries:
            self._give_up()
            return
        delay = min(self._backoff * 2**self._tries, MAX_BACKOFF) * self._jitter() if self._leader else 0.0
        self._tries += 1
        self._state = State.WAITING
        self._deadline = now + (delay if self._leader else self._patience())
        self._events.append(Retrying(self._tries, self._max_retries, delay))

    def _patience(self) -> float:
        """Seconds that the follower waits for an offer: the leader's longest backoff and one full attempt."""
        return MAX_BACKOFF + ATTEMPT_TIMEOUT

    def _give_up(self) -> None:
        self._state = State.DEAD
        self._deadline = None
        self._events.append(GaveUp(self._connected_before))

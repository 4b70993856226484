"""What the link's negotiator asks of the engine (actions) and tells the floor above (events)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from p2pal.wire.signal import Candidate


class CreateOffer(msgspec.Struct, frozen=True):
    """Action: make a connection for this generation and lane; answer with ``handle_local_offer``.

    A ``direct`` one is made without relays: it is tried beside a lane that is well.
    """

    generation: int
    lane: int
    direct: bool = False


class CreateAnswer(msgspec.Struct, frozen=True):
    """Action: make a connection from the peer's offer; answer with ``handle_local_answer``.

    A ``direct`` one is made without relays.
    """

    generation: int
    lane: int
    sdp: str
    direct: bool = False


class TakeAnswer(msgspec.Struct, frozen=True):
    """Action: give the peer's answer to this generation's connection."""

    generation: int
    sdp: str


@dataclass(frozen=True, slots=True)
class TakeCandidate:
    """Action: give one of the peer's candidates to this generation's connection."""

    candidate: Candidate

    @property
    def generation(self) -> int:
        """The generation."""
        return self.candidate.generation


class DropConnection(msgspec.Struct, frozen=True):
    """Action: close this generation's connection."""

    generation: int


class Judge(msgspec.Struct, frozen=True):
    """Action: both lanes are open; say by ``handle_judged`` whether the path of ``generation`` is the better one.

    Not before the peer was heard on it: it is to have that lane when the other one is dropped.
    """

    generation: int
    used: int


Action = CreateOffer | CreateAnswer | TakeAnswer | TakeCandidate | DropConnection | Judge

Absent = Literal["network", "peer", ""]
"""What is gone: this side's way to the server, the other side's, or nothing."""


class LinkUp(msgspec.Struct, frozen=True):
    """Event: this generation's lane is the one in use.

    It opened, it was silent and is heard again, or it takes the place of another one. Generation 0 is a datagram lane.
    """

    generation: int


class Retrying(msgspec.Struct, frozen=True):
    """Event: the link is tried again in ``delay`` seconds, for the time number ``attempt`` since it last worked.

    ``attempts`` is how many there may be. It is None where the number says nothing: without a limit, before the first
    link, which time ends as a rule, and once the limit is used up but the time that a lost link gets in any case is not
    over.
    """

    attempt: int
    attempts: int | None
    delay: float


class WaitingFor(msgspec.Struct, frozen=True):
    """Event: no attempt makes sense before ``what`` is back; given up in ``seconds_left``, which may be infinite.

    An empty ``what`` says that nothing is missing any more.
    """

    what: Absent
    seconds_left: float


class GaveUp(msgspec.Struct, frozen=True):
    """Event: patience is at its end. ``connected_before`` tells a lost peer from an impossible connection."""

    connected_before: bool


NegotiatorEvent = LinkUp | Retrying | WaitingFor | GaveUp

"""One transfer as the server sees it, what can happen to it, and what the shell has to do then.

Plain values: a store can keep a :class:`Rendezvous` anywhere (it encodes with msgspec) and hand effects to whichever
server instance holds the socket they name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import CloseCode, State

SENDER: Final = 0
"""Who acts: 0 is the sender, n the receiver of attempt n."""

DENIALS: Final[dict[str, tuple[int, str]]] = {
    "unknown": (404, "no such transfer"),
    "unknown-attempt": (404, "no such attempt"),
    "expired": (410, "the transfer's time ran out"),
    "over": (410, "the transfer is over"),
    "released": (410, "the attempt is over"),
    "queue-full": (429, "too many receivers are waiting for this transfer"),
    "unauthorised": (401, "the token is missing or wrong"),
    "forbidden": (403, "this token may not do that"),
    "not-served": (409, "the attempt is not being served"),
    "wrong-state": (409, "the transfer is not in a state that allows this"),
    "gap": (409, "the index is not the next one"),
    "cursor": (409, "the cursor is past the end of the log"),
    "conflict": (409, "another message is stored at this index"),
    "too-large": (413, "the message is too large"),
    "encoding": (415, "the request body is encoded"),
    "head-too-large": (431, "the head of the request is too large"),
    "log-full": (413, "the log is full"),
    "ttl": (400, "the ttl is out of range"),
    "version": (400, "another version of the protocol"),
    "origin": (403, "pages of this origin may not use this server"),
    "too-often": (429, "too many requests from this address"),
    "too-many-open": (429, "too many transfers are open from this address"),
    "too-many-sockets": (429, "too many connections from this address"),
    "full": (503, "the server is full"),
    "unavailable": (503, "the server cannot reach its store"),
    "stopping": (503, "the server is stopping"),
}
"""Every reason for which a command is refused: the HTTP status and the text for people."""

RETRY_AFTER: Final = 5.0
"""Seconds after which a client may try again, where nothing better is known."""


class Denied(Exception):
    """A command was refused.

    Args:
        code: A key of :data:`DENIALS`.
        retry_after: Seconds after which the same may be allowed; sent with the statuses 429 and 503 only.
        allowed: The least and the most, in seconds, that would have been allowed; sent over HTTP.
    """

    def __init__(
        self, code: str, retry_after: float = RETRY_AFTER, *, allowed: tuple[float, float] | None = None
    ) -> None:
        self.code = code
        self.retry_after = retry_after
        self.allowed = allowed
        self.status, self.message = DENIALS[code]
        super().__init__(self.message)


class Log(msgspec.Struct, frozen=True, gc=False):
    """How much one log holds; the bodies are the store's."""

    count: int = 0
    size: int = 0


class Attempt(msgspec.Struct, frozen=True):
    """One receiver.

    Attributes:
        number: From 1, in the order of joining.
        token: SHA-256 of its token.
        socket: The id of its socket, or empty.
        deadline: When it is released unless a socket comes; None with a socket, or while served.
        knock_ends: When it is released unless the sender answers its knock; None if it need not knock.
        to_receiver: The log that the sender writes.
        to_sender: The log that the receiver writes.
        turn: That of its last hello.
    """

    number: int
    token: bytes
    socket: str = ""
    deadline: float | None = None
    knock_ends: float | None = None
    to_receiver: Log = Log()
    to_sender: Log = Log()
    turn: int = 0


class Past(msgspec.Struct, frozen=True, gc=False):
    """A released attempt whose token still gets a clear answer."""

    number: int
    token: bytes
    reason: str


class Rendezvous(msgspec.Struct, frozen=True, omit_defaults=True):
    """One transfer.

    Attributes:
        id: The rendezvous id.
        slot: The number in the join code; 0 for a meeting.
        token: SHA-256 of the sender's token; empty before the sender came to a meeting.
        ttl: Seconds until the first accept, then seconds of idleness.
        expires_at: When it ends; None after the first accept while a side has a socket.
        state: See :class:`p2pal.wire.rendezvous.State`.
        expired: It was aborted because its time ran out.
        accepted: An attempt was accepted once, or it is a meeting.
        meeting: Its id is known to the two peers alone: no slot, no key exchange.
        socket: The id of the sender's socket, or empty.
        attempts: Those that are served or wait, in order.
        past: The last ones that were released.
        served: The number of the served attempt, or 0.
        silent_at: When the served attempt is released unless its first message comes.
        joined: Attempts ever opened.
        forget_at: When a transfer that is over is forgotten, and its slot free.
        turn: That of the sender's last hello.
        owner: Whose it is for the limits on one address, as :mod:`p2pal.server.addresses` names it; or empty.
        granted: How much room for its logs it has of its owner's share, in units of a shared store.
    """

    id: str
    slot: int
    token: bytes
    ttl: float
    expires_at: float | None
    state: State = State.PENDING
    expired: bool = False
    accepted: bool = False
    meeting: bool = False
    socket: str = ""
    attempts: tuple[Attempt, ...] = ()
    past: tuple[Past, ...] = ()
    served: int = 0
    silent_at: float | None = None
    joined: int = 0
    forget_at: float | None = None
    turn: int = 0
    owner: str = ""
    granted: int = 0

    @property
    def over(self) -> bool:
        """It is completed or aborted."""
        return self.state is State.COMPLETED or self.state is State.ABORTED

    def attempt(self, number: int) -> Attempt | None:
        """Return the live attempt of that number."""
        for attempt in self.attempts:
            if attempt.number == number:
                return attempt
        return None

    def expires_in(self, now: float) -> float:
        """Seconds left; while the idle clock stands still, all of them."""
        if self.over:
            return 0.0
        return self.ttl if self.expires_at is None else max(0.0, self.expires_at - now)


# Commands. ``who`` is SENDER or an attempt's number, as the token proved.


@dataclass(frozen=True, slots=True)
class Join:
    """Someone knows the slot. ``token`` is the SHA-256 of the token that it gets."""

    token: bytes


@dataclass(frozen=True, slots=True)
class JoinMeeting:
    """A peer comes to a meeting. ``token`` is the SHA-256 of the token that it gets, ``ttl`` the new idle time."""

    sender: bool
    token: bytes
    ttl: float


@dataclass(frozen=True, slots=True)
class Attach:
    """A socket said hello.

    Attributes:
        who: Whose socket it is.
        socket: Its id.
        cursors: For each attempt that the client knows, the index that it wants next.
        turn: How manieth hello of this client it is. A lower one came late, and replaces nothing.
        again: Nobody said hello, but what this socket was told may have been lost: it is told where everything stands.
    """

    who: int
    socket: str
    cursors: Mapping[int, int] = field(default_factory=dict)
    turn: int = 0
    again: bool = False


@dataclass(frozen=True, slots=True)
class Detach:
    """A socket is gone."""

    who: int
    socket: str


@dataclass(frozen=True, slots=True)
class AppendMessage:
    """A message for the other side. ``stored`` is what the store holds at that index already, if anything."""

    who: int
    attempt: int
    index: int
    body: bytes
    stored: bytes | None = None


@dataclass(frozen=True, slots=True)
class AcceptAttempt:
    """The attempt knows the words."""

    who: int
    attempt: int


@dataclass(frozen=True, slots=True)
class ReleaseAttempt:
    """The sender is done with the attempt."""

    who: int
    attempt: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LeaveAttempt:
    """The receiver is done with its attempt."""

    who: int


@dataclass(frozen=True, slots=True)
class CompleteTransfer:
    """The transfer went through."""

    who: int


@dataclass(frozen=True, slots=True)
class Delete:
    """The sender gives up the transfer."""

    who: int


RendezvousCommand = (
    Join
    | JoinMeeting
    | Attach
    | Detach
    | AppendMessage
    | AcceptAttempt
    | ReleaseAttempt
    | LeaveAttempt
    | CompleteTransfer
    | Delete
)


# Effects, to be carried out in order.


@dataclass(frozen=True, slots=True)
class Tell:
    """Send the message over that socket."""

    socket: str
    message: wire.ServerMessage


@dataclass(frozen=True, slots=True)
class CloseSocket:
    """Close that socket once all before was sent."""

    socket: str
    code: CloseCode


@dataclass(frozen=True, slots=True)
class Keep:
    """Store a message at the end of a log. ``by_sender`` names the log of the attempt: written by the sender or not."""

    attempt: int
    by_sender: bool
    body: bytes


@dataclass(frozen=True, slots=True)
class Replay:
    """Send a stored log over that socket, from index ``start`` on."""

    socket: str
    attempt: int
    by_sender: bool
    start: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Both logs of the attempt are no longer needed."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Missed:
    """What that socket was told may have gaps: it has to be attached again. Only stores say so."""

    socket: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something happened that the operator's log and counters want to know."""

    event: str
    attempt: int = 0
    reason: str = ""


Effect = Tell | CloseSocket | Keep | Replay | Drop | Note

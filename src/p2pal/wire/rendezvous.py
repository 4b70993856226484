"""What a client and the signaling server tell each other. This is all that the server ever reads.

Over HTTP: create, join and meet again. Over the WebSocket: one JSON object per text message, its kind under ``type``;
the bodies of mailbox messages are base64. The first message is :class:`ClientHello`. Unknown fields are ignored, an
unknown kind closes the socket. Times are seconds from now, never clock times. See ``docs/protocol.md``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntEnum, StrEnum
from typing import Annotated, Final

import msgspec

from p2pal.role import Role

VERSION: Final = 1
MAX_MESSAGES: Final = 512
"""Messages in one log."""
MAX_BODY: Final = 64 * 1024
"""Bytes of one message's body, before base64."""
MAX_LOG: Final = 1 << 20
"""Bytes of all bodies in one log."""
MAX_FRAME: Final = MAX_BODY * 4 // 3 + 2048
"""Bytes of one WebSocket message: a largest body as base64 and its wrapping."""
MAX_ICE_URLS: Final = 8

_ICE_URL: Final = re.compile(r"(?:stun|stuns|turn|turns):[A-Za-z0-9.\-_\[\]:%]{1,200}(?:\?transport=(?:udp|tcp))?")

Slot = Annotated[int, msgspec.Meta(ge=1, lt=2**31)]
AttemptNumber = Annotated[int, msgspec.Meta(ge=1, lt=2**31)]
Index = Annotated[int, msgspec.Meta(ge=0, lt=MAX_MESSAGES)]
Cursor = Annotated[int, msgspec.Meta(ge=0, le=MAX_MESSAGES)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Id = Annotated[str, msgspec.Meta(min_length=16, max_length=64, pattern=r"^[A-Za-z0-9_-]+\Z")]
MeetingId = Annotated[str, msgspec.Meta(pattern=r"^[a-z2-7]{26}\Z")]
"""The name of a meeting: 128 bits in base32 that only the two peers can derive."""
Token = Annotated[str, msgspec.Meta(min_length=16, max_length=200)]
ReasonWord = Annotated[str, msgspec.Meta(max_length=40, pattern=r"^[a-z0-9-]*\Z")]
_Text = Annotated[str, msgspec.Meta(max_length=300)]


class State(StrEnum):
    """Where a transfer stands; ``aborted`` covers deleted and expired ones."""

    PENDING = "pending"
    READY = "ready"
    ACTIVE = "active"
    COMPLETED = "completed"
    ABORTED = "aborted"


class CloseCode(IntEnum):
    """Why the server closed a WebSocket. After those marked 'again' the client may come back."""

    GOING_AWAY = 1001  # again: the server stops
    TRY_AGAIN = 1013  # again: the server cannot reach its store
    PROTOCOL = 4400  # a malformed message, or none of the protocol
    UNAUTHORISED = 4401  # the server knows no such token
    HELLO_TIMEOUT = 4408  # again: the first message did not come in time
    REPLACED = 4409  # a newer socket of the same token took over
    EXPIRED = 4410  # the transfer's time ran out
    OVER = 4411  # the transfer is completed or aborted
    RELEASED = 4412  # the receiver's attempt is over
    TOO_LARGE = 4413  # a message larger than MAX_BODY (aiohttp's own 1009: larger than MAX_FRAME)
    TOO_SLOW = 4429  # again: the client does not read what it is sent


class IceServer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of the W3C ``RTCIceServer`` kind."""

    urls: list[str]
    username: str = ""
    credential: str = ""

    def __repr__(self) -> str:
        return f"IceServer(urls={self.urls!r})"


class CreateRequest(msgspec.Struct, frozen=True):
    """``POST /api/transfer``."""

    ttl: Annotated[float, msgspec.Meta(gt=0, le=1e9)]
    version: int = VERSION


class Created(msgspec.Struct, frozen=True):
    """Its answer. The token is the sender's: it alone accepts, releases, completes and deletes."""

    rendezvous_id: Id
    slot: Slot
    token: Token
    expires_in: Seconds
    ice_servers: list[IceServer] = []

    def __repr__(self) -> str:
        return f"Created(rendezvous_id={self.rendezvous_id!r}, slot={self.slot})"


class JoinRequest(msgspec.Struct, frozen=True):
    """``POST /api/join``."""

    slot: Slot
    version: int = VERSION


class Joined(msgspec.Struct, frozen=True):
    """Its answer. The token is good for this attempt only."""

    rendezvous_id: Id
    attempt: AttemptNumber
    token: Token
    expires_in: Seconds
    ice_servers: list[IceServer] = []

    def __repr__(self) -> str:
        return f"Joined(rendezvous_id={self.rendezvous_id!r}, attempt={self.attempt})"


class MeetRequest(msgspec.Struct, frozen=True):
    """``POST /api/meet``: create or join the rendezvous that both peers can name. ``ttl`` is idle time."""

    rendezvous_id: MeetingId
    role: Role
    ttl: Annotated[float, msgspec.Meta(gt=0, le=1e9)] = 300.0
    version: int = VERSION

    def __repr__(self) -> str:
        return f"MeetRequest(role={self.role!r})"


class Met(msgspec.Struct, frozen=True):
    """Its answer. ``attempt`` is 0 for the sender; every earlier token of that side is void."""

    attempt: Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
    token: Token
    expires_in: Seconds
    ice_servers: list[IceServer] = []

    def __repr__(self) -> str:
        return f"Met(attempt={self.attempt})"


class TransferInfo(msgspec.Struct, frozen=True):
    """``GET /api/transfer/{id}``, for the sender. ``attempt``: the served one or 0; ``slot``: 0 for a meeting."""

    rendezvous_id: Id
    slot: Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
    state: State
    expires_in: Seconds
    attempt: int = 0


class ErrorDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong: a code for programs, a message for people. Clients show texts of their own.

    ``min`` and ``max``, in seconds, say what is allowed where a ``ttl`` was not.
    """

    code: str
    message: str = ""
    min: Seconds | None = None
    max: Seconds | None = None


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every HTTP answer from 400 up."""

    error: ErrorDetail


class ClientHello(msgspec.Struct, frozen=True, tag_field="type", tag="hello"):
    """First message of a client: its token, per attempt the index it wants next, and the how manieth hello it is.

    A hello may be under way for long; one with a lower ``turn`` never replaces one with a higher.
    """

    token: Token
    cursors: Annotated[dict[AttemptNumber, Cursor], msgspec.Meta(max_length=16)] = {}
    turn: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] = 0

    def __repr__(self) -> str:
        return f"ClientHello(cursors={self.cursors}, turn={self.turn})"


class Append(msgspec.Struct, frozen=True, tag_field="type", tag="append"):
    """Add a message to the other side's log. ``attempt`` 0 means a receiver's own."""

    index: Index
    body: bytes
    attempt: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] = 0


class ClientAccept(msgspec.Struct, frozen=True, tag_field="type", tag="accept"):
    """Sender: this attempt knows the words; the transfer is active."""

    attempt: AttemptNumber


class Release(msgspec.Struct, frozen=True, tag_field="type", tag="release"):
    """Sender: this attempt is over; serve the next."""

    attempt: AttemptNumber
    reason: ReasonWord = ""


class ClientComplete(msgspec.Struct, frozen=True, tag_field="type", tag="complete"):
    """Sender: the transfer is done."""


class Leave(msgspec.Struct, frozen=True, tag_field="type", tag="leave"):
    """Receiver: this attempt is over."""


class AskIce(msgspec.Struct, frozen=True, tag_field="type", tag="ice"):
    """Either side: ask for the STUN and TURN servers; TURN only after the accept."""


class Welcome(msgspec.Struct, frozen=True, tag_field="type", tag="welcome"):
    """First message of the server. ``attempt``: to the sender the one being served or 0, to a receiver its own."""

    state: State
    expires_in: Seconds
    attempt: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] = 0


class Served(msgspec.Struct, frozen=True, tag_field="type", tag="attempt"):
    """To the sender: this attempt is being served now."""

    attempt: AttemptNumber


class Knock(msgspec.Struct, frozen=True, tag_field="type", tag="knock"):
    """To the sender: this attempt waits while another is active. To be answered with a release of either."""

    attempt: AttemptNumber


class LogMessage(msgspec.Struct, frozen=True, tag_field="type", tag="message"):
    """One message of the log that this client reads."""

    attempt: AttemptNumber
    index: Index
    body: Annotated[bytes, msgspec.Meta(max_length=MAX_BODY)]


class Appended(msgspec.Struct, frozen=True, tag_field="type", tag="appended"):
    """The server holds this message of the client's."""

    attempt: AttemptNumber
    index: Index


class Released(msgspec.Struct, frozen=True, tag_field="type", tag="released"):
    """This attempt is over: ``silent``, ``gone``, ``left``, ``busy``, ``renewed``, or the sender's reason."""

    attempt: AttemptNumber
    reason: ReasonWord = ""


class StateChanged(msgspec.Struct, frozen=True, tag_field="type", tag="state"):
    """The transfer's state. ``attempt`` is the one being served, 0 for none."""

    state: State
    expires_in: Seconds
    attempt: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] = 0


class PeerPresence(msgspec.Struct, frozen=True, tag_field="type", tag="peer"):
    """Whether the other side of the served attempt has a socket."""

    online: bool


class Ice(msgspec.Struct, frozen=True, tag_field="type", tag="ice"):
    """The answer to :class:`AskIce`."""

    servers: list[IceServer] = []


class Error(msgspec.Struct, frozen=True, tag_field="type", tag="error"):
    """A command was refused; the socket stays open unless a close follows."""

    code: Annotated[str, msgspec.Meta(max_length=40)]
    message: _Text = ""
    attempt: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] = 0


ClientMessage = ClientHello | Append | ClientAccept | Release | ClientComplete | Leave | AskIce
ServerMessage = Welcome | Served | Knock | LogMessage | Appended | Released | StateChanged | PeerPresence | Ice | Error

encoder: Final = msgspec.json.Encoder()
client_decoder: Final[msgspec.json.Decoder[ClientMessage]] = msgspec.json.Decoder(ClientMessage)
server_decoder: Final[msgspec.json.Decoder[ServerMessage]] = msgspec.json.Decoder(ServerMessage)


def usable_ice_servers(servers: Iterable[IceServer]) -> tuple[IceServer, ...]:
    """Return what a client takes from a server's list: at most 8 URLs, well formed and of known schemes."""
    taken: list[IceServer] = []
    room = MAX_ICE_URLS
    for server in servers:
        urls = [url for url in server.urls if _ICE_URL.fullmatch(url)][:room]
        if urls and len(server.username) <= 512 and len(server.credential) <= 512:
            taken.append(IceServer(urls, server.username, server.credential))
            room -= len(urls)
        if room <= 0:
            break
    return tuple(taken)

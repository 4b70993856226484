"""What a mailbox tells its owner."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from p2pal.wire.rendezvous import IceServer, State


class AttemptServed(msgspec.Struct, frozen=True):
    """Sender: this attempt is being served now."""

    attempt: int


class AttemptKnocked(msgspec.Struct, frozen=True):
    """Sender: this attempt waits while another is active; to be answered with a release of either, within seconds."""

    attempt: int


@dataclass(frozen=True, slots=True)
class PeerMessage:
    """The other side's message; per attempt the indices are 0, 1, 2 and so on, each exactly once."""

    attempt: int
    index: int
    body: bytes = field(repr=False)


class AttemptReleased(msgspec.Struct, frozen=True):
    """An attempt is over, the served one or one that knocked.

    ``silent``, ``gone``, ``left``, ``busy``, ``renewed``, ``over``, or the sender's own reason.
    """

    attempt: int
    reason: str


class StateReported(msgspec.Struct, frozen=True):
    """The transfer's state changed, or was told again after a reconnect. ``expires_in`` is in seconds."""

    state: State
    expires_in: float


class PeerOnline(msgspec.Struct, frozen=True):
    """Whether the other side of the served attempt is connected to the server."""

    online: bool


class IceServersOffered(msgspec.Struct, frozen=True):
    """The answer to ``ask_ice()``."""

    servers: tuple[IceServer, ...]


class ServerOffline(msgspec.Struct, frozen=True):
    """The server has not been reached for ``seconds``; the mailbox keeps trying."""

    seconds: float


class ServerOnline(msgspec.Struct, frozen=True):
    """The server is back; nothing was lost."""


MailboxEvent = (
    AttemptServed
    | AttemptKnocked
    | PeerMessage
    | AttemptReleased
    | StateReported
    | PeerOnline
    | IceServersOffered
    | ServerOffline
    | ServerOnline
)

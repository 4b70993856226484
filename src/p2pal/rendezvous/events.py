"""What a mailbox tells its owner."""

from __future__ import annotations

from dataclasses import dataclass, field

from p2pal.wire.rendezvous import IceServer, State


@dataclass(frozen=True, slots=True)
class AttemptServed:
    """Sender: this attempt is being served now."""

    attempt: int


@dataclass(frozen=True, slots=True)
class AttemptKnocked:
    """Sender: this attempt waits while another is active; to be answered with a release of either, within seconds."""

    attempt: int


@dataclass(frozen=True, slots=True)
class PeerMessage:
    """The other side's message; per attempt the indices are 0, 1, 2 and so on, each exactly once."""

    attempt: int
    index: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AttemptReleased:
    """An attempt is over, the served one or one that knocked.

    ``silent``, ``gone``, ``left``, ``busy``, ``renewed``, ``over``, or the sender's own reason.
    """

    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class StateReported:
    """The transfer's state changed, or was told again after a reconnect. ``expires_in`` is in seconds."""

    state: State
    expires_in: float


@dataclass(frozen=True, slots=True)
class PeerOnline:
    """Whether the other side of the served attempt is connected to the server."""

    online: bool


@dataclass(frozen=True, slots=True)
class IceServersOffered:
    """The answer to ``ask_ice()``."""

    servers: tuple[IceServer, ...]


@dataclass(frozen=True, slots=True)
class ServerOffline:
    """The server has not been reached for ``seconds``; the mailbox keeps trying."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ServerOnline:
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

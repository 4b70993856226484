"""What a mailbox tells its owner."""

from __future__ import annotations

from dataclasses import dataclass, field

from p2pal.wire.rendezvous import IceServer
from p2pal.wire.rendezvous import State as TransferState


@dataclass(frozen=True, slots=True)
class Served:
    """Sender: this attempt is being served now."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Knock:
    """Sender: this attempt waits while another is active; to be answered with a release of either, within seconds."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Message:
    """The other side's message; per attempt the indices are 0, 1, 2 and so on, each exactly once."""

    attempt: int
    index: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Released:
    """An attempt is over, the served one or one that knocked.

    ``silent``, ``gone``, ``left``, ``busy``, ``renewed``, ``over``, or the sender's own reason.
    """

    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class State:
    """The transfer's state changed, or was told again after a reconnect. ``expires_in`` is in seconds."""

    state: TransferState
    expires_in: float


@dataclass(frozen=True, slots=True)
class PeerOnline:
    """Whether the other side of the served attempt is connected to the server."""

    online: bool


@dataclass(frozen=True, slots=True)
class IceServers:
    """The answer to ``ask_ice()``."""

    servers: tuple[IceServer, ...]


@dataclass(frozen=True, slots=True)
class Offline:
    """The server has not been reached for ``seconds``; the mailbox keeps trying."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Online:
    """The server is back; nothing was lost."""


MailboxEvent = Served | Knock | Message | Released | State | PeerOnline | IceServers | Offline | Online

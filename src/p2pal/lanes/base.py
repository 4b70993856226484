"""What a lane is: a reliable, ordered way for whole messages between the two processes, which may end any time.

A lane knows nothing of keys or frames. It reports to one listener, on the event loop's thread, in order: opened,
then messages and writable, then closed exactly once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

BUFFER_LIMIT: Final = 1 << 20
"""Bytes that may wait inside a lane before DATA is held back: control frames never wait behind more."""


class RelayUse(Enum):
    """What TURN servers may carry."""

    ALLOWED = "allowed"
    """Everything, where there is no direct path."""
    ONLY = "only"
    """Everything, always: the other side learns no address of this machine but the relay's."""
    NEVER = "never"
    """Nothing."""


@dataclass(frozen=True, slots=True)
class IceServer:
    """A STUN or TURN server (RFC 8489, RFC 8656)."""

    urls: tuple[str, ...]
    username: str = ""
    credential: str = field(default="", repr=False)

    @property
    def relays(self) -> bool:
        """Whether it is a TURN server."""
        return any(url.startswith("turn") for url in self.urls)


def servers_for(servers: Iterable[IceServer], relay: RelayUse) -> list[IceServer]:
    """Return those of the servers that may be asked. A STUN server would only learn this side's address for nothing."""
    return [server for server in servers if relay is RelayUse.ALLOWED or server.relays == (relay is RelayUse.ONLY)]


class LaneListener(Protocol):
    """Who hears of a lane's life."""

    def lane_opened(self, lane: Lane) -> None:
        """The lane can carry messages now."""

    def lane_message(self, lane: Lane, data: bytes) -> None:
        """One whole message arrived."""

    def lane_writable(self, lane: Lane) -> None:
        """The lane's buffer drained: :meth:`Lane.budget` has grown again."""

    def lane_closed(self, lane: Lane, reason: str) -> None:
        """The lane is over; what was not acknowledged may or may not have arrived."""


class Lane(Protocol):
    """One way between the two processes.

    Attributes:
        id: The number that the leader gave it, never used twice in a session.
        max_message: The largest message it carries, in bytes.
    """

    id: int
    max_message: int

    def send(self, message: bytes) -> None:
        """Queue one message. A lane that is closed drops it: what was not acknowledged travels again."""

    def budget(self) -> int:
        """Bytes it takes now without its buffer passing :data:`BUFFER_LIMIT`; 0 or less while it is full."""

    def close(self) -> None:
        """End it; the listener hears ``lane_closed`` unless it heard it before."""

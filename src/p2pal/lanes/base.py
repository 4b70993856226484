"""What a lane is: a reliable, ordered way for whole messages between the two processes, which may end any time.

A lane knows nothing of keys or frames. It reports to one listener, on the event loop's thread, in order: opened,
then messages and writable, then closed exactly once.

A *connection* is a lane with a path that may change. One of the engine comes up by descriptions and candidates, which
go to the other side's connection and come from there. Only its own kind reads them; the peer that carries them does not
look inside.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import msgspec

from p2pal.errors import ConnectionImpossible
from p2pal.lanes.ice_servers import RelayUse
from p2pal.lanes.paths import Path
from p2pal.wire.signal import Candidate

BUFFER_LIMIT: Final = 1 << 20
"""Bytes that may wait inside a lane before DATA is held back: control frames never wait behind more."""


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

    @property
    def likes_large(self) -> bool:
        """Whether messages of :attr:`max_message` bytes suit the path now: they cost less, and hold nothing up.

        Where they do not, messages of 64 KiB do.
        """

    def close(self) -> None:
        """End it; the listener hears ``lane_closed`` unless it heard it before."""


class CandidateFound(msgspec.Struct, frozen=True):
    """A local candidate is to be sent to the other side; an empty one ends them (RFC 8838)."""

    candidate: Candidate


class PathChanged(msgspec.Struct, frozen=True):
    """The bytes may take another way than before; :meth:`Connection.path` tells which."""


class Connection(Lane, Protocol):
    """A lane, and the way that its bytes take."""

    @property
    def on_one_machine(self) -> bool:
        """Whether both ends were on this machine when :meth:`path` last looked. Such a path has no queue to overrun."""

    async def path(self) -> Path | None:
        """Return the way that the bytes take; None if there is none, or it is not known."""


class DescribedConnection(Connection, Protocol):
    """A connection that comes up by descriptions: one side offers, the other answers, and each takes candidates.

    Attributes:
        generation: The try at a link that it belongs to.
    """

    generation: int

    async def offer(self) -> str:
        """Return the description that the other side answers; empty if the connection ended."""

    async def answer(self, description: str) -> str:
        """Take the other side's offer and return the answer; empty if the connection ended.

        Raises:
            ProtocolError: If the offer cannot be used.
        """

    async def accept(self, description: str) -> None:
        """Take the other side's answer.

        Raises:
            ProtocolError: If it cannot be used.
        """

    async def add_candidate(self, candidate: Candidate) -> None:
        """Take one of the other side's candidates. One that cannot be used is passed over: others may work."""


class ConnectionListener(LaneListener, Protocol):
    """Who hears of a connection: its lane, its candidates, its path."""

    def connection_event(self, connection: Connection, event: CandidateFound | PathChanged) -> None:
        """Something came up before the lane did, or beside it."""


class ConnectionFactory(Protocol):
    """Makes the connections of one kind for one peer."""

    async def connect(
        self,
        lane: int,
        generation: int,
        listener: ConnectionListener,
        *,
        relay: RelayUse,
        direct: bool,
        first: bool,
        learn: Callable[[], Awaitable[None]],
    ) -> DescribedConnection:
        """Return a new connection, which has asked nobody for anything yet.

        Args:
            lane: The number of its lane.
            generation: The try that it belongs to.
            listener: Who hears of it.
            relay: What relays may carry.
            direct: It is tried for a better path, beside a lane that is well, and leads through no relay.
            first: The link never stood.
            learn: Waits a moment at most for what the signaling server says of STUN and TURN servers.

        Raises:
            NoRelay: If it is the first, only relays may be used, and none is known.
        """

    def why_none(self, *, ours: RelayUse, agreed: RelayUse) -> ConnectionImpossible:
        """Return the error for a link that never stood: what was tried, and what would help.

        Args:
            ours: What this side lets relays carry.
            agreed: What both sides do together.
        """

    async def close(self) -> None:
        """Give back what connections shared; each of them was closed before."""

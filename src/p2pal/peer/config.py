"""How a peer connects, and whom it tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from p2pal.lanes.base import ConnectionFactory
from p2pal.lanes.ice_servers import KnownServers, RelayUse
from p2pal.lanes.udp.factory import UdpFactory
from p2pal.link.negotiator import DEFAULT_WAIT
from p2pal.peer.events import PeerEvent


class PeerOwner(Protocol):
    """Who uses the stream. All calls come on the event loop's thread and must not block."""

    def peer_payload(self, payload: bytes | memoryview) -> None:
        """One payload arrived, in order; tell the peer with :meth:`Peer.consumed` when done with it."""

    def peer_turn(self, events: Sequence[PeerEvent]) -> None:
        """All payloads that arrived were given, and this happened besides.

        More can be sent while :attr:`Peer.writable`.
        """


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """How this side connects.

    Attributes:
        sender: Whether this side is the sender, who leads the link.
        max_payload: Bytes of the largest payload this side sends.
        connections: Makes them, for this peer alone.
        servers: The STUN and TURN servers that connections and datagram lanes ask.
        max_retries: Failures that are tried again, counted from when the link last worked; None for no end.
        retry_backoff: Seconds before a retry that follows a failed one; doubles each time.
        wait: Seconds that a link which is lost waits in all for the network or the other side.
        relay: What TURN servers may carry, on either side.
        roams: This machine may come into other networks, which are looked for.
        datagrams: Opens the sockets of datagram lanes; None if none are used.
        engine: Whether the engine's lanes are used.
        small_payload: Bytes of the largest payload over a lane that does not like large messages; None for
            ``max_payload``.
    """

    sender: bool
    max_payload: int
    connections: ConnectionFactory
    servers: KnownServers = field(default_factory=KnownServers)
    max_retries: int | None = 3
    retry_backoff: float = 1.0
    wait: float = DEFAULT_WAIT
    relay: RelayUse = RelayUse.ALLOWED
    roams: bool = True
    datagrams: UdpFactory | None = None
    engine: bool = True
    small_payload: int | None = None

    def payload_limit(self, *, large: bool) -> int:
        """Return the bytes of the largest payload for a lane that likes large messages, or does not."""
        return self.max_payload if large or self.small_payload is None else self.small_payload

    @property
    def lanes(self) -> tuple[str, ...]:
        """The kinds of lanes that this side can use."""
        return ("webrtc",) * self.engine + ("udp",) * (self.datagrams is not None and self.relay is not RelayUse.ONLY)

    @property
    def improves(self) -> bool:
        """Whether a better path is looked for while one is in use.

        With relays alone there is none; and without a retry a path that turns out not to last would be the end.
        """
        return self.relay is not RelayUse.ONLY and self.max_retries != 0

"""How a peer connects, and whom it tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from p2pal.lanes.ice_servers import IceServer, RelayUse
from p2pal.link.negotiator import DEFAULT_WAIT
from p2pal.wire import rendezvous as wire


class PeerOwner(Protocol):
    """Who uses the stream. All calls come on the event loop's thread and must not block."""

    def peer_payload(self, payload: bytes | memoryview) -> None:
        """One payload arrived, in order; tell the peer with :meth:`Peer.consumed` when done with it."""

    def peer_turn(self) -> None:
        """All payloads that arrived were given, and more can be sent while :attr:`Peer.writable`."""

    def peer_path(self, path: str) -> None:
        """A path is in use, or another one than before."""

    def peer_retrying(self, attempt: int, attempts: int | None, delay: float) -> None:
        """The link failed, or is silent, and is tried again in ``delay`` seconds.

        For the time number ``attempt`` since it last worked; ``attempts`` is None where no number limits them.
        """

    def peer_back(self) -> None:
        """The link that had failed, or was silent, works again."""

    def peer_waiting(self, what: str, seconds: float) -> None:
        """The link is down, and no attempt makes sense before ``network`` or ``peer`` is back; empty: both are.

        It is given up in ``seconds``, which may be infinite. Only changes are told.
        """

    def peer_moved(self) -> None:
        """Sender: the code's mailbox is not needed any more, and can serve others. The session goes on elsewhere."""

    def peer_silent(self, seconds: float) -> None:
        """Something is due from the other side, and nothing came for so long; 0 says that it is heard again."""

    def peer_closed(self, code: int, reason: str) -> None:
        """The other side closed the session."""


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """How this side connects.

    Attributes:
        sender: Whether this side is the sender, who leads the link.
        max_payload: Bytes of the largest payload this side sends.
        ice_servers: STUN and TURN servers.
        choose_ice: Returns those to use from then on when the signaling server offers others; None: it is not asked.
        max_retries: Failures that are tried again, counted from when the link last worked; None for no end.
        retry_backoff: Seconds before a retry that follows a failed one; doubles each time.
        wait: Seconds that a link which is lost waits in all for the network or the other side.
        relay: What TURN servers may carry, on either side.
        only_loopback: Exchange loopback candidates only.
        own_server: The signaling server is this process: that it is near says nothing about the other side.
    """

    sender: bool
    max_payload: int
    ice_servers: Sequence[IceServer] = field(default=())
    choose_ice: Callable[[Sequence[wire.IceServer]], Sequence[IceServer]] | None = None
    max_retries: int | None = 3
    retry_backoff: float = 1.0
    wait: float = DEFAULT_WAIT
    relay: RelayUse = RelayUse.ALLOWED
    only_loopback: bool = False
    own_server: bool = False

    @property
    def improves(self) -> bool:
        """Whether a better path is looked for while one is in use.

        With relays alone there is none; and without a retry a path that turns out not to last would be the end.
        """
        return self.relay is not RelayUse.ONLY and self.max_retries != 0

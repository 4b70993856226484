"""The STUN and TURN servers that a connection asks, and what the latter may carry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from p2pal.wire import rendezvous
from p2pal.wire.ice_urls import parse_turn_url

_PATIENCE: Final = 5
"""Times that servers are asked for where there is no other way, and none is known yet."""

_MOST_WITHOUT_RELAYS: Final = 4


class RelayUse(Enum):
    """What TURN servers may carry."""

    ALLOWED = "allowed"
    """Everything, where there is no direct path."""
    ONLY = "only"
    """Everything, always: the other side learns no address of this machine but the relay's."""
    NEVER = "never"
    """Nothing."""


@dataclass(frozen=True, slots=True)
class IceServerConfig:
    """A STUN or TURN server as a connection is configured with it (RFC 8489, RFC 8656).

    Attributes:
        urls: Its URLs.
        username: For TURN.
        credential: For TURN.
        offered: The signaling server named it, not the user.
    """

    urls: tuple[str, ...]
    username: str = ""
    credential: str = field(default="", repr=False)
    offered: bool = False

    @property
    def relays(self) -> bool:
        """Whether it is a TURN server."""
        return any(url.startswith("turn") for url in self.urls)


Choose = Callable[[Sequence[rendezvous.IceServer]], Sequence[IceServerConfig]]
"""Returns the servers to use where the signaling server offers these."""


def servers_for(servers: Iterable[IceServerConfig], relay: RelayUse) -> list[IceServerConfig]:
    """Return those of the servers that may be asked.

    Where only relays are used a STUN server would learn this side's address for nothing.
    """
    return [server for server in servers if relay is RelayUse.ALLOWED or server.relays == (relay is RelayUse.ONLY)]


def servers_without_relays(servers: Iterable[IceServerConfig]) -> list[IceServerConfig]:
    """Return the servers that tell a connection without relays its address from outside.

    A TURN server over UDP does so, too (RFC 8656, section 3), and may be the only one there is.
    """
    found: dict[str, IceServerConfig] = {}
    for url, offered in ((url, server.offered) for server in servers for url in server.urls):
        if not url.startswith("turn"):
            found.setdefault(url, IceServerConfig((url,), offered=offered))
        elif (turn := parse_turn_url(url)) is not None and turn.transport == "udp":
            found.setdefault(stun := f"stun:{turn.place}", IceServerConfig((stun,), offered=offered))
    return list(found.values())[:_MOST_WITHOUT_RELAYS]


class KnownServers:
    """The STUN and TURN servers that one peer knows, for all its kinds of lanes.

    Args:
        servers: Those to begin with.
        choose: Returns those to use from then on when the signaling server offers others; None: it is not asked.

    Attributes:
        servers: Those of the connections to come.
    """

    __slots__ = ("_choose", "servers")

    def __init__(self, servers: Sequence[IceServerConfig] = (), choose: Choose | None = None) -> None:
        self.servers = servers
        self._choose = choose

    @property
    def relays(self) -> bool:
        """Whether a TURN server is known."""
        return any(server.relays for server in self.servers)

    def offered(self, servers: Sequence[rendezvous.IceServer]) -> None:
        """The signaling server offers these servers for the connections to come."""
        if servers and self._choose is not None:
            self.servers = self._choose(servers)

    async def learned(self, relay: RelayUse, learn: Callable[[], Awaitable[None]]) -> list[IceServerConfig]:
        """Return the servers that may be asked, as they are known after a moment.

        Where the signaling server is not asked nothing is waited for.

        Args:
            relay: What relays may carry. Where there is no connection without one the moment is a longer one.
            learn: Waits a moment at most until the signaling server may have offered more.
        """
        for _ in range(_PATIENCE if relay is RelayUse.ONLY and self._choose is not None else 1):
            if self._choose is not None:
                await learn()
            if found := servers_for(self.servers, relay):
                return found
        return []

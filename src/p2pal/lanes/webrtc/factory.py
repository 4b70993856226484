"""The WebRTC connections of one peer: the servers that they ask, the way to those, and why none of them came up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from p2pal.errors import ConnectionImpossible
from p2pal.lanes.address_zones import UNKNOWN, Nearness, Zone
from p2pal.lanes.base import ConnectionListener
from p2pal.lanes.candidate_filter import Destinations
from p2pal.lanes.ice_servers import IceServerConfig, KnownServers, RelayUse, servers_without_relays
from p2pal.lanes.interfaces import adapters, broadcasts
from p2pal.lanes.server_addresses import ServerAddresses
from p2pal.lanes.turn.tunnel import Tunnels
from p2pal.lanes.webrtc.diagnosis import impossible, no_relay, no_relay_through_proxy
from p2pal.lanes.webrtc.gathering import Gathering

if TYPE_CHECKING:
    from p2pal.lanes.webrtc.connection import WebRtcConnection

_REMEMBERED: Final = 4
"""As many connections are remembered to say what was tried."""


async def load_engine(*, loopback: bool) -> None:
    """Import the engine in a thread. It takes a tenth of a second, which most transfers over datagrams never need.

    Args:
        loopback: Whether its connections may stay on this machine. The first choice holds for the process.
    """

    def load() -> None:
        from p2pal.lanes.webrtc.connection import allow_loopback

        if loopback:
            allow_loopback()

    await asyncio.to_thread(load)


class WebRtcFactory:
    """Makes connections of the engine, which is loaded for the first one.

    Args:
        servers: STUN and TURN servers; others may be offered while the peer runs.
        near: How near the other side may be.
        destinations: What the other side may have this machine send to, where another kind of lane counts as well.

    Attributes:
        gatherings: What came of the search for paths, of the newest connections.
    """

    def __init__(
        self,
        servers: KnownServers | None = None,
        near: Nearness = UNKNOWN,
        destinations: Destinations | None = None,
    ) -> None:
        self._known = servers or KnownServers()
        self.gatherings: deque[Gathering] = deque(maxlen=_REMEMBERED)
        self._near = near
        self._destinations = destinations or Destinations(near.peers)
        self._addresses = ServerAddresses(near.servers)
        self._tunnels = Tunnels(self._addresses.addresses)

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
    ) -> WebRtcConnection:
        """Return a new connection, as :class:`~p2pal.lanes.base.ConnectionFactory` has it.

        A direct one waits for nobody: it is tried beside a lane that is well.

        Raises:
            NoRelay: If it is the first, only relays may be used, and none is known.
        """
        if direct:
            servers, relay = await self._addresses.usable(servers_without_relays(self._known.servers)), RelayUse.NEVER
        else:
            servers = await self._servers(relay, first=first, learn=learn)
        broadcast = frozenset() if self._near.only_loopback else await asyncio.to_thread(lambda: broadcasts(adapters()))
        await load_engine(loopback=self._near.peers.nearest is Zone.LOOPBACK)
        from p2pal.lanes.webrtc.connection import WebRtcConnection

        connection = WebRtcConnection(
            lane,
            generation,
            listener,
            servers,
            relay=relay,
            names=self._addresses.names | self._tunnels.names,
            only_loopback=self._near.only_loopback,
            remote=self._destinations.generation(broadcast),
        )
        self.gatherings.append(connection.gathering)
        return connection

    async def _servers(
        self, relay: RelayUse, *, first: bool, learn: Callable[[], Awaitable[None]]
    ) -> list[IceServerConfig]:
        only = relay is RelayUse.ONLY
        servers = await self._known.learned(relay, learn)
        if only and first and not servers:
            raise no_relay()
        led = await self._tunnels.lead_to(await self._addresses.usable(servers, hide=only), hide=only)
        if only and first and servers and not led:
            raise no_relay_through_proxy()
        return led

    def why_none(self, *, ours: RelayUse, agreed: RelayUse) -> ConnectionImpossible:
        """Return the error for a link that never stood."""
        return impossible(self.gatherings, self._addresses.trouble | self._tunnels.trouble, ours=ours, agreed=agreed)

    async def close(self) -> None:
        """Close the ports that lead to TURN servers."""
        await self._tunnels.close()

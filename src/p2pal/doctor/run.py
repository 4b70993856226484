"""Runs the probes, as many at once as can, and hands what they found to the judge."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Iterable
from dataclasses import replace
from typing import Final, TypeVar

from p2pal.app.connect import ice_servers
from p2pal.app.options import DEFAULT_STUN, ConnectOptions
from p2pal.connect_failure import ConnectFailure
from p2pal.doctor.datagram_facts import DatagramFacts
from p2pal.doctor.datagram_probe import probe_datagrams
from p2pal.doctor.facts import Facts
from p2pal.doctor.findings import judge
from p2pal.doctor.network_facts import Relaying, Survey, probe_target
from p2pal.doctor.report import Report
from p2pal.doctor.server_facts import ServerFacts
from p2pal.doctor.server_probe import check_server
from p2pal.hosts import is_loopback
from p2pal.lanes import interfaces
from p2pal.lanes.address_zones import Nearness, Zones, zone_reached
from p2pal.lanes.ice_servers import IceServerConfig
from p2pal.lanes.own_addresses import Interfaces
from p2pal.lanes.server_addresses import ServerAddresses
from p2pal.lanes.udp.factory import UdpFactory
from p2pal.lanes.webrtc.factory import load_engine
from p2pal.wire.ice_urls import is_stun_url, is_turn_url

SECOND_STUN: Final = "stun:stun.cloudflare.com:3478"
"""Asked beside the default STUN server, where nobody named another: one server alone cannot tell the kind of NAT."""

INTERFACES_TIMEOUT: Final = 3.0
BUDGET: Final = 13.5
"""Seconds after which no probe goes on."""

MAX_URLS: Final = 16
"""STUN and TURN servers that are tried: as many as the user may well name, and more than a server can."""

_STEPS: Final = 3
"""How often as long as the signaling server took a TURN server may take, if that is longer than usual."""
_T = TypeVar("_T")


async def examine(connect: ConnectOptions) -> Report:
    """Check everything that a transfer with these options needs, in 15 seconds at most. Nothing is left behind.

    Raises:
        UsageError: If the server's URL cannot be used.
    """
    return judge(await gather(connect))


async def gather(connect: ConnectOptions) -> Facts:
    """Run the probes."""
    loop = asyncio.get_running_loop()
    end = loop.time() + BUDGET
    met: asyncio.Future[ServerFacts] = loop.create_future()
    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(_within(INTERFACES_TIMEOUT, asyncio.to_thread(interfaces.look), Interfaces()))
        loading = tasks.create_task(load_engine(loopback=connect.on_this_machine))
        checking = tasks.create_task(check_server(connect.server, met=met.set_result))
        server = ServerFacts("") if _own_only(connect) else await _known(checking, met)
        addresses = ServerAddresses(Zones(zone_reached(server.reached)))
        near, far = [
            _Servers(await addresses.allowed(ice_servers(connect, each)), connect) for each in (server.near, server.far)
        ]
        opening = tasks.create_task(_within(INTERFACES_TIMEOUT, _datagrams(connect, server.reached), None))
        surveying = tasks.create_task(_survey(near, end))
        await loading
        patience = _STEPS * (server.answered or 0.0)
        trying = [tasks.create_task(_try(url, near, far, connect, end, patience)) for url in near.turn]
    return Facts(
        checking.result(),
        looking.result(),
        near.stun,
        near.turn,
        own_turn=bool(connect.turn),
        survey=surveying.result(),
        relays=tuple(relay for task in trying if (relay := task.result()) is not None),
        datagrams=opening.result(),
        on_this_machine=connect.on_this_machine,
    )


async def _known(checking: asyncio.Task[ServerFacts], met: asyncio.Future[ServerFacts]) -> ServerFacts:
    """Return what is known of the server once nothing more is found out: the transfer is removed meanwhile."""
    await asyncio.wait((checking, met), return_when=asyncio.FIRST_COMPLETED)
    return met.result() if met.done() else await checking


def _own_only(connect: ConnectOptions) -> bool:
    """Whether nothing is left to the signaling server: then nothing waits for it."""
    return bool(connect.turn) and connect.stun not in ((), (DEFAULT_STUN,))


async def _within(seconds: float, work: Awaitable[_T], otherwise: _T) -> _T:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await work
    return otherwise


async def _datagrams(connect: ConnectOptions, reached: str) -> DatagramFacts | None:
    """Open the sockets that a transfer by this server, which was reached at that address, would open."""
    near = Nearness(server=zone_reached(reached), own_server=connect.own_server, only_loopback=connect.only_loopback)
    return await probe_datagrams(await UdpFactory(near=near).addresses())


class _Servers:
    """The STUN and TURN servers of one end of a transfer."""

    def __init__(self, servers: Iterable[IceServerConfig], connect: ConnectOptions) -> None:
        self._servers = {url: server for server in servers for url in server.urls}
        # The signaling server may hand out what is no URL of a server.
        known = [url for url in self._servers if is_stun_url(url) or is_turn_url(url)]
        urls = [url for url in known if not connect.only_loopback or is_loopback(probe_target(url).host)][:MAX_URLS]
        self.stun = tuple(url for url in urls if is_stun_url(url))
        self.turn = tuple(url for url in urls if is_turn_url(url))
        self.second = (SECOND_STUN,) if self.stun == (DEFAULT_STUN,) == connect.stun else ()

    def server(self, url: str) -> IceServerConfig:
        """Return a server with this URL alone."""
        server = self._servers[url]
        return replace(server, urls=(url,))


async def _survey(servers: _Servers, end: float) -> Survey:
    """Ask every STUN server, and those TURN servers that can be asked the same."""
    from p2pal.doctor.stun_probe import survey

    relays = (url for url in servers.turn if probe_target(url).transport == "udp")
    return await survey([*servers.stun, *relays, *servers.second], end - asyncio.get_running_loop().time())


async def _try(
    url: str, near: _Servers, far: _Servers, connect: ConnectOptions, end: float, patience: float
) -> Relaying | None:
    """Try one TURN server, for ``patience`` at least; return None if there is too little time to tell."""
    from p2pal.doctor.relay_probe import TIMEOUT, try_relay

    usual = max(TIMEOUT, patience)
    seconds = min(usual, end - asyncio.get_running_loop().time())
    if seconds <= 0:
        return None
    other = (far if url in far.turn else near).server(url)
    found = await try_relay(
        near.server(url),
        [other, *map(near.server, near.stun)],
        only_loopback=connect.only_loopback,
        timeout=seconds,
    )
    told = found.relayed is not None or found.cause not in (None, ConnectFailure.NO_ANSWER)
    return found if told or not found.cut or seconds >= usual else None

"""The datagram lanes of one peer: the sockets that they begin with, and the servers that say how these look outside.

Both sides tell where their sockets are before either can make the lane: its keys come from what both of them say.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import socket
from collections.abc import Container, Sequence
from typing import Final

from p2pal.lanes.address_zones import UNKNOWN, Nearness, Zone, Zones
from p2pal.lanes.candidate_filter import CandidateFilter, Destinations
from p2pal.lanes.ice_servers import KnownServers
from p2pal.lanes.interfaces import adapters, broadcasts, own_addresses
from p2pal.lanes.server_addresses import ServerAddresses
from p2pal.lanes.udp.addresses import MAX_LOCALS, plain
from p2pal.lanes.udp.budget import ProbeBudget
from p2pal.lanes.udp.sockets import open_socket
from p2pal.wire.ice_urls import parse_stun_url, parse_turn_url
from p2pal.wire.signal import NONCE_BYTES, UdpCandidate

MAX_HOSTS: Final = 5
"""Addresses of its own that a side tells: the rest is for how servers see them, and for networks to come."""

MAX_SERVERS: Final = 3
"""STUN servers that are asked."""

MAX_LOOKED_AT: Final = 16
"""Servers whose addresses are looked at; the signaling server may name any number."""

_LOOPBACK: Final = ("127.0.0.1", "::1")


class UdpSockets:
    """One side of a lane that is not made yet.

    Attributes:
        sockets: Bound, one for each address.
        nonce: 16 random bytes for the lane's keys.
        candidates: Where the other side may reach them.
        broadcast: Addresses that mean everybody in a network of this machine, now: it changes as the machine moves.
        remote: Which of the other side's candidates are used.
    """

    __slots__ = ("broadcast", "candidates", "nonce", "remote", "sockets")

    def __init__(self, sockets: Sequence[socket.socket], broadcast: Container[str], remote: CandidateFilter) -> None:
        self.sockets = list(sockets)
        self.broadcast = broadcast
        self.remote = remote
        self.nonce = os.urandom(NONCE_BYTES)
        self.candidates = tuple(candidate_of(opened) for opened in self.sockets[:MAX_HOSTS])

    def take(self) -> list[socket.socket]:
        """Return the sockets, which are the caller's to close from now on."""
        taken, self.sockets = self.sockets, []
        return taken

    def close(self) -> None:
        """Close what was not taken."""
        for opened in self.take():
            opened.close()


def candidate_of(opened: socket.socket) -> UdpCandidate:
    """Return the candidate that a bound socket makes."""
    ip, port = opened.getsockname()[:2]
    return UdpCandidate("host", plain(ip), port)


class UdpFactory:
    """What the datagram lanes of one peer begin with.

    Args:
        servers: STUN and TURN servers; others may be offered while the peer runs.
        near: How near the other side may be.
        destinations: What the other side may have this machine send to, where another kind of lane counts as well.

    Attributes:
        zones: Where the other side may be.
        probes: How many probes may go to addresses that do not answer, over all lanes.
    """

    def __init__(
        self,
        servers: KnownServers | None = None,
        near: Nearness = UNKNOWN,
        destinations: Destinations | None = None,
    ) -> None:
        self.zones = near.peers
        self.probes = ProbeBudget()
        self._broadcast: set[str] = set()  # one for all lanes, so that those that move know of networks to come
        self._known = servers or KnownServers()
        self._only_loopback = near.only_loopback
        self._destinations = destinations or Destinations(near.peers)
        self._offered = ServerAddresses(near.servers)
        self._named = ServerAddresses(Zones(Zone.LOOPBACK, near.servers.farthest))

    async def open(self) -> UdpSockets:
        """Return sockets of a new lane, at most :data:`MAX_HOSTS` of them for addresses that are told."""
        addresses = await self.addresses()
        return UdpSockets(self.bind(addresses), self._broadcast, self._destinations.generation(self._broadcast))

    async def addresses(self) -> list[str]:
        """Return this machine's addresses that a lane may be bound to, best first."""
        addresses, broadcast = await asyncio.to_thread(self._look)
        self._broadcast.clear()
        self._broadcast.update(broadcast)
        return addresses

    def _look(self) -> tuple[list[str], frozenset[str]]:
        if self._only_loopback:
            return list(_LOOPBACK), frozenset()
        listed = adapters()
        found = [own.address for own in own_addresses(listed) if self.zones.has(own.address)]
        near = list(_LOOPBACK) if self.zones.nearest is Zone.LOOPBACK else []
        return found[: MAX_LOCALS - len(near)] + near, broadcasts(listed)

    @staticmethod
    def bind(addresses: Sequence[str]) -> list[socket.socket]:
        """Return a socket for each address that can be bound."""
        opened: list[socket.socket] = []
        for address in addresses[:MAX_LOCALS]:
            with contextlib.suppress(OSError):
                opened.append(open_socket(address))
        return opened

    async def stun_servers(self) -> list[tuple[str, int]]:
        """Return the addresses and ports of the servers to ask, at most :data:`MAX_SERVERS` for each family.

        Names that do not resolve within some seconds are passed over.
        """
        asked = dict.fromkeys(
            (server.offered, *parsed)
            for server in self._known.servers
            for url in server.urls
            if (parsed := _asked(url)) is not None
        )
        every = list(asked)[:MAX_LOOKED_AT]
        # All at once: names that do not resolve hold nothing up but once.
        addresses = await asyncio.gather(
            *((self._offered if offered else self._named).addresses(host) for offered, host, _ in every)
        )
        found = [(address, port) for (_, _, port), its in zip(every, addresses, strict=True) for address in its]
        if found:
            await asyncio.to_thread(importlib.import_module, "aioice")  # writes the requests, and takes long to load
        families = ([each for each in dict.fromkeys(found) if (":" in each[0]) == six] for six in (False, True))
        return [each for family in families for each in family[:MAX_SERVERS]]


def _asked(url: str) -> tuple[str, int] | None:
    """Return the host and port of a server that answers Binding requests over UDP, None if it is none."""
    if url.startswith("stuns:"):
        return None
    turn = parse_turn_url(url)
    if turn is not None:
        return (turn.host, turn.port) if turn.transport == "udp" and not turn.tls else None
    stun = parse_stun_url(url)
    return None if stun is None else (stun.host, stun.port)

"""Where the STUN and TURN servers are that a signaling server names: none nearer to us than it is itself.

A signaling server on the internet has no business with what is in our network, or on this machine; but whatever it
names the engine would ask, over UDP and TCP. So the addresses of what it names are looked at first, and the engine gets
those, not the names: what a name stands for can change from one moment to the next (DNS rebinding). One in our network
may name others there, and one on this machine any.

Names that the user gave are none of this module's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from time import monotonic
from typing import Final, NamedTuple

from p2pal.connect_failure import ConnectFailure
from p2pal.hosts import is_loopback
from p2pal.lanes.address_zones import Zone, Zones, zone_of
from p2pal.lanes.ice_servers import IceServerConfig
from p2pal.proxies import UnusableProxy, proxy_for
from p2pal.rate_limit import Allowance
from p2pal.wire.ice_urls import canonical_url, parse_stun_url, parse_turn_url

PATIENCE: Final = 2.0
"""Seconds that a connection waits for the names' addresses. It comes without those servers then; the next has them."""

FRESH: Final = 30.0
"""Seconds for which an answer counts. Another network may give another one."""

LOOK_UPS: Final = (16, 10.0)
"""So many names are looked up at once, and one more in so many seconds: the server may name others each time."""

_MOST_TROUBLES: Final = 16

Resolve = Callable[[str], list[str]]
"""Returns the addresses of a name, best first; may block.

Raises:
    OSError: If there is none.
    UnicodeError: If it is no name.
"""


def resolve(host: str) -> list[str]:
    """Return the addresses of a host, as the system has them."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class ServerAddresses:
    """The addresses of the servers that one signaling server names.

    Args:
        zones: Where they may be: no nearer than the signaling server.
        resolve: Looks a name up.

    Attributes:
        names: For the canonical URL with an address, the one that it stands for.
        trouble: For a URL that is not used, why.
    """

    __slots__ = ("_allowed", "_asking", "_found", "_hide", "_resolve", "_zones", "names", "trouble")

    def __init__(self, zones: Zones, *, resolve: Resolve = resolve) -> None:
        self._zones = zones
        self._resolve = resolve
        self._hide = False
        self._allowed = Allowance(*LOOK_UPS)
        self._found: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._asking: dict[str, asyncio.Future[None]] = {}
        self.names: dict[str, str] = {}
        self.trouble: dict[str, ConnectFailure] = {}

    async def addresses(self, host: str) -> tuple[str, ...]:
        """Return the addresses of a host that may be used: one of each family, IPv4 first."""
        if zone_of(host) is None:
            await self._look_up({host})
        return self._addresses(host)

    def _addresses(self, host: str) -> tuple[str, ...]:
        every = self._found.get(host, (0.0, (host,)))[1]
        usable = [each for each in every if self._zones.has(each)]
        first = {":" in address: address for address in reversed(usable)}
        return tuple(sorted(first.values(), key=lambda each: ":" in each))

    async def allowed(self, servers: Iterable[IceServerConfig]) -> list[IceServerConfig]:
        """Return the servers that may be asked, as they are named."""
        every = list(servers)
        offered = [self._parse(url) for server in every if server.offered for url in server.urls]
        names = {each.host for each in offered if each is not None and not each.by_proxy and zone_of(each.host) is None}
        await self._look_up(names)
        return _with_urls(every, lambda url: [url] if self._may(url) else [])

    async def usable(self, servers: Iterable[IceServerConfig], *, hide: bool = False) -> list[IceServerConfig]:
        """Return the servers that may be asked, by their addresses where the engine would look for them itself.

        Args:
            servers: As they were named.
            hide: This side hides behind relays: where a SOCKS proxy is set, no name is looked up but through it.
        """
        self._hide = hide
        return _with_urls(await self.allowed(servers), self._urls)

    def _may(self, url: str) -> bool:
        parsed = self._parse(url)
        if parsed is None:
            return False
        literal = zone_of(parsed.host) is not None
        if parsed.by_proxy and not literal:
            return True  # the proxy looks the name up, and goes where it may
        if self._addresses(parsed.host):
            self.trouble.pop(url, None)
            return True
        known = literal or self._known(parsed.host)
        if url in self.trouble or len(self.trouble) < _MOST_TROUBLES:
            self.trouble[url] = ConnectFailure.TOO_NEAR if known else ConnectFailure.NOT_RESOLVED
        return False

    def _urls(self, url: str) -> list[str]:
        """Return what the engine is given for a URL: one for each family."""
        parsed = self._parse(url)
        if parsed is None or parsed.by_proxy or parsed.by_name or zone_of(parsed.host) is not None:
            return [url]
        scheme, query = url.partition(":")[0], url.partition("?")[2]
        made = []
        for address in self._addresses(parsed.host):
            host = f"[{address}]" if ":" in address else address
            made.append(f"{scheme}:{host}:{parsed.port}" + (f"?{query}" if query else ""))
            self.names[canonical_url(made[-1])] = url
        return made

    def _parse(self, url: str) -> _Way | None:
        turn = parse_turn_url(url)
        found = turn or parse_stun_url(url)
        if found is None:
            return None
        over_tcp = turn is not None and turn.transport == "tcp"  # the engine asks a stuns: server over UDP
        try:
            proxy = proxy_for("https", found.host, found.port)
        except UnusableProxy:
            led, veiled = True, True  # what is meant for it goes nowhere
        else:
            led, veiled = proxy is not None, proxy is not None and proxy.veils
        by_proxy = led if over_tcp else veiled and self._hide
        return _Way(found.host, found.port, turn is not None and turn.tls, by_proxy)

    def _known(self, host: str) -> tuple[str, ...]:
        return self._found.get(host, (0.0, ()))[1]

    async def _look_up(self, hosts: Collection[str]) -> None:
        now = monotonic()
        if self._zones.farthest is Zone.LOOPBACK:  # no question about a name leaves this machine either
            hosts = [host for host in hosts if is_loopback(host)]
        for host in hosts:
            known = self._found.get(host)
            fresh = known is not None and now < known[0] + FRESH
            if not fresh and host not in self._asking and self._allowed.take(now):
                self._asking[host] = asyncio.get_running_loop().create_future()
                # A thread of its own: the system's patience with a name server may outlast the program's end.
                threading.Thread(
                    target=self._ask, args=(host, asyncio.get_running_loop()), name="look-up", daemon=True
                ).start()
        # Where a name's addresses were known a while ago they count until there are others: a link is to come back.
        waited = [self._asking[host] for host in hosts if host in self._asking and not self._known(host)]
        if waited:
            await asyncio.wait(waited, timeout=PATIENCE)

    def _ask(self, host: str, loop: asyncio.AbstractEventLoop) -> None:
        try:
            found = tuple(self._resolve(host))
        except (OSError, UnicodeError):
            found = ()
        with contextlib.suppress(RuntimeError):  # the loop is over
            loop.call_soon_threadsafe(self._take, host, found)

    def _take(self, host: str, found: tuple[str, ...]) -> None:
        if found or host not in self._found:
            self._found[host] = monotonic(), found
        self._asking.pop(host).set_result(None)


class _Way(NamedTuple):
    """Where a URL leads, and who finds the way.

    Attributes:
        host: A name or an address.
        port: Its port.
        by_name: It is reached over TLS, whose certificate is for the name, by :mod:`p2pal.lanes.turn.tunnel`.
        by_proxy: A proxy leads there, which looks names up itself, or nothing does.
    """

    host: str
    port: int
    by_name: bool
    by_proxy: bool


def _with_urls(servers: Iterable[IceServerConfig], urls: Callable[[str], list[str]]) -> list[IceServerConfig]:
    """Return the servers with other URLs for those that were offered, and without those that have none left."""
    made = [
        replace(server, urls=tuple(new for url in server.urls for new in urls(url))) if server.offered else server
        for server in servers
    ]
    return [server for server in made if server.urls]

"""Where others may have this machine send to: what address a stranger may name, and how many. Pure bookkeeping.

ICE sends to whatever the other side names (RFC 8445, section 19.5.1 calls that the STUN amplification attack), before
anybody there has agreed to anything, and before a person has agreed to the transfer. Nothing here finds out whose an
address is. It keeps out those that nobody can be at, and bounds the rest by what an honest machine with many networks
needs.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Container
from enum import IntEnum
from typing import Final, NamedTuple

from p2pal.lanes.candidates import IceCandidate
from p2pal.rate_limit import Allowance

FIRST_PORT: Final = 1024
"""Ports below are those of services. No engine binds one, and NATs keep apart what is above (RFC 4787, REQ-3)."""

MOST_HOSTS: Final = 40
"""Addresses in one generation."""

MOST: Final = {"host": 32, "srflx": 16, "relay": 16, "active": 8}
"""Candidates in one generation, by their kind; ``active`` are those of a side that opens TCP connections itself.

A laptop has 3 to 12 in all: Ethernet, Wi-Fi and a VPN, each with IPv4 and IPv6, seen from outside, and on a relay. A
machine with 32 networks, bridges of containers say, tells of all of them.
"""

SESSION_HOSTS: Final = (64, 60.0)
"""Addresses in a session: so many at once, and one more in so many seconds. Machines move between networks."""

SESSION_DESTINATIONS: Final = (256, 0.5)
"""The same of destinations: each generation has ports of its own."""

_KNOWN: Final = 512
"""Addresses of a session that are remembered."""

_MAPPED: Final = tuple(map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96")))
"""IPv4 in IPv6's clothes: compatible, mapped (RFC 4291), translated (RFC 7915). Engines write IPv4 as IPv4."""

_NAT64: Final = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48")))
"""What a translator passes on to IPv4 (RFC 6052, RFC 8215)."""

_SITE_LOCAL: Final = ipaddress.IPv6Network("fec0::/10")
_THIS_NETWORK: Final = ipaddress.IPv4Network("0.0.0.0/8")


class Zone(IntEnum):
    """How near an address is; less is nearer."""

    LOOPBACK = 0
    """This machine."""
    LOCAL = 1
    """A network beside the internet: private, shared (RFC 6598), link-local (RFC 3927), unique local (RFC 4193)."""
    PUBLIC = 2
    """The internet."""


class Zones(NamedTuple):
    """A range of them: the nearest and the farthest that count."""

    nearest: Zone = Zone.LOCAL
    farthest: Zone = Zone.PUBLIC

    def has(self, address: str) -> bool:
        """Whether somebody can be at this IP address, and it is in the range."""
        zone = zone_of(address)
        return zone is not None and self.nearest <= zone <= self.farthest


class Nearness(NamedTuple):
    """What is known of how near the other side may be.

    Attributes:
        server: How near the signaling server was reached.
        own_server: It is this process: that it is near says nothing about the other side.
        only_loopback: Nothing but loopback is used.
    """

    server: Zone = Zone.PUBLIC
    own_server: bool = False
    only_loopback: bool = False

    @property
    def peers(self) -> Zones:
        """Where the other side may be."""
        near = self.only_loopback or (self.server is Zone.LOOPBACK and not self.own_server)
        return Zones(Zone.LOOPBACK if near else Zone.LOCAL, self._farthest)

    @property
    def servers(self) -> Zones:
        """Where servers may be that the signaling server names."""
        return Zones(Zone.LOOPBACK if self.only_loopback else self.server, self._farthest)

    @property
    def _farthest(self) -> Zone:
        return Zone.LOOPBACK if self.only_loopback else Zone.PUBLIC


UNKNOWN: Final = Nearness()
ANYWHERE: Final = Zones()
"""But on this machine."""

ONLY_LOOPBACK: Final = Zones(Zone.LOOPBACK, Zone.LOOPBACK)


def zone_of(text: str) -> Zone | None:
    """Return where an IP address is; None if nobody can be at it, or it is none.

    Nobody is at unspecified, broadcast, multicast and reserved addresses; at IPv6 addresses that only mean something
    together with an interface; and at forms of IPv6 that stand for such an IPv4 address.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.is_loopback:
            return Zone.LOOPBACK
        if address.scope_id is not None or address.is_link_local or any(address in each for each in _MAPPED):
            return None
        if address in _SITE_LOCAL:
            return Zone.LOCAL
        if (inner := _carried(address)) is not None:
            # All of these carry public addresses only (RFC 6052, section 3.1; RFC 3056, section 2; RFC 4380).
            return Zone.PUBLIC if zone_of(str(inner)) is Zone.PUBLIC else None
    elif address in _THIS_NETWORK:
        return None
    if address.is_multicast or address.is_reserved or address.is_unspecified:
        return None
    if address.is_loopback:
        return Zone.LOOPBACK
    return Zone.PUBLIC if address.is_global else Zone.LOCAL


def zone_reached(address: str) -> Zone:
    """Return where a server is that was reached at this address; of one that is not known, the internet is thought."""
    address = address.partition("%")[0]
    if zone_of(address) is None and address.startswith("fe80:"):
        return Zone.LOCAL
    zone = zone_of(address.removeprefix("::ffff:"))
    return Zone.PUBLIC if zone is None else zone


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that packets to this one end up at, through NAT64, 6to4 or Teredo."""
    if any(address in each for each in _NAT64):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.sixtofour is not None:
        return address.sixtofour
    return None if address.teredo is None else address.teredo[1]


class Destinations:
    """What the other side of one session may have this machine send to.

    Memory: the addresses of 512 hosts, and those of one generation.

    Args:
        zones: Where the other side may be.
    """

    __slots__ = ("_every", "_hosts", "_known", "zones")

    def __init__(self, zones: Zones = ANYWHERE) -> None:
        self.zones = zones
        self._known: dict[str, None] = {}
        self._hosts = Allowance(*SESSION_HOSTS)
        self._every = Allowance(*SESSION_DESTINATIONS)

    def generation(self, broadcast: Container[str] = ()) -> Remote:
        """Return the filter for one generation's candidates.

        Args:
            broadcast: The addresses that mean everybody in a network of this machine.
        """
        return Remote(self, broadcast)

    def afford(self, candidate: IceCandidate, now: float) -> bool:
        """Whether the session has one more destination left; it is used up then."""
        known = candidate.address in self._known
        if not (known or self._hosts.may(now)) or not self._every.may(now):
            return False
        self._every.take(now)
        if not known:
            self._hosts.take(now)
            if len(self._known) >= _KNOWN:
                del self._known[next(iter(self._known))]
            self._known[candidate.address] = None
        return True


class Quota:
    """How many candidates of each kind one side tells in a generation: the other one passes over those beyond."""

    __slots__ = ("_hosts", "_taken", "_used")

    def __init__(self) -> None:
        self._taken: set[tuple[str, str, int]] = set()
        self._used = dict.fromkeys(MOST, 0)
        self._hosts: set[str] = set()

    def has(self, candidate: IceCandidate) -> bool:
        """Whether this one was told before."""
        return _place(candidate) in self._taken

    def may(self, candidate: IceCandidate) -> bool:
        """Whether there is room for it."""
        room = self._used[_kind(candidate)] < MOST[_kind(candidate)]
        return room and (candidate.address in self._hosts or len(self._hosts) < MOST_HOSTS)

    def take(self, candidate: IceCandidate) -> bool:
        """Take it, if there is room."""
        if self.has(candidate):
            return True
        if not self.may(candidate):
            return False
        self._taken.add(_place(candidate))
        self._used[_kind(candidate)] += 1
        self._hosts.add(candidate.address)
        return True


class Remote:
    """Which of the other side's candidates are used in one generation.

    One that is not is passed over: others may work. How many lines there may be at all,
    :data:`p2pal.link.offer_answer.MAX_CANDIDATES` says.
    """

    __slots__ = ("_broadcast", "_quota", "_session")

    def __init__(self, session: Destinations, broadcast: Container[str]) -> None:
        self._session = session
        self._broadcast = broadcast
        self._quota = Quota()

    def takes(self, candidate: IceCandidate, now: float) -> bool:
        """Whether this one may be used."""
        if not self._session.zones.has(candidate.address):
            return False
        if candidate.address in self._broadcast:
            return False
        if candidate.protocol == "tcp":
            # A SYN from each network of ours, and the repetitions of it, for each port that somebody names: that finds
            # out about a network what nobody there may know. And this engine never listens: no honest side names one.
            return not candidate.dialled and self._quota.take(candidate)
        if self._quota.has(candidate):
            return True
        if candidate.port < FIRST_PORT or not self._quota.may(candidate):
            return False
        return self._session.afford(candidate, now) and self._quota.take(candidate)


def _place(candidate: IceCandidate) -> tuple[str, str, int]:
    return candidate.protocol, candidate.address, candidate.port


def _kind(candidate: IceCandidate) -> str:
    if candidate.protocol == "tcp":
        return "active"
    return "srflx" if candidate.kind == "prflx" else candidate.kind

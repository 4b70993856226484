"""How near an IP address is: this machine, a network beside the internet, or the internet. Pure."""

from __future__ import annotations

import ipaddress
from enum import IntEnum
from typing import Final, NamedTuple

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

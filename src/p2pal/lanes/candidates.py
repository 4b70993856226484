"""ICE candidates as they travel (RFC 8839, section 5.1), as far as a path's words and worth follow from them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

MAX_COST: Final = 999
"""What this engine takes from a network that it would rather not use."""

_MAX_PORT: Final = 65535
_NUMBER: Final = re.compile(r"[0-9]{1,10}")
_LINE: Final = re.compile(
    r"candidate:[A-Za-z0-9+/]{1,32} [0-9]{1,5} (?P<protocol>udp|tcp|UDP|TCP) [0-9]{1,10}"
    r" (?P<address>[0-9A-Fa-f.:]{2,45}|(?P<mdns>[A-Za-z0-9-]{1,63}\.local)) (?P<port>[0-9]{1,5})"
    r" typ (?P<kind>host|srflx|prflx|relay)(?P<more>(?: [!-~]{1,64} [!-~]{1,256}){0,16})"
)
"""Exactly what engines write: of a line that another reader would take apart in another way nothing is certain."""

_TRANSPORTS: Final = frozenset({"udp", "tcp", "tls"})
_RELAY_TRANSPORT: Final = "relay-transport"
"""The extension attribute in which p2pal says how a side reaches its relay; engines pass over what they do not know."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An address that one side can be reached at.

    Attributes:
        kind: ``host``, ``srflx``, ``prflx`` or ``relay``.
        protocol: ``udp`` or ``tcp``: between the address and whoever sends to it.
        address: An IP address, or a host name for addresses that are hidden (mDNS).
        port: Its port.
        cost: What the side's engine makes of the network behind it, 0 (wired) to 999.
        relay_transport: How the side reaches its relay, ``udp``, ``tcp`` or ``tls``; empty if that is not known.
    """

    kind: str
    protocol: str
    address: str
    port: int
    cost: int = 0
    relay_transport: str = ""

    @property
    def ipv6(self) -> bool:
        """Whether the address is of that family, and of a network: on loopback the family says nothing."""
        return ":" in self.address and self.address != "::1"


def parse_candidate(line: str) -> Candidate | None:
    """Return what a candidate's line says, None if it is not to be used.

    What is returned is all that an engine finds in it, because nothing but printable ASCII and single spaces is let
    through. Its address must be one, or a name of the local network (mDNS, as browsers write it): who may name any
    host would have us ask for it in the DNS, and see who we are by who asks.
    """
    found = _LINE.fullmatch(line)
    if found is None or int(found["port"]) > _MAX_PORT:
        return None
    if not (found["mdns"] or _is_address(found["address"])):
        return None
    rest = found["more"].split(" ")[1:]
    more = dict(zip(rest[::2], rest[1::2], strict=True))
    cost = more.get("network-cost", "")
    transport = more.get(_RELAY_TRANSPORT, "")
    return Candidate(
        kind=found["kind"],
        protocol=found["protocol"].lower(),
        address=found["address"],
        port=int(found["port"]),
        cost=min(int(cost), MAX_COST) if _NUMBER.fullmatch(cost) else 0,
        relay_transport=transport if transport in _TRANSPORTS else "",
    )


def _is_address(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def with_relay_transport(line: str, transport: str) -> str:
    """Return a relayed candidate's line that also says how its side reaches the relay."""
    return f"{line} {_RELAY_TRANSPORT} {transport}"

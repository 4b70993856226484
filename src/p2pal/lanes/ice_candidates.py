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
    r" (?P<address>[0-9A-Fa-f.:]{2,45}) (?P<port>[0-9]{1,5})"
    r" typ (?P<kind>host|srflx|prflx|relay)(?P<more>(?: [!-~]{1,64} [!-~]{1,256}){0,16})"
)
"""Exactly what engines write: of a line that another reader would take apart in another way nothing is certain."""

_ACTIVE: Final = re.compile(r"(?: raddr [!-~]{1,256})?(?: rport [!-~]{1,256})? tcptype active(?: .*)?")
"""RFC 6544, section 4.5: the engine looks for the type in this place alone, and dials where it finds none."""

_TRANSPORTS: Final = frozenset({"udp", "tcp", "tls"})
_RELAY_TRANSPORT: Final = "relay-transport"
"""The extension attribute in which p2pal says how a side reaches its relay; engines pass over what they do not know."""


@dataclass(frozen=True, slots=True)
class IceCandidate:
    """An address that one side can be reached at.

    Attributes:
        kind: ``host``, ``srflx``, ``prflx`` or ``relay``.
        protocol: ``udp`` or ``tcp``: between the address and whoever sends to it.
        address: An IP address.
        port: Its port.
        cost: What the side's engine makes of the network behind it, 0 (wired) to 999.
        relay_transport: How the side reaches its relay, ``udp``, ``tcp`` or ``tls``; empty if that is not known.
        dialled: The other side is to open a TCP connection to it; not to one that is active itself (RFC 6544).
    """

    kind: str
    protocol: str
    address: str
    port: int
    cost: int = 0
    relay_transport: str = ""
    dialled: bool = False

    @property
    def ipv6(self) -> bool:
        """Whether the address is of that family, and of a network: on loopback the family says nothing."""
        return ":" in self.address and self.address != "::1"


def parse_candidate(line: str) -> IceCandidate | None:
    """Return what a candidate's line says, None if it is not to be used.

    What is returned is all that an engine finds in it, because nothing but printable ASCII and single spaces is let
    through. Its address must be one: who may name a host would have us ask for it, see who we are by who asks, and lead
    us to any address after it was looked at. Browsers hide theirs behind names of the local network (mDNS); they are
    found by their own checks instead (peer-reflexive).
    """
    found = _LINE.fullmatch(line)
    if found is None or int(found["port"]) > _MAX_PORT:
        return None
    if not _is_address(found["address"]):
        return None
    protocol = found["protocol"].lower()
    rest = found["more"].split(" ")[1:]
    more = dict(zip(rest[::2], rest[1::2], strict=True))
    cost = more.get("network-cost", "")
    transport = more.get(_RELAY_TRANSPORT, "")
    return IceCandidate(
        kind=found["kind"],
        protocol=protocol,
        address=found["address"],
        port=int(found["port"]),
        cost=min(int(cost), MAX_COST) if _NUMBER.fullmatch(cost) else 0,
        relay_transport=transport if transport in _TRANSPORTS else "",
        dialled=protocol == "tcp" and _ACTIVE.fullmatch(found["more"]) is None,
    )


def _is_address(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def with_relay_transport(line: str, transport: str) -> str:
    """Return a relayed candidate's line that also says how its side reaches the relay."""
    return f"{line} {_RELAY_TRANSPORT} {transport}"

"""ICE candidates as they travel (RFC 8839, section 5.1), as far as a path's words and worth follow from them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

MAX_COST: Final = 999
"""What this engine takes from a network that it would rather not use."""

_MAX_PORT: Final = 65535
_KINDS: Final = frozenset({"host", "srflx", "prflx", "relay"})
_NUMBER: Final = re.compile(r"[0-9]{1,10}")
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

    Its address must be one, or a name of the local network (mDNS, as browsers write it): who may name any host would
    have us ask for it in the DNS, and see who we are by who asks.
    """
    fields = line.removeprefix("candidate:").split()
    if len(fields) < 8 or fields[6] != "typ" or not _NUMBER.fullmatch(fields[5]) or int(fields[5]) > _MAX_PORT:
        return None
    if fields[7] not in _KINDS:
        return None
    if not (fields[4].lower().endswith(".local") or _is_address(fields[4])):
        return None
    more = dict(zip(fields[8::2], fields[9::2], strict=False))
    cost = more.get("network-cost", "0")
    transport = more.get(_RELAY_TRANSPORT, "")
    return Candidate(
        kind=fields[7],
        protocol=fields[2].lower(),
        address=fields[4],
        port=int(fields[5]),
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

"""The addresses of this machine, and whether there is a way out. Nothing is sent."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import Final

from p2pal.lanes.probe_facts import Interfaces

MAX_ADDRESSES: Final = 256

_POINT_TO_POINT: Final = 31
"""The length of a prefix from which on both addresses, or the only one, are hosts' (RFC 3021)."""

# Of the root name servers: no address is more likely to be on the internet. Nobody is asked there.
_OUTSIDE: Final = {socket.AF_INET: "198.41.0.4", socket.AF_INET6: "2001:503:ba3e::2:30"}


def look() -> Interfaces:
    """Return the addresses of this machine. Takes milliseconds, and may block."""
    import ifaddr

    found: list[str] = []
    try:
        for adapter in ifaddr.get_adapters():
            for each in adapter.ips:
                text = each.ip if isinstance(each.ip, str) else each.ip[0]
                if _is_useful(text) and text not in found and len(found) < MAX_ADDRESSES:
                    found.append(text)
    except OSError:  # some containers forbid the question
        found = [each for each in (source_of(outside) for outside in _OUTSIDE.values()) if each]
    return Interfaces(
        tuple(found),
        ipv4_route=source_of(_OUTSIDE[socket.AF_INET]) is not None,
        ipv6_route=source_of(_OUTSIDE[socket.AF_INET6]) is not None,
    )


def broadcasts() -> frozenset[str]:
    """Return the IPv4 addresses that mean everybody in a network of this machine: the last of each, and the first.

    The first meant the same before RFC 1122. Takes milliseconds, and may block.
    """
    import ifaddr

    found: set[str] = set()
    with contextlib.suppress(OSError):  # some containers forbid the question
        for adapter in ifaddr.get_adapters():
            for each in adapter.ips:
                if isinstance(each.ip, str) and 0 < each.network_prefix < _POINT_TO_POINT:
                    network = ipaddress.IPv4Network((each.ip, each.network_prefix), strict=False)
                    found |= {str(network.broadcast_address), str(network.network_address)}
    return frozenset(found)


def source_of(address: str) -> str | None:
    """Return the address that this machine would use towards another one; None if there is no route."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # UDP: this only chooses the route
            source: str = probe.getsockname()[0]
    except OSError:
        return None
    return source


def _is_useful(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return not (address.is_loopback or address.is_link_local or address.is_unspecified)

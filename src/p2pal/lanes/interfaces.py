"""The addresses of this machine, and whether there is a way out. Nothing is sent."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from p2pal.lanes.probe_facts import Interfaces

MAX_ADDRESSES: Final = 256

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

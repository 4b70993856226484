"""The addresses of this machine, and whether there is a way out. Nothing is sent."""

from __future__ import annotations

import ipaddress
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from p2pal.lanes.own_addresses import Interfaces, OwnAddress, rank

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ifaddr import Adapter

MAX_ADDRESSES: Final = 256

_POINT_TO_POINT: Final = 31
"""The length of a prefix from which on both addresses, or the only one, are hosts' (RFC 3021)."""
_SYSTEM: Final = Path("/sys/class/net")
_IF_INET6: Final = Path("/proc/net/if_inet6")
_DOWN: Final = frozenset({"down", "lowerlayerdown", "notpresent"})
"""States of an interface that leads nowhere (RFC 2863, section 3.1.14)."""
_TUNNELS: Final = frozenset({"512", "768", "769", "776", "778", "823", "65534"})
"""Hardware types that Linux has for PPP, tunnels, and what has no hardware at all: TUN devices, WireGuard."""
_UNUSABLE: Final = 0x08 | 0x20
"""Somebody else has the address, or its time is over (IFA_F_DADFAILED, IFA_F_DEPRECATED)."""

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


def adapters() -> list[Adapter]:
    """Return the network adapters of this machine; none where the system tells none. Takes milliseconds, may block."""
    import ifaddr

    try:
        return list(ifaddr.get_adapters())
    except OSError:  # some containers forbid the question
        return []


def broadcasts(listed: Iterable[Adapter]) -> frozenset[str]:
    """Return the IPv4 addresses that mean everybody in a network of this machine: the last of each, and the first.

    The first meant the same before RFC 1122.

    Args:
        listed: What :func:`adapters` returned.
    """
    found: set[str] = set()
    for each in (ip for adapter in listed for ip in adapter.ips):
        if isinstance(each.ip, str) and 0 < each.network_prefix < _POINT_TO_POINT:
            network = ipaddress.IPv4Network((each.ip, each.network_prefix), strict=False)
            found |= {str(network.broadcast_address), str(network.network_address)}
    return frozenset(found)


def own_addresses(listed: Iterable[Adapter]) -> tuple[OwnAddress, ...]:
    """Return the addresses at which another machine may reach this one, best first.

    Args:
        listed: What :func:`adapters` returned. Of none the addresses are taken that lead out.
    """
    sources = [each for each in (source_of(outside) for outside in _OUTSIDE.values()) if each]
    found = _of_interfaces(listed)
    return rank(found or [OwnAddress(each, 0, "") for each in sources], sources)


def _of_interfaces(listed: Iterable[Adapter]) -> list[OwnAddress]:
    unusable = _unusable_ipv6()
    found: list[OwnAddress] = []
    for adapter in listed:
        # Windows has a number in braces for a name, and shows another one.
        name = adapter.nice_name if sys.platform == "win32" else str(adapter.name)
        if _system_says(name, "operstate") in _DOWN:
            continue
        tunnel = _system_says(name, "type") in _TUNNELS
        for each in adapter.ips:
            text = each.ip if isinstance(each.ip, str) else each.ip[0].partition("%")[0]
            if text not in unusable and len(found) < MAX_ADDRESSES:
                found.append(OwnAddress(text, each.network_prefix, name, tunnel))
    return found


def _system_says(interface: str, what: str) -> str:
    """Return what Linux says of an interface; nothing elsewhere."""
    try:
        return (_SYSTEM / interface / what).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _unusable_ipv6() -> frozenset[str]:
    """Return the IPv6 addresses that Linux has, but does not give to new connections; nothing elsewhere."""
    try:
        lines = _IF_INET6.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return frozenset()
    rows = [line.split() for line in lines]
    return frozenset(
        str(ipaddress.IPv6Address(int(row[0], 16))) for row in rows if len(row) == 6 and int(row[4], 16) & _UNUSABLE
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

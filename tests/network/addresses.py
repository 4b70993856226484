"""The addresses in a laboratory, all of them from ranges that are nobody's."""

from __future__ import annotations

from typing import Final

from tests.network.access import Link

SERVER: Final = ("198.18.0.2", "198.18.0.3", "2001:db8::2")
"""Those of the server's host. They stand in ``etc/hosts``, too."""


def v4(network: int, host: int) -> str:
    """Return an address of a network that is public in here (RFC 2544)."""
    return f"198.18.{network}.{host}"


def v6(network: int, host: int, subnet: int = 0) -> str:
    """Return one for IPv6 (RFC 3849)."""
    return f"2001:db8:{network}:{subnet}::{host}"


def on_router(link: Link, network: int, host: int) -> str:
    """Return an address of the network between a link and the router."""
    return v6(network, host) if link.ipv6 else v4(network, host)


def own_address(link: Link, network: int, index: int, host: int) -> str:
    """Return an address of the network that a host's interface of this number is in.

    Behind a NAT it is that of many a home: Alice's and Bob's are the same.
    """
    if not link.rules:
        return on_router(link, network, host)
    return v6(network, host, 1) if link.ipv6 else f"192.168.{index}.{host}"


def length(link: Link) -> int:
    """Return how long the prefixes of its networks are, in bits."""
    return 64 if link.ipv6 else 24


def family(link: Link) -> str:
    """Return the option of ``ip`` for its version of IP."""
    return "-6" if link.ipv6 else "-4"

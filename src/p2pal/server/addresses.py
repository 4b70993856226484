"""Whose request it is: the client's address behind proxies, and what counts as one address. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

IpAddress = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_HOPS: Final = 16
"""Proxies in a row that are looked at; whoever comes further left is not believed."""

_MAX_TEXT: Final = 80  # an IPv6 address that ends in an IPv4 address, with a zone, brackets and a port
_REMEMBERED: Final = 4096  # texts; reading one costs ten times as much as finding it
_SITE: Final = 64  # bits of an IPv6 address that name the network; the rest is the client's to choose (RFC 7421)


def client_address(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """Return the address of the client, in its one standard form (RFC 5952).

    The header is read from the right, where the proxy nearest to us wrote, and only as long as it was written by one
    that is trusted: what stands left of the first other address, or of anything that is no address, could be the
    client's own invention. In a trusted network there must be nobody but proxies.

    Args:
        peer: The address at the other end of the connection.
        forwarded: The values of all ``X-Forwarded-For`` headers, in order.
        trusted: The networks of the proxies that are believed.

    Returns:
        The address, or empty if the peer has none (a Unix socket, a connection that is gone).
    """
    address = _parse(peer)
    if address is None:
        return ""
    hops = _from_right(forwarded)
    for _ in range(MAX_HOPS):
        if not _within(address, trusted):
            break
        before = _parse(next(hops, ""))
        if before is None:
            break
        address = before
    return str(address)


@lru_cache(_REMEMBERED)
def group(address: str) -> str:
    """Return the name under which an address is counted: an IPv6 client is its /64, because it has all of that."""
    parsed = _parse(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, _SITE), strict=False))
    return "" if parsed is None else str(parsed)


def trusts(peer: str, trusted: Sequence[Network]) -> bool:
    """Tell whether this peer is a proxy that is believed."""
    address = _parse(peer)
    return address is not None and _within(address, trusted)


def _within(address: IpAddress, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _from_right(forwarded: Sequence[str]) -> Iterator[str]:
    for value in reversed(forwarded):
        yield from reversed(value.rsplit(",", MAX_HOPS))


def _parse(text: str) -> IpAddress | None:
    return _read(text.strip(" \t")) if len(text) <= _MAX_TEXT else None


@lru_cache(_REMEMBERED)
def _read(text: str) -> IpAddress | None:
    """Read ``192.0.2.1``, ``192.0.2.1:99``, ``2001:db8::1``, ``fe80::1%eth0`` or ``[2001:db8::1]:99``."""
    port = ""
    if text.startswith("["):
        text, bracket, port = text[1:].partition("]")
        if not bracket or ":" not in text:
            return None
    elif text.count(":") == 1:
        text, colon, port = text.partition(":")
        port = colon + port
    if port and not _is_port(port):
        return None
    if ":" in text:
        text = text.partition("%")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_port(text: str) -> bool:
    digits = text.removeprefix(":")
    return digits != text and digits.isascii() and digits.isdecimal() and int(digits) <= 65535

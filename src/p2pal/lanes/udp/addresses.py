"""Addresses and candidates of the datagram lane (the terms are those of ICE, RFC 8445)."""

from __future__ import annotations

import ipaddress
from enum import IntEnum
from typing import Final, NamedTuple

from p2pal.lanes.address_zones import Zones

MAX_CANDIDATES: Final = 8
"""Candidates that each side may tell."""
MAX_LOCALS: Final = 8
"""Sockets of one lane."""


class CandidateKind(IntEnum):
    """How a candidate was found; less is better."""

    HOST = 0
    SERVER_REFLEXIVE = 1
    PEER_REFLEXIVE = 2


class Address(NamedTuple):
    """One end of a path as we see it.

    Attributes:
        ip: The peer's address in its usual form, with a zone where one is needed.
        port: Its port.
        local: The index of our socket.
    """

    ip: str
    port: int
    local: int


class DatagramCandidate(NamedTuple):
    """An address at which one side may be reached."""

    kind: CandidateKind
    ip: str
    port: int


def plain(ip: str) -> str:
    """Return an address as it is compared: IPv4-mapped ones as IPv4, without a zone, in the usual form.

    Raises:
        ValueError: If it is none.
    """
    address = ipaddress.ip_address(ip.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def is_ipv6(ip: str) -> bool:
    """Whether it is of that family."""
    return ":" in ip


def is_loopback(ip: str) -> bool:
    """Whether it stays on this machine."""
    return ip == "::1" or ip.startswith("127.")


def may_try(candidate: DatagramCandidate, zones: Zones) -> bool:
    """Whether a candidate of the peer may be sent probes at all.

    Never multicast, broadcast, unspecified or reserved addresses, nor port 0; and loopback only where the peer may be
    on this machine: elsewhere it could have us send into our own.
    """
    if not 0 < candidate.port < 1 << 16:
        return False
    try:
        return zones.has(plain(candidate.ip))
    except ValueError:
        return False

"""The URLs of STUN and TURN servers (RFC 7064, RFC 7065), as far as the engine takes them."""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

PORT: Final = 3478
TLS_PORT: Final = 5349
"""Where these servers listen if the URL names no port."""

_MAX_LABEL: Final = 63
_HOST: Final = r"(?:(?P<name>[A-Za-z0-9._-]{1,254})|\[(?P<ipv6>[A-Za-z0-9:.%_-]{2,80})\])(?::(?P<port>[0-9]{1,5}))?"
_STUN: Final = re.compile(rf"stun(?P<tls>s?):{_HOST}")
_TURN: Final = re.compile(rf"turn(?P<tls>s?):{_HOST}(?:\?transport=(?P<transport>udp|tcp))?")


class IceUrl(NamedTuple):
    """What the URL of a STUN or TURN server says; ``transport`` is ``udp`` or ``tcp``, and over TLS always that."""

    host: str
    port: int
    tls: bool
    transport: str

    @property
    def place(self) -> str:
        """Host and port as a URL writes them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_stun_url(url: str) -> bool:
    """Whether it is a STUN URL with a host, and a port that exists if there is one."""
    return parse_stun_url(url) is not None


def is_turn_url(url: str) -> bool:
    """Whether it is a TURN URL with a host, and a port that exists if there is one. It holds no user or password."""
    return parse_turn_url(url) is not None


def parse_stun_url(url: str) -> IceUrl | None:
    """Return what a STUN URL says, None if it is none."""
    return _parse(_STUN, url)


def parse_turn_url(url: str) -> IceUrl | None:
    """Return what a TURN URL says, None if it is none.

    With ``turns:`` it is TLS over TCP, also where the URL asks for UDP: the engine has no DTLS to a server.
    """
    return _parse(_TURN, url)


def canonical_url(url: str) -> str:
    """Return the URL with everything that may be left out, so that two that mean the same are the same.

    What is no URL of these servers is returned as it is.
    """
    found = parse_stun_url(url) or parse_turn_url(url)
    if found is None:
        return url
    return f"{url.partition(':')[0]}:{found.place.lower()}?transport={found.transport}"


def _is_name(name: str | None) -> bool:
    """Whether a host name has labels that the DNS can have (RFC 1035, section 2.3.4); None is no name at all."""
    return name is None or all(0 < len(label) <= _MAX_LABEL for label in name.removesuffix(".").split("."))


def _parse(shape: re.Pattern[str], url: str) -> IceUrl | None:
    found = shape.fullmatch(url)
    if found is None or not 0 < int(found["port"] or 1) < 65536:
        return None
    parts = found.groupdict()
    if not _is_name(parts["name"]):
        return None
    try:
        host = parts["name"] or str(ipaddress.IPv6Address(parts["ipv6"]))
    except ValueError:
        return None
    tls = bool(parts["tls"])
    transport = "tcp" if tls else parts.get("transport") or "udp"
    return IceUrl(host, int(parts["port"] or (TLS_PORT if tls else PORT)), tls, transport)

"""The URLs of STUN and TURN servers (RFC 7064, RFC 7065), as far as the engine takes them."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

_HOST: Final = r"(?:[A-Za-z0-9._-]{1,255}|\[(?P<ipv6>[A-Za-z0-9:.%_-]{2,80})\])(?::(?P<port>[0-9]{1,5}))?"
_STUN: Final = re.compile(rf"stuns?:{_HOST}")
_TURN: Final = re.compile(rf"turns?:{_HOST}(?:\?transport=(?:udp|tcp))?")


def is_stun_url(url: str) -> bool:
    """Whether it is a STUN URL with a host, and a port that exists if there is one."""
    return _is_url(_STUN, url)


def is_turn_url(url: str) -> bool:
    """Whether it is a TURN URL with a host, and a port that exists if there is one. It holds no user or password."""
    return _is_url(_TURN, url)


def _is_url(shape: re.Pattern[str], url: str) -> bool:
    found = shape.fullmatch(url)
    if found is None or not 0 < int(found["port"] or 1) < 65536:
        return False
    try:
        return found["ipv6"] is None or bool(ipaddress.IPv6Address(found["ipv6"]))
    except ValueError:
        return False

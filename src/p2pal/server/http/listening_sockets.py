"""Sockets that listen: one for each address that a host stands for, and all on the same port."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Callable
from typing import Any, Final

_EVERYWHERE: Final[tuple[tuple[socket.AddressFamily, tuple[Any, ...]], ...]] = (
    (socket.AF_INET, ("0.0.0.0",)),  # noqa: S104
    (socket.AF_INET6, ("::",)),
)
_NOT_HERE: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT, 10047, 10049})
"""What a system says of a family that it lacks, or that is switched off."""
_TRIES: Final = 16


SocketAddress = tuple[Any, ...]
OpenSocket = Callable[[socket.AddressFamily, SocketAddress], socket.socket]


def bound_socket(family: socket.AddressFamily, place: SocketAddress) -> socket.socket:
    """Return a socket that has one address to itself; raise OSError if it cannot be had."""
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix" and sys.platform != "cygwin":  # elsewhere it lets others take the port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(place)
    except BaseException:
        made.close()
        raise
    return made


def bind(host: str, port: int, *, open_socket: OpenSocket = bound_socket) -> list[socket.socket]:
    """Return bound sockets; may block for looking the host up.

    IPv4 and IPv6 have sockets of their own, whatever the system's setting is for one socket to take both
    (``net.ipv6.bindv6only``). A family that this machine lacks is passed over if there is another one.

    Args:
        host: A name or an address; empty for all of this machine, of both families.
        port: 0 has the system choose one, the same for all.
        open_socket: What opens the socket of one address.

    Raises:
        OSError: If there is no such address here, or the port cannot be had.
    """
    places = _places(host)
    for _ in range(_TRIES - 1 if port == 0 else 0):
        # What the system chose for one family may be taken in the other one.
        with contextlib.suppress(_Taken):
            return _bind(places, port, open_socket)
    return _bind(places, port, open_socket)


class _Taken(OSError):
    """A port that was free at the first address is taken at another one."""


def _places(host: str) -> list[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    if not host:
        return list(_EVERYWHERE)
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, place) for family, _, _, _, place in found))


def _bind(
    places: list[tuple[socket.AddressFamily, tuple[Any, ...]]], port: int, open_socket: OpenSocket
) -> list[socket.socket]:
    made: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, (address, *rest) in places:
            try:
                made.append(open_socket(family, (address, port, *rest[1:])))
            except OSError as error:
                if error.errno in _NOT_HERE:
                    missing = error
                    continue
                if error.errno == errno.EADDRINUSE and made:
                    raise _Taken(*error.args) from error
                raise
            port = made[0].getsockname()[1]
        if not made:
            raise missing or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    except BaseException:
        for each in made:
            each.close()
        raise
    return made

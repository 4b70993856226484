"""Sockets of a datagram lane, and the options that Python has no names for."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from typing import Any, Final

BUFFER: Final = 4 << 20
"""Bytes asked for on either side of a socket; systems give less (Linux: 212,992)."""

# What forbids fragmentation, by platform: (level, option, value).
_DO_NOT_FRAGMENT: Final[dict[tuple[str, int], tuple[int, int, int]]] = {
    ("linux", socket.AF_INET): (socket.IPPROTO_IP, 10, 3),  # IP_MTU_DISCOVER, IP_PMTUDISC_PROBE
    ("linux", socket.AF_INET6): (socket.IPPROTO_IPV6, 23, 3),
    ("darwin", socket.AF_INET): (socket.IPPROTO_IP, 28, 1),  # IP_DONTFRAG
    ("darwin", socket.AF_INET6): (socket.IPPROTO_IPV6, 62, 1),
    ("win32", socket.AF_INET): (socket.IPPROTO_IP, 14, 1),  # IP_DONTFRAGMENT
    ("win32", socket.AF_INET6): (socket.IPPROTO_IPV6, 14, 1),
}
_SIO_UDP_CONNRESET: Final = 0x9800000C

UDP_SEGMENT: Final = 103
UDP_GRO: Final = 104


class Timestamps:
    """How a platform tells when a datagram came.

    Args:
        option: The option of the socket, which is the type of the ancillary data, too, where ``kind`` is not given.
        layout: Seconds, and what comes behind the point.
        fraction: How many of the latter are a second.
        kind: The type of the ancillary data.
    """

    __slots__ = ("_fraction", "_layout", "kind", "option")

    def __init__(self, option: int, layout: str, fraction: int, kind: int | None = None) -> None:
        self.option = option
        self.kind = option if kind is None else kind
        self._layout = struct.Struct(layout)
        self._fraction = fraction

    def read(self, value: bytes) -> float | None:
        """Return the time in seconds since 1970; None if it cannot be read."""
        if len(value) < self._layout.size:
            return None
        seconds, rest = self._layout.unpack_from(value)
        return float(seconds + rest / self._fraction)


TIMESTAMPS: Final = {
    "linux": Timestamps(35, "@ll", 1_000_000_000),  # SO_TIMESTAMPNS: a timespec
    "darwin": Timestamps(0x0400, "@qi", 1_000_000, kind=2),  # SO_TIMESTAMP: a timeval
}.get(sys.platform)


def open_socket(ip: str, port: int = 0, buffer: int = BUFFER) -> socket.socket:
    """Return a socket that is bound to an address, does not block, and forbids fragmentation where it can.

    Args:
        ip: The address.
        port: The port; 0 for any that is free.
        buffer: Bytes asked for on either side.

    Raises:
        OSError: If that is no address of this machine, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            with contextlib.suppress(OSError):
                opened.setsockopt(socket.SOL_SOCKET, option, buffer)
        forbid = _DO_NOT_FRAGMENT.get((sys.platform, family))
        if forbid is not None:
            with contextlib.suppress(OSError):
                opened.setsockopt(*forbid)
        if sys.platform == "win32":
            _hear_no_refusals(opened)
        opened.bind((ip, port))
    except BaseException:
        opened.close()
        raise
    return opened


def _hear_no_refusals(opened: socket.socket) -> None:
    """Keep Windows from failing a read because an earlier datagram was refused: asyncio would read no more."""
    import ctypes

    libraries: Any = getattr(ctypes, "windll", None)
    if libraries is None:
        return  # a Python that only calls itself one for Windows
    no, got = ctypes.c_ulong(0), ctypes.c_ulong(0)
    libraries.ws2_32.WSAIoctl(
        ctypes.c_size_t(opened.fileno()),
        _SIO_UDP_CONNRESET,
        ctypes.byref(no),
        4,
        None,
        0,
        ctypes.byref(got),
        None,
        None,
    )

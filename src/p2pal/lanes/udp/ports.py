"""The sockets of a datagram lane: batches where the system takes them, single datagrams everywhere.

Two kinds with one face. :class:`BatchPort` hands datagrams over by the batch (UDP_SEGMENT and UDP_GRO on Linux), and
copies nothing on the way: ``sendmsg`` gathers headers and slices. :class:`SinglePort` is asyncio's own, for event loops
that watch no sockets (Windows) and Pythons without ``sendmsg``; each datagram is joined before it leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import sys
from collections.abc import Callable
from time import time
from typing import Any, Final, Protocol

from p2pal.lanes.udp.packet import Batch

BUFFER: Final = 4 << 20
"""Bytes asked for on either side of a socket; systems give less (Linux: 212,992)."""
READS: Final = 24
READ_BYTES: Final = 512 * 1024
"""System calls in a row for what came, and bytes, before it is acknowledged and anything else has its turn."""
MAX_RECEIVE: Final = 65_535

_UDP_SEGMENT: Final = 103
_UDP_GRO: Final = 104
_SO_TIMESTAMPNS: Final = 35
_ANCILLARY: Final = 128
_LARGE: Final = 32 * 1024  # bytes for which a place of their own costs less than a copy
_TIMESPEC: Final = struct.Struct("@ll")
_LATE: Final = 1.0
_NO_SEGMENTS: Final = frozenset({errno.EIO, errno.EINVAL, errno.ENOPROTOOPT, errno.EOPNOTSUPP})
_FULL: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS})

# Options that this Python may not have names for, by platform: (level, option, value) that forbid fragmentation.
_DO_NOT_FRAGMENT: Final[dict[tuple[str, int], tuple[int, int, int]]] = {
    ("linux", socket.AF_INET): (socket.IPPROTO_IP, 10, 3),  # IP_MTU_DISCOVER, IP_PMTUDISC_PROBE
    ("linux", socket.AF_INET6): (socket.IPPROTO_IPV6, 23, 3),
    ("darwin", socket.AF_INET): (socket.IPPROTO_IP, 28, 1),  # IP_DONTFRAG
    ("darwin", socket.AF_INET6): (socket.IPPROTO_IPV6, 62, 1),
    ("win32", socket.AF_INET): (socket.IPPROTO_IP, 14, 1),  # IP_DONTFRAGMENT
    ("win32", socket.AF_INET6): (socket.IPPROTO_IPV6, 14, 1),
}


class PortOwner(Protocol):
    """Who hears what comes in at a port."""

    def port_received(self, index: int, data: bytes, ip: str, port: int, segment: int, received: float | None) -> None:
        """A datagram came, or several that the system received together."""

    def port_drained(self) -> None:
        """What came together is through."""

    def port_writable(self) -> None:
        """A port that was full takes datagrams again."""

    def port_too_large(self, size: int) -> None:
        """The system refused a datagram of this size."""


class Port(Protocol):
    """One socket."""

    def send(self, batch: Batch) -> bool:
        """Send a batch; return False if the socket is full: it is to be tried again after ``port_writable``."""

    def close(self) -> None:
        """Close it; what the socket has taken still leaves."""


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
        opened.bind((ip, port))
    except BaseException:
        opened.close()
        raise
    return opened


class BatchPort:
    """A socket that the event loop watches.

    Args:
        index: Its number in the lane.
        opened: The socket; it is closed with the port.
        owner: Who hears of it.
        loop: The event loop.
        batches: Whether UDP_SEGMENT and UDP_GRO are tried.
    """

    def __init__(
        self, index: int, opened: socket.socket, owner: PortOwner, loop: asyncio.AbstractEventLoop, *, batches: bool
    ) -> None:
        self._index = index
        self._socket: Any = opened  # Windows' sockets have no sendmsg
        self._owner = owner
        self._loop = loop
        self._waiting = False
        self._segments = batches and sys.platform == "linux"
        self._timestamps = False
        self._offset = time() - loop.time()
        # Small datagrams are read into one place and copied from there: a new object of 64 KiB for each costs more.
        self._buffer = memoryview(bytearray(MAX_RECEIVE))
        self._size = 0  # of what came last
        if self._segments:
            with contextlib.suppress(OSError):
                opened.setsockopt(socket.IPPROTO_UDP, _UDP_GRO, 1)
            with contextlib.suppress(OSError):
                opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
                self._timestamps = True
        loop.add_reader(opened, self._readable)

    @property
    def segments(self) -> bool:
        """Whether batches leave with one system call."""
        return self._segments

    def send(self, batch: Batch) -> bool:
        """Send a batch; return False if the socket is full."""
        address = (batch.ip, batch.port)
        if batch.segment and not self._segments:
            return self._send_singly(batch)
        ancillary: list[tuple[int, int, bytes]] = []
        if batch.segment:
            ancillary = [(socket.IPPROTO_UDP, _UDP_SEGMENT, batch.segment.to_bytes(2, sys.byteorder))]
        try:
            self._socket.sendmsg(batch.buffers, ancillary, 0, address)
        except OSError as error:
            if error.errno in _FULL:
                self._wait()
                return False
            if batch.segment and error.errno in _NO_SEGMENTS:
                self._segments = False  # the kernel or the device takes none (udp(7))
                return self._send_singly(batch)
            self._failed(error, batch.segment or batch.size)
        return True

    def _send_singly(self, batch: Batch) -> bool:
        for buffers in batch.datagrams():
            try:
                self._socket.sendmsg(buffers, [], 0, (batch.ip, batch.port))
            except OSError as error:
                if error.errno in _FULL:
                    # What is left of the batch counts as sent, and is found to be lost.
                    self._wait()
                    return True
                self._failed(error, sum(map(len, buffers)))
        return True

    def _failed(self, error: OSError, size: int) -> None:
        """A datagram did not leave: it is lost, as it may be anywhere on its way."""
        if error.errno == errno.EMSGSIZE:
            self._owner.port_too_large(size)

    def _wait(self) -> None:
        if not self._waiting:
            self._waiting = True
            self._loop.add_writer(self._socket, self._writable)

    def _writable(self) -> None:
        self._waiting = False
        self._loop.remove_writer(self._socket)
        self._owner.port_writable()

    def _readable(self) -> None:
        opened, got, buffer = self._socket, self._owner.port_received, self._buffer
        read, size = 0, self._size
        try:
            for _ in range(READS):
                if size >= _LARGE:
                    data, ancillary, _, source = opened.recvmsg(MAX_RECEIVE, _ANCILLARY)
                    size = len(data)
                else:
                    size, ancillary, _, source = opened.recvmsg_into([buffer], _ANCILLARY)
                    data = bytes(buffer[:size])
                segment, received = 0, None
                for level, kind, value in ancillary:
                    if level == socket.IPPROTO_UDP and kind == _UDP_GRO:
                        segment = int.from_bytes(value[:4], sys.byteorder)
                    elif level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                        received = self._when(value)
                got(self._index, data, source[0], source[1], segment, received)
                if opened.fileno() < 0:
                    return
                read += size
                if read >= READ_BYTES:
                    break
        except BlockingIOError:
            pass
        except OSError:
            pass  # an earlier datagram was refused somewhere (ICMP): it is lost, no more
        self._size = size
        self._owner.port_drained()

    def _when(self, value: bytes) -> float | None:
        """Return when the kernel received it on the loop's clock; None if the wall clock was set meanwhile."""
        if len(value) < _TIMESPEC.size:
            return None
        seconds, nanoseconds = _TIMESPEC.unpack_from(value)
        received = float(seconds + nanoseconds / 1e9 - self._offset)
        now = self._loop.time()
        if not now - _LATE <= received <= now + 0.001:
            self._offset = time() - now
            return None
        return received

    def close(self) -> None:
        """Close it."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()


class SinglePort(asyncio.DatagramProtocol):
    """A socket of asyncio's own."""

    def __init__(self, index: int, owner: PortOwner) -> None:
        self._index = index
        self._owner = owner
        self._transport: asyncio.DatagramTransport | None = None
        self._paused = False

    @classmethod
    async def open(cls, index: int, opened: socket.socket, owner: PortOwner) -> SinglePort:
        """Return a port over a socket."""
        loop = asyncio.get_running_loop()
        _, port = await loop.create_datagram_endpoint(lambda: cls(index, owner), sock=opened)
        return port

    def connection_made(self, transport: Any) -> None:
        """The socket is open."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """A datagram came."""
        self._owner.port_received(self._index, data, addr[0], addr[1], 0, None)
        self._owner.port_drained()

    def error_received(self, exc: Exception) -> None:
        """A datagram was refused somewhere."""
        if isinstance(exc, OSError) and exc.errno == errno.EMSGSIZE:
            self._owner.port_too_large(0)

    def pause_writing(self) -> None:
        """The socket is full, and so is what waits for it."""
        self._paused = True

    def resume_writing(self) -> None:
        """It takes datagrams again."""
        self._paused = False
        self._owner.port_writable()

    def send(self, batch: Batch) -> bool:
        """Send a batch one datagram at a time; return False if the socket is full."""
        if self._paused:
            return False
        if self._transport is not None and not self._transport.is_closing():
            for buffers in batch.datagrams():
                self._transport.sendto(b"".join(buffers), (batch.ip, batch.port))
        return True

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.close()


OpenPort = Callable[[int, socket.socket, PortOwner], Port]

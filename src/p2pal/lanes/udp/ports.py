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
import sys
from functools import partial
from typing import Any, Final, Protocol

from p2pal.lanes.udp.addresses import Address
from p2pal.lanes.udp.packet import Batch
from p2pal.lanes.udp.port_reader import PortReader
from p2pal.lanes.udp.sockets import TIMESTAMPS, UDP_GRO, UDP_SEGMENT

READS: Final = 24
READ_BYTES: Final = 512 * 1024
"""System calls in a row for what came, and bytes, before it is acknowledged and anything else has its turn."""
PAUSE: Final = 0.002
"""Seconds that an interface without room is left alone."""
MOST_REST: Final = 0.001
"""Seconds for which a socket that is busy with single datagrams is not read, so that they come together."""
REST_BYTES: Final = 48 * 1024
"""Bytes that may come meanwhile: half of the smallest buffer that systems give a socket, with what each costs there."""
MOST_ERRORS: Final = 16
"""Reads in a row that may fail before a socket counts as dead."""

_SOL_UDP: Final = int(socket.IPPROTO_UDP)
_SOL_SOCKET: Final = int(socket.SOL_SOCKET)
_WSAEMSGSIZE: Final = 10_040
_TOO_LARGE: Final = frozenset({errno.EMSGSIZE, _WSAEMSGSIZE})
_NO_SEGMENTS: Final = frozenset({errno.EIO, errno.EINVAL, errno.ENOPROTOOPT, errno.EOPNOTSUPP})
_BLOCKED: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK})
_NO_ROOM: Final = frozenset({errno.ENOBUFS, errno.ENOMEM})
_UNREACHABLE: Final = frozenset(
    {errno.EADDRNOTAVAIL, errno.EINVAL, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENODEV}
)


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

    def port_unreachable(self, address: Address) -> None:
        """An address cannot be reached from this port now: an interface, a route or our own address is gone."""

    def port_lost(self, index: int) -> None:
        """A port is of no use any more."""


class Port(Protocol):
    """One socket.

    Attributes:
        rest: Seconds that what comes may wait for more of it, so that one turn of the loop takes many datagrams; at
            most :data:`MOST_REST`, and 0 to read at once.
    """

    rest: float

    def send(self, batch: Batch) -> Batch | None:
        """Send a batch; return what did not fit: it is to be tried again after ``port_writable``."""

    def poll(self) -> bool:
        """Hand over what came and was not read yet, without ``port_drained``; return whether there may be more."""

    def close(self) -> None:
        """Close it; what the socket has taken still leaves."""


async def open_port(
    index: int, opened: socket.socket, owner: PortOwner, *, batches: bool = True, watched: bool = True
) -> Port:
    """Return a port over a socket, of the best kind there is.

    Args:
        index: Its number in the lane.
        opened: The socket; it is closed with the port.
        owner: Who hears of it.
        batches: Whether UDP_SEGMENT and UDP_GRO may be used.
        watched: Whether the event loop may watch the socket itself; False is what Windows is like.
    """
    if watched and hasattr(opened, "sendmsg"):
        with contextlib.suppress(NotImplementedError):  # a loop that watches no sockets
            return BatchPort(index, opened, owner, asyncio.get_running_loop(), batches=batches)
    return await SinglePort.open(index, opened, owner)


class BatchPort:
    """A socket that the event loop watches.

    Args:
        index: Its number in the lane.
        opened: The socket; it is closed with the port.
        owner: Who hears of it.
        loop: The event loop.
        batches: Whether UDP_SEGMENT and UDP_GRO are tried.

    Raises:
        NotImplementedError: If the loop watches no sockets.
    """

    def __init__(
        self, index: int, opened: socket.socket, owner: PortOwner, loop: asyncio.AbstractEventLoop, *, batches: bool
    ) -> None:
        self._index = index
        self._socket: Any = opened  # Windows' sockets have no sendmsg
        self._owner = owner
        self._loop = loop
        self._waiting = False
        self._pause: asyncio.TimerHandle | None = None
        self._segments = batches and sys.platform == "linux"
        self._reader = PortReader(opened, partial(owner.port_received, index), loop)
        self._errors = 0
        self.rest = 0.0
        self._read_at = 0.0
        self._read = 0  # bytes that the last poll brought
        self._resting: asyncio.TimerHandle | None = None
        loop.add_reader(opened, self._readable)
        if self._segments:
            with contextlib.suppress(OSError):
                opened.setsockopt(_SOL_UDP, UDP_GRO, 1)
        if TIMESTAMPS is not None:
            with contextlib.suppress(OSError):
                opened.setsockopt(_SOL_SOCKET, TIMESTAMPS.option, 1)

    @property
    def segments(self) -> bool:
        """Whether batches leave with one system call."""
        return self._segments

    def send(self, batch: Batch) -> Batch | None:
        """Send a batch; return what did not fit."""
        ancillary: list[tuple[int, int, bytes]] = []
        if batch.segment:
            if not self._segments:
                return self._send_singly(batch)
            ancillary = [(_SOL_UDP, UDP_SEGMENT, batch.segment.to_bytes(2, sys.byteorder))]
        try:
            self._socket.sendmsg(batch.buffers, ancillary, 0, (batch.ip, batch.port))
        except OSError as error:
            if self._is_full(error):
                return batch
            if batch.segment and error.errno in _NO_SEGMENTS:
                return self._send_singly(batch)
            self._failed(error, batch, batch.segment or batch.size)
        return None

    def _send_singly(self, batch: Batch) -> Batch | None:
        datagrams = batch.datagrams()
        for done, buffers in enumerate(datagrams):
            try:
                self._socket.sendmsg(buffers, [], 0, (batch.ip, batch.port))
            except OSError as error:
                if self._is_full(error):
                    rest = [buffer for left in datagrams[done:] for buffer in left]
                    return batch._replace(buffers=rest, size=sum(map(len, rest)))
                self._failed(error, batch, sum(map(len, buffers)))
            else:
                # What went alone did not go together: the kernel or the device takes no segments (udp(7)).
                self._segments = False
        return None

    def _is_full(self, error: OSError) -> bool:
        """Whether the socket is full now. If so, the owner is told when it takes datagrams again."""
        if error.errno in _BLOCKED:
            if not self._waiting:
                self._waiting = True
                self._loop.add_writer(self._socket, self._writable)
            return True
        if error.errno in _NO_ROOM:
            # It is the interface that has none: the socket counts as writable meanwhile, and nobody tells when.
            if self._pause is None:
                self._pause = self._loop.call_later(PAUSE, self._writable)
            return True
        return False

    def _failed(self, error: OSError, batch: Batch, size: int) -> None:
        """A datagram did not leave: it is lost, as it may be anywhere on its way."""
        if error.errno == errno.EMSGSIZE:
            self._owner.port_too_large(size)
        elif error.errno in _UNREACHABLE:
            self._owner.port_unreachable(Address(batch.ip, batch.port, self._index))

    def _writable(self) -> None:
        self._stop_waiting()
        self._owner.port_writable()

    def _stop_waiting(self) -> None:
        if self._waiting:
            self._waiting = False
            self._loop.remove_writer(self._socket)
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _readable(self) -> None:
        self.poll()
        self._owner.port_drained()
        before, self._read_at = self._read_at, self._loop.time()
        if self._read_at - before < self.rest and self._read and self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._rest()

    def _rest(self) -> None:
        """Read again after a moment.

        A path of some milliseconds brings thousands of single datagrams a second. To wake up for each took half of a
        processor at 100 Mbit/s. Network cards do the same with their interrupts. The kernel notes when each came.
        """
        wait = self.rest * min(1.0, REST_BYTES / self._read)
        self._resting = self._loop.call_later(wait, self._rested)

    def _rested(self) -> None:
        self._resting = None
        self.poll()
        if self._read:
            self._owner.port_drained()
        if self._socket.fileno() < 0 or self._errors >= MOST_ERRORS:
            return
        if self._read:
            self._read_at = self._loop.time()
            self._rest()
        else:
            self._loop.add_reader(self._socket, self._readable)

    def poll(self) -> bool:
        """Hand over what came; return whether there may be more."""
        reader = self._reader
        before = reader.taken
        try:
            for _ in range(READS):
                reader.read()
                self._errors = 0
                if reader.taken - before >= READ_BYTES:
                    break
        except BlockingIOError:
            return False
        except OSError:
            return self._read_failed()
        finally:
            self._read = reader.taken - before
        return True

    def _read_failed(self) -> bool:
        """Somebody refused an earlier datagram (ICMP), and it counts as lost; or the socket is dead."""
        if self._socket.fileno() < 0:
            return False
        self._errors += 1
        if self._errors < MOST_ERRORS:
            return True
        self._loop.remove_reader(self._socket)
        self._owner.port_lost(self._index)
        return False

    def close(self) -> None:
        """Close it."""
        if self._socket.fileno() >= 0:
            self._stop_waiting()
            if self._resting is not None:
                self._resting.cancel()
                self._resting = None
            self._loop.remove_reader(self._socket)
            self._socket.close()


class SinglePort(asyncio.DatagramProtocol):
    """A socket of asyncio's own, which reads at once."""

    def __init__(self, index: int, owner: PortOwner) -> None:
        self._index = index
        self._owner = owner
        self._transport: asyncio.DatagramTransport | None = None
        self._paused = False
        self._largest = 0  # bytes that were sent and not refused yet
        self.rest = 0.0

    @classmethod
    async def open(cls, index: int, opened: socket.socket, owner: PortOwner) -> SinglePort:
        """Return a port over a socket."""
        loop = asyncio.get_running_loop()
        _, port = await loop.create_datagram_endpoint(lambda: cls(index, owner), sock=opened)
        return port

    def connection_made(self, transport: Any) -> None:
        """The socket is open."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed, by us or by an error."""
        if exc is not None:
            self._owner.port_lost(self._index)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """A datagram came."""
        self._owner.port_received(self._index, data, addr[0], addr[1], 0, None)
        self._owner.port_drained()

    def error_received(self, exc: Exception) -> None:
        """A datagram was refused, here or somewhere."""
        if isinstance(exc, OSError) and exc.errno in _TOO_LARGE:
            # Which one it was is not told, and it may have been some time ago: larger ones than all others are tried.
            size, self._largest = self._largest, 0
            self._owner.port_too_large(size)

    def pause_writing(self) -> None:
        """The socket is full, and so is what waits for it."""
        self._paused = True

    def resume_writing(self) -> None:
        """It takes datagrams again."""
        self._paused = False
        self._owner.port_writable()

    def send(self, batch: Batch) -> Batch | None:
        """Send a batch one datagram at a time; return it if the socket is full."""
        if self._paused:
            return batch
        if self._transport is not None and not self._transport.is_closing():
            for buffers in batch.datagrams():
                datagram = b"".join(buffers)
                self._largest = max(self._largest, len(datagram))
                self._transport.sendto(datagram, (batch.ip, batch.port))
        return None

    def poll(self) -> bool:
        """Nothing waits here: asyncio reads it."""
        return False

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.close()

"""What comes in at a socket: many datagrams at once, with the size of each and the time of the last."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from time import time
from typing import Any, Final

from p2pal.lanes.udp.packet import Kind
from p2pal.lanes.udp.sockets import TIMESTAMPS, UDP_GRO

MAX_RECEIVE: Final = 65_535
LARGE: Final = 32 * 1024
"""Bytes for which a place of their own costs less than a copy."""

_DATA: Final = int(Kind.DATA)
_SOL_UDP: Final = int(socket.IPPROTO_UDP)
_SOL_SOCKET: Final = int(socket.SOL_SOCKET)
_ANCILLARY: Final = 128
_LATE: Final = 1.0


class PortReader:
    """Reads a socket that does not block.

    Args:
        opened: The socket.
        received: Called with the datagrams as one sequence of bytes, the address and port that they came from, the size
            of each but the last (0 for one alone), and when they came on the loop's clock, None if that is not known.
        loop: The event loop.

    Attributes:
        taken: Bytes that were handed over so far.
    """

    __slots__ = ("_buffer", "_loop", "_offset", "_received", "_size", "_socket", "taken")

    def __init__(
        self,
        opened: socket.socket,
        received: Callable[[bytes, str, int, int, float | None], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._socket: Any = opened
        self._received = received
        self._loop = loop
        self._offset = time() - loop.time()
        self._size = 0  # of what came last
        self.taken = 0
        self._buffer = memoryview(bytearray(2 * MAX_RECEIVE))  # whatever comes finds room behind a train

    def read(self) -> None:
        """Read once, and hand over what came.

        Raises:
            BlockingIOError: If nothing more waits.
            OSError: If an earlier datagram was refused somewhere (ICMP), or the socket is dead.
        """
        if self._size >= LARGE:
            self._read_large()
        else:
            self._read_train()

    def _read_large(self) -> None:
        """Read what may be large where it stays."""
        data, ancillary, _, source = self._socket.recvmsg(MAX_RECEIVE, _ANCILLARY)
        self._size = len(data)
        self.taken += len(data)
        segment, received = self._told(ancillary)
        self._received(data, source[0], source[1], segment, received)

    def _read_train(self) -> None:
        """Read a datagram of DATA, and those that follow and are alike, as UDP_GRO does.

        They are read into one place, one behind the other, and copied from there: a new object of 64 KiB for each small
        datagram costs more, and so does everything that is done for each.
        """
        receive, buffer = self._socket.recvmsg_into, self._buffer
        size, ancillary, _, source = receive([buffer], _ANCILLARY)
        self._size = size
        end: int = size
        segment, received = self._told(ancillary)
        other: tuple[bytes, Any, int, float | None] | None = None
        failure: OSError | None = None
        while not segment or segment == size:
            if not 0 < size < LARGE or end + size > MAX_RECEIVE or buffer[0] != _DATA or self._socket.fileno() < 0:
                break
            try:
                more, ancillary, _, origin = receive([buffer[end:]], _ANCILLARY)
            except OSError as error:
                failure = error  # once what came before is handed over
                break
            together, at = self._told(ancillary)
            if together or more > size or not more or origin != source or buffer[end] != _DATA:
                self._size = more
                other = bytes(buffer[end : end + more]), origin, together, at
                break
            segment, received, end = size, at, end + more
            if more < size:
                break
        self.taken += end
        self._received(bytes(buffer[:end]), source[0], source[1], segment, received)
        if other is not None and self._socket.fileno() >= 0:
            data, origin, segment, received = other
            self.taken += len(data)
            self._received(data, origin[0], origin[1], segment, received)
        if failure is not None:
            raise failure

    def _told(self, ancillary: list[tuple[int, int, bytes]]) -> tuple[int, float | None]:
        """Return the size of the datagrams that came together, 0 for one, and when they came on the loop's clock."""
        segment, received = 0, None
        for level, kind, value in ancillary:
            if level == _SOL_UDP and kind == UDP_GRO:
                segment = int.from_bytes(value[:4], sys.byteorder)
            elif TIMESTAMPS is not None and level == _SOL_SOCKET and kind == TIMESTAMPS.kind:
                received = self._when(TIMESTAMPS.read(value))
        return segment, received

    def _when(self, told: float | None) -> float | None:
        """Return a time of the wall clock on the loop's clock; None if the former was set meanwhile."""
        if told is None:
            return None
        received = told - self._offset
        now = self._loop.time()
        if not now - _LATE <= received <= now + 0.001:
            self._offset = time() - now
            return None
        return received

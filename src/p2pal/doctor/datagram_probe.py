"""Which sockets a datagram lane gets on this machine, and what the system does for them.

The sockets are opened as a transfer opens them. One of them sends a batch to itself: nothing leaves the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Sequence
from typing import Final

from p2pal.doctor.datagram_facts import Batching, DatagramFacts
from p2pal.lanes.udp.addresses import Address, plain
from p2pal.lanes.udp.packet import Batch
from p2pal.lanes.udp.ports import BatchPort, open_port
from p2pal.lanes.udp.sockets import BUFFER, open_socket

TIMEOUT: Final = 0.5
"""Seconds in which a batch comes back, or does not at all."""
DATAGRAMS: Final = 8
SIZE: Final = 256
"""Bytes of each."""
_NO_KIND: Final = b"\xff"
"""The first byte of each, that of no packet: a port reads a lane's own data on in one go, also what came singly."""


async def probe_datagrams(addresses: Sequence[str]) -> DatagramFacts:
    """Open a socket on each address, and let the first send to itself. Takes :data:`TIMEOUT` at most.

    Args:
        addresses: Addresses of this machine.
    """
    opened: list[socket.socket] = []
    refused: list[tuple[str, str]] = []
    try:
        for address in addresses:
            try:
                opened.append(open_socket(address))
            except OSError as error:
                refused.append((address, error.strerror or "it failed"))
        bound = tuple(plain(each.getsockname()[0]) for each in opened)
        batching = await _batching(opened.pop(0)) if opened else None
    finally:
        for each in opened:
            each.close()
    return DatagramFacts(bound, tuple(refused), batching)


async def _batching(opened: socket.socket) -> Batching:
    """Send a batch from a socket to itself, and close the socket."""
    buffers = _buffers(opened)
    ip, number = opened.getsockname()[:2]
    echo = _Echo(ip, number)
    try:
        port = await open_port(0, opened, echo)
    except OSError:
        opened.close()
        return Batching(buffers=buffers, asked=BUFFER)
    try:
        port.send(Batch(ip, number, 0, echo.datagrams, SIZE, DATAGRAMS * SIZE))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TIMEOUT):
                await echo.all.wait()
        sent_together = isinstance(port, BatchPort) and port.segments
    finally:
        port.close()
    return Batching(echo.heard, sent_together and echo.heard > 0, echo.together, buffers, BUFFER)


def _buffers(opened: socket.socket) -> tuple[int, int] | None:
    """Return the bytes of payload that the system gives a socket each way; None if it does not say."""
    try:
        out, back = (opened.getsockopt(socket.SOL_SOCKET, option) for option in (socket.SO_SNDBUF, socket.SO_RCVBUF))
    except OSError:
        return None
    # Linux tells twice what it gives: the rest is for its own records (socket(7)).
    return (out // 2, back // 2) if sys.platform == "linux" else (out, back)


class _Echo:
    """What comes back of a batch.

    Attributes:
        datagrams: What is sent; nobody else can know it.
        heard: How many came back.
        together: Several came at once from the system.
        all: Every one is back.
    """

    def __init__(self, ip: str, port: int) -> None:
        self._own = (plain(ip), port)
        self.datagrams = [_NO_KIND + os.urandom(SIZE - 1) for _ in range(DATAGRAMS)]
        self._missing = set(self.datagrams)
        self.together = False
        self.all = asyncio.Event()

    @property
    def heard(self) -> int:
        return DATAGRAMS - len(self._missing)

    def port_received(
        self, _index: int, data: bytes, ip: str, port: int, segment: int, _received: float | None
    ) -> None:
        """Take what the socket sent itself; anything else is passed over."""
        if (plain(ip), port) != self._own:
            return
        came = {data[start : start + SIZE] for start in range(0, len(data), SIZE)} & self._missing
        self.together |= len(came) > 1 and segment == SIZE
        self._missing -= came
        if not self._missing:
            self.all.set()

    def port_drained(self) -> None:
        """Nothing is to be acknowledged."""

    def port_writable(self) -> None:
        """Nothing more is to be sent."""

    def port_too_large(self, size: int) -> None:
        """A datagram did not leave: it counts as one that did not come back."""

    def port_unreachable(self, address: Address) -> None:
        """The same."""

    def port_lost(self, index: int) -> None:
        """The same."""

"""TURN over TLS (RFC 8656, section 2.1), with this machine's own trust in certificates.

The engine speaks TLS to a TURN server itself, but trusts only the public authorities that it was built with: one's own
authority, or ``SSL_CERT_FILE``, counts for nothing there, and no error says so. So for each ``turns:`` server a port on
loopback takes the engine's plain TURN over TCP, and passes it on through TLS that checks the certificate just as that
of the signaling server is checked. TURN's own password, and DTLS above it, protect what goes through in any case.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
from collections.abc import Iterable
from typing import Final

from p2pal.lanes.base import IceServer
from p2pal.wire.ice_urls import parse_turn_url

CONNECT_TIMEOUT: Final = 10.0
"""Seconds for the connection and its TLS handshake; the engine gives up about as soon."""

MAX_CONNECTIONS: Final = 32
"""At once, through all ports: the engine opens one for each network and server."""

_CHUNK: Final = 1 << 16
_LOOPBACK: Final = (("127.0.0.1", "127.0.0.1", socket.AF_INET), ("::1", "[::1]", socket.AF_INET6))


class Tunnels:
    """The loopback ports of one peer.

    Attributes:
        names: For the URL of each port, that of the server which it leads to.
        trouble: For the URL of a server that was not reached, why.
    """

    __slots__ = ("_context", "_made", "_running", "_servers", "names", "trouble")

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.trouble: dict[str, str] = {}
        self._made: dict[str, tuple[str, ...]] = {}
        self._servers: list[asyncio.Server] = []
        self._running: set[asyncio.Task[None]] = set()
        self._context: ssl.SSLContext | None = None

    async def lead_to(self, servers: Iterable[IceServer]) -> list[IceServer]:
        """Return the servers with the URLs that the engine is to use for them."""
        found = []
        for server in servers:
            urls = [url for named in server.urls for url in await self._urls(named)]
            found.append(IceServer(tuple(urls), server.username, server.credential))
        return found

    async def _urls(self, named: str) -> tuple[str, ...]:
        parsed = parse_turn_url(named)
        # Windows lets no socket of another interface reach loopback: there the engine's own TLS has to do.
        if parsed is None or not parsed.tls or parsed.transport == "udp" or sys.platform == "win32":
            return (named,)
        if named not in self._made:
            self._made[named] = await self._open(named, parsed.host, parsed.port)
        return self._made[named]

    async def _open(self, named: str, host: str, port: int) -> tuple[str, ...]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(named, host, port, reader, writer)

        urls = []
        for address, written, family in _LOOPBACK:
            with contextlib.suppress(OSError):  # IPv6 may be switched off
                server = await asyncio.start_server(serve, address, 0, family=family)
                self._servers.append(server)
                url = f"turn:{written}:{server.sockets[0].getsockname()[1]}?transport=tcp"
                self.names[url] = named
                urls.append(url)
        return tuple(urls) or (named,)

    async def _serve(
        self, named: str, host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Pass one connection of the engine on, until either end closes it."""
        task = asyncio.current_task()
        if task is None or len(self._running) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._running.add(task)
        try:
            await self._pass_on(named, host, port, reader, writer)
        except (OSError, asyncio.CancelledError):
            # It was lost, or we close: the engine is told by its end's being closed. The stream's own callback would
            # call a cancelled task an error.
            return
        finally:
            self._running.discard(task)
            writer.transport.abort()

    async def _pass_on(
        self, named: str, host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self._context is None:
            self._context = await asyncio.to_thread(ssl.create_default_context)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                far_reader, far_writer = await asyncio.open_connection(host, port, ssl=self._context)
        except OSError as error:
            self.trouble[named] = why(error)
            return
        self.trouble.pop(named, None)
        try:
            await _both_ways((reader, far_writer), (far_reader, writer))
        finally:
            far_writer.transport.abort()

    async def close(self) -> None:
        """Close every port and every connection."""
        for server in self._servers:
            server.close()
        running = list(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)


async def _both_ways(*ways: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    """Copy both ways until one of them ends."""
    copies = [asyncio.create_task(_copy(reader, writer)) for reader, writer in ways]
    try:
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for copy in copies:
            copy.cancel()
        await asyncio.gather(*copies, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()


def why(error: OSError) -> str:
    """Say in a few words why a server was not reached through TLS; nothing of what it sent."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate is not trusted here"
    if isinstance(error, ssl.SSLError):
        return "it speaks no TLS that we do"
    if isinstance(error, socket.gaierror):
        return "its name does not resolve"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return "the connection failed"

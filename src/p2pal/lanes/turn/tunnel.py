"""TURN over TLS and through proxies (RFC 8656, section 2.1), as this machine trusts and reaches the rest of the world.

The engine speaks TLS to a TURN server itself, but trusts only the public authorities that it was built with: one's own
authority, or ``SSL_CERT_FILE``, counts for nothing there, and no error says so. And it knows no proxy, where that may
be the only way out. So for each ``turns:`` server, and for TCP where the environment names a proxy, a port on loopback
takes the engine's plain TURN over TCP, and passes it on: through the proxy (CONNECT, or SOCKS), and through TLS that
checks the certificate just as that of the signaling server is checked. TURN's own password, and DTLS above it, protect
what goes through in any case.

A proxy for HTTP is taken for a way out, not for a veil: what the engine sends over UDP goes around it anyhow. Many let
nothing but port 443 through, so where one does not answer or refuses, the server is tried directly. A SOCKS proxy may
be there to hide this machine (Tor, or ``ssh -D``): no connection that was meant for one goes around it. What goes over
UDP does, unless this side hides (``--relay-only``): then no server is used that is reached over UDP.

A server that refers to another one (RFC 8489, section 10) is not listened to: the engine would go there by itself, over
plain TCP and around the proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Final

from p2pal.connect_failure import ConnectFailure
from p2pal.hosts import NotReached, connect_failure, connect_to
from p2pal.lanes.ice_servers import IceServerConfig
from p2pal.lanes.turn.stream import FIRST_BYTES, AnswerStream, Referral, opens_as_turn
from p2pal.proxies import Proxy, UnusableProxy, connect_through, proxy_for
from p2pal.wire.ice_urls import IceUrl, parse_stun_url, parse_turn_url

CONNECT_TIMEOUT: Final = 10.0
"""Seconds for the connection and its TLS handshake, and for the first answer; the engine gives up about as soon."""

PROXY_TIMEOUT: Final = 5.0
"""Of those, what a proxy for HTTP may take before the server is tried directly."""

DIRECT_TIMEOUT: Final = 4.5
"""Seconds for that."""

SILENCE: Final = 5.0
"""Seconds within which who connects to a port has to speak TURN; the engine does at once."""

MAX_CONNECTIONS: Final = 32
"""At once, to one server: the engine opens one for each network. Servers that do not answer leave others theirs."""

MAX_URLS: Final = 8
"""That have ports of their own: a signaling server may name as many, and others each time that it is asked."""

_CHUNK: Final = 1 << 16
_LOOPBACK: Final = (("127.0.0.1", "127.0.0.1", socket.AF_INET), ("::1", "[::1]", socket.AF_INET6))

_Reach = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Tunnels:
    """The loopback ports of one peer.

    Args:
        addresses: Returns those of a host that the signaling server named which may be used; without it none is asked
            for, and the host may be anywhere.

    Attributes:
        names: For the URL of each port, that of the server which it leads to.
        trouble: For the URL of a server that was not reached, why.
    """

    __slots__ = ("_addresses", "_closed", "_context", "_made", "_running", "_servers", "names", "trouble")

    def __init__(self, addresses: Callable[[str], Awaitable[Sequence[str]]] | None = None) -> None:
        self._addresses = addresses
        self.names: dict[str, str] = {}
        self.trouble: dict[str, ConnectFailure] = {}
        self._made: dict[str, tuple[str, ...]] = {}
        self._servers: list[asyncio.Server] = []
        self._running: dict[asyncio.Task[None], str] = {}
        self._context: ssl.SSLContext | None = None
        self._closed = False

    async def lead_to(self, servers: Iterable[IceServerConfig], *, hide: bool = False) -> list[IceServerConfig]:
        """Return the servers with the URLs that the engine is to use for them.

        Args:
            servers: As they were named.
            hide: This side hides behind relays: where a SOCKS proxy is set, nothing is sent, and no name looked up,
                but through it. What is reached over UDP is left out then.
        """
        found = []
        for server in servers:
            urls = [url for named in server.urls for url in await self._urls(named, hide=hide, offered=server.offered)]
            if urls or not server.urls:
                found.append(replace(server, urls=tuple(urls)))
        return found

    async def _urls(self, named: str, *, hide: bool, offered: bool) -> tuple[str, ...]:
        parsed = parse_turn_url(named) or parse_stun_url(named)
        if parsed is None:
            return (named,)
        try:
            proxy = proxy_for("https", parsed.host, parsed.port)
        except UnusableProxy:
            proxy = None
            veiled = True  # nobody knows what it was meant for
        else:
            veiled = proxy is not None and proxy.veils
        if parsed.transport == "udp" or parse_turn_url(named) is None:
            if not (veiled and hide):
                return (named,)
            self.trouble[named] = ConnectFailure.PROXY_UDP
            return ()
        if veiled and proxy is None:
            self.trouble[named] = ConnectFailure.PROXY_URL
            return ()
        itself = () if veiled else (named,)
        # Windows lets no socket of another interface reach loopback: there the engine's own TLS has to do.
        if sys.platform == "win32" or (not parsed.tls and proxy is None):
            return itself
        if (
            named not in self._made
            and len(self._made) < MAX_URLS
            and (ports := await self._open(named, parsed, proxy, offered=offered))
        ):
            self._made[named] = ports
        return self._made.get(named, itself)

    async def _open(self, named: str, server: IceUrl, proxy: Proxy | None, *, offered: bool) -> tuple[str, ...]:
        """Return the URLs of ports that lead to a server: none if this machine has no socket left for one."""

        async def reach() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            # Unlike a partial function's, its repr does not show the proxy's password.
            return await self._reach(server, proxy, offered=offered)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(named, reach, reader, writer)

        urls = []
        error: OSError | None = None
        for address, written, family in _LOOPBACK:
            try:
                port = await _port(serve, address, family)
            except OSError as failed:  # IPv6 may be switched off
                error = error or failed
                continue
            # It listens once it is known to whoever closes it.
            self._servers.append(port)
            if self._closed:
                port.close()
                break
            url = f"turn:{written}:{port.sockets[0].getsockname()[1]}?transport=tcp"
            try:
                await port.start_serving()
            except OSError as failed:
                error = error or failed
                port.close()
                continue
            self.names[url] = named
            urls.append(url)
        if error is not None and not urls:
            self.trouble[named] = connect_failure(
                error
            )  # unless the engine, which is given the URL itself, has more luck
        return tuple(urls)

    async def _serve(
        self, named: str, reach: _Reach, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Pass one connection of the engine on, until either end closes it."""
        task = asyncio.current_task()
        used = sum(name == named for name in self._running.values())
        if task is None or self._closed or used >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._running[task] = named
        try:
            await self._pass_on(named, reach, reader, writer)
        except (OSError, asyncio.CancelledError):
            # It was lost, or we close: the engine is told by its end's being closed. The stream's own callback would
            # call a cancelled task an error.
            return
        finally:
            del self._running[task]
            writer.transport.abort()

    async def _pass_on(
        self, named: str, reach: _Reach, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Connect to the server for whoever speaks TURN, and to nobody else: any user may come to the port."""
        try:
            async with asyncio.timeout(SILENCE):
                first = await reader.readexactly(FIRST_BYTES)
        except (TimeoutError, asyncio.IncompleteReadError):
            return
        if not opens_as_turn(first):
            return
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                far_reader, far_writer = await reach()
        except (OSError, ValueError) as error:
            self.trouble[named] = connect_failure(error)
            return
        self.trouble.pop(named, None)
        try:
            far_writer.write(first)
            await _until_one_ends(_copy(reader, far_writer), self._pass_back(named, far_reader, writer))
        finally:
            far_writer.transport.abort()

    async def _pass_back(self, named: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy what the server answers, until it refers to another one."""
        answers = AnswerStream()
        async with asyncio.timeout(CONNECT_TIMEOUT):
            data = await reader.read(_CHUNK)
        while data:
            try:
                writer.write(answers.feed(data))
            except Referral:
                self.trouble[named] = ConnectFailure.REFERRED
                return
            await writer.drain()
            data = await reader.read(_CHUNK)

    async def _reach(
        self, server: IceUrl, proxy: Proxy | None, *, offered: bool
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a server, through the proxy if there is one.

        Raises:
            OSError: If it is not reached, or its certificate is not trusted; a :class:`p2pal.hosts.NotReached` for the
                proxy's part in it.
            ValueError: If its name cannot be used.
        """
        context = None
        if server.tls:
            if self._context is None:
                self._context = await asyncio.to_thread(ssl.create_default_context)
            context = self._context
        if proxy is None:
            return await self._directly(server, context, offered=offered)
        try:
            patience = PROXY_TIMEOUT if proxy.kind == "http" else CONNECT_TIMEOUT
            sock = await connect_through(proxy, server.host, server.port, patience)
        except NotReached as error:
            if proxy.veils:
                raise
            why = error.why
        else:
            try:
                return await asyncio.open_connection(
                    sock=sock, ssl=context, server_hostname=server.host if context else None
                )
            except BaseException:
                sock.close()
                raise
        with contextlib.suppress(OSError, ValueError):
            async with asyncio.timeout(DIRECT_TIMEOUT):
                return await self._directly(server, context, offered=offered)
        raise NotReached(why)

    async def _directly(
        self, server: IceUrl, context: ssl.SSLContext | None, *, offered: bool
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect without a proxy; of a server that was offered to an address that it may have.

        Raises:
            OSError: If it is not reached, or has none.
            ValueError: If its name cannot be used.
        """
        if self._addresses is None or not offered:
            return await connect_to(server.host, server.port, context=context)
        error: OSError = NotReached(ConnectFailure.TOO_NEAR)
        for address in await self._addresses(server.host):
            try:
                async with asyncio.timeout(DIRECT_TIMEOUT):
                    return await asyncio.open_connection(
                        address, server.port, ssl=context, server_hostname=server.host if context else None
                    )
            except OSError as failed:
                error = failed
        raise error

    async def close(self) -> None:
        """Close every port and every connection, and those that are only about to be there."""
        self._closed = True
        for server in self._servers:
            server.close()
        running = list(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)


async def _port(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    address: str,
    family: socket.AddressFamily,
) -> asyncio.Server:
    """Return a port that does not listen yet.

    Raises:
        OSError: If there is none. A loop that makes the socket itself passes over a family that the system does not
            have, and returns a server without any.
    """
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.bind((address, 0))
        return await asyncio.start_server(serve, sock=sock, start_serving=False)
    except BaseException:
        sock.close()
        raise


async def _until_one_ends(*ways: Coroutine[None, None, None]) -> None:
    """Copy both ways until one of them ends."""
    copies = [asyncio.create_task(way) for way in ways]
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

"""Where the server listens, and whose connections it takes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import hdrs, web

from p2pal.server.accounts import Account
from p2pal.server.answers import refusal
from p2pal.server.config import ServerConfig
from p2pal.server.gate import Gate
from p2pal.server.http import HttpConnection
from p2pal.server.logs import REQUEST_ID, choose_request_id
from p2pal.server.metrics import Metrics
from p2pal.server.ports import bind
from p2pal.server.state import Denied

SOCKET_BUFFER: Final = 32 * 1024
"""Bytes that the system buffers each way for one connection; Linux counts twice as much for it (tcp(7))."""

LATE: Final = web.RequestKey("late", float)
"""Key of a request: the seconds after which its address may ask again."""

_BACKLOG: Final = 1024
_REFUSED_BODIES: Final = (413, 415)

_Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Listener:
    """Takes connections for an aiohttp server.

    Args:
        server: What answers requests.
        gate: What an address may do.
        metrics: Where refusals are counted.
        config: How the server runs.
        tls: What is spoken; None for plain HTTP.
    """

    def __init__(
        self, server: web.Server, gate: Gate, metrics: Metrics, config: ServerConfig, tls: ssl.SSLContext | None
    ) -> None:
        self.tls = tls
        self.max_body = config.max_request
        self.send_timeout = config.send_timeout
        self._config = config
        self._server = server
        self._gate = gate
        self._metrics = metrics
        self._open: set[HttpConnection] = set()
        self._listening: list[asyncio.Server] = []
        server.request_handler = self._count(server.request_handler)

    @property
    def port(self) -> int:
        """The port, which all its addresses have in common; 0 before it listens."""
        return next((int(each.getsockname()[1]) for each in self._sockets()), 0)

    @property
    def families(self) -> frozenset[int]:
        """The address families that it listens for: ``AF_INET``, ``AF_INET6``."""
        return frozenset(each.family for each in self._sockets())

    def _sockets(self) -> list[socket.socket]:
        return [each for server in self._listening for each in server.sockets]

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: If the address cannot be had.
        """
        loop = asyncio.get_running_loop()
        sockets = await asyncio.to_thread(bind, self._config.host, self._config.port)
        try:
            for each in sockets:
                with contextlib.suppress(OSError):  # it goes on with the system's own sizes
                    # Before it listens: connections have what their listener has.
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
                listening = await loop.create_server(lambda: HttpConnection(self), sock=each, backlog=_BACKLOG)
                self._listening.append(listening)
        except BaseException:
            self.stop()
            for each in sockets:
                each.close()
            raise

    def stop(self) -> None:
        """Take no connections any more; those that stand go on."""
        for listening in self._listening:
            listening.close()

    def cut(self) -> None:
        """End all connections that speak HTTP."""
        for connection in list(self._open):
            connection.cut()

    # What connections ask; see HttpSite.

    def handler(self) -> web.RequestHandler:
        """Return what parses and answers one connection."""
        return self._server()

    def admit(self, connection: HttpConnection, peer: str) -> Account | None:
        """Return the account that a connection counts for; None for that of a trusted proxy.

        Raises:
            Denied: ``too-many-sockets``.
        """
        self._open.add(connection)
        account = self._gate.account_of_peer(peer)
        if account is not None and account.crowded:
            raise Denied("too-many-sockets")
        return account

    def refused(self, denied: Denied) -> None:
        """Count a refusal that no request is counted for."""
        self._metrics.denials[denied.code] += 1

    def left(self, connection: HttpConnection) -> None:
        """A connection is over, or no longer one of HTTP."""
        self._open.discard(connection)

    # Requests.

    def _count(self, handle: _Handle) -> _Handle:
        """Return what answers requests and counts them all, also those that no route and no middleware sees."""

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            connection = HttpConnection.of(request)
            if connection is None:
                return await handle(request)
            account = connection.account or self._gate.account(request)
            proxied = connection.account is None
            connection.request_began(request)
            account.connections += proxied
            try:
                late = 0.0 if connection.paid else account.request(asyncio.get_running_loop().time())
                connection.paid = False
                if late:
                    request[LATE] = late
                if late and hdrs.EXPECT in request.headers:  # aiohttp would see to that first
                    response: web.StreamResponse = refusal(Denied("too-often", late))
                    response.headers[REQUEST_ID] = choose_request_id("")
                else:
                    response = await handle(request)
                if late or response.status in _REFUSED_BODIES or not request.content.is_eof():
                    response.force_close()
                return response
            finally:
                account.connections -= proxied
                connection.request_ended(request)

        return answer

"""Where the server listens, and whose connections it takes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from aiohttp import hdrs, web

from p2pal.server.address_limiter import AddressLimiter
from p2pal.server.config import ServerConfig
from p2pal.server.http.gate import Gate
from p2pal.server.http.listening_sockets import bind
from p2pal.server.http_connection import LINGER, HttpConnection
from p2pal.server.logs import REQUEST_ID, choose_request_id, log_failure
from p2pal.server.metrics import Metrics
from p2pal.server.responses import refusal_answer
from p2pal.server.state import Denied

HANDSHAKE_TIMEOUT: Final = 10.0
"""Seconds for a TLS handshake."""

SOCKET_BUFFER: Final = 32 * 1024
"""Bytes that the system buffers each way for one connection; Linux counts twice as much for it (tcp(7))."""

LATE: Final = web.RequestKey("late", float)
"""Key of a request: the seconds after which its address may ask again."""

_BACKLOG: Final = 1024
_GONE: Final = (errno.ECONNABORTED, errno.EPROTO, errno.EPERM)
"""What accept(2) says of a connection that is none any more."""
_PAUSE: Final = 1.0
"""Seconds before connections are taken again after the system had nothing left for one."""
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
        self._tls = tls
        self.max_body = config.max_request
        self.send_timeout = config.send_timeout
        self._config = config
        self._server = server
        self._gate = gate
        self._metrics = metrics
        self._open: set[HttpConnection] = set()
        self._listening: list[asyncio.Server] = []
        self._accepting: list[socket.socket] = []
        self._work: set[asyncio.Task[None]] = set()
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
        return [*self._accepting, *(each for server in self._listening for each in server.sockets)]

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: If the address cannot be had.
        """
        sockets = await asyncio.to_thread(bind, self._config.host, self._config.port)
        try:
            for each in sockets:
                with contextlib.suppress(OSError):  # it goes on with the system's own sizes
                    # Before it listens: connections have what their listener has.
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
                await self._listen(each)
        except BaseException:
            self.stop()
            for each in sockets:
                each.close()
            raise

    async def _listen(self, bound: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        if self._tls is None:
            self._listening.append(await loop.create_server(lambda: HttpConnection(self), sock=bound, backlog=_BACKLOG))
            return
        # Handshakes are to be counted, and asyncio tells of a connection only after its handshake.
        bound.setblocking(False)
        bound.listen(_BACKLOG)
        self._accepting.append(bound)
        self._spawn(self._accept(bound, self._tls))

    def stop(self) -> None:
        """Take no connections any more; those that stand go on."""
        for listening in self._listening:
            listening.close()
        for task in self._work:
            task.cancel()
        self._listening, self._accepting = [], []

    def cut(self) -> None:
        """End all connections that speak HTTP."""
        for connection in list(self._open):
            connection.cut()

    async def _accept(self, listening: socket.socket, tls: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        with listening:
            while True:
                try:
                    accepted, peer = await loop.sock_accept(listening)
                except OSError as error:
                    if error.errno not in _GONE:
                        log_failure("accept-failed", kind=errno.errorcode.get(error.errno or 0, "unknown"))
                    await asyncio.sleep(0.0 if error.errno in _GONE else _PAUSE)
                    continue
                connection = HttpConnection(self)
                if connection.admit(peer) and not connection.late:
                    self._spawn(self._shake_hands(connection, accepted, tls))
                    continue
                if connection.late:
                    self.refused(Denied("too-often"))  # without a handshake, which is what costs most
                connection.release()
                accepted.close()

    async def _shake_hands(self, connection: HttpConnection, accepted: socket.socket, tls: ssl.SSLContext) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=tls,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
                ssl_shutdown_timeout=LINGER,
            )
        except OSError:
            connection.release()
        except BaseException:
            connection.release()
            raise

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    # What connections ask; see HttpSite.

    def handler(self) -> web.RequestHandler:
        """Return what parses and answers one connection."""
        return self._server()

    def limiter(self, peer: str) -> AddressLimiter | None:
        """Return the limiter that a connection counts for; None for that of a trusted proxy."""
        return self._gate.limiter_of_peer(peer)

    def entered(self, connection: HttpConnection) -> None:
        """A connection is taken."""
        self._open.add(connection)

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
            limiter = connection.limiter or self._gate.limiter(request)
            proxied = connection.limiter is None
            connection.request_began(request)
            limiter.connections += proxied
            try:
                late = 0.0 if connection.paid else limiter.request(asyncio.get_running_loop().time())
                connection.paid = False
                if late:
                    request[LATE] = late
                if late and hdrs.EXPECT in request.headers:  # aiohttp would see to that first
                    response: web.StreamResponse = refusal_answer(Denied("too-often", late))
                    response.headers[REQUEST_ID] = choose_request_id("")
                else:
                    response = await handle(request)
                if late or response.status in _REFUSED_BODIES or not request.content.is_eof():
                    response.force_close()
                return response
            finally:
                limiter.connections -= proxied
                connection.request_ended(request)

        return answer

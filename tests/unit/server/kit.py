"""A real server and real sockets for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar

import aiohttp
import aiohttp.web
import msgspec

from p2pal.server.config import Limits, ServerConfig
from p2pal.server.http.app import Server
from p2pal.wire import rendezvous as wire

P = ParamSpec("P")
M = TypeVar("M", bound=wire.ServerMessage)


class Raw:
    """A WebSocket client without any manners of its own."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws

    async def send(self, message: wire.ClientMessage) -> None:
        await self.ws.send_str(wire.encoder.encode(message).decode())

    async def receive(self) -> wire.ServerMessage:
        async with asyncio.timeout(20):
            received = await self.ws.receive()
        assert received.type is aiohttp.WSMsgType.TEXT, (received, self.ws.close_code)
        return wire.server_decoder.decode(received.data)

    async def expect(self, kind: type[M]) -> M:
        """Return the next message of that kind, skipping others."""
        while True:
            message = await self.receive()
            if isinstance(message, kind):
                return message

    async def close_code(self) -> int | None:
        """Read until the server closes, and return its code."""
        async with asyncio.timeout(20):
            while (received := await self.ws.receive()).type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                pass
        # aiohttp forgets the code if the connection is gone before it could answer.
        return received.data if received.type is aiohttp.WSMsgType.CLOSE else self.ws.close_code


class Visitor:
    """One HTTP session at the server of that URL."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session
        self._sockets: list[aiohttp.ClientWebSocketResponse] = []

    async def close(self) -> None:
        """Close every WebSocket: one that is only forgotten is told of when it is collected, in some later test."""
        await asyncio.gather(*(socket.close() for socket in self._sockets))

    async def post(self, path: str, body: object) -> tuple[int, dict[str, Any]]:
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return await self.request("POST", path, data=data)

    async def request(
        self, method: str, path: str, *, data: bytes | None = None, token: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        async with self.session.request(method, self.url + path, data=data, headers=headers) as response:
            text = await response.read()
            return response.status, msgspec.json.decode(text) if text else {}

    async def create(self, ttl: float = 60.0) -> wire.Created:
        status, body = await self.post("/api/transfer", {"ttl": ttl, "version": 1})
        assert status == 201, body
        return msgspec.convert(body, wire.Created)

    async def join(self, slot: int) -> wire.Joined:
        status, body = await self.post("/api/join", {"slot": slot})
        assert status == 201, body
        return msgspec.convert(body, wire.Joined)

    async def socket(self) -> Raw:
        socket = await self.session.ws_connect(self.url + "/api/ws", timeout=aiohttp.ClientWSTimeout(ws_close=1.0))
        self._sockets.append(socket)
        return Raw(socket)

    async def socket_in_time(self) -> Raw:
        """A socket, once the server has noticed that another is gone: nothing tells the client when."""
        async with asyncio.timeout(20):
            while True:
                try:
                    return await self.socket()
                except aiohttp.WSServerHandshakeError:
                    await asyncio.sleep(0.01)

    async def hello(self, token: str, cursors: dict[int, int] | None = None) -> Raw:
        raw = await self.socket()
        await raw.send(wire.ClientHello(token, cursors or {}))
        return raw

    async def pair(self) -> tuple[wire.Created, Raw, Raw]:
        """A sender and a receiver, attempt 1 served."""
        created = await self.create()
        joined = await self.join(created.slot)
        sender, receiver = await self.hello(created.token), await self.hello(joined.token)
        assert (await sender.expect(wire.Served)).attempt == 1
        await receiver.expect(wire.PeerPresence)
        return created, sender, receiver


class Kit(Visitor):
    """A running server and one HTTP session."""

    def __init__(self, server: Server, session: aiohttp.ClientSession) -> None:
        super().__init__(server.url, session)
        self.server = server


@asynccontextmanager
async def serving(config: ServerConfig | None = None, limits: Limits | None = None) -> AsyncIterator[Kit]:
    """Run a server on a free loopback port."""
    config = config or ServerConfig(port=0, limits=limits or Limits(), drain=0.2)
    server = Server(config)
    await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            kit = Kit(server, session)
            try:
                yield kit
            finally:
                await kit.close()
    finally:
        await server.stop()


Handler = Callable[[aiohttp.web.Request], Awaitable[aiohttp.web.StreamResponse]]


@asynccontextmanager
async def odd_server(handler: Handler) -> AsyncIterator[str]:
    """Run an HTTP server that answers everything with ``handler``; yield its URL."""
    app = aiohttp.web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = aiohttp.web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()

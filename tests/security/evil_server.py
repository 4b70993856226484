"""A signaling server that reads, keeps and bends everything that passes through it: a proxy before an honest one."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
from aiohttp import web
from tests.unit.server.kit import odd_server, serving

from p2pal.server.config import Limits

Fields = dict[str, Any]
Bend = Callable[[Fields], list[Fields]]
"""Takes a mailbox message on its way to a client and returns what the client gets instead."""

Say = Callable[[int, Fields], list[Fields]]
"""Takes anything on its way to a client, whose number comes first (0: the sender), and returns what it gets instead."""

Route = Callable[[str, Fields], Fields]
"""Takes the last part of an HTTP path and a body, and returns the body that takes its place."""

_HIDDEN = frozenset({"host"})
"""Headers that say nothing of the client: it names the server as it was told to."""


class EvilServer:
    """Stands between the clients and an honest server.

    Attributes:
        seen: Everything that clients sent, in clear: paths, headers and bodies of requests, WebSocket messages, pings
            and close reasons, and decoded mailbox messages.
        hellos: The first message of every WebSocket.
        say: Bends everything that clients get over WebSockets, after the two below.
        ask: Bends the bodies of HTTP requests.
        answer: Bends the bodies of HTTP answers.
        to_sender: Bends the messages that the sender gets.
        to_receiver: Bends the messages that receivers get.
        logs: Every log that passed through it: by the rendezvous id, its writer (0: the sender) and attempt.
        url: Where it is.
    """

    def __init__(self, target: str, session: aiohttp.ClientSession) -> None:
        self._target = target
        self._session = session
        self.seen: list[bytes] = []
        self.bodies: list[bytes] = []
        self.hellos: list[Fields] = []
        self.say: Say = lambda _who, message: [message]
        self.ask: Route = lambda _path, body: body
        self.answer: Route = lambda _path, body: body
        self.to_sender: Bend = lambda message: [message]
        self.to_receiver: Bend = lambda message: [message]
        self.logs: dict[tuple[str, int, int], list[bytes]] = {}
        self.url = ""
        self._mailboxes: set[aiohttp.ClientWebSocketResponse] = set()

    async def forget(self, target: str) -> None:
        """Go on before another honest server, which knows nothing, and drop every socket."""
        self._target = target
        await self.drop()

    async def drop(self) -> None:
        """Drop every socket."""
        for mailbox in set(self._mailboxes):
            await mailbox.close()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(f"{request.method} {request.path_qs}".encode())
        self.seen += [
            name + b": " + value for name, value in request.raw_headers if name.lower().decode() not in _HIDDEN
        ]
        if request.path == "/api/ws":
            return await self._mailbox(request)
        body = await request.read()
        self.seen.append(body)
        last = request.path.rpartition("/")[2]
        headers = {name: value for name, value in request.headers.items() if name in ("Authorization", "Content-Type")}
        if body:
            body = json.dumps(self.ask(last, json.loads(body))).encode()
        async with self._session.request(
            request.method, self._target + request.path, data=body, headers=headers
        ) as answer:
            told = await answer.read()
        if told and answer.status < 400:
            told = json.dumps(self.answer(last, json.loads(told))).encode()
        return web.Response(body=told, status=answer.status)

    async def _mailbox(self, request: web.Request) -> web.WebSocketResponse:
        client = web.WebSocketResponse(max_msg_size=1 << 20, autoping=False)
        await client.prepare(request)
        async with self._session.ws_connect(self._target + "/api/ws") as server:
            text = await client.receive_str()
            self.seen.append(text.encode())
            hello = json.loads(text)
            self.hellos.append(hello)
            await server.send_json(hello)
            rendezvous, who = hello["token"].split(".")[:2]
            self._mailboxes.add(server)
            down = asyncio.create_task(self._down(server, client, int(who)))
            try:
                await self._up(client, server, rendezvous, int(who))
            finally:
                self._mailboxes.discard(server)
                await server.close()
                await asyncio.gather(down, return_exceptions=True)
        return client

    async def _up(
        self, client: web.WebSocketResponse, server: aiohttp.ClientWebSocketResponse, rendezvous: str, who: int
    ) -> None:
        while True:
            message = await client.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                self._see(message.data)
                self._note(rendezvous, who, message.data)
                with suppress(ConnectionError):
                    await server.send_str(message.data)
                continue
            self.seen.append(str((message.data, message.extra)).encode())
            if message.type is aiohttp.WSMsgType.PING:
                await client.pong(message.data)
            elif message.type is not aiohttp.WSMsgType.PONG:
                return

    def _bend_for(self, who: int) -> Bend:
        return lambda message: self.to_receiver(message) if who else self.to_sender(message)

    def _see(self, text: str) -> None:
        self.seen.append(text.encode())
        body = json.loads(text).get("body")
        if body is not None:
            self.bodies.append(b64decode(body))
            self.seen.append(self.bodies[-1])

    def _note(self, rendezvous: str, who: int, text: str) -> None:
        fields = json.loads(text)
        if fields["type"] == "append":
            log = self.logs.setdefault((rendezvous, who, fields.get("attempt") or who), [])
            if fields["index"] == len(log):
                log.append(b64decode(fields["body"]))

    async def _down(self, server: aiohttp.ClientWebSocketResponse, client: web.WebSocketResponse, who: int) -> None:
        bend = self._bend_for(who)
        with suppress(ConnectionError):
            async for message in server:
                fields = json.loads(message.data)
                for each in bend(fields) if fields["type"] == "message" else [fields]:
                    for said in self.say(who, each):
                        await client.send_json(said)
        await client.close(code=server.close_code or 1001)


@asynccontextmanager
async def evil_server() -> AsyncIterator[EvilServer]:
    """Run one, before an honest server that is quick to let go of the silent."""
    async with serving(limits=Limits(silence=1.0)) as kit:
        evil = EvilServer(kit.server.url, kit.session)
        async with odd_server(evil.handle) as url:
            evil.url = url
            yield evil

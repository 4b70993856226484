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


class EvilServer:
    """Stands between the clients and an honest server.

    Attributes:
        seen: Everything that clients sent, in clear: bodies of requests, WebSocket texts, and decoded mailbox messages.
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
        self.to_sender: Bend = lambda message: [message]
        self.to_receiver: Bend = lambda message: [message]
        self.logs: dict[tuple[str, int, int], list[bytes]] = {}
        self.url = ""
        self._mailboxes: set[aiohttp.ClientWebSocketResponse] = set()

    async def forget(self, target: str) -> None:
        """Go on before another honest server, which knows nothing, and drop every socket."""
        self._target = target
        for mailbox in set(self._mailboxes):
            await mailbox.close()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request.path_qs.encode())
        if request.path == "/api/ws":
            return await self._mailbox(request)
        body = await request.read()
        self.seen.append(body)
        headers = {name: value for name, value in request.headers.items() if name in ("Authorization", "Content-Type")}
        async with self._session.request(
            request.method, self._target + request.path, data=body, headers=headers
        ) as answer:
            return web.Response(body=await answer.read(), status=answer.status)

    async def _mailbox(self, request: web.Request) -> web.WebSocketResponse:
        client = web.WebSocketResponse(max_msg_size=1 << 20)
        await client.prepare(request)
        async with self._session.ws_connect(self._target + "/api/ws") as server:
            hello = await client.receive_json()
            await server.send_json(hello)
            rendezvous, who = hello["token"].split(".")[:2]
            bend = self._bend_for(int(who))
            self._mailboxes.add(server)
            down = asyncio.create_task(self._down(server, client, bend))
            try:
                async for message in client:
                    self._see(message.data)
                    self._note(rendezvous, int(who), message.data)
                    await server.send_str(message.data)
            finally:
                self._mailboxes.discard(server)
                await server.close()
                await asyncio.gather(down, return_exceptions=True)
        return client

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

    async def _down(self, server: aiohttp.ClientWebSocketResponse, client: web.WebSocketResponse, bend: Bend) -> None:
        with suppress(ConnectionError):
            async for message in server:
                fields = json.loads(message.data)
                for each in bend(fields) if fields["type"] == "message" else [fields]:
                    await client.send_json(each)
        await client.close(code=server.close_code or 1001)


@asynccontextmanager
async def evil_server() -> AsyncIterator[EvilServer]:
    """Run one, before an honest server that is quick to let go of the silent."""
    async with serving(limits=Limits(silence=1.0)) as kit:
        evil = EvilServer(kit.server.url, kit.session)
        async with odd_server(evil.handle) as url:
            evil.url = url
            yield evil

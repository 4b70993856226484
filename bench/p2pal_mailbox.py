"""The rendezvous as p2pal's clients do it, with as little client as possible: HTTP and a WebSocket, raw JSON."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

import aiohttp

_TTL: Final = 3600


class P2palEnd:
    """One side's WebSocket."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse, slot: int, attempt: int) -> None:
        self._ws = ws
        self._index = 0
        self._attempt = attempt
        self.slot = slot

    async def hello(self, token: str) -> None:
        await self._send({"type": "hello", "token": token})
        await self._read("welcome")

    async def served(self) -> None:
        """Sender: wait until the receiver is there."""
        self._attempt = (await self._read("attempt"))["attempt"]

    async def append(self, body: bytes) -> None:
        """Send a message to the other side."""
        coded = base64.b64encode(body).decode()
        await self._send({"type": "append", "attempt": self._attempt, "index": self._index, "body": coded})
        self._index += 1

    async def message(self) -> bytes:
        """Return the other side's next message."""
        return base64.b64decode((await self._read("message"))["body"])

    async def accept(self) -> None:
        """Sender: the receiver knows the words."""
        await self._send({"type": "accept", "attempt": self._attempt})

    async def complete(self) -> None:
        """Sender: the transfer is done."""
        await self._send({"type": "complete"})

    async def closed(self) -> None:
        """Read until the server closes the socket."""
        async for _message in self._ws:
            pass

    async def cut(self) -> None:
        await self._ws.close()

    async def _send(self, message: dict[str, Any]) -> None:
        await self._ws.send_str(json.dumps(message))

    async def _read(self, kind: str) -> dict[str, Any]:
        while True:
            message: dict[str, Any] = json.loads(await self._ws.receive_str())
            if message["type"] == kind:
                return message
            if message["type"] == "error":
                raise RuntimeError(f"p2pal's server refused: {message}")


class P2pal:
    """Transfers on p2pal's server; senders use one instance, receivers another where there are two.

    Args:
        session: For all requests.
        urls: The instances.
    """

    def __init__(self, session: aiohttp.ClientSession, urls: list[str]) -> None:
        self._session = session
        self._senders, self._receivers = urls[0], urls[-1]

    async def wait(self) -> P2palEnd:
        """Create a transfer; return its sender's end."""
        created = await self._post(f"{self._senders}/api/transfer", {"ttl": _TTL, "version": 1})
        end = P2palEnd(await self._session.ws_connect(f"{self._senders}/api/ws"), created["slot"], 0)
        await end.hello(created["token"])
        return end

    async def join(self, sender: P2palEnd) -> P2palEnd:
        """Join the transfer; return the receiver's end."""
        joined = await self._post(f"{self._receivers}/api/join", {"slot": sender.slot, "version": 1})
        ws = await self._session.ws_connect(f"{self._receivers}/api/ws")
        end = P2palEnd(ws, sender.slot, joined["attempt"])
        await end.hello(joined["token"])
        await sender.served()
        return end

    async def accept(self, sender: P2palEnd, _receiver: P2palEnd) -> None:
        """The two have proved that they know the words."""
        await sender.accept()

    async def finish(self, sender: P2palEnd, receiver: P2palEnd) -> None:
        """End the transfer."""
        await sender.complete()
        await sender.closed()
        await receiver.closed()

    async def _post(self, url: str, body: dict[str, Any]) -> dict[str, Any]:
        async with self._session.post(url, json=body) as response:
            answer: dict[str, Any] = await response.json()
            if response.status != 201:
                raise RuntimeError(f"p2pal's server refused: {answer}")
            return answer

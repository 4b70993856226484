"""The rendezvous as magic-wormhole's clients do it (its ``docs/server-protocol.md``), raw JSON over a WebSocket.

Both sides hold on to the nameplate until they have the other's first message, then release it, as the real client does.
"""

from __future__ import annotations

import itertools
import json
import secrets
from typing import Any, Final

import aiohttp

_APP: Final = "lothar.com/wormhole/text-or-file-xfer"


class WormholeEnd:
    """One side's WebSocket."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self._ws = ws
        self._side = secrets.token_hex(5)
        self._phases = itertools.count()
        self.nameplate = ""
        self._mailbox = ""

    async def open(self, nameplate: str = "") -> None:
        """Claim a nameplate, a new one if none is named, and open its mailbox."""
        await self._read("welcome")
        await self._send("bind", appid=_APP, side=self._side)
        if not nameplate:
            await self._send("allocate")
            nameplate = (await self._read("allocated"))["nameplate"]
        self.nameplate = nameplate
        await self._send("claim", nameplate=nameplate)
        self._mailbox = (await self._read("claimed"))["mailbox"]
        await self._send("open", mailbox=self._mailbox)

    async def append(self, body: bytes) -> None:
        """Send a message to the other side."""
        await self._send("add", phase=str(next(self._phases)), body=body.hex())

    async def message(self) -> bytes:
        """Return the other side's next message."""
        while True:
            message = await self._read("message")
            if message["side"] != self._side:
                return bytes.fromhex(message["body"])

    async def release(self) -> None:
        await self._send("release", nameplate=self.nameplate)

    async def close(self) -> None:
        await self._send("close", mailbox=self._mailbox, mood="happy")

    async def closed(self) -> None:
        """Wait for the answer to :meth:`close`, then close the socket."""
        await self._read("closed")
        await self._ws.close()

    async def cut(self) -> None:
        await self._ws.close()

    async def _send(self, kind: str, **fields: str) -> None:
        await self._ws.send_str(json.dumps({"type": kind, "id": secrets.token_hex(2), **fields}))

    async def _read(self, kind: str) -> dict[str, Any]:
        while True:
            message: dict[str, Any] = json.loads(await self._ws.receive_str())
            if message["type"] == kind:
                return message
            if message["type"] == "error":
                raise RuntimeError(f"magic-wormhole's server refused: {message}")


class Wormhole:
    """Mailboxes on magic-wormhole's server.

    Args:
        session: For all requests.
        urls: The one server.
    """

    def __init__(self, session: aiohttp.ClientSession, urls: list[str]) -> None:
        self._session = session
        self._url = f"{urls[0]}/v1"

    async def wait(self) -> WormholeEnd:
        """Allocate a nameplate; return the end of who did."""
        end = WormholeEnd(await self._session.ws_connect(self._url))
        await end.open()
        return end

    async def join(self, sender: WormholeEnd) -> WormholeEnd:
        """Claim the nameplate; return the other end."""
        end = WormholeEnd(await self._session.ws_connect(self._url))
        await end.open(sender.nameplate)
        return end

    async def accept(self, sender: WormholeEnd, receiver: WormholeEnd) -> None:
        """The two have met: the nameplate is free for others."""
        await sender.release()
        await receiver.release()

    async def finish(self, sender: WormholeEnd, receiver: WormholeEnd) -> None:
        """End the mailbox."""
        await sender.close()
        await receiver.close()
        await sender.closed()
        await receiver.closed()

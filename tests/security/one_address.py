"""An attacker with one address of this machine, as a process of its own, so that whom it keeps waiting is the server.

``python -m tests.security.one_address hold|toil PORT [tls]``: takes all the memory, or all the time, that the server
gives to one address, in all ways at once; says ``done`` when it has it, and keeps it until its standard input ends.
Bounded in count and in time.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import resource
import ssl
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from tests.unit.server.ws.test_connection import CLOSE, CONT, PING, TEXT, UPGRADE, Wire, frame

from p2pal.wire import rendezvous as wire

ADDRESS: Final = "127.0.0.2"
SOCKETS: Final = 256
BESIDE: Final = 64
PAIRS: Final = SOCKETS // 2

TINY: Final = 300
"""Messages that are next to nothing, in one log."""

TOIL: Final = 8.0
"""Seconds of work."""

HEAD: Final = b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"h" * 500) for n in range(30))
"""Nearly as long as a head may be, and unfinished."""

_PATIENCE: Final = 15.0


class Attacker:
    """Holds what it can get, and gives nothing back.

    Args:
        port: The server's.
        tls: The server speaks TLS.
    """

    def __init__(self, port: int, *, tls: bool) -> None:
        self._port = port
        self._tls: ssl.SSLContext | None = None
        if tls:
            self._tls = ssl.create_default_context()
            self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE
        self._open: list[asyncio.StreamWriter] = []
        self._tokens: list[tuple[str, str]] = []

    async def connect(self, *, tls: bool = True) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect, and take nothing in before it is read."""
        context = self._tls if tls else None
        name = "" if context is None else "localhost"
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self._port, local_addr=(ADDRESS, 0), limit=1024, ssl=context, server_hostname=name or None
        )
        self._open.append(writer)
        return reader, writer

    def drop(self, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()
        self._open.remove(writer)

    async def ask(self, path: str, body: object) -> dict[str, Any]:
        """Send a request over a connection of its own and return the answer."""
        data = msgspec.json.encode(body)
        reader, writer = await self.connect()
        writer.write(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (path.encode(), len(data)) + data)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        answer: dict[str, Any] = msgspec.json.decode(await reader.readexactly(length))
        self.drop(writer)
        return answer

    async def socket(self, token: str, cursors: dict[int, int] | None = None) -> Wire:
        reader, writer = await self.connect()
        writer.write(UPGRADE)
        if b" 101 " not in await reader.readuntil(b"\r\n\r\n"):
            raise ConnectionRefusedError
        client = Wire(reader, writer)
        client.send(frame(TEXT, wire.encoder.encode(wire.ClientHello(token, cursors or {}))))
        return client

    async def pair(self) -> tuple[Wire, Wire]:
        """A sender and its receiver; the receiver reads nothing that it is sent."""
        created = await self.ask("/api/transfer", {"ttl": 3600})
        joined = await self.ask("/api/join", {"slot": created["slot"]})
        self._tokens.append((created["token"], joined["token"]))
        sender, receiver = await self.socket(created["token"]), await self.socket(joined["token"])
        receiver.send(append(0, b"not silent"))
        while b'"message"' not in (await sender.next())[1]:
            pass
        return sender, receiver

    async def hold(self) -> None:
        """Fill mailboxes, then buffers, then have as many connections as there may be."""
        pairs: list[tuple[Wire, Wire]] = []

        async def open_pair() -> None:
            pairs.append(await self.pair())

        for _ in range(PAIRS // 8):
            await asyncio.gather(*(bearing(open_pair()) for _ in range(8)))
        half = len(pairs) // 2
        await asyncio.gather(
            *(bearing(_fill(sender, b"x", TINY)) for sender, _ in pairs[:half]),
            *(bearing(_fill(sender, bytes(wire.MAX_BODY), 8)) for sender, _ in pairs[half:]),
        )
        parts = frame(TEXT, b"{", fin=False) + frame(CONT, b" " * (wire.MAX_FRAME - 100), fin=False)
        await asyncio.gather(*(bearing(_begin(each, parts)) for pair in pairs for each in pair))
        heads = [bearing(self._send(HEAD)) for _ in range(BESIDE)]
        await asyncio.gather(*heads)
        for sender, receiver in self._tokens:
            await bearing(self.socket(sender))
            await bearing(self.socket(receiver, {1: TINY}))
        await asyncio.gather(*(bearing(self._send(HEAD[:2000])) for _ in range(SOCKETS)))
        if self._tls is not None:
            await asyncio.gather(*(bearing(self._send(b"\x16\x03\x01\x02\x00\x01", tls=False)) for _ in range(BESIDE)))

    async def toil(self) -> None:
        """Send what is refused, what is tiny and what is endless, as fast as the server takes it."""
        squeezed = gzip.compress(bytes(1 << 20), 1) * 200
        requests = (
            _post(b"Content-Encoding: gzip\r\n", squeezed),
            _post(b"Content-Encoding: deflate\r\n", squeezed),
            _post(b"", bytes(1 << 20)),
            _post(b"", b"{"),
            b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" * 200,
            b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 200,
            b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 200,
            b"POST /api/join HTTP/1.1\r\nHost: x\r\nExpect: a miracle\r\nContent-Length: 1\r\n\r\n" * 200,
            b"NONSENSE\r\n\r\n",
            HEAD * 20,
            b"",
        )
        floods = (
            frame(TEXT, b"{", fin=False) + frame(CONT, fin=False) * 900,
            frame(PING) * 200,
            frame(PING, b"x" * 125) * 200,
            frame(TEXT, b'{"type":"ice"}') * 200,
            frame(TEXT, b" " * 80_000),
            frame(CLOSE, b"\x03\xe8") + frame(PING) * 200,
        )
        works: list[Callable[[], Awaitable[None]]] = []
        for request in requests:
            works += [lambda request=request: self._churn(request)] * 3  # type: ignore[misc]
        for flood in floods:
            works += [lambda flood=flood: self._flood(flood)] * 8  # type: ignore[misc]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TOIL):
                await asyncio.gather(*map(_again, works))

    async def _send(self, data: bytes, *, tls: bool = True) -> None:
        _, writer = await self.connect(tls=tls)
        writer.write(data)
        await writer.drain()

    async def _churn(self, request: bytes) -> None:
        reader, writer = await self.connect()
        try:
            writer.write(request)
            await writer.drain()
            async with asyncio.timeout(0.2):
                while await reader.read(1 << 16):
                    pass
        finally:
            self.drop(writer)

    async def _flood(self, frames: bytes) -> None:
        if not self._tokens:
            created = await self.ask("/api/transfer", {"ttl": 3600})
            self._tokens.append((created["token"], ""))
        client = await self.socket(self._tokens[0][0])
        try:
            for _ in range(100):
                client.send(frames)
                await client.writer.drain()
        finally:
            self.drop(client.writer)


def append(index: int, body: bytes) -> bytes:
    return frame(TEXT, wire.encoder.encode(wire.Append(index, body, 1)))


async def bearing(work: Awaitable[object]) -> None:
    """Do it, whatever becomes of it: the server may refuse or cut it at any time."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError, KeyError):
        async with asyncio.timeout(_PATIENCE):
            await work


async def _again(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await bearing(work())
        await asyncio.sleep(0.001)


async def _fill(sender: Wire, body: bytes, count: int) -> None:
    """Fill the log that the receiver reads."""
    for index in range(count):
        sender.send(append(index, body))
        await sender.writer.drain()


async def _begin(client: Wire, part: bytes) -> None:
    client.send(part)
    async with asyncio.timeout(1.0):
        await client.writer.drain()


def _post(headers: bytes, body: bytes) -> bytes:
    return b"POST /api/join HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n" % (headers, len(body)) + body


async def main() -> None:
    """Do it."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # it says so whenever the server has cut a connection
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    attacker = Attacker(int(sys.argv[2]), tls="tls" in sys.argv)
    await (attacker.hold() if sys.argv[1] == "hold" else attacker.toil())
    print("done", flush=True)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(60):
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())

"""Small proxies for HTTP and SOCKS, on loopback. To them every name is 127.0.0.1, so no test looks one up."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

NAME = "signaling.test"
"""What tests call a server on this machine, which would be reached without a proxy by its own name."""

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class TestProxy:
    """A proxy that speaks one protocol.

    Attributes:
        login: The user name and password that it wants; empty for none.
        refusal: What it answers instead of connecting: a status (HTTP) or a reply code (SOCKS); 0 to connect.
        silent: It takes connections, and answers nothing.
        asked: Hosts and ports that it was asked for, as they were written.
        port: Its own.
    """

    __test__ = False

    def __init__(self, login: str, refusal: int, *, silent: bool) -> None:
        self.login, self.refusal, self.silent = login, refusal, silent
        self.asked: list[tuple[str, int]] = []
        self.port = 0

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve CONNECT, and requests with a whole URL (RFC 9112, section 3.2)."""
        head = await reader.readuntil(b"\r\n\r\n")
        if self.silent:
            await asyncio.Event().wait()
        method, target, _ = head.split(b"\r\n")[0].decode().split()
        _, _, rest = target.rpartition("//")
        place, slash, path = rest.partition("/")
        host, _, port = place.rpartition(":")
        self.asked.append((host, int(port)))
        proof = f"Proxy-Authorization: Basic {base64.b64encode(self.login.encode()).decode()}\r\n".encode()
        status = 407 if self.login and proof not in head else self.refusal
        if status:
            writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            return
        far = await asyncio.open_connection("127.0.0.1", int(port))
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            far[1].write(head.replace(target.encode(), f"{slash}{path}".encode(), 1))
        await splice((reader, writer), far)

    async def socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve SOCKS4a and SOCKS5 with user name and password (RFC 1928, RFC 1929)."""
        version = (await reader.readexactly(1))[0]
        if self.silent:
            await asyncio.Event().wait()
        if version == 4:
            _, *port = await reader.readexactly(3)
            address, _ = await reader.readexactly(4), await reader.readuntil(b"\0")
            named = address[:3] == bytes(3)
            host = (await reader.readuntil(b"\0"))[:-1].decode() if named else str(ipaddress.ip_address(address))
            self.asked.append((host, int.from_bytes(port)))
            writer.write(bytes((0, self.refusal or 90)) + bytes(6))
        else:
            if not await self._greet(reader, writer):
                return
            *_, kind = await reader.readexactly(4)
            if kind == 3:
                (length,) = await reader.readexactly(1)
                host = (await reader.readexactly(length)).decode()
            else:
                host = str(ipaddress.ip_address(await reader.readexactly(4 if kind == 1 else 16)))
            self.asked.append((host, int.from_bytes(await reader.readexactly(2))))
            writer.write(bytes((5, self.refusal, 0, 1)) + bytes(6))
        await writer.drain()
        if not self.refusal:
            await splice((reader, writer), await asyncio.open_connection("127.0.0.1", self.asked[-1][1]))

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        (count,) = await reader.readexactly(1)
        methods = await reader.readexactly(count)
        method = 2 if self.login else 0
        writer.write(bytes((5, method if method in methods else 255)))
        await writer.drain()
        if method not in methods:
            return False
        if not self.login:
            return True
        _, length = await reader.readexactly(2)
        name = await reader.readexactly(length)
        (length,) = await reader.readexactly(1)
        right = name + b":" + await reader.readexactly(length) == self.login.encode()
        writer.write(bytes((1, 0 if right else 1)))
        await writer.drain()
        return right


async def splice(near: Streams, far: Streams) -> None:
    """Copy both ways until one of them ends."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()

    copies = [asyncio.create_task(copy(near[0], far[1])), asyncio.create_task(copy(far[0], near[1]))]
    try:
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in copies:
            each.cancel()
        far[1].transport.abort()


@asynccontextmanager
async def proxy(kind: str, *, login: str = "", refusal: int = 0, silent: bool = False) -> AsyncIterator[TestProxy]:
    """Run a proxy for ``http`` or ``socks``."""
    made = TestProxy(login, refusal, silent=silent)
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] = getattr(made, kind)
    running: set[asyncio.Task[None]] = set()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await serve(reader, writer)
        finally:
            running.discard(task)
            writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

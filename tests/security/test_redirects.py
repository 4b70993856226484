"""A malicious signaling server that sends its clients elsewhere, or blows its answers up."""

from __future__ import annotations

import asyncio
import gzip
import resource
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from tests.security.hostile import PATIENCE
from tests.unit.server.kit import odd_server

from p2pal.doctor.server_probe import check_server
from p2pal.errors import P2palError, ServerRefused
from p2pal.rendezvous.client import MAX_ANSWER, RendezvousClient

CREATED = {
    "rendezvous_id": "a" * 26,
    "slot": 1,
    "token": f"{'a' * 26}.0.{'a' * 43}",
    "expires_in": 60.0,
    "ice_servers": [],
}
STATUSES = [301, 302, 303, 307, 308]


@asynccontextmanager
async def bystander() -> AsyncIterator[tuple[str, list[str]]]:
    """What else listens on this machine or in its network: its URL, and what it was asked."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readline()).decode(errors="replace"))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/secret", asked
    finally:
        server.close()
        await server.wait_closed()


async def create(url: str) -> None:
    async with RendezvousClient(url) as client:
        await client.create(60)


async def join(url: str) -> None:
    async with RendezvousClient(url) as client:
        await client.join(1)


async def meet(url: str) -> None:
    async with RendezvousClient(url) as client:
        await client.meet("a" * 26, "send")


async def delete(url: str) -> None:
    async with RendezvousClient(url) as client:
        await client.delete("a" * 26, "token")


async def listen(url: str) -> None:
    async with RendezvousClient(url) as client:
        await client.mailbox("send", "token", patience=0.0).run()


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("ask", [create, join, meet, delete, listen])
async def test_no_request_follows_a_redirect(ask: Callable[[str], Awaitable[None]], status: int) -> None:
    async with bystander() as (there, asked):

        async def lead(_request: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Location": there})

        async with odd_server(lead) as url, asyncio.timeout(PATIENCE):
            with pytest.raises(ServerRefused, match="redirects to another one") as caught:
                await ask(url)
        assert "127.0.0.1" not in str(caught.value)
        assert asked == []


@pytest.mark.parametrize("last", ["healthz", "readyz", "transfer", "ws"])
async def test_the_doctor_follows_none_either(last: str) -> None:
    async with bystander() as (there, asked):

        async def lead(request: web.Request) -> web.Response:
            if request.path.endswith(last):
                return web.Response(status=307, headers={"Location": there})
            return web.json_response(CREATED, status=201)

        async with odd_server(lead) as url, asyncio.timeout(PATIENCE):
            await check_server(url)
        assert asked == []


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_nothing_is_inflated(coding: str) -> None:
    """A megabyte that would become a gigabyte; with what is in it, it would even be a good answer."""
    blank = b" " * (1 << 24)
    packer = zlib.compressobj(wbits=31 if coding == "gzip" else 15)
    bomb = packer.compress(web.json_response(CREATED).body or b"")  # type: ignore[arg-type]
    bomb += b"".join(packer.compress(blank) for _ in range(16)) + packer.flush()
    assert len(bomb) > MAX_ANSWER

    async def blow(_request: web.Request) -> web.Response:
        return web.Response(body=bomb, status=201, headers={"Content-Encoding": coding})

    async with odd_server(blow) as url, asyncio.timeout(PATIENCE):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for ask in (create, join):
            with pytest.raises(ServerRefused, match="no p2pal signaling server"):
                await ask(url)
        found = await check_server(url)
        assert found.problem is not None
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


async def test_a_small_answer_that_is_compressed_is_not_read() -> None:
    async def answer(_request: web.Request) -> web.Response:
        body = gzip.compress(web.json_response(CREATED).body or b"")  # type: ignore[arg-type]
        return web.Response(body=body, status=201, headers={"Content-Encoding": "gzip"})

    async with odd_server(answer) as url:
        with pytest.raises(ServerRefused, match="no p2pal signaling server"):
            await create(url)


@pytest.mark.parametrize("head", ["X: " + "a" * 9000, "\r\n".join(f"X-{number}: a" for number in range(20_000))])
async def test_a_head_that_does_not_end_is_refused(head: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, asyncio.timeout(PATIENCE):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for ask in (create, listen):
            with pytest.raises(P2palError):
                async with asyncio.timeout(5):
                    await ask(url)

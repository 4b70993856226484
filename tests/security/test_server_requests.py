"""What a stranger can make the server read, keep and do with requests that are refused, late, endless or too many."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import aiohttp
import pytest
from aiohttp.http_parser import DeflateBuffer
from tests.certificates import write_certificate
from tests.unit.server.kit import Kit, serving

from p2pal.rate_limit import Rate
from p2pal.server import http_connection
from p2pal.server.config import AddressLimits, ServerConfig
from p2pal.server.http import listener

HOUR = 3600.0
ZEROS = 256 << 20


def _config(*, trusted: str = "", **limits: int | Rate | None) -> ServerConfig:
    proxies = (ip_network(trusted),) if trusted else ()
    addresses = AddressLimits(**limits)  # type: ignore[arg-type] # the names say which is which
    return ServerConfig(port=0, drain=0.2, addresses=addresses, trusted_proxies=proxies)


class Client:
    """A client without any manners of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Return the next answer's status, headers and body."""
        async with asyncio.timeout(20):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            lines = head.split("\r\n")[:-2]
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(lines[0].split(" ")[1]), headers, body

    async def ends(self) -> None:
        """See the connection end, however it does."""
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(65_536):
                    pass


@asynccontextmanager
async def connected(kit: Kit, address: str = "127.0.0.1") -> AsyncIterator[Client]:
    """Connect, from an address of this machine."""
    reader, writer = await asyncio.open_connection("127.0.0.1", kit.server.port, local_addr=(address, 0))
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def bomb(coding: str) -> bytes:
    squeezed = gzip.compress(bytes(1 << 20), 1) if coding == "gzip" else zlib.compress(bytes(1 << 20))
    return squeezed * (ZEROS >> 20)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "GZIP", "br", "zstd", "identity, gzip", "x-unheard-of"])
@pytest.mark.parametrize("path", ["/api/join", "/healthz", "/nowhere"])
async def test_an_encoded_body_is_refused_before_it_is_read(coding: str, path: str) -> None:
    async with serving() as kit, connected(kit) as client:
        # What follows is no such encoding: who began to decode it would say something else.
        await client.say(request("POST", path, b"\x00" * 5000, Content_Encoding=coding))
        status, headers, body = await client.answer()
        assert (status, b'"encoding"' in body) == (415, True)
        assert headers["accept-encoding"] == "identity"
        assert headers["connection"] == "close"
        await client.ends()
        async with kit.session.post(kit.url + "/api/join", data=b"{}", headers={"Content-Encoding": " "}) as plain:
            assert plain.status == 400, "no encoding is none"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_nothing_is_inflated(coding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inflated: list[object] = []
    monkeypatch.setattr(DeflateBuffer, "__init__", lambda *args, **_: inflated.append(args))
    body = bomb(coding)

    async with serving() as kit:
        for _ in range(5):
            async with connected(kit) as client:
                await client.say(request("POST", "/api/join", body, Content_Encoding=coding)[:1000])
                assert (await client.answer())[0] == 415
                with contextlib.suppress(ConnectionError):
                    await client.say(body)
                await client.ends()
    assert not inflated


CHUNKED = request("POST", "/api/join", Transfer_Encoding="chunked")


@pytest.mark.parametrize(
    "opening",
    [
        pytest.param(request("POST", "/api/join", Content_Length="1000000"), id="told"),
        pytest.param(CHUNKED + b"f4240\r\n", id="chunked"),
        pytest.param(request("GET", "/nowhere", Content_Length="1000000"), id="nowhere"),
        pytest.param(request("PUT", "/api/join", Content_Length="1000000"), id="not allowed"),
        pytest.param(request("DELETE", "/api/transfer/x", Content_Length="1000000"), id="not read"),
    ],
)
async def test_a_body_that_nobody_wants_is_answered_and_not_kept(opening: bytes) -> None:
    async with serving() as kit, connected(kit) as client:
        await client.say(opening)
        sending = asyncio.create_task(client.say(bytes(1_000_000)))
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (413, "close")
        with contextlib.suppress(ConnectionError):
            await sending
        client.writer.write_eof()
        await client.ends()


async def test_a_body_of_tiny_chunks_has_an_end_in_bytes_that_come() -> None:
    async with serving() as kit, connected(kit) as client:
        await client.say(CHUNKED + (b"1;" + b"x" * 99 + b"\r\n \r\n") * 1000)
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (413, "close")


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"X-A: " + b"a" * 4000 + b"\r\n", id="long headers"),
        pytest.param(b"X-A: b\r\n" * 500, id="many headers"),
    ],
)
async def test_a_head_has_an_end(head: bytes) -> None:
    async with serving() as kit, connected(kit) as client:
        await client.say(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(2 * http_connection.MAX_HEAD // len(head) + 1):
                await client.say(head)
        status, headers, body = await client.answer()
        assert status in (400, 431)
        assert headers["connection"] == "close"
        assert status == 400 or b'"head-too-large"' in body
        await client.ends()


async def test_the_longest_head_and_body_are_taken_byte_by_byte_and_with_more_behind_them() -> None:
    async with serving() as kit, connected(kit) as client:
        padding = {f"X_{n}": "x" * 4000 for n in range(3)}
        body = b'{"ttl": 60}' + b" " * 4085
        whole = request("POST", "/api/transfer", body, **padding) + request("GET", "/healthz")
        for byte in whole:
            client.writer.write(bytes((byte,)))
        await client.writer.drain()
        assert (await client.answer())[0] == 201
        assert (await client.answer())[0] == 200
        await client.say(b"\r\n\r\n" + request("GET", "/healthz"))
        assert (await client.answer())[0] == 200, "empty lines before a request are passed over"


async def test_requests_in_a_row_are_answered_in_turn() -> None:
    async with serving(_config(requests=None)) as kit, connected(kit) as client:
        paths = ["/healthz", "/nowhere", "/api/transfer/x"] * 300
        await client.say(b"".join(request("GET", path) for path in paths))
        assert [(await client.answer())[0] for _ in paths] == [200, 404, 401] * 300


async def test_an_extension_that_inflates_is_not_agreed_to() -> None:
    async with serving() as kit, kit.session.ws_connect(kit.url + "/api/ws", compress=15) as opened:
        assert opened.compress == 0
        assert "Sec-WebSocket-Extensions" not in opened._response.headers


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        pytest.param(request("GET", "/healthz"), 200, id="served"),
        pytest.param(request("POST", "/api/join", b"{"), 400, id="malformed body"),
        pytest.param(b"NONSENSE\r\n\r\n", 400, id="malformed head"),
        pytest.param(request("GET", "/nowhere"), 404, id="nowhere"),
        pytest.param(request("PUT", "/api/join"), 405, id="not allowed"),
        pytest.param(request("POST", "/api/join", b" " * 5000), 413, id="too large"),
        pytest.param(request("POST", "/api/join", b"x", Content_Encoding="gzip"), 415, id="encoded"),
        pytest.param(request("POST", "/api/join", b"x", Expect="a miracle"), 417, id="expects"),
        pytest.param(request("GET", "/healthz", X="x" * 17_000), 431, id="head too large"),
    ],
)
@pytest.mark.parametrize("anew", [True, False])
async def test_what_is_refused_counts_as_well(asked: bytes, status: int, anew: bool) -> None:
    async with serving(_config(requests=Rate(5, HOUR))) as kit:
        seen: list[int] = []
        while len(seen) < 7:
            async with connected(kit, "127.0.0.2") as client:
                with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                    while len(seen) < 7:
                        await client.say(asked)
                        got, headers, body = await client.answer()
                        seen.append(got)
                        if got == 429:
                            assert b'"too-often"' in body
                            assert int(headers["retry-after"]) > 60
                            assert headers["connection"] == "close"
                            await client.ends()
                        if anew:
                            break
        assert seen == [status] * 5 + [429] * 2
        async with connected(kit, "127.0.0.3") as another:
            await another.say(request("GET", "/healthz"))
            assert (await another.answer())[0] == 200


async def test_connections_that_say_nothing_count_and_are_given_back() -> None:
    async with serving(_config(sockets=1)) as kit, contextlib.AsyncExitStack() as stack:
        mute = [await stack.enter_async_context(connected(kit, "127.0.0.2")) for _ in range(65)]
        await mute[-1].say(request("GET", "/healthz"))
        assert (await mute[-1].answer())[0] == 200
        async with connected(kit, "127.0.0.2") as one_too_many:
            await one_too_many.ends()
        async with connected(kit, "127.0.0.3") as another:
            await another.say(request("GET", "/healthz"))
            assert (await another.answer())[0] == 200
        mute[0].writer.close()
        async with asyncio.timeout(20):
            while True:  # nothing tells the client when the server has noticed
                async with connected(kit, "127.0.0.2") as again:
                    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                        await again.say(request("GET", "/healthz"))
                        assert (await again.answer())[0] == 200
                        break


async def test_a_proxy_has_as_many_connections_as_it_likes_and_each_client_its_own_allowance() -> None:
    config = _config(sockets=1, requests=Rate(3, HOUR), trusted="127.0.0.0/8")
    async with serving(config) as kit, contextlib.AsyncExitStack() as stack:
        mute = [await stack.enter_async_context(connected(kit)) for _ in range(80)]
        seen = []
        for n in range(10):
            await mute[-1].say(request("GET", "/healthz", X_Forwarded_For=f"192.0.2.{n % 2}"))
            status, headers, _ = await mute[-1].answer()
            seen.append(status)
            if headers.get("connection") == "close":
                mute.append(await stack.enter_async_context(connected(kit)))
        assert seen == [200] * 6 + [429] * 4


async def test_a_handshake_that_never_ends_counts_and_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "HANDSHAKE_TIMEOUT", 1.0)
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    write_certificate(cert, key, "localhost")

    config = ServerConfig(port=0, drain=0.2, tls_cert=str(cert), tls_key=str(key), addresses=AddressLimits(sockets=1))
    async with serving(config) as kit, contextlib.AsyncExitStack() as stack:
        half = [await stack.enter_async_context(connected(kit, "127.0.0.2")) for _ in range(65)]
        await half[0].say(b"\x16\x03\x01\x02\x00\x01")
        async with connected(kit, "127.0.0.2") as one_too_many:
            await one_too_many.ends()
        for each in half:
            await each.ends()


async def test_one_that_does_not_read_its_answers_is_cut() -> None:
    config = ServerConfig(port=0, drain=0.2, send_timeout=0.3, addresses=AddressLimits(requests=None))
    async with serving(config) as kit:
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(deaf, ("127.0.0.1", kit.server.port))

        async def ask() -> None:
            async with asyncio.timeout(30):
                while True:
                    await loop.sock_sendall(deaf, request("GET", "/openapi.json") * 100)

        with pytest.raises(ConnectionError):
            await ask()
        deaf.close()


async def test_buffers_of_one_address_are_bounded_together() -> None:
    async with serving(_config(buffered=100_000)) as kit, contextlib.AsyncExitStack() as stack:
        refused = 0
        for _ in range(20):
            client = await stack.enter_async_context(connected(kit, "127.0.0.2"))
            await client.say(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X-A: " + b"a" * 8000 + b"\r\n")
            with contextlib.suppress(TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(0.1):
                    refused += (await client.answer())[0] == 429
        assert refused == 8
        async with connected(kit, "127.0.0.3") as another:
            await another.say(request("GET", "/healthz", X="x" * 8000))
            assert (await another.answer())[0] == 200


async def test_http_1_0_and_who_waits_for_a_100_are_served() -> None:
    async with serving() as kit:
        async with connected(kit) as client:
            await client.say(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert (await client.answer())[0] == 200
            await client.ends()
        async with connected(kit) as client:
            body = b'{"slot": 5}'
            await client.say(request("POST", "/api/join", Content_Length=str(len(body)), Expect="100-continue"))
            async with asyncio.timeout(20):
                assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.say(body)
            assert (await client.answer())[0] == 404


async def test_a_client_of_aiohttp_sees_why_its_long_body_is_refused() -> None:
    async with serving() as kit:
        for headers, status in (({}, 413), ({"Content-Encoding": "gzip"}, 415)):
            async with aiohttp.ClientSession() as session:
                body = bytes(1_000_000)
                async with session.post(kit.url + "/api/transfer", data=body, headers=headers) as response:
                    assert response.status == status

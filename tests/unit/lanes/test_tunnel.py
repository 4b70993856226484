"""TURN over TLS that checks the certificate: a real coturn behind it, and servers that are none."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.certificates import write_certificate
from tests.unit.server.kit import on_loop

from p2pal.lanes import tunnel
from p2pal.lanes.base import IceServer
from p2pal.lanes.tunnel import Tunnels
from p2pal.wire.ice_urls import parse_turn_url


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """What a server shows that this process trusts."""
    cert, key = tmp_path / "cert", tmp_path / "key"
    write_certificate(cert, key, "127.0.0.1", "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


@contextlib.asynccontextmanager
async def echo(context: ssl.SSLContext | None) -> AsyncIterator[str]:
    """A server that sends back what it gets; its TURN URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1000):
                writer.write(data)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"turns:127.0.0.1:{server.sockets[0].getsockname()[1]}?transport=tcp"
    finally:
        server.close()


@contextlib.asynccontextmanager
async def tunnels() -> AsyncIterator[Tunnels]:
    made = Tunnels()
    try:
        yield made
    finally:
        await made.close()


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parsed = parse_turn_url(url)
    assert parsed is not None
    assert (parsed.tls, parsed.transport) == (False, "tcp")
    return await asyncio.open_connection(parsed.host, parsed.port)


async def says_nothing(url: str) -> None:
    """Connect, and find the connection closed."""
    reader, writer = await connect(url)
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.transport.abort()


def test_bytes_go_through_both_ways(certificate: ssl.SSLContext) -> None:
    @on_loop
    async def through() -> None:
        async with echo(certificate) as url, tunnels() as made:
            (server,) = await made.lead_to([IceServer((url,), "name", "secret")])
            assert (server.username, server.credential) == ("name", "secret")
            assert set(made.names.values()) == {url}
            assert set(server.urls) == set(made.names)
            for local in server.urls:
                reader, writer = await connect(local)
                writer.write(b"x" * 200_000)
                async with asyncio.timeout(10):
                    assert await reader.readexactly(200_000) == b"x" * 200_000
                writer.close()
            assert made.trouble == {}

    through()


def test_one_server_has_the_same_ports_for_every_connection(certificate: ssl.SSLContext) -> None:
    @on_loop
    async def twice() -> None:
        async with echo(certificate) as url, tunnels() as made:
            servers = [IceServer((url,))]
            assert await made.lead_to(servers) == await made.lead_to(servers)

    twice()


@pytest.mark.parametrize(
    "url", ["stun:127.0.0.1", "turn:127.0.0.1", "turn:127.0.0.1:443?transport=tcp", "turns:127.0.0.1?transport=udp"]
)
def test_the_rest_is_the_engines(url: str) -> None:
    @on_loop
    async def untouched() -> None:
        async with tunnels() as made:
            assert await made.lead_to([IceServer((url,))]) == [IceServer((url,))]
            assert made.names == {}

    untouched()


def test_a_certificate_that_is_not_trusted_is_refused(
    certificate: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")

    @on_loop
    async def refused() -> None:
        async with echo(certificate) as url, tunnels() as made:
            (server,) = await made.lead_to([IceServer((url,))])
            await says_nothing(server.urls[0])
            assert made.trouble == {url: "its certificate is not trusted here"}

    refused()


def test_a_server_without_tls_and_one_that_is_not_there(certificate: ssl.SSLContext) -> None:
    @on_loop
    async def refused() -> None:
        async with echo(None) as plain, tunnels() as made:
            closed = "turns:127.0.0.1:1"
            servers = await made.lead_to([IceServer((plain, closed))])
            for local in servers[0].urls:
                await says_nothing(local)
            assert made.trouble == {plain: "it speaks no TLS that we do", closed: "connection refused"}

    refused()


def test_it_has_no_more_connections_than_it_should(certificate: ssl.SSLContext) -> None:
    @on_loop
    async def many() -> None:
        async with echo(certificate) as url, tunnels() as made:
            (server,) = await made.lead_to([IceServer((url,))])
            kept = []
            for _ in range(tunnel.MAX_CONNECTIONS):
                reader, writer = await connect(server.urls[0])
                writer.write(b"x")
                async with asyncio.timeout(10):
                    await reader.readexactly(1)
                kept.append(writer)
            await says_nothing(server.urls[0])
            for writer in kept:
                writer.close()

    many()


def test_closing_ends_what_is_open(certificate: ssl.SSLContext) -> None:
    @on_loop
    async def closing() -> None:
        async with echo(certificate) as url, tunnels() as made:
            (server,) = await made.lead_to([IceServer((url,))])
            reader, writer = await connect(server.urls[0])
            writer.write(b"x")
            async with asyncio.timeout(10):
                await reader.readexactly(1)
                await made.close()
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
            writer.transport.abort()

    closing()

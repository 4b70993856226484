from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from tests.certificates import write_certificate
from tests.unit.server.kit import serving
from tests.unit.server.test_tls import Files, running

from p2pal.errors import ServerUnreachable
from p2pal.rendezvous.client import RendezvousClient
from p2pal.rendezvous.connect_errors import Trouble, speaks_tls, trouble, was_cut
from p2pal.server.config import ServerConfig


def test_causes_are_in_words() -> None:
    assert trouble(TimeoutError()) == Trouble("no answer in time")
    assert trouble(ConnectionResetError()) == Trouble("the connection was lost")
    assert trouble(OSError(101, "x")) == Trouble("no network route to it")
    assert trouble(ssl.SSLError(1, "\x1b[2J")) == Trouble("the TLS handshake failed")
    assert trouble(OSError("Multiple exceptions: [Errno 111] a, [Errno 111] b")) == Trouble("connection refused")
    assert trouble(OSError("raw")) == Trouble("the connection failed or its answer is not HTTP")
    assert trouble(UnicodeError("label too long")) == Trouble("its name cannot be used")
    assert trouble(Exception("raw")) == Trouble("the connection failed or its answer is not HTTP")


def certified(directory: Path, first: int, last: int) -> ServerConfig:
    """A server whose certificate is for ``localhost`` alone, and valid between these days from now."""
    cert, private = directory / "server.pem", directory / "server.key"
    write_certificate(cert, private, "localhost", first=first, last=last)
    return ServerConfig(port=0, drain=0.2, tls_cert=str(cert), tls_key=str(private))


@pytest.mark.parametrize(
    ("first", "last", "name", "told"),
    [
        (-2, -1, "localhost", Trouble("its TLS certificate has expired", "renew it, or set this machine's clock")),
        (
            1,
            2,
            "localhost",
            Trouble("its TLS certificate is not valid yet", "set the clock of this machine, or of the server"),
        ),
        (
            -1,
            1,
            "other.example",
            Trouble("its TLS certificate is for another name", "write the name it is for in the -server address"),
        ),
        (
            -1,
            1,
            "127.0.0.1",
            Trouble("its TLS certificate is for another name", "write the name it is for in the -server address"),
        ),
    ],
)
async def test_what_is_wrong_with_a_certificate(
    tmp_path: Path, first: int, last: int, name: str, told: Trouble
) -> None:
    config = certified(tmp_path, first, last)
    trusting = ssl.create_default_context(cafile=config.tls_cert)
    async with running(config) as server:
        with pytest.raises(ssl.SSLError) as caught:
            await asyncio.open_connection("127.0.0.1", server.port, ssl=trusting, server_hostname=name)
    assert trouble(caught.value) == told


@pytest.mark.parametrize(
    ("own", "hint"),
    [
        (None, "give it a certificate of a public CA, or set SSL_CERT_FILE=/path/to/ca.pem"),
        ("of another", "give it a certificate of a public CA, or set SSL_CERT_FILE=/path/to/ca.pem"),
        ("missing", "SSL_CERT_FILE={path} cannot be read"),
        ("empty", "SSL_CERT_FILE={path} has no certificate in it"),
    ],
)
async def test_a_certificate_that_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str | None, hint: str
) -> None:
    path = tmp_path / "ca.pem"
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    if own is not None:
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
    if own == "empty":
        path.write_text("nothing\n")
    elif own == "of another":
        path.write_bytes(Files(tmp_path, "another").cert.read_bytes())

    async with (
        running(Files(tmp_path).config()) as server,
        RendezvousClient(f"https://127.0.0.1:{server.port}") as client,
    ):
        with pytest.raises(ServerUnreachable, match=": its TLS certificate is not trusted") as caught:
            await client.create(60)
    assert caught.value.hint == hint.format(path=path)


async def test_who_speaks_tls(tmp_path: Path) -> None:
    async with running(Files(tmp_path).config()) as server:
        assert await speaks_tls("127.0.0.1", server.port)
    assert not await speaks_tls("127.0.0.1", server.port)
    async with serving() as kit:
        assert not await speaks_tls("127.0.0.1", kit.server.port)


def test_what_a_cut_is() -> None:
    assert was_cut(ConnectionResetError(104, "x"))
    assert not was_cut(ConnectionRefusedError(111, "x"))
    assert not was_cut(None)

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.certificates import pem, write_certificate

from p2pal.errors import UsageError
from p2pal.server import tls
from p2pal.server.config import ServerConfig
from p2pal.server.http.app import Server

_WRITTEN = 1_700_000_000


class Files:
    """A certificate and its key in two files, and what a client has to trust."""

    def __init__(self, directory: Path, name: str = "server") -> None:
        self.cert, self.key = directory / f"{name}.pem", directory / f"{name}.key"
        self.serial = self.renewals = 0
        self.renew()

    def renew(self) -> None:
        """Write a new self-signed certificate with a new key."""
        self.serial = write_certificate(self.cert, self.key, "localhost", "127.0.0.1")
        self.renewals += 1
        os.utime(self.cert, (_WRITTEN + self.renewals,) * 2)  # however coarse the file system's clock is

    def config(self) -> ServerConfig:
        return ServerConfig(port=0, drain=0.2, tls_cert=str(self.cert), tls_key=str(self.key))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@asynccontextmanager
async def running(config: ServerConfig) -> AsyncIterator[Server]:
    server = Server(config)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def serial(server: Server, name: str = "127.0.0.1") -> int:
    """The serial number of the certificate that a new connection gets; clients send no name for an address."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=trusting, server_hostname=name)
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await reader.read()
    return x509.load_der_x509_certificate(found).serial_number


async def test_a_client_that_trusts_the_certificate_is_served(files: Files) -> None:
    async with running(files.config()) as server, aiohttp.ClientSession() as session:
        assert server.url == f"https://127.0.0.1:{server.port}"
        trusting = ssl.create_default_context(cafile=str(files.cert))
        async with session.get(server.url + "/healthz", ssl=trusting) as response:
            assert response.status == 200
        async with session.ws_connect(server.url + "/api/ws", ssl=trusting) as ws:
            assert not ws.closed
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(server.url + "/healthz")
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(server.url.replace("https:", "http:") + "/healthz")


def test_versions_before_1_2_are_not_spoken(files: Files) -> None:
    context = tls.context_for(files.config())
    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert tls.context_for(ServerConfig()) is None


async def test_a_renewed_certificate_is_served_without_a_restart(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "CHECK", 0.0)

    async with running(files.config()) as server:
        first = files.serial
        assert await serial(server) == await serial(server, "localhost") == first
        trusting = ssl.create_default_context(cafile=str(files.cert))
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(server.url + "/api/ws", ssl=trusting) as ws,
        ):
            files.renew()
            assert await serial(server) == await serial(server, "localhost") == files.serial != first
            assert not ws.closed
            await ws.ping()


@pytest.mark.parametrize("how", ["not-pem", "no-cert", "no-key", "other-key", "damaged", "passphrase"])
async def test_a_new_file_that_is_bad_is_told_of_once_and_leaves_the_old_certificate(
    files: Files, how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tls, "CHECK", 0.0)
    monkeypatch.setattr("p2pal.server.logs.LOGGER.propagate", True)

    async with running(files.config()) as server:
        first = files.serial
        _spoil(files, how)
        for _ in range(3):
            assert await serial(server) == first
        assert [each.message for each in caplog.records].count("certificate-refused") == 1
        files.renew()
        assert await serial(server) == files.serial != first


def test_the_files_are_looked_at_once_a_minute(files: Files) -> None:
    now = 0.0
    certificate = tls.Certificate(str(files.cert), str(files.key), lambda: now)
    before = chosen(certificate)
    files.renew()
    now = tls.CHECK - 1
    assert chosen(certificate) is before
    now = tls.CHECK
    assert chosen(certificate) is not before


def chosen(certificate: tls.Certificate) -> ssl.SSLContext:
    """The context that a handshake begun now goes on with."""
    incoming, outgoing, answer = ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO()
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    client = trusting.wrap_bio(answer, outgoing)
    server = certificate.context.wrap_bio(incoming, answer, server_side=True)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    incoming.write(outgoing.read())
    with pytest.raises(ssl.SSLWantReadError):
        server.do_handshake()
    return server.context


def _spoil(files: Files, how: str) -> None:
    match how:
        case "no-cert":
            files.cert.unlink()
        case "no-key":
            files.key.unlink()
        case "directory":
            files.cert.unlink()
            files.cert.mkdir()
        case "not-pem":
            files.cert.write_bytes(b"\x30\x82\x01\x00")
        case "not-a-key":
            files.key.write_bytes(files.cert.read_bytes())
        case "other-key":
            files.key.write_bytes(Files(files.key.parent, "other").key.read_bytes())
        case "damaged":
            files.cert.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        case "passphrase":
            key = ec.generate_private_key(ec.SECP256R1())
            files.key.write_bytes(pem(key, serialization.BestAvailableEncryption(b"secret")))


@pytest.mark.parametrize(
    ("how", "message", "hint"),
    [
        ("no-cert", "cannot read the TLS certificate {cert}: No such file or directory", "--tls-cert"),
        ("no-key", "cannot read the TLS key {key}: No such file or directory", "--tls-key"),
        ("directory", "cannot read the TLS certificate {cert}: ", "--tls-cert"),
        ("not-pem", "the file {cert} has no certificate in it", "--tls-cert"),
        ("not-a-key", "the file {key} has no key in it", "--tls-key"),
        ("other-key", "the TLS key {key} does not belong to the certificate {cert}", "made together"),
        ("damaged", "cannot use the TLS certificate {cert} with the key {key}: ", "openssl"),
        ("passphrase", "the TLS key {key} has a passphrase", "openssl pkey"),
    ],
)
async def test_what_is_wrong_with_the_files_is_said_in_one_line(
    files: Files, how: str, message: str, hint: str
) -> None:
    _spoil(files, how)

    with pytest.raises(UsageError) as raised:
        await Server(files.config()).start()
    assert raised.value.message.startswith(message.format(cert=repr(str(files.cert)), key=repr(str(files.key))))
    assert hint in raised.value.hint
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("config", [ServerConfig(tls_cert="a.pem"), ServerConfig(tls_key="a.key")])
def test_one_file_without_the_other_is_a_usage_error(config: ServerConfig) -> None:
    with pytest.raises(UsageError, match="a certificate and a key"):
        tls.context_for(config)

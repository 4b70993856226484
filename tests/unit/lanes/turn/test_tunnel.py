"""TURN over TLS that checks the certificate: a real coturn behind it, and servers that are none."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.certificates import write_certificate

from p2pal.connect_failure import ConnectFailure
from p2pal.lanes.ice_servers import IceServerConfig
from p2pal.lanes.turn import tunnel
from p2pal.lanes.turn.tunnel import Tunnels
from p2pal.proxies import parse_proxy
from p2pal.wire.ice_urls import IceUrl, parse_turn_url


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """What a server shows that this process trusts."""
    cert, key = tmp_path / "cert", tmp_path / "key"
    write_certificate(cert, key, "127.0.0.1", "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


HELLO = bytes.fromhex("00030000 2112a442") + b"transaction."
"""An Allocate request (RFC 8656, section 7.1), with which a TURN client starts."""


def channel_data(payload: bytes) -> bytes:
    """What a TURN client sends from there on (RFC 8656, section 12.4)."""
    return b"\x40\0" + len(payload).to_bytes(2, "big") + payload + bytes(-len(payload) % 4)


async def sees_again(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *payloads: bytes) -> None:
    """Speak to a server that sends back what it gets."""
    sent = b"".join((HELLO, *map(channel_data, payloads)))
    writer.write(sent)
    async with asyncio.timeout(10):
        assert await reader.readexactly(len(sent)) == sent


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]


@contextlib.asynccontextmanager
async def listening(serve: Serve, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server on loopback that leaves nothing behind; its port."""
    tasks: set[asyncio.Task[None]] = set()

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await serve(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)


@contextlib.asynccontextmanager
async def echo(context: ssl.SSLContext | None) -> AsyncIterator[str]:
    """A server that sends back what it gets; its TURN URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)

    async with listening(serve, context) as port:
        yield f"turns:127.0.0.1:{port}?transport=tcp"


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
    """Connect, speak, and find the connection closed."""
    reader, writer = await connect(url)
    writer.write(HELLO)
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.transport.abort()


async def test_bytes_go_through_both_ways(certificate: ssl.SSLContext) -> None:
    async with echo(certificate) as url, tunnels() as made:
        (server,) = await made.lead_to([IceServerConfig((url,), "name", "secret")])
        assert (server.username, server.credential) == ("name", "secret")
        assert set(made.names.values()) == {url}
        assert set(server.urls) == set(made.names)
        for local in server.urls:
            reader, writer = await connect(local)
            await sees_again(reader, writer, *[b"x" * 60_001] * 4)
            writer.close()
        assert made.trouble == {}


async def test_one_server_has_the_same_ports_for_every_connection(certificate: ssl.SSLContext) -> None:
    async with echo(certificate) as url, tunnels() as made:
        servers = [IceServerConfig((url,))]
        assert await made.lead_to(servers) == await made.lead_to(servers)


@pytest.mark.parametrize(
    "url", ["stun:127.0.0.1", "turn:127.0.0.1", "turn:127.0.0.1:443?transport=tcp", "turns:a..b:443"]
)
async def test_the_rest_is_the_engines(url: str) -> None:
    async with tunnels() as made:
        assert await made.lead_to([IceServerConfig((url,))]) == [IceServerConfig((url,))]
        assert made.names == {}


async def test_a_machine_without_ipv6_has_a_port_for_ipv4(
    certificate: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the kernel was started with ``ipv6.disable=1``: not even a socket of that family is made."""
    without(monkeypatch, errno.EAFNOSUPPORT, socket.AF_INET6)

    async with echo(certificate) as url, tunnels() as made:
        (server,) = await made.lead_to([IceServerConfig((url,))])
        (local,) = server.urls
        reader, writer = await connect(local)
        await sees_again(reader, writer, b"through")
        writer.transport.abort()


async def test_a_machine_without_a_socket_left_says_so_and_leaves_the_server_to_the_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    servers = [IceServerConfig(("turns:relay.test",))]
    async with tunnels() as made:
        with monkeypatch.context() as patch:
            without(patch, errno.EMFILE, socket.AF_INET, socket.AF_INET6)
            assert await made.lead_to(servers) == servers
        assert made.trouble == {"turns:relay.test": ConnectFailure.NO_SOCKET}
        assert await made.lead_to(servers) != servers


def without(monkeypatch: pytest.MonkeyPatch, number: int, *families: socket.AddressFamily) -> None:
    """Have this machine refuse to make sockets of these families."""
    make = socket.socket

    def refuse(family: int = -1, *more: Any, **named: Any) -> socket.socket:
        if family in families:
            raise OSError(number, "refused")
        return make(family, *more, **named)

    monkeypatch.setattr(tunnel, "socket", Sockets(refuse))


class Sockets:
    """The module, with another way to make a socket: the loop keeps its own, which wakes it up."""

    def __init__(self, make: Callable[..., socket.socket]) -> None:
        self.socket = make

    def __getattr__(self, name: str) -> Any:
        return getattr(socket, name)


async def test_no_more_servers_have_ports_than_should(certificate: ssl.SSLContext) -> None:
    async with tunnels() as made:
        urls = tuple(f"turns:relay.test:{port}" for port in range(1, 3 * tunnel.MAX_URLS))
        (server,) = await made.lead_to([IceServerConfig(urls)])
        assert set(made.names.values()) == set(urls[: tunnel.MAX_URLS])
        assert server.urls[-1] == urls[-1]
        assert await made.lead_to([IceServerConfig(urls)]) == [server]


async def test_a_certificate_that_is_not_trusted_is_refused(
    certificate: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")

    async with echo(certificate) as url, tunnels() as made:
        (server,) = await made.lead_to([IceServerConfig((url,))])
        await says_nothing(server.urls[0])
        assert made.trouble == {url: ConnectFailure.UNTRUSTED}


@pytest.mark.parametrize("what", ["missing", "directory", "empty", "garbage"])
def test_a_bad_file_of_certificates_is_a_cause_and_no_traceback(
    certificate: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    what: str,
) -> None:
    path = tmp_path / what
    if what == "directory":
        path.mkdir()
    elif what != "missing":
        path.write_bytes(b"" if what == "empty" else b"-----BEGIN CERTIFICATE-----\n\xff\0")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))

    async def refused() -> None:
        async with echo(certificate) as url, tunnels() as made:
            (server,) = await made.lead_to([IceServerConfig((url,))])
            await says_nothing(server.urls[0])
            assert made.trouble == {url: ConnectFailure.UNTRUSTED}

    asyncio.run(refused())
    assert not caplog.records


async def test_a_server_without_tls_and_one_that_is_not_there(certificate: ssl.SSLContext) -> None:
    async with echo(None) as plain, tunnels() as made:
        closed = "turns:127.0.0.1:1"
        servers = await made.lead_to([IceServerConfig((plain, closed))])
        for local in servers[0].urls:
            await says_nothing(local)
        assert made.trouble == {plain: ConnectFailure.NO_HANDSHAKE, closed: ConnectFailure.REFUSED}


async def test_turns_over_udp_is_tls_over_tcp_all_the_same(certificate: ssl.SSLContext) -> None:
    """The engine would speak TLS over TCP, too, and trust whom it was built to trust."""

    async with echo(certificate) as url, tunnels() as made:
        named = url.replace("=tcp", "=udp")
        (server,) = await made.lead_to([IceServerConfig((named,))])
        assert set(made.names.values()) == {named}
        reader, writer = await connect(server.urls[0])
        await sees_again(reader, writer, b"through")
        writer.transport.abort()


async def test_a_name_that_no_resolver_takes_is_said(certificate: ssl.SSLContext) -> None:
    """URLs with such names are refused before; the resolver has the last word."""

    async with tunnels() as made:
        named = "turns:a..b:443"
        urls = await made._open(named, IceUrl("a..b", 443, tls=True, transport="tcp"), None, offered=False)
        await says_nothing(urls[0])
        assert made.trouble == {named: ConnectFailure.UNUSABLE_NAME}


def name(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Have the environment name a proxy even for this machine, on which tests stay."""
    monkeypatch.setattr(tunnel, "proxy_for", lambda _scheme, _host, _port: parse_proxy(url))


@contextlib.asynccontextmanager
async def proxy(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A proxy that takes any host for 127.0.0.1 if it answers with 200; its URL, and what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 " + answer + b"\r\n\r\n")
        if answer.startswith(b"200"):
            port = int(asked[-1].split()[1].rpartition(b":")[2])
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await tunnel._until_one_ends(tunnel._copy(reader, far_writer), tunnel._copy(far_reader, writer))
            finally:
                far_writer.transport.abort()
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with listening(serve) as port:
        yield f"http://user:secret@127.0.0.1:{port}", asked


@pytest.mark.parametrize("scheme", ["turns", "turn"])
async def test_where_a_proxy_is_the_only_way_out_it_is_taken(
    certificate: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:

    context = certificate if scheme == "turns" else None
    async with echo(context) as url, proxy(b"200 OK") as (address, asked), tunnels() as made:
        name(monkeypatch, address)
        named = url.replace("turns:127.0.0.1", f"{scheme}:127.0.0.1")
        (server,) = await made.lead_to([IceServerConfig((named,))])
        reader, writer = await connect(server.urls[0])
        await sees_again(reader, writer, b"through both")
        writer.close()
        assert asked[0].startswith(b"CONNECT 127.0.0.1:")
        assert b"Proxy-Authorization: Basic" in asked[0]


async def test_a_proxy_that_does_not_connect_us(certificate: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is the server reached directly: it is the proxy's fault, as far as anybody knows."""

    async with proxy(b"403 Forbidden") as (address, _):
        for named, why in (
            (address, ConnectFailure.PROXY_REFUSED),
            ("http://user:secret@127.0.0.1:1", ConnectFailure.PROXY_SILENT),
            ("https://user:secret@127.0.0.1:1", ConnectFailure.PROXY_TLS),
            ("socks5://127.0.0.1:1", ConnectFailure.PROXY_SILENT),
        ):
            name(monkeypatch, named)
            async with tunnels() as made:
                url = "turn:127.0.0.1:1?transport=tcp"
                (server,) = await made.lead_to([IceServerConfig((url,))])
                await says_nothing(server.urls[0])
                assert made.trouble == {url: why}


@pytest.mark.parametrize("answer", [b"403 Forbidden", None])
async def test_an_http_proxy_that_is_of_no_use_is_gone_around(
    certificate: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, answer: bytes | None
) -> None:
    """Whether it refuses, or swallows everything."""
    monkeypatch.setattr(tunnel, "PROXY_TIMEOUT", 0.2)

    async def swallow(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()
        await asyncio.Event().wait()

    async with contextlib.AsyncExitStack() as stack:
        if answer is None:
            address = f"http://127.0.0.1:{await stack.enter_async_context(listening(swallow))}"
        else:
            address, _ = await stack.enter_async_context(proxy(answer))
        name(monkeypatch, address)
        url = await stack.enter_async_context(echo(certificate))
        made = await stack.enter_async_context(tunnels())
        (server,) = await made.lead_to([IceServerConfig((url,))])
        reader, writer = await connect(server.urls[0])
        await sees_again(reader, writer, b"around")
        assert made.trouble == {}
        writer.transport.abort()


@pytest.mark.parametrize("named", ["gopher://127.0.0.1", "http://user:se/cret@127.0.0.1:1", "http://u:secret@a..b:1"])
async def test_no_server_is_reached_without_a_proxy_that_nobody_understands(
    monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    name(monkeypatch, named)
    async with tunnels() as made:
        url = "turn:127.0.0.1:1?transport=tcp"
        assert await made.lead_to([IceServerConfig((url,))]) == []
        assert made.trouble == {url: ConnectFailure.PROXY_URL}


async def test_nothing_is_left_to_the_engine_where_a_socks_proxy_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even what there is no port for: the engine would go around it, and look the name up."""

    name(monkeypatch, "socks5h://127.0.0.1:1")
    async with tunnels() as made:
        urls = [f"turn:turn.example:{port}?transport=tcp" for port in range(1, tunnel.MAX_URLS + 3)]
        (server,) = await made.lead_to([IceServerConfig(tuple(urls))])
        assert set(server.urls) == set(made.names)
        monkeypatch.setattr(sys, "platform", "win32")
    async with tunnels() as made:
        assert await made.lead_to([IceServerConfig(("turn:turn.example:1?transport=tcp",))]) == []


async def test_who_hides_asks_nothing_over_udp_around_a_socks_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    over_udp = ("turn:turn.example:3478", "stun:stun.example:3478")
    over_tcp = "turn:turn.example:3478?transport=tcp"

    for named, hide, left in (
        ("socks5h://127.0.0.1:1", True, ()),
        ("socks5h://127.0.0.1:1", False, over_udp),
        ("http://127.0.0.1:1", True, over_udp),
    ):
        name(monkeypatch, named)
        async with tunnels() as made:
            (server,) = await made.lead_to([IceServerConfig((*over_udp, over_tcp))], hide=hide)
            assert server.urls[: -len(made.names)] == left
            assert made.trouble == ({} if left else dict.fromkeys(over_udp, ConnectFailure.PROXY_UDP))


@pytest.mark.parametrize("scheme", ["socks5", "SOCKS5H", "socks4"])
async def test_nothing_goes_around_a_proxy_that_may_hide_this_machine(
    certificate: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    reached: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        reached.append(await reader.read(1))

    async with listening(serve) as port, tunnels() as made:
        name(monkeypatch, f"{scheme}://127.0.0.1:1")
        (server,) = await made.lead_to([IceServerConfig((f"turn:127.0.0.1:{port}?transport=tcp",))])
        await says_nothing(server.urls[0])
        assert reached == []


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "SOCKS5H", "socks"])
async def test_a_socks_proxy_resolves_the_name_itself(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """RFC 1928: greeting, then a request with the name as it is."""

    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version, count = await reader.readexactly(2)
        await reader.readexactly(count)
        writer.write(bytes((version, 0)))
        *_, length = await reader.readexactly(5)
        asked.append(await reader.readexactly(length))
        await reader.readexactly(2)
        writer.write(bytes((5, 0, 0, 1)) + bytes(6))
        writer.write(await reader.readexactly(len(HELLO)))
        await writer.drain()
        await reader.read()

    async with listening(serve) as port, tunnels() as made:
        name(monkeypatch, f"{scheme}://127.0.0.1:{port}")
        (server,) = await made.lead_to([IceServerConfig(("turn:relay.test:443?transport=tcp",))])
        reader, writer = await connect(server.urls[0])
        await sees_again(reader, writer)
        writer.transport.abort()
        assert asked == [b"relay.test"]


async def test_it_has_no_more_connections_than_it_should(certificate: ssl.SSLContext) -> None:
    """And those to one server leave room for others."""

    async with echo(certificate) as url, echo(certificate) as other, tunnels() as made:
        server, second = await made.lead_to([IceServerConfig((url,)), IceServerConfig((other,))])
        kept = []
        for _ in range(tunnel.MAX_CONNECTIONS):
            reader, writer = await connect(server.urls[0])
            await sees_again(reader, writer)
            kept.append(writer)
        await says_nothing(server.urls[0])
        reader, writer = await connect(second.urls[0])
        await sees_again(reader, writer)
        kept.append(writer)
        for writer in kept:
            writer.close()


@pytest.mark.parametrize("says", [b"", b"\0", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"])
async def test_who_does_not_speak_turn_is_led_nowhere(monkeypatch: pytest.MonkeyPatch, says: bytes) -> None:
    """Any user of this machine can connect, and any page in a browser."""
    monkeypatch.setattr(tunnel, "SILENCE", 0.2)

    reached: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        reached.append(await reader.read(1))

    async with listening(serve) as port, tunnels() as made:
        name(monkeypatch, "http://127.0.0.1:1")
        (server,) = await made.lead_to([IceServerConfig((f"turn:127.0.0.1:{port}?transport=tcp",))])
        reader, writer = await connect(server.urls[0])
        writer.write(says)
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.transport.abort()
        assert made.trouble == {}
        assert reached == []


async def test_a_server_that_does_not_answer_is_given_up(
    certificate: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readexactly(len(HELLO)))
        await reader.read()

    async with listening(serve, certificate) as port, tunnels() as made:
        monkeypatch.setattr(tunnel, "CONNECT_TIMEOUT", 1)
        (server,) = await made.lead_to([IceServerConfig((f"turns:127.0.0.1:{port}",))])
        await says_nothing(server.urls[0])
        assert asked in ([HELLO], [])  # none where the handshake took all of that second


async def test_a_server_that_refers_to_another_is_not_listened_to(certificate: ssl.SSLContext) -> None:
    """The engine would go there, in the clear."""
    error = bytes.fromhex("0009 0004 00000300")
    alternate = bytes.fromhex("8023 0008 0001 04d2 7f000001")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readexactly(len(HELLO))
        writer.write(bytes.fromhex("01130014") + asked[4:] + error + alternate)
        await reader.read()

    async with listening(serve, certificate) as port, tunnels() as made:
        url = f"turns:127.0.0.1:{port}"
        (server,) = await made.lead_to([IceServerConfig((url,))])
        await says_nothing(server.urls[0])
        assert made.trouble == {url: ConnectFailure.REFERRED}


async def test_closing_ends_what_is_open(certificate: ssl.SSLContext) -> None:
    async with echo(certificate) as url, tunnels() as made:
        (server,) = await made.lead_to([IceServerConfig((url,))])
        reader, writer = await connect(server.urls[0])
        await sees_again(reader, writer)
        async with asyncio.timeout(10):
            await made.close()
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.transport.abort()


async def test_what_came_in_just_before_closing_is_not_served(
    certificate: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its task is there, and has not run yet."""

    served: list[str] = []

    async def pass_on(_self: Tunnels, named: str, *_: object) -> None:
        served.append(named)

    monkeypatch.setattr(Tunnels, "_pass_on", pass_on)
    async with tunnels() as made:
        reader, transport = asyncio.StreamReader(), Transport()
        protocol = asyncio.StreamReaderProtocol(reader)
        writer = asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())
        task = asyncio.create_task(made._serve("turns:h", never, reader, writer))
        await made.close()
        await task
        assert served == []
        assert transport.aborted


class Transport(asyncio.Transport):
    """Tells whether it was aborted."""

    aborted = False

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted


async def never() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    raise AssertionError("nobody is to connect")


@pytest.mark.parametrize("turns", range(6))
async def test_a_port_that_is_being_opened_is_closed_as_well(certificate: ssl.SSLContext, turns: int) -> None:
    """However far opening has come when it is cancelled, or the tunnels are closed."""

    for cancel in (True, False):
        async with tunnels() as made:
            opening = asyncio.create_task(made.lead_to([IceServerConfig(("turns:127.0.0.1:1",))]))
            for _ in range(turns):
                await asyncio.sleep(0)
            if cancel:
                opening.cancel()
            await made.close()
            await asyncio.wait([opening])
            for url in made.names:
                with pytest.raises(ConnectionRefusedError):
                    await connect(url)
            assert not any(server.is_serving() for server in made._servers)

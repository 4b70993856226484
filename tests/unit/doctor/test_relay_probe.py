"""What a trial tells of servers that do not relay. Those that do: tests/e2e/test_doctor.py, with a real one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from typing import Any

import pytest

from p2pal.connect_failure import ConnectFailure
from p2pal.doctor import relay_probe
from p2pal.doctor.network_facts import Relaying
from p2pal.doctor.relay_probe import try_relay, why_not_reached
from p2pal.lanes.ice_servers import IceServerConfig
from p2pal.lanes.turn.tunnel import Tunnels
from p2pal.lanes.webrtc.connection import WebRtcConnection, allow_loopback


async def attempt(url: str, seconds: float) -> Relaying:
    allow_loopback()
    server = IceServerConfig((url,), "user", "secret")
    return await try_relay(server, [server], only_loopback=True, timeout=seconds)


async def test_a_server_that_is_silent() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as quiet:
        quiet.bind(("127.0.0.1", 0))
        found = await attempt(f"turn:127.0.0.1:{quiet.getsockname()[1]}", 0.5)
    assert (found.allocated, found.relayed, found.words) == (None, None, "")
    assert (found.cause, found.cut) == (None, True)


async def test_a_port_that_nobody_listens_on_ends_the_trial_early() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"turn:127.0.0.1:{free.getsockname()[1]}?transport=tcp"
        async with asyncio.timeout(20):
            found = await attempt(url, 60)
    assert (found.url, found.allocated, found.relayed) == (url, None, None)
    assert (found.cause, found.cut) == (ConnectFailure.REFUSED, False)


async def test_a_server_that_speaks_no_tls() -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server, asyncio.timeout(20):
        found = await attempt(f"turns:127.0.0.1:{server.sockets[0].getsockname()[1]}", 15)
    assert (found.allocated, found.relayed) == (None, None)
    assert found.cause is ConnectFailure.NO_TLS


@pytest.mark.parametrize("url", ["turns:nobody.invalid", "turn:nobody.invalid?transport=tcp"])
def test_a_proxy_is_told_of_and_not_what_would_be_without_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        writer.close()

    async def trials() -> list[ConnectFailure | None]:
        found = []
        async with asyncio.timeout(40):
            server = await asyncio.start_server(refuse, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
            async with server:
                found.append((await attempt(url, 15)).cause)
            found.append((await attempt(url, 15)).cause)
            with socket.socket() as silent:
                silent.bind(("127.0.0.1", 0))
                silent.listen()
                monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{silent.getsockname()[1]}")
                found.append((await attempt(url, 0.5)).cause)
        return found

    assert asyncio.run(trials()) == [
        ConnectFailure.PROXY_REFUSED,
        ConnectFailure.PROXY_SILENT,
        ConnectFailure.NO_ANSWER,
    ]


@pytest.mark.parametrize("which", [0, 1, 2])
async def test_whatever_fails_while_it_begins_nothing_is_left(monkeypatch: pytest.MonkeyPatch, which: int) -> None:
    """The first connection, the second one, or a port of a tunnel."""

    made: list[WebRtcConnection] = []
    closed: list[object] = []

    class Failing(WebRtcConnection):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            if len(made) == which:
                raise RuntimeError("no more of them")
            super().__init__(*args, **kwargs)
            made.append(self)

        def close(self) -> None:
            closed.append(self)
            super().close()

    class Leading(Tunnels):
        async def lead_to(self, servers: Iterable[IceServerConfig], *, hide: bool = False) -> list[IceServerConfig]:
            if which == 2:
                await asyncio.Event().wait()
            return await super().lead_to(servers, hide=hide)

        async def close(self) -> None:
            closed.append(self)
            await super().close()

    monkeypatch.setattr(relay_probe, "WebRtcConnection", Failing)
    monkeypatch.setattr(relay_probe, "Tunnels", Leading)
    if which < 2:
        with pytest.raises(RuntimeError):
            await attempt("turn:127.0.0.1:1", 60)
    else:
        found = await attempt("turn:127.0.0.1:1", 0.01)
        assert (found.allocated, found.relayed, found.error) == (None, None, 0)
    assert closed[:-1] == made
    assert isinstance(closed[-1], Leading)


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("turn:nobody.invalid", ConnectFailure.NOT_RESOLVED),
        ("turns:nobody.invalid", ConnectFailure.NOT_RESOLVED),
        ("turn:127.0.0.1:1?transport=tcp", ConnectFailure.REFUSED),
        ("turns:127.0.0.1:1", ConnectFailure.REFUSED),
        ("turn:127.0.0.1:1", None),
    ],
)
def test_without_a_server(url: str, cause: ConnectFailure | None) -> None:
    assert asyncio.run(why_not_reached(url)) is cause


def test_without_a_route(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_probe, "source_of", lambda _address: None)
    assert asyncio.run(why_not_reached("turn:127.0.0.1:1")) is ConnectFailure.NO_ROUTE


async def test_a_server_that_speaks_no_tls_or_says_nothing() -> None:
    async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 \x1b[2J mail.example ESMTP\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await why_not_reached(f"turns:127.0.0.1:{port}", 20) is ConnectFailure.NO_TLS
        assert await why_not_reached(f"turn:127.0.0.1:{port}?transport=tcp", 20) is None
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        assert await why_not_reached(f"turns:127.0.0.1:{port}", 0.3) is ConnectFailure.NO_ANSWER

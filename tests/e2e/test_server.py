"""``p2pal server`` as a process: how it ends, and what it writes into its log."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import urllib.error
import urllib.request
from typing import Any

import aiohttp
import pytest
from tests.e2e.kit import Command, Commands, until

from p2pal.wire import rendezvous as wire

pytestmark = pytest.mark.skipif("sys.platform == 'win32'", reason="no signals")

_HALF_A_REQUEST = b"POST /api/transfer HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n"


def _start(commands: Commands, *flags: str) -> tuple[Command, int]:
    """A server that logs JSON, and its port."""
    server = commands.run("server", "--host", "127.0.0.1", "--port", "0", "--log-format", "json", *flags)
    return server, int(server.says(r'"port": (\d+)').group(1))


def _lines(server: Command) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.err.splitlines()]


def _half_a_request(port: int) -> socket.socket:
    """A connection whose request is being answered, and whose body is yet to come."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.sendall(_HALF_A_REQUEST)
    assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
    return connection


def test_sigterm_tells_open_sockets_and_ends_with_0(commands: Commands) -> None:
    server, port = _start(commands)
    url = f"http://127.0.0.1:{port}"
    tokens: list[str] = []

    async def run() -> None:
        async with aiohttp.ClientSession() as session:
            async with session.post(url + "/api/transfer", json={"ttl": 60}) as response:
                created = await response.json()
            async with session.post(url + "/api/join?secret=query", json={"slot": created["slot"]}) as response:
                joined = await response.json()
            tokens.extend((created["token"], joined["token"]))
            sockets = []
            for token in tokens:
                ws = await session.ws_connect(url + "/api/ws?secret=query")
                await ws.send_str(wire.encoder.encode(wire.ClientHello(token)).decode())
                assert (await ws.receive_json())["type"] == "welcome"
                sockets.append(ws)
            async with session.get(url + "/secret/path") as response:
                assert response.status == 404
            server.signal(signal.SIGTERM)
            async with asyncio.timeout(30):
                for ws in sockets:
                    async for _ in ws:
                        pass
                    assert ws.close_code == wire.CloseCode.GOING_AWAY

    asyncio.run(run())
    assert server.wait() == 0, server.said
    lines = _lines(server)
    events = [line["event"] for line in lines]
    for event in ("listening", "created", "joined", "served", "request", "socket-closed", "stopping"):
        assert event in events, event
    assert lines[-1]["event"] == "stopped"
    assert lines[-1]["sockets"] == 2
    assert [line["code"] for line in lines if line["event"] == "socket-closed"] == [1001, 1001]
    assert all(line["request_id"] for line in lines if line["event"] in ("request", "socket-closed"))
    for token in tokens:
        assert token not in server.err
        assert token.rpartition(".")[2] not in server.err
    assert "secret" not in server.err
    assert server.out == ""


def test_a_request_under_way_is_answered_before_the_end(commands: Commands) -> None:
    server, port = _start(commands, "--drain", "30s")
    with _half_a_request(port) as connection:
        server.signal(signal.SIGTERM)
        server.says('"stopping"')
        connection.sendall(b'{"ttl": 60}')
        assert connection.recv(100).startswith(b"HTTP/1.1 201 ")
        assert server.wait() == 0, server.said


def test_during_the_drain_delay_the_server_is_not_ready_but_serves(commands: Commands) -> None:
    server, port = _start(commands, "--drain-delay", "10m")
    server.signal(signal.SIGTERM)
    server.says('"stopping"')
    with pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30)
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/transfer", b'{"ttl": 60}')
    with urllib.request.urlopen(request, timeout=30) as response:
        assert response.status == 201
    _insist(server)
    assert server.wait() == 130, server.said


def test_a_second_signal_does_not_wait(commands: Commands) -> None:
    server, port = _start(commands, "--drain", "10m")
    with _half_a_request(port):
        server.signal(signal.SIGINT)
        until(lambda: '"stopping"' in server.err, "the log")
        _insist(server)
        assert server.wait() == 130, server.said


def _insist(server: Command) -> None:
    """Signal until it is over: those that come at once count as one."""

    def over() -> bool:
        if server.running:
            server.signal(signal.SIGTERM)
        return not server.running

    until(over, "the end")

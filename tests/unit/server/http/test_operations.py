from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from tests.unit.server.kit import Kit, serving

from p2pal.server import logs
from p2pal.server.config import ServerConfig
from p2pal.server.http import operations
from p2pal.server.http.app import OPERATIONS, Server, create_app
from p2pal.server.http.operations import Operations, ServerPhase
from p2pal.server.state import Denied
from p2pal.server.stores.memory import MemoryStore
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import CloseCode


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    before = logs.LOGGER.handlers[:], logs.LOGGER.level, logs.LOGGER.propagate
    stream = io.StringIO()
    logs.configure("json", stream, logging.DEBUG)
    yield stream
    logs.LOGGER.handlers[:], logs.LOGGER.level, logs.LOGGER.propagate = before


def _lines(stream: io.StringIO, event: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [line for line in lines if line["event"] == event]


class _StoreAway(MemoryStore):
    """A store that cannot be reached, or that does not answer."""

    def __init__(self, *, silent: bool) -> None:
        super().__init__()
        self._silent = silent

    async def check(self) -> None:
        if self._silent:
            await asyncio.Event().wait()
        raise Denied("unavailable")


@asynccontextmanager
async def _stages() -> AsyncIterator[tuple[Operations, aiohttp.ClientSession, str]]:
    """A server whose end the test brings about step by step."""
    app = create_app(ServerConfig(drain=0.2))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with aiohttp.ClientSession() as session:
            yield app[OPERATIONS], session, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_server_is_ready() -> None:
    async with serving() as kit:
        assert await kit.request("GET", "/readyz") == (200, {"status": "ready"})


@pytest.mark.parametrize("silent", [False, True])
async def test_a_server_without_its_store_lives_but_is_not_ready(silent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "READY_TIMEOUT", 0.05)

    server = Server(ServerConfig(port=0, drain=0.2), _StoreAway(silent=silent))
    await server.start()
    async with aiohttp.ClientSession() as session:
        assert await Kit(server, session).request("GET", "/healthz") == (200, {"status": "ok"})
        async with session.get(server.url + "/readyz") as response:
            assert response.status == 503
            assert int(response.headers["Retry-After"]) >= 1
            assert (await response.json())["error"]["code"] == "unavailable"
    await server.stop()


async def test_a_server_leaves_before_it_stops() -> None:
    async with _stages() as (stages, session, url):
        creating = {"ttl": 60}
        async with session.post(url + "/api/transfer", json=creating) as response:
            created = await response.json()
        headers = {"Authorization": f"Bearer {created['token']}"}
        looking = f"{url}/api/transfer/{created['rendezvous_id']}"

        async def code(method: str, path: str, body: object = None) -> tuple[int, str]:
            async with session.request(method, url + path, json=body) as response:
                answer = await response.json()
                return response.status, answer["error"]["code"] if "error" in answer else ""

        stages.enter(ServerPhase.LEAVING)
        assert await code("GET", "/readyz") == (503, "stopping")
        assert await code("GET", "/healthz") == (200, "")
        assert await code("POST", "/api/transfer", creating) == (201, "")
        assert await code("POST", "/api/join", {"slot": created["slot"]}) == (201, "")
        stages.enter(ServerPhase.STOPPING)
        assert await code("GET", "/readyz") == (503, "stopping")
        assert await code("GET", "/healthz") == (200, "")
        assert await code("POST", "/api/transfer", creating) == (503, "stopping")
        assert await code("POST", "/api/join", {"slot": created["slot"]}) == (503, "stopping")
        assert await code("POST", "/api/meet", {"rendezvous_id": "a2" * 13, "role": "send"}) == (503, "stopping")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(url + "/api/ws")
        assert refused.value.status == 503
        async with session.get(looking, headers=headers) as response:
            assert response.status == 200, "what has begun goes on"


async def test_during_the_delay_everything_goes_on() -> None:
    server = Server(ServerConfig(port=0, drain_delay=1000))
    await server.start()
    async with aiohttp.ClientSession() as session:
        kit = Kit(server, session)
        created = await kit.create()
        sender = await kit.hello(created.token)
        stopping = asyncio.create_task(server.stop())
        async with asyncio.timeout(20):
            while (await kit.request("GET", "/readyz"))[0] == 200:
                pass
        joined = await kit.join(created.slot)
        receiver = await kit.hello(joined.token)
        assert await sender.expect(wire.Served) == wire.Served(1)
        closings = [asyncio.create_task(raw.close_code()) for raw in (sender, receiver)]
        stopping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await stopping
        for closing in closings:
            assert await closing == CloseCode.GOING_AWAY
        with pytest.raises(aiohttp.ClientConnectionError):
            await kit.create()


async def test_a_request_that_has_begun_is_answered() -> None:
    server = Server(ServerConfig(port=0, drain=20))
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    body = b'{"ttl": 60}'
    head = f"POST /api/transfer HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
    async with asyncio.timeout(20):
        writer.write(head.encode())
        assert b"100" in await reader.readline()
        stopping = asyncio.create_task(server.stop())
        while True:  # until nobody listens
            try:
                _, other = await asyncio.open_connection("127.0.0.1", server.port)
            except ConnectionError:
                break
            other.close()
        writer.write(body)
        assert await reader.readline() == b"\r\n"
        assert b"201" in await reader.readline()
        writer.close()
        await stopping


async def test_a_request_is_named_as_the_client_asks_if_that_is_a_name() -> None:
    async with serving() as kit:
        for proposed in ("trace-1.A_b", "x" * 64):
            async with kit.session.get(kit.server.url + "/healthz", headers={"X-Request-ID": proposed}) as response:
                assert response.headers["X-Request-ID"] == proposed
        seen = set()
        for proposed in ("", "x" * 65, "two words", "a=b", "\u00e9", '"'):
            async with kit.session.get(kit.server.url + "/nowhere", headers={"X-Request-ID": proposed}) as response:
                seen.add(response.headers["X-Request-ID"])
                assert response.headers["X-Request-ID"] != proposed
        assert len(seen) == 6


def test_every_line_names_its_request(stream: io.StringIO) -> None:
    async def run() -> None:
        async with serving() as kit:
            named = {"X-Request-ID": "my-request"}
            async with kit.session.post(kit.server.url + "/api/transfer", json={"ttl": 60}, headers=named) as response:
                created = await response.json()
            joined = await kit.join(created["slot"])
            receiver = await kit.hello(joined.token)
            ws = await kit.session.ws_connect(kit.server.url + "/api/ws", headers={"X-Request-ID": "my-socket"})
            await ws.send_str(wire.encoder.encode(wire.ClientHello(created["token"])).decode())
            await receiver.expect(wire.PeerPresence)
            await ws.close()
            await kit.request("GET", "/secret/path?token=secret")
            await kit.request("GET", "/readyz")

    asyncio.run(run())
    assert [line["request_id"] for line in _lines(stream, "created")] == ["my-request"]
    (served,) = _lines(stream, "served")
    assert served["request_id"] == "my-socket"
    opened, closed = _lines(stream, "socket-opened"), _lines(stream, "socket-closed")
    assert "my-socket" in [line["request_id"] for line in opened]
    assert sorted(str(line["socket"]) for line in opened) == sorted(str(line["socket"]) for line in closed)
    (mine,) = [line for line in closed if line["request_id"] == "my-socket"]
    assert mine["code"] == 1000
    assert float(str(mine["seconds"])) >= 0
    requests = _lines(stream, "request")
    told = [(line["method"], line["route"], line["status"], line["level"], line.get("code")) for line in requests]
    assert told == [
        ("POST", "/api/transfer", 201, "info", None),
        ("POST", "/api/join", 201, "info", None),
        ("GET", "none", 404, "info", "not-found"),
        ("GET", "/readyz", 200, "debug", None),
    ]
    assert requests[0]["request_id"] == "my-request"
    assert all(float(str(line["duration_ms"])) >= 0 for line in requests)
    assert "secret" not in stream.getvalue()
    assert "127.0.0.1" not in stream.getvalue().replace('"host": "127.0.0.1"', "")


def test_a_client_that_goes_away_is_told_of(stream: io.StringIO) -> None:
    async def run() -> None:
        async with serving(ServerConfig(port=0, drain=0.2, request_timeout=20)) as kit:
            reader, writer = await asyncio.open_connection("127.0.0.1", kit.server.port)
            writer.write(b"POST /api/transfer HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n")
            assert b"100" in await reader.readline()
            writer.close()
            end = time.monotonic() + 20
            while not _lines(stream, "request"):
                assert time.monotonic() < end
                await asyncio.sleep(0.01)

    asyncio.run(run())
    (line,) = _lines(stream, "request")
    assert (line["status"], line["route"]) == (499, "/api/transfer")

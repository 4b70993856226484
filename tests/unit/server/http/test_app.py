from __future__ import annotations

import asyncio
import sys

import aiohttp
import pytest
from tests.unit.server.kit import Kit, serving

from p2pal.errors import UsageError
from p2pal.server.config import ServerConfig
from p2pal.server.http.app import Server, choose_store
from p2pal.server.stores.memory import MemoryStore
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import CloseCode


async def test_create_join_look_delete() -> None:
    async with serving() as kit:
        created = await kit.create(60)
        assert 59 < created.expires_in <= 60
        joined = await kit.join(created.slot)
        assert (joined.rendezvous_id, joined.attempt) == (created.rendezvous_id, 1)
        path = f"/api/transfer/{created.rendezvous_id}"
        status, body = await kit.request("GET", path, token=created.token)
        assert (status, body["state"], body["slot"]) == (200, "pending", created.slot)
        assert (await kit.request("DELETE", path, token=created.token))[0] == 204
        assert (await kit.request("DELETE", path, token=created.token))[0] == 204
        status, body = await kit.request("GET", path, token=created.token)
        assert (status, body["state"]) == (200, "aborted")
        status, body = await kit.post("/api/join", {"slot": created.slot})
        assert (status, body["error"]["code"]) == (410, "over")


async def _refused(kit: Kit, method: str, path: str, data: bytes | None = None, token: str | None = None) -> object:
    status, body = await kit.request(method, path, data=data, token=token)
    assert set(body) == {"error"}
    bounds = {"min", "max"} if body["error"]["code"] == "ttl" else set()
    assert set(body["error"]) == {"code", "message"} | bounds
    return status, body["error"]["code"]


async def test_every_refusal_is_a_json_error() -> None:
    async with serving() as kit:
        created, other = await kit.create(), await kit.create()
        joined = await kit.join(created.slot)
        path = f"/api/transfer/{created.rendezvous_id}"
        unknown = created.token.replace(created.rendezvous_id, "0" * 32)
        for expected, method, target, data, token in (
            ((404, "not-found"), "GET", "/", None, None),
            ((405, "method-not-allowed"), "GET", "/api/transfer", None, None),
            ((405, "method-not-allowed"), "PUT", "/api/join", b"{}", None),
            ((400, "malformed"), "POST", "/api/transfer", b"", None),
            ((400, "malformed"), "POST", "/api/transfer", b"{}", None),
            ((400, "malformed"), "POST", "/api/transfer", b'{"ttl": "5"}', None),
            ((400, "malformed"), "POST", "/api/transfer", b'{"ttl": -1}', None),
            ((400, "malformed"), "POST", "/api/transfer", b"\xff\xfe", None),
            ((400, "malformed"), "POST", "/api/transfer", b'{"x":' + b"[" * 4000, None),
            ((400, "ttl"), "POST", "/api/transfer", b'{"ttl": 0.5}', None),
            ((400, "ttl"), "POST", "/api/transfer", b'{"ttl": 1e8}', None),
            ((400, "version"), "POST", "/api/transfer", b'{"ttl": 60, "version": 2}', None),
            ((413, "too-large"), "POST", "/api/transfer", b" " * 5000, None),
            ((400, "malformed"), "POST", "/api/join", b'{"slot": 0}', None),
            ((400, "malformed"), "POST", "/api/join", b'{"slot": 1.5}', None),
            ((404, "unknown"), "POST", "/api/join", b'{"slot": 99999}', None),
            ((401, "unauthorised"), "GET", path, None, None),
            ((401, "unauthorised"), "GET", path, None, "nonsense"),
            ((401, "unauthorised"), "DELETE", path, None, other.token),
            ((403, "forbidden"), "DELETE", path, None, joined.token),
            ((404, "unknown"), "GET", f"/api/transfer/{'0' * 32}", None, unknown),
            ((400, "websocket-expected"), "GET", "/api/ws", None, None),
        ):
            assert await _refused(kit, method, target, data, token) == expected, (method, target, data)


async def test_answers_are_not_to_be_stored_and_health_is_plain() -> None:
    async with serving() as kit:
        for path in ("/healthz", "/nowhere", "/api/ws"):
            async with kit.session.get(kit.server.url + path, headers={"Host": "evil.example"}) as response:
                assert response.headers["Cache-Control"] == "no-store"
                assert "evil" not in await response.text()
        assert (await kit.request("GET", "/healthz")) == (200, {"status": "ok"})


async def test_no_answer_says_what_the_server_is_made_of() -> None:
    async with serving() as kit:
        answers = []
        for path in ("/healthz", "/metrics", "/openapi.json", "/nothing/here", "/api/ws"):
            async with kit.session.get(kit.server.url + path) as response:
                answers.append(response.headers)
        async with kit.session.options(kit.server.url + "/api/join") as response:
            answers.append(response.headers)
        async with kit.session.ws_connect(kit.server.url + "/api/ws") as socket:
            answers.append(socket._response.headers)
        assert {headers.get("Server", "p2pal") for headers in answers} == {"p2pal"}


async def test_a_full_transfer_says_so_and_one_that_is_active_can_be_knocked_at() -> None:
    async with serving() as kit:
        created = await kit.create()
        for _ in range(8):
            await kit.join(created.slot)
        status, body = await kit.post("/api/join", {"slot": created.slot})
        assert (status, body["error"]["code"]) == (429, "queue-full")
        created, sender, _ = await kit.pair()
        await sender.send(wire.ClientAccept(1))
        while (await sender.expect(wire.StateChanged)).state is not wire.State.ACTIVE:
            pass
        joined = await kit.join(created.slot)
        receiver = await kit.hello(joined.token)
        assert await sender.expect(wire.Knock) == wire.Knock(2)
        await sender.send(wire.Release(2, "busy"))
        assert await receiver.expect(wire.Released) == wire.Released(2, "busy")
        assert await receiver.close_code() == CloseCode.RELEASED


MEETING = "a2" * 13


async def test_a_meeting_over_http() -> None:
    async with serving() as kit:
        status, body = await kit.post("/api/meet", {"rendezvous_id": MEETING, "role": "receive"})
        assert status == 201
        assert (body["attempt"], round(body["expires_in"])) == (1, 300)
        receiver = await kit.hello(body["token"])
        status, body = await kit.post("/api/meet", {"rendezvous_id": MEETING, "role": "send", "ttl": 900})
        assert (status, body["attempt"]) == (201, 0)
        sender = await kit.hello(body["token"])
        assert await sender.expect(wire.Served) == wire.Served(1)
        await sender.send(wire.Append(0, b"hello", 1))
        assert await receiver.expect(wire.LogMessage) == wire.LogMessage(1, 0, b"hello")
        status, info = await kit.request("GET", f"/api/transfer/{MEETING}", token=body["token"])
        assert (status, info["slot"], info["state"]) == (200, 0, "ready")
        status, _ = await kit.request("DELETE", f"/api/transfer/{MEETING}", token=body["token"])
        assert status == 204
        status, body = await kit.post("/api/meet", {"rendezvous_id": MEETING, "role": "receive"})
        assert (status, body["attempt"]) == (201, 1), "a meeting that is over begins anew"


async def test_the_idle_time_of_a_meeting_is_brought_within_the_limits() -> None:
    async with serving(ServerConfig(port=0, min_ttl=10, max_ttl=20)) as kit:
        for asked, given in ((0.5, 10.0), (15, 15.0), (900, 20.0)):
            body = {"rendezvous_id": MEETING, "role": "send", "ttl": asked}
            assert given - 5 < (await kit.post("/api/meet", body))[1]["expires_in"] <= given


async def test_time_expires_a_transfer_with_its_sockets() -> None:
    async with serving(ServerConfig(port=0, min_ttl=0.01)) as kit:
        created = await kit.create(0.2)
        sender = await kit.hello(created.token)
        assert await sender.close_code() == CloseCode.EXPIRED
        status, body = await kit.post("/api/join", {"slot": created.slot})
        assert (status, body["error"]["code"]) == (410, "expired")


async def test_stop_closes_sockets_with_going_away() -> None:
    server = Server(ServerConfig(port=0))
    await server.start()
    async with aiohttp.ClientSession() as session:
        kit = Kit(server, session)
        created = await kit.create()
        greeted, mute = await kit.hello(created.token), await kit.socket()
        await greeted.expect(wire.Welcome)
        stopping = asyncio.create_task(server.stop())
        assert await greeted.close_code() == CloseCode.GOING_AWAY
        assert await mute.close_code() == CloseCode.GOING_AWAY
        await stopping
        with pytest.raises(aiohttp.ClientConnectionError):
            await kit.create()


async def test_a_taken_port_is_a_usage_error() -> None:
    async with serving() as kit:
        with pytest.raises(UsageError, match="cannot listen"):
            await Server(ServerConfig(port=kit.server.port)).start()


async def test_urls_can_be_used_from_this_machine() -> None:
    for host, shown in (("0.0.0.0", "127.0.0.1"), ("localhost", "localhost"), ("127.0.0.1", "127.0.0.1")):
        server = Server(ServerConfig(host=host, port=0))
        await server.start()
        assert server.url == f"http://{shown}:{server.port}"
        await server.stop()


class Stumbling(MemoryStore):
    """Fails once; afterwards it must run again."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0
        self.again = asyncio.Event()

    async def run(self) -> None:
        self.runs += 1
        if self.runs == 1:
            raise RuntimeError("secret")
        self.again.set()
        await super().run()


async def test_a_store_that_fails_is_run_again_and_the_log_holds_no_text_of_the_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Stumbling()
    server = Server(ServerConfig(port=0), store)
    await server.start()
    try:
        async with asyncio.timeout(20):
            await store.again.wait()
    finally:
        await server.stop()
    assert "secret" not in caplog.text


def test_a_redis_url_without_the_client_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("p2pal.server.stores.redis")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(UsageError) as refused:
        choose_store(ServerConfig(redis_url="redis://:a-password@127.0.0.1"))
    assert str(refused.value) == (
        "the Redis URL needs the package redis, which is not installed; "
        "install p2pal[server], or leave the URL out to keep the transfers in memory"
    )

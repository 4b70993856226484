"""Checking servers: real ones, such as break off half-way, and such as are none."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Final

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.rendezvous.proxy import proxy_to
from tests.unit.server.kit import odd_server, serving
from tests.unit.server.test_tls import Files, running

from p2pal.doctor import server_probe
from p2pal.doctor.server_probe import check_server
from p2pal.errors import UsageError
from p2pal.server.config import ServerConfig

SECRET: Final = "of-the-relay"
TURN: Final = "turn:127.0.0.1:3478"
STUN: Final = "stun:127.0.0.1:3478"


@asynccontextmanager
async def front(port: int, change: Callable[[web.Request], web.StreamResponse | None]) -> AsyncIterator[str]:
    """A proxy in front of a server, without WebSockets; what ``change`` returns it answers itself."""

    async def handle(request: web.Request) -> web.StreamResponse:
        own = change(request)
        if own is not None:
            return own
        url = f"http://127.0.0.1:{port}{request.path}"
        headers = {name: request.headers[name] for name in ("Authorization", "Content-Type") if name in request.headers}
        data = await request.read()
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, url, data=data, headers=headers) as answer,
        ):
            return web.Response(status=answer.status, body=await answer.read(), content_type="application/json")

    async with odd_server(handle) as url:
        yield url


async def test_a_server_that_works() -> None:
    async with serving(ServerConfig(port=0, stun=(STUN,), turn=(TURN,), turn_secret=SECRET)) as kit:
        found = await check_server(kit.server.url)
        assert (found.problem, found.socket_problem, found.left) == (None, None, False)
        assert (found.server, found.proxy, found.ready) == (kit.server.url, "", True)
        assert found.answered is not None
        assert found.welcomed is not None
        assert found.clock is not None
        assert abs(found.clock) < 30
        for servers in (found.near, found.far):
            assert [server.urls for server in servers] == [[STUN], [TURN]]
        near, far = found.near[1], found.far[1]
        assert near.credential
        assert near.username != far.username, "each side has its own"
        assert near.credential not in repr(found)


async def test_over_tls(tmp_path: Path) -> None:
    async with running(Files(tmp_path).config()) as server:
        untrusted = await check_server(f"https://127.0.0.1:{server.port}")
        assert untrusted.problem is not None
        assert untrusted.problem.cause == "its TLS certificate is not trusted"
        plain = await check_server(f"http://127.0.0.1:{server.port}")
        assert plain.problem is not None
        assert (plain.problem.cause, plain.problem.hint) == (
            "it speaks TLS", "write https:// in the -server address",
        )  # fmt: skip


async def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found = await check_server(f"http://user:secret@127.0.0.1:{taken.getsockname()[1]}")
    assert found.problem is not None
    assert (found.problem.cause, found.problem.exit_code, found.answered) == ("connection refused", 3, None)
    assert "secret" not in repr(found)


async def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_probe, "HTTP_TIMEOUT", 0.2)
    with socket.socket() as quiet:
        quiet.bind(("127.0.0.1", 0))
        quiet.listen()
        found = await check_server(f"http://127.0.0.1:{quiet.getsockname()[1]}")
    assert found.problem is not None
    assert found.problem.cause == "no answer in time"


async def test_a_server_that_is_none() -> None:
    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="<h1>\x1b[2JIt works!</h1>", headers={"Date": "yesterday"})

    async with odd_server(hello) as url:
        found = await check_server(url)
    assert found.answered is not None
    assert found.clock is None
    assert found.problem is not None
    assert "no p2pal signaling server" in found.problem.cause


@pytest.mark.parametrize("status", [200, 204, 300, 403, 404, 405, 501])
def test_what_other_web_servers_answer(status: int) -> None:
    async def look() -> None:
        async with odd_server(answer) as url:
            found = await check_server(url)
        assert found.problem is not None
        assert (found.problem.cause, found.problem.hint) == (
            "answers, but is no p2pal signaling server", "check the -server address",
        )  # fmt: skip

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": "https://elsewhere.example/"})

    asyncio.run(look())


def test_a_server_that_leads_elsewhere_is_not_followed() -> None:
    asked = []

    async def look() -> None:
        async with odd_server(answer) as url, odd_server(other) as elsewhere:
            asked.append(elsewhere)
            found = await check_server(url)
        assert found.problem is not None
        assert (found.problem.cause, found.problem.hint) == (
            "the signaling server's address redirects to another one (HTTP 302)",
            "check the -server address: p2pal follows no redirect",
        )
        assert asked == [elsewhere]

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": asked[0]})

    async def other(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response()

    asyncio.run(look())


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_server_that_wants_tls_redirects(status: int) -> None:
    async def look() -> None:
        async with odd_server(answer) as url:
            found = await check_server(url)
        assert found.problem is not None
        assert (found.problem.cause, found.problem.hint) == (
            "it redirects to https://", "write https:// in the -server address",
        )  # fmt: skip

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": f"https://127.0.0.1{request.path}"})

    asyncio.run(look())


async def test_another_version() -> None:
    def other(request: web.Request) -> web.Response | None:
        if request.path != "/api/transfer":
            return None
        return web.json_response({"error": {"code": "version", "message": "\x1b[2J"}}, status=400)

    async with serving() as kit, front(kit.server.port, other) as url:
        found = await check_server(url)
    assert found.problem is not None
    assert (found.problem.cause, found.problem.exit_code) == (
        "the signaling server speaks another version of the protocol", 4,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "cause"),
    [(404, "what answers at the server's address has no p2pal mailbox"), (502, "it has a problem (HTTP 502)")],
)
def test_a_proxy_that_passes_no_websocket(status: int, cause: str) -> None:
    def refuse(request: web.Request) -> web.Response | None:
        return web.Response(status=status) if request.path == "/api/ws" else None

    async def look() -> None:
        async with serving() as kit, front(kit.server.port, refuse) as url:
            found = await check_server(url)
            assert (found.problem, found.welcomed, found.left) == (None, None, False)
            assert found.socket_problem is not None
            assert found.socket_problem.cause == cause

    asyncio.run(look())


class Stub:
    """A server whose WebSocket opens and stays silent.

    Args:
        delete: The status of its answer to what is to be removed.
    """

    def __init__(self, delete: int = 204) -> None:
        self._delete = delete
        self.opened, self.deleted = asyncio.Event(), asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/api/ws":
            silent = web.WebSocketResponse()
            await silent.prepare(request)
            self.opened.set()
            while not (await silent.receive()).type >= aiohttp.WSMsgType.CLOSE:
                pass
            return silent
        if request.method == "DELETE":
            self.deleted.set()
            return web.Response(status=self._delete)
        created = {"rendezvous_id": "r" * 16, "slot": 47, "token": "t" * 16, "expires_in": 60.0, "attempt": 1}
        return web.json_response(created, status=201 if request.method == "POST" else 200)


async def test_a_websocket_that_opens_and_stays_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_probe, "MAILBOX_TIMEOUT", 0.5)
    async with odd_server(Stub(delete=500).answer) as url:
        found = await check_server(url)
    assert found.socket_problem is not None
    assert found.socket_problem.cause == "no answer in time"
    assert found.left, "it refused to remove the transfer"


async def test_a_way_that_is_slow_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_probe, "SLOW", 0.0)
    async with odd_server(Stub().answer) as url:
        found = await check_server(url, timeout=0.5)
    assert (found.problem, found.socket_problem, found.left) == (None, None, False)
    assert found.late == "no answer in the time of this check"


async def test_each_step_gets_the_time_that_the_first_one_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three connections in a row, each of which takes longer than a server that is not slow is given in all."""
    monkeypatch.setattr(server_probe, "MAILBOX_TIMEOUT", 0.1)
    monkeypatch.setattr(server_probe, "_REMOVE", 0.1)
    told: list[bool] = []

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.4)
        await behind.serve(reader, writer)

    async with serving(ServerConfig(port=0, stun=(STUN,))) as kit, proxy_to(kit.server.port) as behind:
        front = await asyncio.start_server(slowly, "127.0.0.1", 0)
        async with front:
            url = f"http://127.0.0.1:{front.sockets[0].getsockname()[1]}"
            found = await check_server(url, met=lambda facts: told.append(facts.welcomed is not None))
    assert (found.problem, found.socket_problem, found.late, found.left) == (None, None, "", False)
    assert found.answered is not None
    assert found.answered > 0.3
    assert found.welcomed is not None
    assert told == [True]


async def test_a_check_that_is_stopped_leaves_nothing() -> None:
    stub = Stub()
    async with odd_server(stub.answer) as url:
        task = asyncio.create_task(check_server(url))
        async with asyncio.timeout(20):
            await stub.opened.wait()
            task.cancel()
            await asyncio.wait((task,))
    assert task.cancelled()
    assert stub.deleted.is_set()


async def test_a_server_that_is_not_ready() -> None:
    def stopping(request: web.Request) -> web.Response | None:
        return web.Response(status=503) if request.path == "/readyz" else None

    async with serving() as kit, front(kit.server.port, stopping) as url:
        assert (await check_server(url)).ready is False


async def test_a_clock_that_is_wrong() -> None:
    def late(request: web.Request) -> web.Response | None:
        date = formatdate(time.time() - 7200, usegmt=True)
        return web.Response(headers={"Date": date}) if request.path == "/healthz" else None

    async with serving() as kit, front(kit.server.port, late) as url:
        found = await check_server(url)
    assert found.clock is not None
    assert -7230 < found.clock < -7170


@given(
    st.text(max_size=60)
    | st.from_regex(r"[A-Z][a-z]{2}, [0-9-]{1,9} [A-Z][a-z]{2} [0-9-]{1,9} [0-9:+-]{1,20}( .{1,9})?")
)
def test_no_date_is_too_odd(date: str) -> None:
    ahead = server_probe._clock(date, 0.1)
    assert ahead is None or isinstance(ahead, float)


async def test_a_proxy_of_the_environment_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setenv("http_proxy", f"http://me:secret@127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "")
        found = await check_server("http://192.0.2.1:8080")
    assert found.proxy == f"http://127.0.0.1:{port}"
    assert found.problem is not None
    assert found.problem.cause == "the proxy does not answer"
    assert "secret" not in repr(found)


async def test_a_url_that_is_none() -> None:
    with pytest.raises(UsageError):
        await check_server("ftp://example.org")

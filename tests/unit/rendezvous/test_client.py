from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from tests.unit.server.kit import odd_server, serving
from tests.unit.server.test_tls import Files, running

from p2pal import errors
from p2pal.rendezvous import client as client_module
from p2pal.rendezvous.client import RendezvousClient
from p2pal.role import Role
from p2pal.wire import rendezvous as wire


async def test_create_join_delete() -> None:
    async with serving() as kit, RendezvousClient(kit.server.url) as client:
        created = await client.create(60)
        assert created.token not in repr(created)
        joined = await client.join(created.slot)
        assert (joined.rendezvous_id, joined.attempt) == (created.rendezvous_id, 1)
        await client.delete(created.rendezvous_id, created.token)
        await client.delete(created.rendezvous_id, created.token)
        with pytest.raises(errors.CodeExpired):
            await client.join(created.slot)
        with pytest.raises(errors.CodeUnknown):
            await client.join(created.slot + 1000)
        with pytest.raises(errors.CodeUnknown):
            await client.join(0)
        with pytest.raises(errors.ServerRefused, match="allows a -ttl from 1s to 7d; choose another -ttl"):
            await client.create(1e8)


async def test_no_server() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://user:secret@127.0.0.1:{taken.getsockname()[1]}"
        async with RendezvousClient(url) as client:
            with pytest.raises(errors.ServerUnreachable, match="connection refused") as caught:
                await client.create(60)
            assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["a..b", "x" * 64])
async def test_a_name_that_no_resolver_takes(host: str) -> None:
    async with RendezvousClient(f"http://{host}") as client:
        with pytest.raises(errors.ServerUnreachable, match="its name cannot be used"):
            await client.create(60)


async def test_the_other_scheme_is_named(tmp_path: Path) -> None:
    async with (
        running(Files(tmp_path).config()) as server,
        RendezvousClient(f"http://127.0.0.1:{server.port}") as client,
    ):
        with pytest.raises(errors.ServerUnreachable, match="it speaks TLS; write https://"):
            await client.create(60)
    async with serving() as kit, RendezvousClient(f"https://127.0.0.1:{kit.server.port}") as client:
        with pytest.raises(errors.ServerUnreachable, match=r"it does not speak TLS; .* write http://"):
            await client.create(60)


async def test_who_is_cut_by_a_server_without_tls_is_told_just_that() -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    async with server, RendezvousClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        with pytest.raises(errors.ServerUnreachable, match="the connection was lost; check the -server address"):
            await client.create(60)


async def test_what_answers_speaks_no_http() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"220 mail.example ESMTP \x1b[2J\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server, RendezvousClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        with pytest.raises(errors.ServerError) as caught:
            await client.create(60)
        assert "\x1b" not in str(caught.value)


ANSWERS = [
    (200, b"<html>hello</html>", errors.ServerRefused),
    (201, b"<html>hello</html>", errors.ServerRefused),
    (201, b"[" * 60_000, errors.ServerRefused),
    (201, b" " * 100_000, errors.ServerRefused),
    (
        201,
        b'{"rendezvous_id":"../../../../etc/passwd","slot":1,"token":"' + b"t" * 32 + b'","expires_in":1}',
        errors.ServerRefused,
    ),
    (302, b"", errors.ServerRefused),
    (404, b"not here", errors.ServerRefused),
    (404, b'{"error":{"code":"unknown","message":"\\u001b[2J"}}', errors.CodeUnknown),
    (409, b'{"error":{"code":"busy"}}', errors.ServerRefused),
    (410, b'{"error":{"code":"expired"}}', errors.CodeExpired),
    (429, b"", errors.ServerRefused),
    (400, b'{"error":{"code":"version"}}', errors.VersionMismatch),
    (500, b"\x1b[2Jpanic", errors.ServerRefused),
    (503, b"", errors.ServerRefused),
]


@pytest.mark.parametrize(("status", "body", "kind"), ANSWERS)
async def test_odd_answers(status: int, body: bytes, kind: type[errors.P2palError]) -> None:
    async def answer(_request: web.Request) -> web.Response:
        headers = {"Location": "/elsewhere"} if status == 302 else {}
        return web.Response(status=status, body=body, headers=headers)

    async with odd_server(answer) as url, RendezvousClient(url, not_ready=0.0) as client:
        with pytest.raises(kind) as caught:
            await client.join(1)
        assert "\x1b" not in str(caught.value)
        assert type(caught.value) is kind


async def test_a_base_path_is_kept_and_ice_servers_are_filtered() -> None:
    seen = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.path)
        urls = ["stun:a", "http://evil", *(f"turn:t{n}" for n in range(20))]
        made = wire.Joined("i" * 32, 1, "t" * 32, 5.0, [wire.IceServer(urls)])
        return web.Response(status=201, body=wire.encoder.encode(made))

    async with odd_server(answer) as url, RendezvousClient(url + "/deep/er/") as client:
        joined = await client.join(1)
        assert seen == ["/deep/er/api/join"]
        assert sum(len(server.urls) for server in joined.ice_servers) == 8


MEETING = "a2" * 13


async def test_meet_creates_and_joins() -> None:
    async with serving() as kit, RendezvousClient(kit.server.url) as client:
        met = await client.meet(MEETING, "receive")
        assert (met.attempt, round(met.expires_in)) == (1, 900)
        assert met.token not in repr(met)
        assert (await client.meet(MEETING, "send", 60.0)).attempt == 0
        assert (await client.meet(MEETING, "receive")).attempt == 2
        with pytest.raises(errors.ServerRefused):
            await client.meet("m" * 25, "send")


@pytest.mark.parametrize(("role", "attempt"), [("send", 1), ("receive", 0)])
async def test_a_server_that_takes_us_for_the_other_side(role: Role, attempt: int) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=201, body=wire.encoder.encode(wire.Met(attempt, "t" * 32, 5.0)))

    async with odd_server(answer) as url, RendezvousClient(url) as client:
        with pytest.raises(errors.ServerRefused):
            await client.meet(MEETING, role)


class Passing:
    """A server that gives these answers, then the good one; it notes when it was asked."""

    def __init__(self, *answers: tuple[int, str, str]) -> None:
        self.answers = list(answers)
        self.asked: list[float] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(asyncio.get_running_loop().time())
        if len(self.asked) <= len(self.answers):
            status, code, after = self.answers[len(self.asked) - 1]
            headers = {"Retry-After": after} if after else {}
            body = wire.encoder.encode(wire.ErrorBody(wire.ErrorDetail(code))) if code else b"<html>"
            return web.Response(status=status, body=body, headers=headers)
        made: wire.Created | wire.Joined | wire.Met
        match request.path.rpartition("/")[2]:
            case "transfer":
                made = wire.Created("i" * 32, 7, "t" * 32, 5.0)
            case "join":
                made = wire.Joined("i" * 32, 1, "t" * 32, 5.0)
            case _:
                made = wire.Met(0, "t" * 32, 5.0)
        return web.Response(status=201, body=wire.encoder.encode(made))


def hasty(url: str, waiting: Callable[[float], None] | None = None) -> RendezvousClient:
    """A client that tries again at once where the server does not ask for more."""
    return RendezvousClient(url, waiting=waiting, first_backoff=0.001)


async def test_a_server_that_is_not_ready_is_asked_again() -> None:
    passing = Passing((503, "unavailable", ""), (503, "stopping", "soon"), (502, "", ""), (504, "", "-1"))
    async with odd_server(passing.handle) as url, hasty(url) as client:
        assert (await client.create(60)).slot == 7
        assert len(passing.asked) == 5
        passing.asked.clear()
        assert (await client.join(7)).attempt == 1
        assert len(passing.asked) == 5


async def test_no_sooner_than_the_server_wants() -> None:
    passing = Passing((503, "unavailable", "1"))
    async with odd_server(passing.handle) as url, hasty(url) as client:
        await client.join(7)
    first, second = passing.asked
    assert second - first >= 1.0


async def test_a_server_that_never_gets_ready_ends_it() -> None:
    passing = Passing(*[(503, "unavailable", "")] * 100)
    async with odd_server(passing.handle) as url, hasty(url) as client:
        with pytest.raises(errors.ServerRefused, match="not ready"):
            await client.create(60)
    assert len(passing.asked) == client_module.MAX_TRIES


async def test_what_the_server_wants_does_not_stretch_our_patience() -> None:
    passing = Passing(*[(503, "unavailable", "3600")] * 100)
    async with asyncio.timeout(20), odd_server(passing.handle) as url, RendezvousClient(url, not_ready=0.2) as client:
        with pytest.raises(errors.ServerRefused, match="not ready"):
            await client.create(60)
    assert 2 <= len(passing.asked) <= 3


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("too-often", "try again in 12 s"),
        ("too-many-open", "end one of them, or try again later"),
        ("queue-full", "try again in 12 s"),
        ("", "try again in 12 s"),
    ],
)
async def test_one_who_asks_too_often_is_not_made_to_ask_more(code: str, told: str) -> None:
    passing = Passing((429, code, "12"))
    async with odd_server(passing.handle) as url, RendezvousClient(url) as client:
        with pytest.raises(errors.ServerRefused, match=told):
            await client.join(1)
    assert len(passing.asked) == 1


async def test_a_server_that_stops_as_it_said_is_waited_for() -> None:
    """It says that it stops, cuts whoever comes, and serves again."""
    made = wire.encoder.encode(wire.Created("i" * 32, 7, "t" * 32, 5.0))
    answers = [
        b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"",
        b"HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(made), made),
    ]

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(answers.pop(0))
        writer.close()

    server = await asyncio.start_server(play, "127.0.0.1", 0)
    async with server, hasty(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        assert (await client.create(60)).slot == 7
    assert answers == []


async def test_who_waits_for_more_than_a_moment_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    passing = Passing((503, "unavailable", ""), (503, "unavailable", "1"), (503, "unavailable", ""))
    async with odd_server(passing.handle) as url, hasty(url, waiting=told.append) as client:
        await client.create(60)
        assert told == []
        passing.asked.clear()
        monkeypatch.setattr(client_module, "TOLD_AFTER", 0.5)
        await client.create(60)
    left, end = told
    assert 25 < left <= client_module.NOT_READY
    assert end == 0.0


async def test_a_meeting_is_asked_for_once_and_then_no_sooner_than_the_server_wants() -> None:
    """Its owner comes again by itself, and wants to know meanwhile that the server is not there."""
    passing = Passing((503, "unavailable", "1"))
    async with odd_server(passing.handle) as url, RendezvousClient(url) as client:
        with pytest.raises(errors.ServerRefused, match="not ready"):
            await client.meet(MEETING, "send")
        assert len(passing.asked) == 1
        assert (await client.meet(MEETING, "send")).attempt == 0
    first, second = passing.asked
    assert second - first >= 1.0

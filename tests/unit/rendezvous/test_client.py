from __future__ import annotations

import asyncio
import socket

import pytest
from aiohttp import web
from tests.unit.server.kit import odd_server, on_loop, serving

from p2pal import errors
from p2pal.rendezvous.client import RendezvousClient
from p2pal.rendezvous.delivery import Role
from p2pal.wire import rendezvous as wire


@on_loop
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
        with pytest.raises(errors.ServerRefused, match="-ttl"):
            await client.create(1e8)


@on_loop
async def test_no_server() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://user:secret@127.0.0.1:{taken.getsockname()[1]}"
        async with RendezvousClient(url) as client:
            with pytest.raises(errors.ServerUnreachable, match="connection refused") as caught:
                await client.create(60)
            assert "secret" not in str(caught.value)


@on_loop
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
def test_odd_answers(status: int, body: bytes, kind: type[errors.P2palError]) -> None:
    async def answer(_request: web.Request) -> web.Response:
        headers = {"Location": "/elsewhere"} if status == 302 else {}
        return web.Response(status=status, body=body, headers=headers)

    @on_loop
    async def run() -> None:
        async with odd_server(answer) as url, RendezvousClient(url) as client:
            with pytest.raises(kind) as caught:
                await client.join(1)
            assert "\x1b" not in str(caught.value)
            assert type(caught.value) is kind

    run()


@on_loop
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


@on_loop
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
def test_a_server_that_takes_us_for_the_other_side(role: Role, attempt: int) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=201, body=wire.encoder.encode(wire.Met(attempt, "t" * 32, 5.0)))

    @on_loop
    async def run() -> None:
        async with odd_server(answer) as url, RendezvousClient(url) as client:
            with pytest.raises(errors.ServerRefused):
                await client.meet(MEETING, role)

    run()

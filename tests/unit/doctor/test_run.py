"""Which servers are asked, and what hostile ones can make of it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from aiohttp import web
from tests.unit.server.kit import odd_server, serving

from p2pal.app.options import DEFAULT_STUN, ConnectOptions
from p2pal.doctor import run
from p2pal.doctor.network_facts import NoAnswer
from p2pal.doctor.report import Rating
from p2pal.doctor.run import SECOND_STUN, examine, gather
from p2pal.lanes.ice_servers import IceServerConfig
from p2pal.server.config import ServerConfig

STUN, TURN = "stun:127.0.0.1:3478", "turn:127.0.0.1:3478"


def connecting(server: str = "http://127.0.0.1:1", **more: object) -> ConnectOptions:
    return ConnectOptions(server=server, **({"stun": None, "only_loopback": True} | more))  # type: ignore[arg-type]


@pytest.fixture
def quiet() -> Iterator[socket.socket]:
    """A UDP port that never answers."""
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.setblocking(False)
        yield taken


def test_a_second_stun_server_is_asked_where_the_default_is_the_only_one() -> None:
    usual = ConnectOptions()
    default = [IceServerConfig((DEFAULT_STUN,))]
    assert run._Servers(default, usual).second == (SECOND_STUN,)
    assert run._Servers([*default, IceServerConfig((STUN,))], usual).second == ()
    assert run._Servers([IceServerConfig((STUN,))], usual).second == (), "the signaling server named its own"
    assert run._Servers([], ConnectOptions(stun=None)).second == ()


def test_nothing_leaves_the_machine_where_nothing_shall() -> None:
    outside = [IceServerConfig((DEFAULT_STUN, "stun:localhost:1", "stun:192.0.2.1", "stun:[::1]:1"))]
    chosen = run._Servers(outside, connecting())
    assert chosen.stun == ("stun:localhost:1", "stun:[::1]:1")
    assert chosen.second == ()


def test_what_is_no_url_is_passed_over() -> None:
    odd = [IceServerConfig(("stun:a:b", "turn:x:99999", "http://x", STUN, "turn:[::zz]", TURN), "user", "secret")]
    chosen = run._Servers(odd, connecting())
    assert (chosen.stun, chosen.turn) == ((STUN,), (TURN,))
    assert chosen.server(TURN) == IceServerConfig((TURN,), "user", "secret")


def test_no_more_servers_than_can_be_tried() -> None:
    many = [IceServerConfig(tuple(f"stun:127.0.0.1:{port}" for port in range(1, 100)))]
    assert len(run._Servers(many, connecting()).stun) == run.MAX_URLS


async def test_a_server_that_offers_a_hundred_has_eight_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "BUDGET", 0.0)
    urls = [f"turn:127.0.0.1:{port}" for port in range(1, 101)]

    async def generous(request: web.Request) -> web.Response:
        if request.path != "/api/transfer":
            return web.Response()
        offered = [{"urls": urls, "username": "user", "credential": "secret"}]
        made = {"rendezvous_id": "a" * 26, "slot": 47, "token": "b" * 43, "expires_in": 60, "ice_servers": offered}
        return web.json_response(made, status=201)

    async with odd_server(generous) as url:
        facts = await gather(connecting(url, stun=(DEFAULT_STUN,)))
    assert facts.turn == tuple(urls[:8])


async def test_without_any_server() -> None:
    facts = await gather(connecting())
    assert (facts.stun, facts.turn, facts.relays, facts.survey.answers) == ((), (), (), ())
    assert facts.server.problem is not None
    assert (await examine(connecting())).exit_code == 3


async def test_what_the_server_offers_is_tried(quiet: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "BUDGET", 1.5)
    port = quiet.getsockname()[1]
    urls = f"stun:127.0.0.1:{port}", f"turn:127.0.0.1:{port}"
    config = ServerConfig(port=0, stun=(urls[0],), turn=(urls[1],), turn_secret="of-the-relay")
    async with serving(config) as kit:
        facts = await gather(connecting(kit.server.url, stun=(DEFAULT_STUN,)))
    assert (facts.stun, facts.turn, facts.own_turn) == ((urls[0],), (urls[1],), False)
    assert facts.relays == (), "there was too little time to tell"
    assert facts.unchecked == set(urls)


async def test_without_any_time_nothing_is_found(quiet: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "BUDGET", 0.0)
    port = quiet.getsockname()[1]
    urls = f"stun:127.0.0.1:{port}", f"turn:127.0.0.1:{port}", "turns:127.0.0.1:1"
    async with serving(ServerConfig(port=0, stun=urls[:1], turn=urls[1:], turn_secret="of-the-relay")) as kit:
        report = await examine(connecting(kit.server.url, stun=(DEFAULT_STUN,)))
    assert report.exit_code == 0
    assert not report.complete
    checks = [finding for finding in report.findings if finding.check in ("stun", "turn", "udp", "nat")]
    assert {finding.verdict for finding in checks} == {Rating.NONE}


async def test_the_users_own_servers_do_not_wait_for_the_signaling_server(
    quiet: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2pal.doctor.relay_probe.TIMEOUT", 1.0)
    asked = asyncio.Event()

    async def late(_request: web.Request) -> web.Response:
        await asked.wait()
        return web.Response(status=500)

    port = quiet.getsockname()[1]
    own = f"turn:127.0.0.1:{port}"
    async with odd_server(late) as url:
        options = connecting(url, turn=(own,), turn_user="user", turn_pass="secret", stun=(f"stun:127.0.0.1:{port}",))
        gathering = asyncio.create_task(gather(options))
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(20):
            await loop.sock_recv(quiet, 2048)  # the question comes though the signaling server has not answered
        asked.set()
        facts = await gathering
    assert facts.own_turn
    assert {answer.silence for answer in facts.survey.answers} == {NoAnswer.NO_ANSWER}

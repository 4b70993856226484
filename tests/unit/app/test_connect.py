from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from tests.e2e.trees import content, write
from tests.unit.app.kit import Place, Running, follow
from tests.unit.rendezvous.proxy import proxy_to
from tests.unit.server.kit import serving

from p2pal.app import events
from p2pal.app.connect import ice_servers, in_thread, peer_config
from p2pal.app.options import DEFAULT_STUN, ConnectOptions, Decision, ReceiveOptions
from p2pal.app.receive import _Receive
from p2pal.crypto.codes import parse
from p2pal.lanes.ice_servers import IceServerConfig
from p2pal.lanes.webrtc.factory import WebRtcFactory
from p2pal.rendezvous import mailbox as mailbox_module
from p2pal.wire.rendezvous import IceServer

OFFERED = [IceServer(["stun:offered:1"]), IceServer(["turn:offered:2"], "user", "pass")]


OWN_TURN = IceServerConfig(("turn:own:2",), "me", "secret")
OFFERED_STUN = IceServerConfig(("stun:offered:1",), offered=True)
OFFERED_TURN = IceServerConfig(("turn:offered:2",), "user", "pass", offered=True)


def options(stun: tuple[str, ...] | None = (DEFAULT_STUN,), *, own_turn: bool = False) -> ConnectOptions:
    if own_turn:
        return ConnectOptions(stun=stun, turn=("turn:own:2",), turn_user="me", turn_pass="secret")
    return ConnectOptions(stun=stun)


def test_without_settings_what_the_server_offers_is_used() -> None:
    assert ice_servers(options(), OFFERED) == [OFFERED_STUN, OFFERED_TURN]
    assert ice_servers(options(()), OFFERED) == [OFFERED_STUN, OFFERED_TURN]


def test_the_default_stun_server_is_for_servers_that_offer_none() -> None:
    assert ice_servers(options(), []) == [IceServerConfig((DEFAULT_STUN,))]
    assert ice_servers(options(), OFFERED[1:]) == [IceServerConfig((DEFAULT_STUN,)), OFFERED_TURN]
    assert ice_servers(options(()), []) == []


def test_own_stun_replaces_the_offered_stun_and_leaves_turn() -> None:
    assert ice_servers(options(("stun:own:1",)), OFFERED) == [IceServerConfig(("stun:own:1",)), OFFERED_TURN]
    assert ice_servers(options(None), OFFERED) == [OFFERED_TURN]


def test_own_turn_replaces_the_offered_turn_and_leaves_stun() -> None:
    assert ice_servers(options(own_turn=True), OFFERED) == [OFFERED_STUN, OWN_TURN]


def test_with_own_stun_and_turn_nothing_of_the_server_is_used() -> None:
    assert ice_servers(options(("stun:own:1",), own_turn=True), OFFERED) == [IceServerConfig(("stun:own:1",)), OWN_TURN]
    assert ice_servers(options(None, own_turn=True), OFFERED) == [OWN_TURN]


@pytest.mark.parametrize(("stun", "own_turn", "asked"), [
    ((DEFAULT_STUN,), False, True), ((DEFAULT_STUN,), True, True), ((), True, True), (None, False, True),
    (("stun:own:1",), False, True), (("stun:own:1",), True, False), (None, True, False),
])  # fmt: skip
def test_the_server_is_asked_while_something_is_left_open(
    stun: tuple[str, ...] | None, own_turn: bool, asked: bool
) -> None:
    config = peer_config(options(stun, own_turn=own_turn), [], reached="", sender=True, max_payload=1)
    assert config.servers.servers == ice_servers(options(stun, own_turn=own_turn), [])
    config.servers.offered(OFFERED)
    known = ice_servers(options(stun, own_turn=own_turn), OFFERED if asked else [])
    assert config.servers.servers == known


def test_both_kinds_of_lanes_share_what_a_peer_may_name() -> None:
    config = peer_config(options(None), [], reached="", sender=True, max_payload=1)
    assert isinstance(config.connections, WebRtcFactory)
    assert config.datagrams is not None
    assert config.connections._destinations is config.datagrams._destinations


def test_an_entry_of_both_kinds_is_taken_apart() -> None:
    mixed = [IceServer(["stun:o:1", "turns:o:2", "stuns:o:3", "turn:o:4?transport=tcp"], "user", "pass")]
    stun = IceServerConfig(("stun:o:1", "stuns:o:3"), offered=True)
    turn = IceServerConfig(("turns:o:2", "turn:o:4?transport=tcp"), "user", "pass", offered=True)
    assert ice_servers(options(), mixed) == [stun, turn]
    assert ice_servers(options(None), mixed) == [turn]
    assert ice_servers(options(own_turn=True), mixed) == [stun, OWN_TURN]


class Slow:
    """Something that a thread makes when it is let, and that must be closed by somebody."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()
        self.closed: list[str] = []

    def make(self) -> str:
        self.begun.set()
        assert self.go.wait(20)
        return "made"


async def begun(slow: Slow) -> asyncio.Task[str]:
    task = asyncio.create_task(in_thread(slow.make, undo=slow.closed.append))
    await asyncio.to_thread(slow.begun.wait, 20)
    return task


async def test_what_a_thread_made_belongs_to_who_waited() -> None:
    slow = Slow()
    task = await begun(slow)
    slow.go.set()
    assert await task == "made"
    assert slow.closed == []


async def test_what_fails_in_a_thread_has_nothing_to_undo() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await in_thread(fail, undo=lambda made: pytest.fail("nothing was made"))


def test_what_nobody_waits_for_is_undone_once_although_the_loop_ends() -> None:
    slow = Slow()

    async def leave() -> None:
        task = await begun(slow)
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()
        slow.go.set()

    asyncio.run(leave())
    assert slow.closed == ["made"]


def test_what_was_made_in_the_moment_of_leaving_is_undone_too() -> None:
    slow = Slow()

    async def leave() -> None:
        task = await begun(slow)
        slow.go.set()
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()

    asyncio.run(leave())
    assert slow.closed == ["made"]


async def test_a_sender_that_waits_hears_that_the_server_is_away_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox_module, "TOLD_AFTER", 0.3)
    source = write(tmp_path / "file", content(1000))
    out = tmp_path / "out"
    out.mkdir()
    async with asyncio.timeout(60), serving() as kit, proxy_to(kit.server.port) as proxy:
        there = Place(proxy.url, tmp_path)
        sent = Running(there.send(source))
        code = await sent.until(events.Code)
        proxy.refusing = True
        proxy.cut()
        away = await sent.until(events.Waiting)
        assert (away.what, away.seconds) == ("server", mailbox_module.DEFAULT_PATIENCE - 0.3)
        proxy.refusing = False
        received = await follow(there.receive(code.code, out))
        ended = await sent.end()
    assert (ended.error, received.error) == (None, None)
    told = [event.what for event in ended.all(events.Waiting)]
    assert told == ["server", ""]
    assert received.all(events.Waiting) == []


async def test_while_a_lane_carries_the_transfer_nobody_waits_for_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox_module, "TOLD_AFTER", 0.0)
    source = write(tmp_path / "file", content(1000))
    out = tmp_path / "out"
    out.mkdir()
    async with asyncio.timeout(60), serving() as kit, proxy_to(kit.server.port) as proxy:
        there = Place(proxy.url, tmp_path)
        asked = asyncio.Event()
        go = asyncio.Event()

        async def decide(offer: events.Offered, existing: list[str]) -> Decision:
            asked.set()
            await go.wait()
            return Decision(accept=True)

        sent = Running(there.send(source))
        code = await sent.until(events.Code)
        receiving = asyncio.create_task(follow(there.receive(code.code, out, decide=decide)))
        await asked.wait()
        proxy.refusing = True
        lost = asyncio.Event()
        real = mailbox_module.Mailbox._tell_waiting

        def tell(mailbox: mailbox_module.Mailbox) -> None:
            real(mailbox)
            lost.set()

        monkeypatch.setattr(mailbox_module.Mailbox, "_tell_waiting", tell)
        proxy.cut()
        await lost.wait()
        go.set()
        received, ended = await receiving, await sent.end()
    assert (ended.error, received.error) == (None, None)
    assert [*ended.all(events.Waiting), *received.all(events.Waiting)] == []


@pytest.mark.parametrize("ending", ["back", "connected"])
async def test_that_the_server_is_back_is_told_once(ending: str) -> None:
    shell = _Receive(parse("zebra-luna-7").code, ReceiveOptions(), ConnectOptions(), None)
    shell._mailbox_waited_for(0.0)
    shell._mailbox_waited_for(117.0)
    if ending == "connected":
        shell._emit(events.Connected(path="direct, host udp"))
    shell._mailbox_waited_for(0.0)
    told = [shell._events.get_nowait() for _ in range(shell._events.qsize())]
    back = [events.Waiting(what="server", seconds=117.0), events.Waiting(what="")]
    assert told == (back if ending == "back" else [*back, events.Connected(path="direct, host udp")])

"""The links of two peers over a real server and real WebRTC connections: forged, used up, silent, and asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.peer.kit import CHOSEN, Owner, mute, pair, payloads

from p2pal.crypto.keys import SessionSecret
from p2pal.crypto.seal import MAX_FRAMES
from p2pal.errors import PeerLost
from p2pal.lanes.address_zones import Nearness
from p2pal.lanes.base import ConnectionListener, PathChanged
from p2pal.lanes.ice_servers import IceServerConfig, RelayUse
from p2pal.lanes.networks import NetworkWatch
from p2pal.lanes.webrtc.connection import WebRtcConnection
from p2pal.lanes.webrtc.factory import WebRtcFactory
from p2pal.peer.config import PeerConfig
from p2pal.peer.driver import LinkDriver
from p2pal.server.config import ServerConfig
from p2pal.wire.rendezvous import IceServer as Offered


async def test_a_lane_with_a_forged_frame_is_dropped_and_the_session_goes_on() -> None:
    there = payloads(600)
    left, right = Owner(there), Owner()
    async with pair(left, right):
        await right.until(lambda: len(right.received) > 50)
        next(iter(left.peer.link.engine.connections.values())).send(b"forged" * 20)
        await right.until(lambda: len(right.received) == len(there))
        assert right.received == there
        assert len(left.retries) >= 1


async def test_a_lane_whose_key_has_sealed_all_it_may_is_replaced() -> None:
    there = payloads(100)
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, _):
        await running.linked()
        (sending,), (opening,) = left.peer.link.lanes.by_id.values(), right.peer.link.lanes.by_id.values()
        left.to_send.append(there[0])
        left.peer_turn(())
        await right.until(lambda: bool(right.received))  # a lane has a path before anything came over it
        assert opening.opener is not None
        sending.sealer._count = opening.opener._count = MAX_FRAMES - 20  # both ends are at rest
        left.to_send.extend(there[1:])
        left.peer_turn(())
        await right.until(lambda: len(right.received) == len(there))
        assert right.received == there
        assert left.back == 1


async def test_a_path_that_changes_while_a_side_fails_is_not_looked_at() -> None:
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, _):
        await running.linked()
        (connection,) = left.peer.link.engine.connections.values()
        left.peer.abandon(PeerLost("gone"))
        for _turn in range(5):
            left.peer.link.connection_event(connection, PathChanged())
            await asyncio.sleep(0)
        assert isinstance((await running.end())[0], PeerLost)


@pytest.mark.parametrize("sides", ["left", "both"])
async def test_a_lane_that_falls_silent_is_replaced_by_a_challenger(sides: str) -> None:
    there, back = payloads(100), payloads(50, 2)
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, _):
        await running.linked()
        for name, owner, sent in (("left", left, there), ("right", right, back)):
            if sides in (name, "both"):
                mute(owner)
            owner.to_send.extend(sent)
            owner.peer_turn(())
        await right.until(lambda: len(right.received) == len(there))
        await left.until(lambda: len(left.received) == len(back))
        assert (right.received, left.received) == (there, back)
        await left.until(lambda: left.peer.link.negotiator.in_use > 1 and left.peer.link.lanes.heard)
        for owner in (left, right):
            assert not owner.silences or owner.silences[-1] == 0.0
            assert owner.back == min(1, len(owner.retries))


async def test_a_lane_that_is_heard_again_stays() -> None:
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, _):
        await running.linked()
        hears = [mute(owner) for owner in (left, right)]
        left.to_send.extend(payloads(20))
        left.peer_turn(())
        left.peer._signaling.send = lambda message: None  # type: ignore[method-assign]
        await left.until(lambda: bool(left.retries))
        assert left.peer.link.linked
        assert not left.peer.link.lanes.heard
        for heard in hears:
            heard()
        right.peer.link.probe()
        await left.until(lambda: left.back == 1)
        assert left.peer.link.negotiator.in_use == 1


async def test_the_first_connection_has_what_the_server_offers_after_the_accept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used: list[tuple[IceServerConfig, ...]] = []

    class Recorded(WebRtcConnection):
        def __init__(
            self,
            lane_id: int,
            generation: int,
            listener: ConnectionListener,
            ice_servers: Sequence[IceServerConfig] = (),
            **more: Any,
        ) -> None:
            used.append(tuple(ice_servers))
            super().__init__(lane_id, generation, listener, ice_servers, **more)

    monkeypatch.setattr("p2pal.lanes.webrtc.connection.WebRtcConnection", Recorded)
    relay = Offered(["turn:127.0.0.1:9"], "someone", "something")
    left, right = Owner(), Owner()
    async with pair(left, right, ServerConfig(port=0, drain=0.2, ice_servers=(relay,))) as (running, _):
        await running.linked()
        assert used == [(CHOSEN,), (CHOSEN,)]
        assert left.offered == right.offered == [relay]


@pytest.mark.parametrize(
    ("roams", "relay", "max_retries", "watches"),
    [
        (True, RelayUse.ALLOWED, 3, True),
        (False, RelayUse.ALLOWED, 3, False),
        (True, RelayUse.ONLY, 3, False),
        (True, RelayUse.ALLOWED, 0, False),
    ],
)
async def test_networks_are_watched_where_a_better_path_may_come_of_it(
    roams: bool, relay: RelayUse, max_retries: int, watches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    watching: list[NetworkWatch] = []

    async def run(watch: NetworkWatch) -> None:
        watching.append(watch)

    monkeypatch.setattr(NetworkWatch, "run", run)

    config = PeerConfig(
        sender=False,
        max_payload=65_536,
        connections=WebRtcFactory(near=Nearness(only_loopback=True)),
        max_retries=max_retries,
        relay=relay,
        roams=roams,
    )

    async def learn() -> None:
        raise AssertionError("nothing is connected here")

    master = SessionSecret(bytes(32)).master()
    link = LinkDriver(master, config, mail=lambda _: None, wake=lambda: None, learn=learn)
    link.start()
    await asyncio.sleep(0)
    await link.close()
    assert bool(watching) is watches

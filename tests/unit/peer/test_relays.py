"""What both sides let relays carry, and that they agree on it. Real connections, and a real relay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.network.coturn import Coturn, free_port
from tests.network.needs import need_coturn
from tests.unit.peer.kit import Owner, pair
from tests.unit.server.kit import on_loop

from p2pal.errors import ConnectionImpossible
from p2pal.lanes.base import IceServer, RelayUse
from p2pal.server.ice import make_credential

SECRET = "of-the-relay"


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Coturn]:
    need_coturn()
    with Coturn(tmp_path / "coturn", SECRET, port=free_port(), more=("allow-loopback-peers",)) as running:
        yield running


def turn(relay: Coturn, name: str) -> IceServer:
    return IceServer((relay.url,), *make_credential(SECRET, name, int(time.time()) + 600))


def allocated(relay: Coturn, name: str) -> bool:
    return any(user.endswith(f":{name}") for user in relay.allocations)


def test_a_side_that_wants_only_relays_has_one_even_where_a_direct_way_is(relay: Coturn) -> None:
    @on_loop
    async def relayed() -> None:
        left = Owner([b"through the relay"], relay=RelayUse.ONLY, chosen=(turn(relay, "left"),))
        right = Owner()
        async with pair(left, right) as (running, _):
            await running.linked()
            await right.until(lambda: bool(right.received))
            assert left.paths == right.paths == ["relayed, turn udp"]
            own = [candidate for each in left.peer.lanes.gatherings for candidate in each.own.values()]
            told = [candidate for each in right.peer.lanes.gatherings for candidate in each.remote.values()]
            assert own
            assert {candidate.kind for candidate in (*own, *told)} == {"relay"}

    relayed()


@pytest.mark.parametrize("sender", [True, False])
def test_a_side_without_relays_has_the_other_do_without(relay: Coturn, sender: bool) -> None:
    @on_loop
    async def direct() -> None:
        unwilling = Owner([b"directly"], relay=RelayUse.NEVER)
        willing = Owner([b"directly"], chosen=(turn(relay, "willing"),))
        left, right = (unwilling, willing) if sender else (willing, unwilling)
        async with pair(left, right) as (running, _):
            await running.linked()
            for owner in (left, right):
                await owner.until(lambda owner=owner: bool(owner.received))  # type: ignore[misc]
                assert owner.paths == ["direct, host udp"]
            assert willing.peer.lanes.relay is RelayUse.NEVER
            newest = willing.peer.lanes.gatherings[-1]
            assert newest.urls == ()
            assert all(candidate.kind != "relay" for candidate in newest.own.values())
            if sender:
                assert not allocated(relay, "willing"), "it knew before its first connection"

    direct()


@pytest.mark.parametrize("sender", [True, False])
def test_who_insists_on_a_relay_and_who_refuses_one_do_not_meet(sender: bool) -> None:
    @on_loop
    async def parting() -> None:
        wishes = (RelayUse.ONLY, RelayUse.NEVER) if sender else (RelayUse.NEVER, RelayUse.ONLY)
        relays = (IceServer(("turn:127.0.0.1:9",), "name", "secret"),)
        left, right = (Owner(relay=wish, chosen=relays) for wish in wishes)
        async with pair(left, right) as (running, _):
            for ended in await running.end():
                assert isinstance(ended, ConnectionImpossible)
                assert "--no-relay" in ended.message
                assert "--relay-only" in ended.message

    parting()


@pytest.mark.parametrize("sender", [True, False])
def test_without_a_relay_only_relays_is_an_error_at_once(sender: bool) -> None:
    @on_loop
    async def failing() -> None:
        alone, other = Owner(relay=RelayUse.ONLY), Owner()
        left, right = (alone, other) if sender else (other, alone)
        async with pair(left, right) as (running, _):
            ends = await running.end()
            assert all(isinstance(ended, ConnectionImpossible) for ended in ends)
            why = ends[0 if sender else 1]
            assert isinstance(why, ConnectionImpossible)
            assert why.message == "--relay-only, but no TURN server is known"

    async def bounded() -> None:
        await asyncio.wait_for(asyncio.to_thread(failing), 30)

    asyncio.run(bounded())

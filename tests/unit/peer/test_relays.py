"""What both sides let relays carry, and that they agree on it. Real connections, and a real relay."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from tests.network.coturn import Coturn
from tests.network.needs import need_coturn
from tests.ports import free_port
from tests.unit.peer.kit import Owner, pair

from p2pal.errors import ConnectionImpossible
from p2pal.lanes.ice_servers import IceServerConfig, RelayUse
from p2pal.server.ice import make_credential
from p2pal.wire.signal import Answer, Candidate, Offer, SignalMessage

SECRET = "of-the-relay"
HERE = "127.0.0.1"
"""The address of both sides; the relay has another one."""

RELAY = "127.0.0.2"
ORIGIN = re.compile(r"o=- \d+ \d+ IN IP4 127\.0\.0\.1")


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Coturn]:
    need_coturn()
    more = ("allow-loopback-peers",)
    with Coturn(tmp_path / "coturn", SECRET, address=RELAY, port=free_port(), more=more) as running:
        yield running


def turn(relay: Coturn, name: str) -> IceServerConfig:
    return IceServerConfig((relay.url,), *make_credential(SECRET, name, int(time.time()) + 600))


def allocated(relay: Coturn, name: str) -> bool:
    return any(user.endswith(f":{name}") for user in relay.allocations)


def mailed(owner: Owner) -> list[SignalMessage]:
    """Return a list of what this side mails from now on."""
    messages: list[SignalMessage] = []
    signaling = owner.peer._signaling
    send = signaling.send

    def overheard(message: SignalMessage) -> None:
        messages.append(message)
        send(message)

    signaling.send = overheard  # type: ignore[method-assign]
    return messages


def described(messages: Iterable[SignalMessage]) -> list[str]:
    """Return the candidates, and the lines of all descriptions but that of the origin.

    There 127.0.0.1 stands for everybody, which tells nothing (RFC 8829, section 5.2.1).
    """
    sdp = [message.sdp for message in messages if isinstance(message, (Offer, Answer))]
    candidates = [message.candidate for message in messages if isinstance(message, Candidate)]
    lines = [line for text in (*sdp, *candidates) for line in text.splitlines()]
    return [line for line in lines if not ORIGIN.fullmatch(line)]


@pytest.mark.parametrize("sender", [True, False])
async def test_a_side_that_wants_only_relays_has_one_even_where_a_direct_way_is(relay: Coturn, sender: bool) -> None:
    hidden = Owner([b"through the relay"], relay=RelayUse.ONLY, chosen=(turn(relay, "hidden"),))
    other = Owner([b"through the relay"])
    left, right = (hidden, other) if sender else (other, hidden)
    async with pair(left, right) as (running, _):
        hidden_mail, other_mail = mailed(hidden), mailed(other)
        await running.linked()
        for owner in (left, right):
            await owner.until(lambda owner=owner: bool(owner.received))  # type: ignore[misc]
        # On loopback whose address it is that a check came from is only known with its candidate.
        await other.until(lambda: other.paths[-1] == "relayed, turn udp")
        assert hidden.paths == ["relayed, turn udp"]
        own = [candidate for each in hidden.connections.gatherings for candidate in each.own.values()]
        told = [candidate for each in other.connections.gatherings for candidate in each.remote.values()]
        assert own
        assert {candidate.kind for candidate in (*own, *told)} == {"relay"}
    lines = described(hidden_mail)
    candidates = [line for line in lines if "candidate:" in line]
    assert candidates
    assert all(" raddr 0.0.0.0 rport 0 " in line for line in candidates), candidates
    assert [line for line in lines if HERE in line or "::1" in line] == []
    assert any(HERE in line for line in described(other_mail)), "who hides nothing tells it"


@pytest.mark.parametrize("sender", [True, False])
async def test_a_side_without_relays_has_the_other_do_without(relay: Coturn, sender: bool) -> None:
    unwilling = Owner([b"directly"], relay=RelayUse.NEVER)
    willing = Owner([b"directly"], chosen=(turn(relay, "willing"),))
    left, right = (unwilling, willing) if sender else (willing, unwilling)
    async with pair(left, right) as (running, _):
        await running.linked()
        for owner in (left, right):
            await owner.until(lambda owner=owner: bool(owner.received))  # type: ignore[misc]
            assert owner.paths == ["direct, host udp"]
        assert willing.peer.link.engine.relay is RelayUse.NEVER
        newest = willing.connections.gatherings[-1]
        assert newest.urls == ()
        assert all(candidate.kind != "relay" for candidate in newest.own.values())
        if sender:
            assert not allocated(relay, "willing"), "it knew before its first connection"


@pytest.mark.parametrize("sender", [True, False])
async def test_who_insists_on_a_relay_and_who_refuses_one_do_not_meet(sender: bool) -> None:
    wishes = (RelayUse.ONLY, RelayUse.NEVER) if sender else (RelayUse.NEVER, RelayUse.ONLY)
    relays = (IceServerConfig(("turn:127.0.0.1:9",), "name", "secret"),)
    left, right = (Owner(relay=wish, chosen=relays) for wish in wishes)
    async with pair(left, right) as (running, _):
        for ended in await running.end():
            assert isinstance(ended, ConnectionImpossible)
            assert "--no-relay" in ended.message
            assert "--relay-only" in ended.message


@pytest.mark.parametrize("sender", [True, False])
async def test_without_a_relay_only_relays_is_an_error_at_once(sender: bool) -> None:
    alone, other = Owner(relay=RelayUse.ONLY), Owner()
    left, right = (alone, other) if sender else (other, alone)
    async with asyncio.timeout(30), pair(left, right) as (running, _):
        ends = await running.end()
        assert all(isinstance(ended, ConnectionImpossible) for ended in ends)
        why = ends[0 if sender else 1]
        assert isinstance(why, ConnectionImpossible)
        assert why.message == "--relay-only, but no TURN server is known"

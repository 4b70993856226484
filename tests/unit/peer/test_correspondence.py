"""What is made of what comes through the mailbox. The rest of the peer, and its lanes, are in ``test_peer.py``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic

import pytest
from tests.unit.peer.kit import PATIENCE, Owner
from tests.unit.server.kit import on_loop

from p2pal.crypto.keys import NONCE_BYTES, SessionSecret
from p2pal.errors import ConnectionImpossible, NoRelay, P2palError, PeerLost, ProtocolError
from p2pal.lanes.ice_servers import IceServer, RelayUse
from p2pal.link.negotiator import Negotiator
from p2pal.link.steps import GaveUp
from p2pal.peer.config import PeerConfig
from p2pal.peer.correspondence import Correspondence
from p2pal.peer.lanes import Lanes
from p2pal.session.core import Session
from p2pal.wire import rendezvous as wire
from p2pal.wire.signal import Answer, Bye, Candidate, Fresh, Hello, Offer, SignalMessage

RELAY = IceServer(("turn:127.0.0.1:9",), "user", "pass")
STUN = IceServer(("stun:127.0.0.1:9",))
HELLO = Hello(max_frame=65_536, window=1 << 20)


class Side:
    """Whose correspondence it is: one side with a negotiator and without connections."""

    def __init__(
        self, *, sender: bool = True, relay: RelayUse = RelayUse.ALLOWED, servers: Sequence[IceServer] = ()
    ) -> None:
        self.owner = Owner()
        config = PeerConfig(
            sender=sender, max_payload=65_536, ice_servers=servers, choose_ice=lambda offered: (STUN,), relay=relay
        )
        self.negotiator = Negotiator(leader=sender, max_retries=3, backoff=1.0, jitter=lambda: 1.0)
        self.lanes = Lanes(SessionSecret(bytes(32)).master(), config, self.negotiator, self)
        self.correspondence = Correspondence(self, config, self.owner, self.negotiator, self.lanes)
        self.ending = False
        self.hellos: list[Hello] = []
        self.woken = self.probes = 0
        self.ended: asyncio.Future[tuple[int, str] | BaseException] = asyncio.get_running_loop().create_future()
        self.negotiator.start(monotonic())

    def wake(self) -> None:
        self.woken += 1

    def probe(self) -> None:
        self.probes += 1

    def greeted(self, hello: Hello) -> None:
        self.hellos.append(hello)
        self.lanes.session = Session(
            max_frame=65_536,
            window=1 << 20,
            peer_max_frame=hello.max_frame,
            peer_window=hello.window,
            now=0.0,
        )

    def other_left(self, code: int, reason: str) -> None:
        self.ended.set_result((code, reason))

    def abandon(self, error: BaseException) -> None:
        if not self.ended.done():
            self.ended.set_result(error)

    async def end(self) -> tuple[int, str] | BaseException:
        async with asyncio.timeout(PATIENCE):
            return await self.ended

    async def ice_known(self) -> None:
        raise AssertionError("nothing is connected here")

    def lane_lost(self, generation: int) -> None:
        raise AssertionError(generation)

    def path_changed(self, connection: object) -> None:
        raise AssertionError(connection)

    def path_found(self, path: str) -> None:
        raise AssertionError(path)


@on_loop
async def test_a_hello_comes_once_and_first() -> None:
    side = Side()
    with pytest.raises(ProtocolError, match="before it said hello"):
        side.correspondence.signal_message(Answer(1, "sdp"))
    side.correspondence.signal_message(HELLO)
    assert (side.hellos, side.woken) == ([HELLO], 1)
    with pytest.raises(ProtocolError, match="hello twice"):
        side.correspondence.signal_message(HELLO)


@on_loop
async def test_what_concerns_the_link_is_the_negotiators() -> None:
    side = Side(sender=False)
    side.correspondence.signal_message(HELLO)
    messages: list[SignalMessage] = [Offer(1, 1, "sdp"), Candidate(1, "candidate")]
    for message in messages:
        side.correspondence.signal_message(message)
    assert side.negotiator.generation == 1
    assert side.woken == 3
    with pytest.raises(ProtocolError, match="claim to follow"):
        side.correspondence.signal_message(Answer(1, "sdp"))
    with pytest.raises(ProtocolError):
        side.correspondence.signal_message(Fresh(bytes(NONCE_BYTES)))


@pytest.mark.parametrize(("ours", "theirs"), [(RelayUse.ONLY, RelayUse.NEVER), (RelayUse.NEVER, RelayUse.ONLY)])
def test_wishes_that_leave_no_path_are_the_end(ours: RelayUse, theirs: RelayUse) -> None:
    @on_loop
    async def greeting() -> None:
        side = Side(relay=ours)
        with pytest.raises(ConnectionImpossible, match="this side was started with"):
            side.correspondence.signal_message(Hello(max_frame=65_536, window=1 << 20, relay=theirs.value))
        assert side.hellos == []

    greeting()


@pytest.mark.parametrize(("servers", "anew"), [((RELAY,), True), ((STUN,), False)])
def test_a_side_that_takes_no_relay_is_met_without_one(servers: Sequence[IceServer], anew: bool) -> None:
    @on_loop
    async def greeting() -> None:
        side = Side(servers=servers)
        side.correspondence.signal_message(Hello(max_frame=65_536, window=1 << 20, relay=RelayUse.NEVER.value))
        assert side.lanes.relay is RelayUse.NEVER
        due = side.negotiator.next_timeout()
        assert due is not None
        side.negotiator.handle_timeout(due)
        assert (side.negotiator.generation == 2) is anew

    greeting()


@pytest.mark.parametrize(
    ("code", "error"), [(PeerLost.code, PeerLost), (ConnectionImpossible.code, ConnectionImpossible)]
)
def test_a_farewell_tells_why(code: str, error: type[P2palError]) -> None:
    @on_loop
    async def parting() -> None:
        side = Side()
        side.correspondence.signal_message(Bye(code))
        assert isinstance(await side.end(), error)

    parting()


@pytest.mark.parametrize("code", [ConnectionImpossible.code, NoRelay.code])
def test_where_the_link_stood_there_was_a_path_whatever_the_other_side_says(code: str) -> None:
    @on_loop
    async def parting() -> None:
        side = Side()
        side.lanes.stood = True
        side.correspondence.signal_message(Bye(code))
        assert isinstance(await side.end(), PeerLost)

    parting()


@on_loop
async def test_a_side_that_just_leaves_is_no_error_and_no_news_once_the_end_has_begun() -> None:
    side, ending = Side(), Side()
    ending.ending = True
    for each in (ending, side):
        each.correspondence.signal_message(Bye("whatever"))
    assert await side.end() == (1, "whatever")
    assert not ending.ended.done()


@on_loop
async def test_the_servers_word_on_relays_is_for_what_comes() -> None:
    side = Side()
    side.correspondence.signal_ice(())
    assert not side.lanes.ice_servers
    side.correspondence.signal_ice((wire.IceServer(["turn:127.0.0.1:9"]),))
    assert list(side.lanes.ice_servers) == [STUN]


@on_loop
async def test_the_sender_tells_that_the_codes_mailbox_is_free() -> None:
    for sender in (True, False):
        side = Side(sender=sender)
        side.correspondence.signal_left()
        assert side.owner.moved == sender
        side.ending = True
        side.correspondence.signal_left()
        assert side.owner.moved == sender


@pytest.mark.parametrize("released", [True, False])
def test_a_mailbox_is_missed_only_before_the_link_stood(released: bool) -> None:
    @on_loop
    async def losing() -> None:
        side, stood = Side(), Side()
        stood.lanes.stood = True
        for each in (stood, side):
            each.correspondence.signal_lost(released=released)
        assert isinstance(await side.end(), PeerLost)
        assert not stood.ended.done()

    losing()


@pytest.mark.parametrize(("there", "error"), [(True, ConnectionImpossible), (False, PeerLost)])
def test_a_link_that_does_not_come_is_given_up_for_a_reason(there: bool, error: type[P2palError]) -> None:
    @on_loop
    async def giving_up() -> None:
        side = Side()
        side.correspondence.signal_online(True, there)
        side.correspondence.link_given_up(GaveUp(False))
        assert not side.ended.done(), "the other side may say more"
        assert isinstance(await side.end(), error)

    giving_up()


@on_loop
async def test_signaling_asks_the_lanes() -> None:
    side = Side()
    correspondence = side.correspondence
    assert (correspondence.alive, correspondence.stood, correspondence.heard_at) == (False, False, 0.0)
    side.lanes.stood, side.lanes.heard_at = True, 5.0
    assert (correspondence.stood, correspondence.heard_at) == (True, 5.0)
    correspondence.probe()
    assert side.probes == 1
    correspondence.signal_moved()
    assert side.woken == 1
    correspondence.signal_failed(ProtocolError("x"))
    assert isinstance(await side.end(), ProtocolError)

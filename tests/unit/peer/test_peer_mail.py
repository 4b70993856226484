"""What a peer makes of what comes through the mailbox. The rest of it is in ``test_peer.py``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic

import pytest
from tests.unit.peer.kit import PATIENCE, Owner
from tests.unit.peer.test_signaling import HostileMailbox, nowhere

from p2pal.crypto.keys import NONCE_BYTES, Direction, SessionSecret
from p2pal.crypto.seal import MailboxOpener, MailboxSealer
from p2pal.errors import ConnectionImpossible, NoRelay, P2palError, PeerLost, ProtocolError
from p2pal.lanes.address_zones import Nearness
from p2pal.lanes.ice_servers import IceServerConfig, KnownServers, RelayUse
from p2pal.lanes.webrtc.factory import WebRtcFactory
from p2pal.link.actions import GaveUp
from p2pal.peer.config import PeerConfig
from p2pal.peer.events import HomeLeft, MailboxLost, Online, Said, SignalingEvent, SignalingFailed
from p2pal.peer.key_exchange import Introduction
from p2pal.peer.peer import Peer
from p2pal.wire import rendezvous as wire
from p2pal.wire.signal import Answer, Bye, Candidate, Fresh, Hello, Offer, SignalMessage

RELAY = IceServerConfig(("turn:127.0.0.1:9",), "user", "pass")
STUN = IceServerConfig(("stun:127.0.0.1:9",))
HELLO = Hello(max_frame=65_536, window=1 << 20)


class Side:
    """A peer that does not run, and hears what the test has the other side say."""

    def __init__(
        self, *, sender: bool = True, relay: RelayUse = RelayUse.ALLOWED, servers: Sequence[IceServerConfig] = ()
    ) -> None:
        self.owner = Owner()
        self.servers = KnownServers(servers, lambda offered: (STUN,))
        connections = WebRtcFactory(self.servers, near=Nearness(only_loopback=True))
        config = PeerConfig(
            sender=sender, max_payload=65_536, connections=connections, servers=self.servers, relay=relay
        )
        secret, mailbox = SessionSecret(bytes(32)), HostileMailbox()
        ours, theirs = (Direction.TO_RECEIVER, Direction.TO_SENDER)[:: 1 if sender else -1]
        sealer, opener = MailboxSealer(secret, 1, ours, 1), MailboxOpener(secret, 1, theirs, 1)
        self.peer = self.owner.peer = Peer(
            Introduction(secret, 1, mailbox, sealer, opener), config, self.owner, nowhere
        )
        self.negotiator = self.peer.link.negotiator
        self.negotiator.start(monotonic())

    def hear(self, event: SignalingEvent | SignalMessage) -> None:
        self.peer._on_signaling(Said(event) if isinstance(event, SignalMessage) else event)

    @property
    def ended(self) -> bool:
        return self.peer._ended.done()

    async def end(self) -> BaseException | None:
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait((self.peer._ended,))
        return self.peer._ended.exception()


async def test_a_hello_comes_once_and_first() -> None:
    side = Side()
    with pytest.raises(ProtocolError, match="before it said hello"):
        side.hear(Answer(1, "sdp"))
    side.hear(HELLO)
    with pytest.raises(ProtocolError, match="hello twice"):
        side.hear(HELLO)


async def test_what_concerns_the_link_is_the_negotiators() -> None:
    side = Side(sender=False)
    side.hear(HELLO)
    messages: list[SignalMessage] = [Offer(1, 1, "sdp"), Candidate(1, "candidate")]
    for message in messages:
        side.hear(message)
    assert side.negotiator.generation == 1
    with pytest.raises(ProtocolError, match="claim to follow"):
        side.hear(Answer(1, "sdp"))
    with pytest.raises(ProtocolError):
        side.hear(Fresh(bytes(NONCE_BYTES)))


@pytest.mark.parametrize(("ours", "theirs"), [(RelayUse.ONLY, RelayUse.NEVER), (RelayUse.NEVER, RelayUse.ONLY)])
async def test_wishes_that_leave_no_path_are_the_end(ours: RelayUse, theirs: RelayUse) -> None:
    side = Side(relay=ours)
    with pytest.raises(ConnectionImpossible, match="this side was started with"):
        side.hear(Hello(max_frame=65_536, window=1 << 20, relay=theirs.value))
    assert side.peer._session is None


@pytest.mark.parametrize(("servers", "anew"), [((RELAY,), True), ((STUN,), False)])
async def test_a_side_that_takes_no_relay_is_met_without_one(servers: Sequence[IceServerConfig], anew: bool) -> None:
    side = Side(servers=servers)
    side.hear(Hello(max_frame=65_536, window=1 << 20, relay=RelayUse.NEVER.value))
    assert side.peer.link.engine.relay is RelayUse.NEVER
    due = side.negotiator.next_timeout()
    assert due is not None
    side.negotiator.handle_timeout(due)
    assert (side.negotiator.generation == 2) is anew


@pytest.mark.parametrize(
    ("code", "error"), [(PeerLost.code, PeerLost), (ConnectionImpossible.code, ConnectionImpossible)]
)
async def test_a_farewell_tells_why(code: str, error: type[P2palError]) -> None:
    side = Side()
    side.hear(Bye(code))
    assert isinstance(await side.end(), error)


@pytest.mark.parametrize("code", [ConnectionImpossible.code, NoRelay.code])
async def test_where_the_link_stood_there_was_a_path_whatever_the_other_side_says(code: str) -> None:
    side = Side()
    side.peer.link.lanes.stood = True
    side.hear(Bye(code))
    assert isinstance(await side.end(), PeerLost)


async def test_a_side_that_just_leaves_is_no_error() -> None:
    side = Side()
    side.hear(Bye("whatever"))
    await side.owner.until_true(lambda: side.owner.closed is not None)
    assert side.owner.closed == (1, "whatever")
    assert not side.ended


async def test_a_farewell_is_no_news_once_the_end_has_begun() -> None:
    side = Side()
    side.peer._begin_closing()
    side.hear(Bye(PeerLost.code))
    side.hear(MailboxLost(released=True))
    side.hear(HomeLeft())
    await asyncio.sleep(0.01)
    side.peer._flush()
    assert (side.ended, side.owner.closed, side.owner.moved) == (False, None, 0)


async def test_the_servers_word_on_relays_is_for_what_comes() -> None:
    side = Side()
    side.servers.offered(())
    assert not side.servers.servers
    side.servers.offered((wire.IceServer(["turn:127.0.0.1:9"]),))
    assert list(side.servers.servers) == [STUN]


async def test_the_sender_tells_that_the_codes_mailbox_is_free() -> None:
    for sender in (True, False):
        side = Side(sender=sender)
        side.hear(HomeLeft())
        side.peer._flush()
        assert side.owner.moved == sender


@pytest.mark.parametrize("released", [True, False])
async def test_a_mailbox_is_missed_only_before_the_link_stood(released: bool) -> None:
    side, stood = Side(), Side()
    stood.peer.link.lanes.stood = True
    for each in (stood, side):
        each.hear(MailboxLost(released))
    assert isinstance(await side.end(), PeerLost)
    assert not stood.ended


@pytest.mark.parametrize(("there", "error"), [(True, ConnectionImpossible), (False, PeerLost)])
async def test_a_link_that_does_not_come_is_given_up_for_a_reason(there: bool, error: type[P2palError]) -> None:
    side = Side()
    side.hear(Online(True, there))
    side.peer._on_link(GaveUp(False))
    assert not side.ended, "the other side may say more"
    assert isinstance(await side.end(), error)


async def test_the_other_side_that_breaks_the_protocol_is_the_end() -> None:
    side = Side()
    side.hear(SignalingFailed(ProtocolError("x")))
    assert isinstance(await side.end(), ProtocolError)


async def test_what_the_mailbox_brings_is_taken_in_order() -> None:
    side = Side(sender=False)
    for message in (HELLO, Offer(1, 1, "sdp"), Candidate(1, "candidate")):
        side.peer._signaling._happened(Said(message))
    await asyncio.sleep(0)
    assert side.negotiator.generation == 1
    assert not side.ended

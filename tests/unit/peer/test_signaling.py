"""Two live peers whose mailbox goes away, and who meet again; over a real server and real WebRTC connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from time import monotonic

import pytest
from tests.unit.peer.kit import CHOSEN, Owner, Rendezvous, cut, mute, pair, payloads
from tests.unit.peer.test_peer import forge

from p2pal.crypto.keys import Direction, SessionSecret
from p2pal.crypto.seal import MailboxOpener, MailboxSealer
from p2pal.errors import CodeUnknown, ServerUnreachable
from p2pal.peer import signaling as under_test
from p2pal.peer.events import HomeLeft, Online, SignalingEvent
from p2pal.peer.key_exchange import Introduction
from p2pal.peer.signaling import MOST_KNOCKS, MeetingPlace, Signaling
from p2pal.rendezvous.events import AttemptKnocked, AttemptServed, IceServersOffered, MailboxEvent
from p2pal.rendezvous.mailbox import Mailbox
from p2pal.server.config import ServerConfig
from p2pal.server.http.app import Server
from p2pal.wire.rendezvous import IceServer
from p2pal.wire.signal import Bye, Candidate


def met(owner: Owner) -> bool:
    """Whether this side talks to the other at a meeting place."""
    signaling = owner.peer._signaling
    conversation = signaling._conversation
    return not signaling.at_home and conversation is not None and conversation.fresh


async def both_met(left: Owner, right: Owner) -> None:
    await left.until_true(lambda: met(left) and met(right))


async def goes_on(left: Owner, right: Owner, count: int = 50) -> None:
    """Send something more, and see it arrive."""
    sent, before = payloads(count), len(right.received)
    left.to_send.extend(sent)
    left.peer_turn(())
    await right.until(lambda: len(right.received) == before + count)
    assert right.received[before:] == sent


async def restart(place: Rendezvous) -> Server:
    """Stop the server, and start one that knows nothing at the same address."""
    port = int(place.kit.server.url.rpartition(":")[2])
    await place.kit.server.stop()
    server = Server(ServerConfig(port=port, drain=0.2))
    await server.start()
    return server


@pytest.mark.parametrize("by_left", [True, False])
async def test_after_a_restart_of_the_server_both_meet_again_and_mend_the_link(by_left: bool) -> None:
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, place):
        await running.linked()
        server = await restart(place)
        try:
            await both_met(left, right)
            assert left.moved == right.moved == 0  # what the server forgot is free for nobody
            for _ in range(2):
                cut(left if by_left else right)
                await goes_on(left, right)
            assert left.back == 2
        finally:
            for run in running.runs:
                run.cancel()
            await running.end()
            await server.stop()


async def test_a_link_that_falls_while_the_server_is_down_comes_back_with_it() -> None:
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, place):
        await running.linked()
        await place.kit.server.stop()
        await left.until_true(lambda: not left.peer._signaling._here and not right.peer._signaling._here)
        cut(right)
        await left.until(lambda: left.waits == ["network"])
        server = Server(ServerConfig(port=int(place.kit.server.url.rpartition(":")[2]), drain=0.2))
        await server.start()
        try:
            await goes_on(left, right)
            assert left.waits[-1] == ""
        finally:
            for run in running.runs:
                run.cancel()
            await running.end()
            await server.stop()


async def test_an_attempt_that_is_let_go_leaves_the_code_to_others() -> None:
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, place):
        await running.linked()
        place.sender.release(1, "gone")
        await both_met(left, right)
        assert (left.moved, right.moved) == (1, 0)
        await place.join()
        while not isinstance(event := await place.sender.get(), AttemptServed):
            pass
        assert event.attempt == 2
        cut(left)
        await goes_on(left, right)


async def test_who_knocks_while_the_lane_is_alive_is_sent_away() -> None:
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, place):
        await running.linked()
        with pytest.raises(CodeUnknown, match="someone else has joined"):
            await place.guess()
        assert left.peer._signaling.at_home
        assert left.moved == 0


async def test_who_knocks_while_nothing_is_heard_gets_the_mailbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "KNOCK_LIMIT", 0.2)
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, place):
        await running.linked()
        mute(right)
        await place.join()
        await left.until(lambda: left.moved == 1)
        await both_met(left, right)


async def test_later_connections_use_what_the_server_offers_then() -> None:
    relay = IceServer(["turn:127.0.0.1:9"], "someone", "something")
    left, right = Owner(), Owner()
    async with pair(left, right, ServerConfig(port=0, drain=0.2, ice_servers=(relay,))) as (running, place):
        await running.linked()
        await left.until_true(lambda: relay in left.offered)  # the sender accepted: a relay is offered from then on
        left.offered.clear()
        right.offered.clear()
        place.sender.release(1, "gone")
        await both_met(left, right)
        await left.until_true(lambda: relay in left.offered and relay in right.offered)
        cut(left)
        await goes_on(left, right)
        assert left.servers.servers == right.servers.servers == (CHOSEN,)


@pytest.mark.parametrize("by_left", [True, False])
async def test_what_the_server_forges_at_the_meeting_place_ends_that_attempt_only(by_left: bool) -> None:
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, place):
        await running.linked()
        place.sender.release(1, "gone")
        await both_met(left, right)
        attempt = conversation(left)
        forge(left if by_left else right)
        await left.until_true(lambda: met(left) and met(right) and conversation(left) > attempt)
        assert conversation(left) == conversation(right)
        cut(left)
        await goes_on(left, right)


def conversation(owner: Owner) -> int:
    """The attempt in which this side talks."""
    current = owner.peer._signaling._conversation
    return 0 if current is None else current.attempt


@pytest.mark.parametrize("by_left", [True, False])
async def test_a_log_that_is_full_is_followed_by_another(by_left: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pal.wire.rendezvous.MAX_MESSAGES", 40)

    left, right = Owner(), Owner()
    async with pair(left, right) as (running, _):
        await running.linked()
        talker = left if by_left else right
        for _turn in range(2):
            before = talker.peer._signaling._conversation
            negotiator = talker.peer.link.negotiator
            for _message in range(41):
                negotiator._live.exchange.local_candidate(Candidate(negotiator.generation, "candidate"))
            talker.peer.wake()
            await left.until_true(
                lambda: met(left) and met(right) and talker.peer._signaling._conversation is not before  # noqa: B023
            )
        cut(left)
        await goes_on(left, right)


async def test_a_farewell_by_mail_comes_through_the_meeting_place_too() -> None:
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, place):
        await running.linked()
        place.sender.release(1, "gone")
        await both_met(left, right)
        right.peer._mail(Bye("whatever"))
        await asyncio.gather(running.runs[0])
        assert left.closed == (1, "whatever")


async def test_a_side_that_ends_at_the_meeting_place_says_so() -> None:
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, place):
        await running.linked()
        place.sender.release(1, "gone")
        await both_met(left, right)
        left.peer.link.lanes.by_id.clear()  # nothing can be said there
        running.runs[0].cancel()
        await asyncio.gather(running.runs[1])
        assert right.closed == (1, "interrupted")


class HostileMailbox(Mailbox):
    """A mailbox at a server that says what the test wants, and notes what it is asked for."""

    def __init__(self) -> None:
        self.says: asyncio.Queue[MailboxEvent] = asyncio.Queue()
        self.answers = True
        self.released: list[tuple[int, str]] = []
        self.asked = self.renewed = 0

    async def get(self) -> MailboxEvent:
        return await self.says.get()

    def release(self, attempt: int, reason: str) -> None:
        self.released.append((attempt, reason))

    def ask_ice(self) -> None:
        self.asked += 1
        if self.answers:
            self.says.put_nowait(IceServersOffered((IceServer([f"stun:{self.asked}"]),)))

    def renew(self) -> None:
        self.renewed += 1


class Linked:
    """A link with a lane."""

    stood = True

    def __init__(self) -> None:
        self.heard = True
        self.answers = True
        self.heard_at = 0.0
        self.probes = 0
        self.ice: list[str] = []

    def probe(self) -> None:
        self.probes += 1
        if self.answers:
            self.heard_at = monotonic()

    def offered(self, servers: Sequence[IceServer]) -> None:
        self.ice += [url for server in servers for url in server.urls]


async def nowhere(name: str) -> MeetingPlace:
    raise ServerUnreachable(name)


@asynccontextmanager
async def hostile_server() -> AsyncIterator[tuple[Signaling, HostileMailbox, Linked]]:
    """The sender's signaling, where the code was used, at a server that the test speaks for."""
    mailbox, owner, secret = HostileMailbox(), Linked(), SessionSecret(bytes(32))
    sealer = MailboxSealer(secret, 1, Direction.TO_RECEIVER, 1)
    opener = MailboxOpener(secret, 1, Direction.TO_SENDER, 1)
    introduction = Introduction(secret, 1, mailbox, sealer, opener)
    happened: list[SignalingEvent] = []
    signaling = Signaling(
        introduction,
        secret.master(),
        nowhere,
        lanes=owner,
        probe=owner.probe,
        offered=owner.offered,
        wake=lambda: happened.extend(signaling.events()),
        sender=True,
    )
    running = asyncio.create_task(signaling.run())
    try:
        async with asyncio.timeout(30.0):
            yield signaling, mailbox, owner
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert all(isinstance(event, (Online, HomeLeft)) for event in happened), "nobody is met"


async def until(mailbox: HostileMailbox, *, released: int = 0, asked: int = 0, renewed: int = 0) -> None:
    while len(mailbox.released) < released or mailbox.asked < asked or mailbox.renewed < renewed:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.01)


async def test_many_knocks_wait_for_one_answer() -> None:
    async with hostile_server() as (_, mailbox, owner):
        for attempt in range(2, 102):
            mailbox.says.put_nowait(AttemptKnocked(attempt))
        await until(mailbox, released=100 - MOST_KNOCKS)
        assert [attempt for attempt, _ in mailbox.released] == list(range(2 + MOST_KNOCKS, 102))
        assert owner.probes == 1
        await until(mailbox, released=100)
        assert sorted(mailbox.released) == [(attempt, "busy") for attempt in range(2, 102)]
        assert owner.probes < 5
        mailbox.says.put_nowait(AttemptKnocked(102))
        await until(mailbox, released=101)


async def test_all_who_knock_are_let_in_when_nothing_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "KNOCK_LIMIT", 0.2)
    async with hostile_server() as (_, mailbox, owner):
        owner.answers = False
        for attempt in (2, 3, 4):
            mailbox.says.put_nowait(AttemptKnocked(attempt))
        await until(mailbox, released=1)
        assert mailbox.released == [(1, "moved")], "the server serves the next"


async def test_who_knocks_while_the_lane_is_silent_is_let_in_at_once() -> None:
    async with hostile_server() as (_, mailbox, owner):
        owner.heard = False
        mailbox.says.put_nowait(AttemptKnocked(2))
        await until(mailbox, released=1)
        assert (mailbox.released, owner.probes) == ([(1, "moved")], 0)


@pytest.mark.parametrize("answers", [True, False])
async def test_a_socket_that_does_not_answer_when_the_link_is_in_trouble_is_replaced(
    answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "ANSWER", 0.05)

    async with hostile_server() as (signaling, mailbox, owner):
        await until(mailbox, asked=1)
        mailbox.answers, owner.heard = answers, False
        for turn in range(2, 5):
            while mailbox.asked < turn:
                signaling.hurry()
                await asyncio.sleep(0.01)
        if not answers:
            await until(mailbox, renewed=2)
        assert (mailbox.renewed == 0) == answers


async def test_a_socket_is_left_alone_once_the_lane_is_heard_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "ANSWER", 0.05)
    async with hostile_server() as (signaling, mailbox, _):
        await until(mailbox, asked=1)
        mailbox.answers = False
        while mailbox.asked < 4:
            signaling.hurry()
            await asyncio.sleep(0.01)
        assert mailbox.renewed == 0


async def test_what_the_server_offers_is_asked_for_when_the_code_was_used() -> None:
    async with hostile_server() as (_, mailbox, owner):
        await until(mailbox, asked=1)
        while not owner.ice:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
        assert owner.ice == ["stun:1"]


async def test_a_connection_waits_for_what_the_server_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "ICE_PATIENCE", 20.0)
    async with hostile_server() as (signaling, mailbox, owner):
        mailbox.answers = False
        await until(mailbox, asked=1)
        waiting = asyncio.create_task(signaling.ice_known())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        mailbox.says.put_nowait(IceServersOffered((IceServer(["turn:late"]),)))
        await waiting
        assert owner.ice == ["turn:late"]
        await signaling.ice_known()
        assert mailbox.asked == 1, "that is a moment ago"


async def test_a_server_that_does_not_say_what_it_offers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "ICE_PATIENCE", 0.02)
    async with hostile_server() as (signaling, mailbox, owner):
        mailbox.answers = False
        for _ in range(3):
            await signaling.ice_known()
        assert owner.ice == []


async def test_what_the_server_offered_a_while_ago_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with hostile_server() as (signaling, _, owner):
        await signaling.ice_known()
        monkeypatch.setattr(under_test, "ICE_AGE", 0.0)
        await asyncio.sleep(0.01)
        await signaling.ice_known()
        assert owner.ice == ["stun:1", "stun:2"]

"""Where the peers meet again without a code: a server that forgets, plays back, or brings a third, can only refuse."""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from tests.security.evil_server import Bend, EvilServer, Fields, evil_server
from tests.unit.server.kit import serving

from p2pal.crypto.keys import Direction, Master, SessionSecret
from p2pal.crypto.seal import MailboxOpener, MailboxSealer
from p2pal.errors import P2palError
from p2pal.peer.events import MailboxLost, Moved, Online, Said, SignalingFailed
from p2pal.peer.key_exchange import Introduction
from p2pal.peer.sealed_logs import MEETING
from p2pal.peer.signaling import MeetingPlace, Signaling
from p2pal.rendezvous import events as e
from p2pal.rendezvous.client import RendezvousClient
from p2pal.rendezvous.mailbox import Mailbox
from p2pal.role import Role
from p2pal.wire.signal import Candidate, SignalMessage

SECRET = "candidate:1 1 udp 2122260223 10.66.77.88 50000 typ host"
PATIENCE = 60.0


class Guest:
    """One side of a session whose code's mailbox is gone: it meets the other at the server, again and again."""

    heard = False
    stood = True
    heard_at = 0.0

    def __init__(self, client: RendezvousClient, master: Master, role: Role) -> None:
        self._client = client
        self._role: Role = role
        self.moved = 0
        self.messages: list[SignalMessage] = []
        self.there = False
        self.failed: list[Exception] = []
        self._changed = asyncio.Event()
        secret, sender = SessionSecret(bytes(32)), role == "send"
        ours, theirs = (Direction.TO_RECEIVER, Direction.TO_SENDER)[:: 1 if sender else -1]
        home = client.mailbox(role, "0" * 32 + (".0." if sender else ".1.") + "x" * 32)
        sealer, opener = MailboxSealer(secret, 1, ours, 1), MailboxOpener(secret, 1, theirs, 1)
        introduction = Introduction(secret, 1, home, sealer, opener)
        self.signaling = Signaling(
            introduction,
            master,
            self._meet,
            lanes=self,
            probe=self.probe,
            offered=lambda _: None,
            wake=self._take,
            sender=sender,
        )
        self._tasks = [asyncio.create_task(_end(home)), asyncio.create_task(self.signaling.run())]

    async def _meet(self, name: str) -> MeetingPlace:
        met = await self._client.meet(name, self._role)
        return MeetingPlace(self._client.mailbox(self._role, met.token, patience=None))

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not done():
                self._changed.clear()
                self.signaling.hurry()
                with suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await self._changed.wait()

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def probe(self) -> None:
        """There are no lanes."""

    def _take(self) -> None:
        for event in self.signaling.events():
            match event:
                case Said(message):
                    self.messages.append(message)
                case Online(here, there):
                    self.there = here and there
                case Moved():
                    self.moved += 1
                case SignalingFailed(error):
                    self.failed.append(error)
                case MailboxLost():
                    raise AssertionError("the link stood")
        self._changed.set()


async def _end(home: Mailbox) -> None:
    with suppress(P2palError):
        await home.run()


def candidate(text: str = SECRET) -> Candidate:
    return Candidate(1, text)


@asynccontextmanager
async def guests(url: str, master: Master) -> AsyncIterator[tuple[Guest, Guest]]:
    async with RendezvousClient(url) as one, RendezvousClient(url) as two:
        both = Guest(one, master, "send"), Guest(two, master, "receive")
        try:
            yield both
        finally:
            for guest in both:
                await guest.end()


async def talk(sender: Guest, receiver: Guest, text: str = SECRET) -> None:
    """Both meet, and each hears the other."""
    for ours, theirs in ((sender, receiver), (receiver, sender)):
        said = candidate(text)
        for _ in range(20):
            await ours.until(lambda: ours.there)  # noqa: B023 - awaited at once
            ours.signaling.send(said)
            with suppress(TimeoutError):
                async with asyncio.timeout(2.0):
                    await theirs.until(lambda: said in theirs.messages)  # noqa: B023 - awaited at once
            if said in theirs.messages:
                break
        assert said in theirs.messages


def new_master() -> Master:
    return Master(os.urandom(32))


async def test_it_learns_nothing_from_a_meeting() -> None:
    master = new_master()
    async with evil_server() as evil, guests(evil.url, master) as (sender, receiver):
        await talk(sender, receiver)
    seen = b"\n".join(evil.seen)
    for secret in (b"candidate", b"10.66.77.88", b"50000", b"typ host"):
        assert secret not in seen
    for log in evil.logs.values():
        assert len(log[0]) == 16, "random bytes open every log"
        assert all(len(body) % 256 == 0 for body in log[1:]), "the rest is sealed and padded"


async def test_one_that_forgets_everything_costs_a_new_meeting_and_nothing_else() -> None:
    async with evil_server() as evil, serving() as second, guests(evil.url, new_master()) as (sender, receiver):
        await talk(sender, receiver, "before")
        await evil.forget(second.server.url)
        await talk(sender, receiver, "after")
        assert sender.moved >= 2
        assert sender.failed == receiver.failed == []
    nonces = [log[0] for log in evil.logs.values()]
    assert len(set(nonces)) == len(nonces)


def play_back(logs: dict[int, list[bytes]]) -> tuple[Bend, Bend]:
    """Give each side, whatever the other writes now, what it wrote in that log before."""

    def bend_from(writer: int) -> Bend:
        def bend(message: Fields) -> list[Fields]:
            log = logs[writer]
            if message["index"] >= len(log):
                return []
            return [message | {"body": b64encode(log[message["index"]]).decode()}]

        return bend

    return bend_from(1), bend_from(0)


async def test_one_that_plays_back_an_old_meeting_is_not_believed() -> None:
    master = new_master()
    name = master.rendezvous_id(MEETING)
    async with evil_server() as evil, serving() as second:
        async with guests(evil.url, master) as (sender, receiver):
            await talk(sender, receiver)
        old = {writer: evil.logs[name, writer, 1] for writer in (0, 1)}
        assert all(len(log) >= 3 for log in old.values()), "the old logs hold what both sides said"
        # The same attempt number at a server that knows nothing: the old keys fit the old messages.
        await evil.forget(second.server.url)
        evil.to_sender, evil.to_receiver = play_back(old)
        evil.bodies.clear()
        async with guests(evil.url, master) as (sender, receiver):
            await sender.until(lambda: len(evil.bodies) >= 8)
            for guest in (sender, receiver):
                assert (guest.moved, guest.messages, guest.failed) == (0, [], [])
            evil.to_sender = evil.to_receiver = lambda message: [message]
            await talk(sender, receiver, "after")


async def test_one_that_shows_each_side_its_own_log_is_not_believed() -> None:
    master = new_master()
    name = master.rendezvous_id(MEETING)
    async with evil_server() as evil:

        def mirror(message: Fields) -> list[Fields]:
            shown.append(message["index"])
            log = evil.logs[name, 0, message["attempt"]]
            return (
                [message | {"body": b64encode(log[message["index"]]).decode()}] if message["index"] < len(log) else []
            )

        shown: list[int] = []
        evil.to_sender = mirror
        async with guests(evil.url, master) as (sender, receiver):
            await sender.until(lambda: shown.count(1) >= 3)
            assert (sender.moved, sender.messages, sender.failed) == (0, [], [])
            assert (receiver.messages, receiver.failed) == ([], [])


async def visit(evil: EvilServer, name: str, role: Role, bodies: list[bytes]) -> list[bytes]:
    """Come to somebody else's meeting, append what one likes, and return what the other side says."""
    got: list[bytes] = []
    async with RendezvousClient(evil.url) as client:
        met = await client.meet(name, role)
        mailbox = client.mailbox(role, met.token)
        tender = asyncio.create_task(_end(mailbox))
        attempt = met.attempt
        with suppress(TimeoutError, P2palError):
            async with asyncio.timeout(1.5):
                for body in bodies if attempt else []:
                    mailbox.append(attempt, body)
                while True:
                    match await mailbox.get():
                        case e.PeerMessage(_, _, body):
                            got.append(body)
                        case e.AttemptServed(number):
                            for body in bodies:
                                mailbox.append(number, body)
        await mailbox.close()
        await tender
    return got


async def test_a_third_who_was_told_the_name_can_only_disturb() -> None:
    master = new_master()
    name = master.rendezvous_id(MEETING)
    garbage = [os.urandom(16), os.urandom(272), b"", os.urandom(256)]
    async with evil_server() as evil, guests(evil.url, master) as (sender, receiver):
        await talk(sender, receiver, "before")
        heard = len(sender.messages), len(receiver.messages)
        got = await visit(evil, name, "receive", garbage)
        got += await visit(evil, name, "send", garbage)
        assert all(len(body) == 16 or len(body) % 256 == 0 for body in got)
        assert not any(b"before" in body for body in got)
        assert (len(sender.messages), len(receiver.messages)) == heard
        assert sender.failed == receiver.failed == []
        await talk(sender, receiver, "after")

"""Two sides that meet through a real server, and talk over real WebRTC connections, in one process."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

from tests.unit.server.kit import Kit, serving

from p2pal.lanes.address_zones import Nearness
from p2pal.lanes.base import DescribedConnection
from p2pal.lanes.ice_servers import IceServerConfig, KnownServers, RelayUse
from p2pal.lanes.udp.factory import UdpFactory
from p2pal.lanes.webrtc.connection import allow_loopback
from p2pal.lanes.webrtc.factory import WebRtcFactory
from p2pal.link.actions import Retrying, WaitingFor
from p2pal.peer.config import PeerConfig
from p2pal.peer.events import ClosedByPeer, LinkBack, LinkSilent, MailboxFree, PathFound, PeerEvent
from p2pal.peer.key_exchange import Guesses, Introduction, meet_receiver, meet_sender
from p2pal.peer.peer import Peer
from p2pal.peer.signaling import Meet, MeetingPlace
from p2pal.rendezvous.client import CreatedRendezvous, RendezvousClient
from p2pal.rendezvous.mailbox import Mailbox
from p2pal.role import Role
from p2pal.server.config import ServerConfig
from p2pal.wire import rendezvous as wire

WORDS = b"zebra luna"
PATIENCE = 100.0
"""Seconds after which a test hangs: on a busy machine, and measured, a few dozen megabytes take half a minute."""
MAX_PAYLOAD = 255 * 1024
SMALL_PAYLOAD = 63 * 1024
CHOSEN = IceServerConfig(("stun:127.0.0.1:9",))
"""What a side uses whatever it is offered."""


class Rendezvous:
    """A sender's transfer at a real server, with its mailbox running; receivers join it."""

    def __init__(self, kit: Kit, client: RendezvousClient, created: CreatedRendezvous) -> None:
        self.kit = kit
        self.created = created
        self.id = created.rendezvous_id
        self._client = client
        self.sender = client.mailbox("send", created.token)
        self.failed: list[tuple[str, int]] = []
        self.guesses = Guesses()
        self._tenders: list[tuple[Mailbox, asyncio.Task[None]]] = []
        self.sending = self._tend(self.sender)

    def _tend(self, mailbox: Mailbox) -> asyncio.Task[None]:
        task = asyncio.create_task(mailbox.run())
        self._tenders.append((mailbox, task))
        return task

    async def join(self) -> tuple[Mailbox, int]:
        """Join as another receiver: its mailbox, running, and its attempt."""
        joined = await self._client.join(self.created.slot)
        mailbox = self._client.mailbox("receive", joined.token)
        self._tend(mailbox)
        return mailbox, joined.attempt

    def serve(self, words: bytes = WORDS) -> asyncio.Task[Introduction]:
        """Meet receivers, one after the other, until one knows the words."""
        meeting = meet_receiver(
            self.sender, words, self.id, self.guesses, lambda reason, left: self.failed.append((reason, left))
        )
        return asyncio.create_task(meeting)

    async def guess(self, words: bytes = WORDS) -> Introduction:
        """Join and try these words."""
        mailbox, attempt = await self.join()
        return await meet_sender(mailbox, words, self.id, attempt)

    def meet(self, role: Role) -> Meet:
        """How a peer gets to the place where both sides meet again."""

        async def meet(name: str) -> MeetingPlace:
            met = await self._client.meet(name, role)
            return MeetingPlace(self._client.mailbox(role, met.token, patience=None), met.ice_servers)

        return meet

    async def close(self) -> None:
        for mailbox, task in self._tenders:
            await mailbox.close()
            await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def rendezvous(ttl: float = 60.0, server: ServerConfig | None = None) -> AsyncIterator[Rendezvous]:
    async with (
        asyncio.timeout(PATIENCE),
        serving(server) as kit,
        RendezvousClient(kit.server.url) as client,
    ):
        place = Rendezvous(kit, client, await client.create(ttl))
        try:
            yield place
        finally:
            await place.close()


async def introduce(place: Rendezvous) -> tuple[Introduction, Introduction]:
    """Let both sides prove that they know the words."""
    serving_ = place.serve()
    receiver = await place.guess()
    return await serving_, receiver


class Owner:
    """Who uses a peer: sends what it has, keeps what arrives.

    Args:
        to_send: Payloads for the other side.
        consume: Whether payloads are consumed as they come.
        relay: What it lets relays carry.
        chosen: The STUN and TURN servers that it uses whatever it is offered.
        lanes: The kinds of lanes that it uses.
    """

    def __init__(
        self,
        to_send: Iterable[bytes] = (),
        *,
        consume: bool = True,
        relay: RelayUse = RelayUse.ALLOWED,
        chosen: Sequence[IceServerConfig] = (CHOSEN,),
        lanes: Sequence[str] = ("webrtc",),
    ) -> None:
        self.peer: Peer
        self.lanes = lanes
        self.relay, self.chosen = relay, chosen
        self.servers = KnownServers(chosen, self.choose_ice)
        self.connections = WebRtcFactory(self.servers, near=Nearness(only_loopback=True))
        self.to_send = deque(to_send)
        self.consume = consume
        self.received: list[bytes] = []
        self.paths: list[str] = []
        self.retries: list[tuple[int, int | None]] = []
        self.waits: list[str] = []
        self.moved = 0
        self.back = 0
        self.silences: list[float] = []
        self.closed: tuple[int, str] | None = None
        self.offered: list[wire.IceServer] = []
        self.on_payload: Callable[[], None] = lambda: None
        self._changed = asyncio.Event()

    def choose_ice(self, offered: Sequence[wire.IceServer]) -> Sequence[IceServerConfig]:
        self.offered += offered
        return self.chosen

    def peer_payload(self, payload: bytes | memoryview) -> None:
        self.received.append(bytes(payload))
        if self.consume:
            self.peer.consumed(1)
        self.on_payload()
        self._changed.set()

    def peer_turn(self, events: Sequence[PeerEvent]) -> None:
        for event in events:
            self._note(event)
        while self.to_send and self.peer.writable:
            self.peer.send([self.to_send.popleft()])
        self._changed.set()

    def _note(self, event: PeerEvent) -> None:
        match event:
            case PathFound(path):
                self.paths.append(path)
            case Retrying(attempt, attempts, delay):
                assert delay >= 0
                self.retries.append((attempt, attempts))
            case LinkBack():
                self.back += 1
            case WaitingFor(what, seconds):
                assert seconds >= 0
                self.waits.append(what)
            case MailboxFree():
                self.moved += 1
            case LinkSilent(seconds):
                self.silences.append(seconds)
            case ClosedByPeer(code, reason):
                self.closed = (code, reason)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_true(self, condition: Callable[[], bool]) -> None:
        """Wait for what no callback tells of."""
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110 - there is nothing to wait for
                await asyncio.sleep(0.01)


def payloads(count: int, seed: int = 1, most: int = 60_000) -> list[bytes]:
    """Payloads of many sizes, each of which tells its place."""
    sizes = random.Random(seed)
    return [b"%08d" % number + bytes(sizes.randrange(most)) for number in range(count)]


def cut(owner: Owner) -> None:
    """Close this side's lanes."""
    for connection in list(owner.peer.link.engine.connections.values()):
        connection.close()


def mute(owner: Owner) -> Callable[[], None]:
    """Hold back all that this side says over its lanes; return what lets it go on."""
    held: list[tuple[DescribedConnection, bytes]] = []
    muted = list(owner.peer.link.engine.connections.values())
    for connection in muted:

        def hold(message: bytes, connection: DescribedConnection = connection) -> None:
            held.append((connection, message))

        connection.send = hold  # type: ignore[method-assign]

    def heard() -> None:
        for connection in muted:
            del connection.send
        for connection, message in held:
            connection.send(message)

    return heard


class Pair:
    """Two running peers. ``left`` sends the offer."""

    def __init__(
        self,
        introductions: tuple[Introduction, Introduction],
        meets: Sequence[Meet],
        left: Owner,
        right: Owner,
        *,
        max_retries: int | None = 3,
    ) -> None:
        self.left, self.right = left, right
        self.runs: list[asyncio.Task[None]] = []
        for introduction, owner, meet, sender in zip(introductions, (left, right), meets, (True, False), strict=True):
            config = PeerConfig(
                sender=sender,
                max_payload=MAX_PAYLOAD,
                small_payload=SMALL_PAYLOAD,
                connections=owner.connections,
                servers=owner.servers,
                relay=owner.relay,
                max_retries=max_retries,
                retry_backoff=0.01,
                roams=False,
                datagrams=UdpFactory(near=Nearness(only_loopback=True)) if "udp" in owner.lanes else None,
                engine="webrtc" in owner.lanes,
            )
            owner.peer = Peer(introduction, config, owner, meet)
            self.runs.append(asyncio.create_task(owner.peer.run()))

    async def linked(self) -> None:
        for owner in (self.left, self.right):
            await owner.until(lambda owner=owner: bool(owner.paths))  # type: ignore[misc]

    async def end(self) -> list[BaseException | None]:
        """Wait for both ends; return what they raised."""
        return await asyncio.gather(*self.runs, return_exceptions=True)


@asynccontextmanager
async def pair(
    left: Owner, right: Owner, server: ServerConfig | None = None, *, max_retries: int | None = 3
) -> AsyncIterator[tuple[Pair, Rendezvous]]:
    """Run two peers to the end of the block."""
    allow_loopback()
    async with rendezvous(server=server) as place:
        meets = (place.meet("send"), place.meet("receive"))
        running = Pair(await introduce(place), meets, left, right, max_retries=max_retries)
        try:
            yield running, place
        finally:
            for run in running.runs:
                run.cancel()
            await running.end()

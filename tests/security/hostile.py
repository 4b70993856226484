"""An honest side, run by the application's own API, against a hostile one that knows the words. All parts are real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.unit.peer.kit import Owner
from tests.unit.server.kit import serving

from p2pal.app import events
from p2pal.app.options import LANES, ConnectOptions, ReceiveOptions, SendOptions
from p2pal.app.receive import receive
from p2pal.app.send import send
from p2pal.app.transfer import Transfer
from p2pal.crypto import codes
from p2pal.errors import ServerUnreachable
from p2pal.lanes.address_zones import Nearness
from p2pal.lanes.webrtc.connection import allow_loopback
from p2pal.lanes.webrtc.factory import WebRtcFactory
from p2pal.peer.key_exchange import Guesses, Introduction, meet_receiver, meet_sender
from p2pal.peer.peer import Peer, PeerConfig
from p2pal.peer.signaling import MeetingPlace
from p2pal.rendezvous.client import RendezvousClient
from p2pal.transfer.manifest import Manifest
from p2pal.wire import transfer as wire
from p2pal.wire.transfer import Entry

PATIENCE = 25.0
"""Seconds within which an honest side must have ended. What it is tested for would last minutes, or for ever."""

WORDS = codes.JoinCode(("zebra", "luna"), 1)


def connect(url: str, *, max_retries: int = 3, lanes: Sequence[str] = LANES) -> ConnectOptions:
    return ConnectOptions(
        server=url, stun=None, only_loopback=True, max_retries=max_retries, retry_backoff=0.01, lanes=tuple(lanes)
    )


def payload(*records: wire.Record) -> bytes:
    return b"".join(bytes(part) for record in records for part in wire.encode_record(record))


def offer(
    entries: Iterable[Entry], *, skip_errors: bool = False, transfer_id: bytes = bytes(16), proof: bytes = b""
) -> bytes:
    """A whole offer in one payload."""
    manifest = Manifest()
    listed = list(entries)
    for entry in listed:
        manifest.append(entry)
    parts = [wire.OfferPart(0, listed)] if listed else []
    end = wire.OfferEnd(len(manifest), manifest.files, manifest.total, manifest.digest())
    return payload(wire.OfferBegin(transfer_id, skip_errors, proof), *parts, end)


async def nowhere(name: str) -> MeetingPlace:
    """Hostile sides meet nobody again."""
    raise ServerUnreachable("there is no such place")


class Hostile(Owner):
    """The hostile side: keeps what arrives, sends what it is told, and is otherwise as polite as the attack wants."""

    introduction: Introduction
    run: asyncio.Task[None]

    def say(self, data: bytes) -> None:
        self.to_send.append(data)
        self.peer_turn(())

    @property
    def records(self) -> list[wire.Record]:
        return [record for each in self.received for record in wire.decode_payload(each)]

    def stream(self, *, sender: bool) -> None:
        """Go on to connect, as an honest side does."""
        config = PeerConfig(
            sender=sender,
            max_payload=64 * 1024 + 17,
            connections=WebRtcFactory(near=Nearness(only_loopback=True)),
            max_retries=3,
            retry_backoff=0.01,
            roams=False,
        )
        self.peer = Peer(self.introduction, config, self, nowhere)
        self.run = asyncio.create_task(self.peer.run())


class Watched:
    """A transfer that runs, and what it told."""

    def __init__(self, transfer: Transfer) -> None:
        self.transfer = transfer
        self.told: list[events.AnyEvent] = []
        self.error: BaseException | None = None
        self._changed = asyncio.Event()
        self.over = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        try:
            async with self.transfer:
                async for event in self.transfer:
                    self.told.append(event)
                    self._changed.set()
        except Exception as error:  # noqa: BLE001 - it is what the test looks at
            self.error = error

    async def until(self, kind: type[events.Event]) -> events.Event:
        """Wait for the first event of a kind."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for event in self.told:
                    if isinstance(event, kind):
                        return event
                self._changed.clear()
                changed = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait({changed, self.over}, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                assert not self.over.done() or any(isinstance(e, kind) for e in self.told), (self.error, self.told)

    async def end(self) -> BaseException | None:
        """Wait for the end and return the error; a transfer that does not end fails the test."""
        async with asyncio.timeout(PATIENCE):
            await asyncio.shield(self.over)
        return self.error


@asynccontextmanager
async def hostile_sender(
    out: Path, *, consume: bool = True, options: ReceiveOptions | None = None
) -> AsyncIterator[tuple[Watched, Hostile]]:
    """An honest receiver, and a sender that has just proved that it knows the words."""
    allow_loopback()
    async with serving() as kit, RendezvousClient(kit.server.url) as client:
        created = await client.create(60)
        mailbox = client.mailbox("send", created.token)
        tender = asyncio.create_task(mailbox.run())
        code = codes.JoinCode(WORDS.words, created.slot)
        honest = Watched(receive(code, options=options or ReceiveOptions(out=out), connect=connect(kit.server.url)))
        hostile = Hostile(consume=consume)
        try:
            meeting = meet_receiver(
                mailbox, codes.password(code), created.rendezvous_id, Guesses(), lambda _reason, _left: None
            )
            hostile.introduction = await meeting
            yield honest, hostile
        finally:
            await _end(honest, hostile)
            await mailbox.close()
            await asyncio.gather(tender, return_exceptions=True)


@asynccontextmanager
async def hostile_receiver(
    *paths: Path, consume: bool = True, options: SendOptions | None = None
) -> AsyncIterator[tuple[Watched, Hostile]]:
    """An honest sender, and a receiver that has just proved that it knows the words."""
    allow_loopback()
    async with serving() as kit, RendezvousClient(kit.server.url) as client:
        honest = Watched(send(paths, options=options or SendOptions(), connect=connect(kit.server.url)))
        told = await honest.until(events.Code)
        assert isinstance(told, events.Code)
        code = codes.parse(told.code).code
        joined = await client.join(code.slot)
        mailbox = client.mailbox("receive", joined.token)
        tender = asyncio.create_task(mailbox.run())
        hostile = Hostile(consume=consume)
        try:
            meeting = meet_sender(mailbox, codes.password(code), joined.rendezvous_id, joined.attempt)
            hostile.introduction = await meeting
            yield honest, hostile
        finally:
            await _end(honest, hostile)
            await mailbox.close()
            await asyncio.gather(tender, return_exceptions=True)


async def _end(honest: Watched, hostile: Hostile) -> None:
    honest.over.cancel()
    run = getattr(hostile, "run", None)
    if run is not None:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
    await asyncio.gather(honest.over, return_exceptions=True)

"""A peer that stands still at the worst moment, on purpose: Ctrl-C still ends this side, and so does the end itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.security.hostile import Hostile, hostile_receiver, hostile_sender, offer, payload

from p2pal.app import events
from p2pal.disk.fs.names import is_part_name
from p2pal.errors import Interrupted, PeerError, PeerLost
from p2pal.peer import peer as peer_module
from p2pal.session.core import Session, window_frames
from p2pal.wire import frames
from p2pal.wire import transfer as wire
from p2pal.wire.pieces import file_digest, leaf, piece_size
from p2pal.wire.transfer import Entry, EntryKind

SIZE = 64 << 20


def big(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(SIZE)
    return path


def never_acknowledge(hostile: Hostile) -> None:
    """Keep the lane alive, answer every PING, but never say that anything arrived."""
    session = hostile.peer._session
    assert session is not None
    inbound, genuine = session._inbound, Session._control
    edge = inbound.announced

    def control(lane: object) -> object:
        for frame in genuine(session, lane):  # type: ignore[arg-type]
            yield frames.encode(frames.Ack(0, edge)) if frame[0] == frames.ACK else frame

    session._control = control  # type: ignore[method-assign, assignment]


@pytest.mark.parametrize("linked", [True, False])
async def test_the_sender_stops_while_nobody_answers_the_link(tmp_path: Path, linked: bool) -> None:
    async with hostile_receiver(big(tmp_path / "file")) as (honest, hostile):
        if linked:
            hostile.stream(sender=False)
            await honest.until(events.Connected)
        else:
            await honest.until(events.PeerJoined)
            await asyncio.sleep(0)
        honest.transfer.cancel()
        assert isinstance(await honest.end(), Interrupted)


async def test_the_receiver_stops_while_nobody_answers_the_link(tmp_path: Path) -> None:
    async with hostile_sender(tmp_path) as (honest, _):
        await honest.until(events.PeerJoined)
        honest.transfer.cancel()
        assert isinstance(await honest.end(), Interrupted)


def largest_frame(hostile: Hostile) -> int:
    """Return how many bytes the honest side's largest frame may have."""
    assert hostile.peer._session is not None
    return hostile.peer._session._peer_max_frame


def consent(hostile: Hostile) -> None:
    end = next(record for record in hostile.records if isinstance(record, wire.OfferEnd))
    hostile.say(payload(wire.Accept(end.digest), wire.Want([(0, end.entries)], [])))


async def test_the_sender_stops_although_the_receiver_takes_nothing(tmp_path: Path) -> None:
    async with hostile_receiver(big(tmp_path / "file")) as (honest, hostile):
        hostile.stream(sender=False)
        await hostile.until(lambda: any(isinstance(record, wire.OfferEnd) for record in hostile.records))
        hostile.consume = False
        consent(hostile)
        # The window, which counts frames, fills: not even the word that we stop can leave.
        room = window_frames(peer_module.WINDOW, largest_frame(hostile))
        await hostile.until(lambda: len(hostile.received) > room - room // 16)
        honest.transfer.cancel()
        assert isinstance(await honest.end(), Interrupted)


async def test_the_sender_stops_although_the_receiver_never_stops_talking(tmp_path: Path) -> None:
    async with hostile_receiver(big(tmp_path / "file")) as (honest, hostile):
        hostile.stream(sender=False)
        await hostile.until(lambda: any(isinstance(record, wire.OfferEnd) for record in hostile.records))
        consent(hostile)
        await hostile.until(lambda: any(isinstance(record, wire.Chunk) for record in hostile.records[-3:]))

        async def talk() -> None:
            while True:  # allowed from a receiver that does not know yet
                hostile.say(payload(wire.PieceAgain(0, 0)))
                await asyncio.sleep(0.1)

        honest.transfer.cancel()
        talking = asyncio.create_task(talk())
        try:
            assert isinstance(await honest.end(), Interrupted)
        finally:
            talking.cancel()


async def test_who_is_left_by_a_stopped_peer_that_could_not_say_so_in_turn_is_told_why(tmp_path: Path) -> None:
    async with hostile_sender(tmp_path) as (honest, hostile):
        hostile.stream(sender=True)
        await honest.until(events.Connected)
        hostile.peer.abandon(Interrupted("stopped"))
        error = await honest.end()
        assert isinstance(error, PeerLost)
        assert error.message == "the other side stopped the transfer"


CONTENT = b"content"
ENTRIES = [Entry(b"file", EntryKind.FILE, len(CONTENT))]
FILE = payload(
    wire.Chunk(0, 0, CONTENT),
    wire.FileDone(0, file_digest(len(CONTENT), piece_size(len(CONTENT)), [leaf(CONTENT)])),
    wire.AllSent(),
)


async def test_the_receiver_stops_although_the_sender_acknowledges_nothing(tmp_path: Path) -> None:
    async with hostile_sender(tmp_path) as (honest, hostile):
        hostile.stream(sender=True)
        await honest.until(events.Connected)
        never_acknowledge(hostile)
        hostile.say(offer(ENTRIES))
        await honest.until(events.Accepted)
        honest.transfer.cancel()
        assert isinstance(await honest.end(), Interrupted)
        assert os.listdir(tmp_path) == []


async def test_a_receiver_that_has_everything_does_not_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_module, "LAST_WORD", 1.0)

    async with hostile_sender(tmp_path) as (honest, hostile):
        hostile.stream(sender=True)
        await honest.until(events.Connected)
        never_acknowledge(hostile)
        hostile.say(offer(ENTRIES))
        await honest.until(events.Accepted)
        hostile.say(FILE)
        assert await honest.end() is None
        assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("leave", [lambda hostile: hostile.run.cancel(), lambda hostile: hostile.say(b"\xff" * 9)])
async def test_a_sender_that_breaks_off_leaves_no_file_under_its_name(
    tmp_path: Path, leave: Callable[[Hostile], object]
) -> None:
    async with hostile_sender(tmp_path) as (honest, hostile):
        hostile.stream(sender=True)
        hostile.say(offer([Entry(b"file", EntryKind.FILE, SIZE)]))
        await honest.until(events.Accepted)
        hostile.say(payload(wire.Chunk(0, 0, CONTENT)))
        await honest.until(events.Progress)
        leave(hostile)
        assert isinstance(await honest.end(), PeerError)
        # What arrived of it waits for another session.
        assert all(is_part_name(os.fsencode(name)) for name in os.listdir(tmp_path))

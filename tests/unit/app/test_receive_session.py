"""The receiver's session and its disk: it takes no more than the disk can keep up with, and waits for no disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import cast

import pytest
from tests.unit.app.kit import ENTRIES, hearing

from p2pal.app import receive_session
from p2pal.app.events import AnyEvent, Waiting
from p2pal.app.progress import Tracker
from p2pal.app.receive_session import ReceiveSession
from p2pal.disk.sink.write_thread import WritePump
from p2pal.errors import DiskError
from p2pal.peer.peer import Peer
from p2pal.transfer.events import Finished
from p2pal.transfer.ops import SinkOp, SinkResult
from p2pal.wire import transfer as wire

WAIT = 100.0


class Disk:
    """A disk that takes as much as the test says."""

    def __init__(self) -> None:
        self.ops: list[SinkOp] = []
        self.held = False
        self.given_up = 0
        self.closed: list[bool] = []
        self.ends = asyncio.Event()
        self._news: asyncio.Queue[tuple[list[SinkResult], int] | Exception] = asyncio.Queue()

    def submit(self, ops: Sequence[SinkOp]) -> None:
        self.ops += ops

    async def get(self) -> tuple[list[SinkResult], int]:
        news = await self._news.get()
        if isinstance(news, Exception):
            raise news
        return news

    async def told(self, news: tuple[list[SinkResult], int] | Exception) -> None:
        """Say something, and let it be heard."""
        self._news.put_nowait(news)
        for _ in range(5):
            await asyncio.sleep(0)

    def give_up(self) -> None:
        self.given_up += 1

    async def close(self, keep: bool) -> None:
        self.closed.append(keep)
        await self.ends.wait()


class Line:
    """A peer that takes everything."""

    writable = True

    def __init__(self) -> None:
        self.sent: list[wire.Record] = []
        self.credit = 0
        self.error: BaseException | None = None

    def send(self, payload: list[bytes | memoryview]) -> None:
        self.sent += wire.decode_payload(b"".join(map(bytes, payload)))

    def consumed(self, count: int) -> None:
        self.credit += count

    def abandon(self, error: BaseException | None = None) -> None:
        self.error = error


class Running:
    """A session that has agreed to an offer and writes."""

    def __init__(self) -> None:
        self.told: list[AnyEvent] = []
        self.machine = hearing(proof=b"")
        self.tracker = Tracker("receive", self.machine.manifest, self.told.append, 0.0)
        self.session = ReceiveSession(
            self.machine, self.tracker, self.told.append, lambda: None, lambda offer: None, wait=WAIT
        )
        self.disk, self.line = Disk(), Line()
        self.session.peer = cast("Peer", self.line)
        self.session._pump = cast("WritePump", self.disk)
        self.session._writer = self.session.spawn(self.session._collect(cast("WritePump", self.disk)))
        self.machine.accept(0.0)
        self.session.drain()
        self.disk.ops.clear()

    def say(self, *records: wire.Record) -> None:
        self.session.peer_payload(b"".join(bytes(part) for record in records for part in wire.encode_record(record)))
        self.session.peer_turn(())


@asynccontextmanager
async def running() -> AsyncIterator[Running]:
    made = Running()
    try:
        yield made
    finally:
        assert made.session._writer is not None
        made.session._writer.cancel()
        await asyncio.wait((made.session._writer,))


async def test_a_payload_is_done_with_when_the_disk_is() -> None:
    async with running() as side:
        await side.disk.told(([], side.session._submitted))
        side.line.credit = 0
        side.say(wire.Chunk(1, 0, b"ab"))
        first = len(side.disk.ops)
        side.say(wire.Chunk(1, 2, b"c"))
        second = len(side.disk.ops)
        assert 0 < first < second
        assert side.line.credit == 0
        await side.disk.told(([], first))
        assert side.line.credit == 1
        await side.disk.told(([], second - first))
        assert side.line.credit == 2


async def test_a_full_disk_is_told_to_both_sides_and_waited_for() -> None:
    async with running() as side:
        side.disk.held = True
        await side.disk.told(([], 0))
        assert side.told == [Waiting(what="disk", seconds=WAIT)]
        assert isinstance(side.line.sent[-1], wire.Hold)
        assert side.line.sent[-1].held
        now = monotonic()
        side.session._look(now)
        assert side.disk.given_up == 0
        side.disk.held = False
        await side.disk.told(([], 0))
        assert [event for event in side.told if isinstance(event, Waiting)][1:] == [Waiting(what="", seconds=0.0)]
        assert isinstance(side.line.sent[-1], wire.Hold)
        assert not side.line.sent[-1].held
        side.session._look(now + WAIT + 1)
        assert side.disk.given_up == 0


async def test_a_disk_that_stays_full_is_given_up_once() -> None:
    async with running() as side:
        side.disk.held = True
        await side.disk.told(([], 0))
        for later in (WAIT + 1, WAIT + 2, 9 * WAIT):
            side.session._look(monotonic() + later)
        assert side.disk.given_up == 1


@pytest.mark.parametrize("hasty", [True, False])
@pytest.mark.parametrize("complete", [True, False])
async def test_what_is_under_way_is_kept_if_there_may_be_another_session_and_no_disk_keeps_anyone(
    complete: bool, hasty: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receive_session, "HASTY_SUSPEND_LIMIT" if hasty else "SUSPEND_LIMIT", 0.01)
    async with running() as side:
        if complete:
            side.tracker.handle(Finished(3, 0, 2, 0, 0, 1.0))
        async with asyncio.timeout(10):
            await side.session.end_writing(hasty=hasty)  # it does not end by itself
        assert side.disk.closed == [not complete]
        side.disk.ends.set()
        await side.session.end_writing(hasty=hasty)


async def test_a_disk_that_breaks_ends_the_session() -> None:
    async with running() as side:
        await side.disk.told(DiskError("gone"))
        assert isinstance(side.line.error, DiskError)


async def test_what_was_never_begun_has_nothing_to_end() -> None:
    async with running() as side:
        side.session._pump = None
        await side.session.end_writing(hasty=False)
        assert side.disk.closed == []
        assert len(ENTRIES) == len(side.machine.manifest)

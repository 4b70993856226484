"""A machine and its peer: how they begin and end together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import cast

import pytest

from p2pal.app import transfer_session
from p2pal.app.events import AnyEvent, Connected, Reconnected, Reconnecting, Silence, Waiting
from p2pal.app.progress import Tracker
from p2pal.app.transfer_session import TransferSession
from p2pal.errors import DiskError, Interrupted, PeerLost
from p2pal.link.actions import Retrying, WaitingFor
from p2pal.peer.events import ClosedByPeer, LinkBack, LinkSilent, MailboxFree, PathFound, PeerEvent
from p2pal.peer.peer import Peer
from p2pal.transfer.events import Finished
from p2pal.transfer.manifest import Manifest
from p2pal.wire.transfer import Reason

FINISHED = Finished(1, 0, 1, 0, 0, 1.0)


class Script:
    """A machine that does what the test says."""

    def __init__(self) -> None:
        self.done = False
        self.said: list[object] = []
        self.to_say: list[list[bytes | memoryview]] = []
        self.heard: list[bytes] = []
        self.cancelled: list[Reason] = []

    def outputs(self) -> Iterator[list[bytes | memoryview]]:
        while self.to_say:
            yield self.to_say.pop(0)

    def events(self) -> Iterator[object]:
        while self.said:
            yield self.said.pop(0)

    def handle_payload(self, payload: bytes | memoryview, now: float) -> None:
        if payload == b"full":
            raise OSError(28, "No space left on device")
        self.heard.append(bytes(payload))

    def cancel(self, reason: Reason, text: str, now: float) -> None:
        self.cancelled.append(reason)


class Link:
    """What a session asks of the peer's link."""

    linked = True
    path = "direct"


class Line:
    """A peer that runs until it is ended, and takes so many payloads."""

    def __init__(self, room: int = 99) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sent: list[list[bytes | memoryview]] = []
        self.room = room
        self.link = Link()

    @property
    def writable(self) -> bool:
        return len(self.sent) < self.room

    def send(self, payload: list[bytes | memoryview]) -> None:
        self.sent.append(payload)

    async def run(self) -> None:
        await self.ended

    async def close(self) -> None:
        self.ended.set_result(None)

    def abandon(self, error: BaseException | None = None) -> None:
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)


class Bare(TransferSession):
    """A session without a disk."""

    def __init__(self) -> None:
        self.script = Script()
        self.told: list[AnyEvent] = []
        tracker = Tracker("receive", Manifest(), self.told.append, 0.0)
        super().__init__(self.script, tracker, self.told.append)
        self.credited = 0

    async def run(self, line: Line, *, stopped: bool = False) -> None:
        async with asyncio.timeout(10):
            await self._run(cast("Peer", line), stopped=stopped)

    def _fit(self, peer: Peer) -> None: ...

    def _move(self) -> None: ...

    def _handle_event(self, event: object) -> None:
        self.tracker.handle(event)

    def _credit(self) -> None:
        self.credited += 1

    async def _close(self, peer: Peer) -> None:
        await peer.close()


class Breaking(Bare):
    """A session whose look at the clock fails, as it does when the list of files cannot be read any more."""

    def _look(self, now: float) -> None:
        raise DiskError("the list is gone")


@pytest.mark.parametrize("finished", [False, True])
async def test_a_link_that_is_lost_after_the_last_word_is_no_error(finished: bool) -> None:
    session, line = Bare(), Line()
    line.ended.set_exception(PeerLost("lost"))
    if finished:
        session.tracker.handle(FINISHED)
        await session.run(line)
    else:
        with pytest.raises(PeerLost, match="lost"):
            await session.run(line)


async def test_a_session_that_ends_before_the_machine_is_an_error() -> None:
    session, line = Bare(), Line()
    line.ended.set_result(None)
    with pytest.raises(PeerLost, match="before the transfer was complete"):
        await session.run(line)
    assert not session.confirmed


async def test_a_peer_that_says_that_it_was_stopped_is_believed() -> None:
    session, line = Bare(), Line()
    session.peer_turn((ClosedByPeer(1, Interrupted.code),))
    line.ended.set_result(None)
    with pytest.raises(PeerLost, match="the other side stopped"):
        await session.run(line)
    assert not session.confirmed


async def test_a_good_end_is_confirmed_by_a_good_farewell() -> None:
    session, line = Bare(), Line()
    session.tracker.handle(FINISHED)
    session.peer_turn((ClosedByPeer(0, "done"),))
    line.ended.set_result(None)
    await session.run(line)
    assert session.confirmed


async def test_what_fails_at_a_look_at_the_clock_ends_the_transfer() -> None:
    with pytest.raises(DiskError):
        await Breaking().run(Line())


async def test_a_machine_that_is_done_ends_the_session() -> None:
    session, line = Bare(), Line()
    running = asyncio.create_task(session.run(line))
    await asyncio.sleep(0)
    session.script.said.append(FINISHED)
    session.script.done = True
    session.drain()
    await running
    assert session.finished


async def test_no_more_payloads_leave_than_the_peer_takes() -> None:
    session, line = Bare(), Line(room=2)
    session.script.to_say = [[b"1"], [b"2"], [b"3"]]
    session.drain()  # there is no peer yet
    session.peer = cast("Peer", line)
    session.drain()
    assert line.sent == [[b"1"], [b"2"]]
    line.room = 9
    session.peer_turn(())
    assert line.sent == [[b"1"], [b"2"], [b"3"]]


async def test_every_payload_is_taken_and_noted() -> None:
    session = Bare()
    session.peer_payload(b"one")
    session.peer_payload(b"two")
    assert (session.script.heard, session.credited) == ([b"one", b"two"], 2)
    with pytest.raises(DiskError, match="the list of files could not be kept: No space left") as caught:
        session.peer_payload(b"full")
    assert "TMPDIR" in caught.value.hint


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("finished", [False, True])
async def test_stopping_tells_a_peer_that_can_hear_it(linked: bool, finished: bool) -> None:
    session, line = Bare(), Line()
    assert not session.stop()  # there is none
    line.link.linked = linked
    session.peer = cast("Peer", line)
    if finished:
        session.tracker.handle(FINISHED)
    assert session.stop() is (linked or finished)
    assert session.script.cancelled == ([Reason.CANCELLED] if linked and not finished else [])


@pytest.mark.parametrize("finished", [False, True])
async def test_a_peer_that_does_not_end_is_left_in_the_end(finished: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_session, "STOP_LIMIT", 0.01)
    session, line = Bare(), Line()
    if finished:
        session.tracker.handle(FINISHED)
    running = asyncio.create_task(session.run(line))
    await asyncio.sleep(0)
    session.stop()
    if finished:
        await running
    else:
        with pytest.raises(Interrupted):
            await running


async def test_who_did_not_wait_for_the_peer_stops_as_soon_as_there_is_one() -> None:
    session, line = Bare(), Line()
    line.ended.set_exception(PeerLost("lost"))
    with pytest.raises(PeerLost):
        await session.run(line, stopped=True)
    assert session.script.cancelled == [Reason.CANCELLED]


REPORTS: list[tuple[PeerEvent, AnyEvent]] = [
    (PathFound("relayed"), Connected(path="relayed")),
    (Retrying(2, None, 1.5), Reconnecting(attempt=2, attempts=None, delay=1.5)),
    (LinkBack(), Reconnected()),
    (LinkSilent(3.0), Silence(seconds=3.0)),
    (WaitingFor("network", 60.0), Waiting(what="network", seconds=60.0)),
    (WaitingFor("", 0.0), Waiting(what="", seconds=0.0)),
]


@pytest.mark.parametrize(("report", "event"), REPORTS)
async def test_what_the_peer_reports_is_passed_on(report: PeerEvent, event: AnyEvent) -> None:
    session = Bare()
    session.peer_turn((report,))
    assert session.told == [event]
    assert session.path_known.is_set() is isinstance(event, Connected)


async def test_the_path_is_the_peers() -> None:
    session = Bare()
    assert session.path == ""
    session.peer = cast("Peer", Line())
    assert session.path == "direct"
    session.peer_turn((MailboxFree(),))  # a receiver has nothing to do then
    assert session.told == []

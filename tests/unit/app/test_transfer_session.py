"""A machine and its peer: how they begin and end together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import cast

import pytest

from p2pal.app import transfer_session
from p2pal.app.events import AnyEvent, Connected, Reconnected, Reconnecting, Silence, Waiting
from p2pal.app.progress import Tracker
from p2pal.app.transfer_session import Stream, keeping_the_list
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
    """What a stream asks of the peer's link."""

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


class Bare(Stream):
    """A stream without a disk."""

    def __init__(self) -> None:
        self.script = Script()
        self.told: list[AnyEvent] = []
        tracker = Tracker("receive", Manifest(), self.told.append, 0.0)
        super().__init__(self.script, tracker, self.told.append)
        self.credited = 0

    async def run(self, line: Line, *, stopped: bool = False) -> None:
        async with asyncio.timeout(10):
            await self._run(cast("Peer", line), stopped=stopped)

    def _move(self) -> None: ...

    def _handle_event(self, event: object) -> None:
        self.tracker.handle(event)

    def _credit(self) -> None:
        self.credited += 1

    async def _close(self, peer: Peer) -> None:
        await peer.close()


class Breaking(Bare):
    """A stream whose look at the clock fails, as it does when the list of files cannot be read any more."""

    def _look(self, now: float) -> None:
        raise DiskError("the list is gone")


@pytest.mark.parametrize("finished", [False, True])
async def test_a_link_that_is_lost_after_the_last_word_is_no_error(finished: bool) -> None:
    stream, line = Bare(), Line()
    line.ended.set_exception(PeerLost("lost"))
    if finished:
        stream.tracker.handle(FINISHED)
        await stream.run(line)
    else:
        with pytest.raises(PeerLost, match="lost"):
            await stream.run(line)


async def test_a_session_that_ends_before_the_machine_is_an_error() -> None:
    stream, line = Bare(), Line()
    line.ended.set_result(None)
    with pytest.raises(PeerLost, match="before the transfer was complete"):
        await stream.run(line)
    assert not stream.confirmed


async def test_a_peer_that_says_that_it_was_stopped_is_believed() -> None:
    stream, line = Bare(), Line()
    stream.peer_turn((ClosedByPeer(1, Interrupted.code),))
    line.ended.set_result(None)
    with pytest.raises(PeerLost, match="the other side stopped"):
        await stream.run(line)
    assert not stream.confirmed


async def test_a_good_end_is_confirmed_by_a_good_farewell() -> None:
    stream, line = Bare(), Line()
    stream.tracker.handle(FINISHED)
    stream.peer_turn((ClosedByPeer(0, "done"),))
    line.ended.set_result(None)
    await stream.run(line)
    assert stream.confirmed


async def test_what_fails_at_a_look_at_the_clock_ends_the_transfer() -> None:
    with pytest.raises(DiskError):
        await Breaking().run(Line())


async def test_a_machine_that_is_done_ends_the_session() -> None:
    stream, line = Bare(), Line()
    running = asyncio.create_task(stream.run(line))
    await asyncio.sleep(0)
    stream.script.said.append(FINISHED)
    stream.script.done = True
    stream.drain()
    await running
    assert stream.finished


async def test_no_more_payloads_leave_than_the_peer_takes() -> None:
    stream, line = Bare(), Line(room=2)
    stream.script.to_say = [[b"1"], [b"2"], [b"3"]]
    stream.drain()  # there is no peer yet
    stream.peer = cast("Peer", line)
    stream.drain()
    assert line.sent == [[b"1"], [b"2"]]
    line.room = 9
    stream.peer_turn(())
    assert line.sent == [[b"1"], [b"2"], [b"3"]]


async def test_every_payload_is_taken_and_noted() -> None:
    stream = Bare()
    stream.peer_payload(b"one")
    stream.peer_payload(b"two")
    assert (stream.script.heard, stream.credited) == ([b"one", b"two"], 2)
    with pytest.raises(DiskError, match="the list of files could not be kept: No space left") as caught:
        stream.peer_payload(b"full")
    assert "TMPDIR" in caught.value.hint
    with pytest.raises(DiskError), keeping_the_list():
        raise OSError


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("finished", [False, True])
async def test_stopping_tells_a_peer_that_can_hear_it(linked: bool, finished: bool) -> None:
    stream, line = Bare(), Line()
    assert not stream.stop()  # there is none
    line.link.linked = linked
    stream.peer = cast("Peer", line)
    if finished:
        stream.tracker.handle(FINISHED)
    assert stream.stop() is (linked or finished)
    assert stream.script.cancelled == ([Reason.CANCELLED] if linked and not finished else [])


@pytest.mark.parametrize("finished", [False, True])
async def test_a_peer_that_does_not_end_is_left_in_the_end(finished: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_session, "STOP_LIMIT", 0.01)
    stream, line = Bare(), Line()
    if finished:
        stream.tracker.handle(FINISHED)
    running = asyncio.create_task(stream.run(line))
    await asyncio.sleep(0)
    stream.stop()
    if finished:
        await running
    else:
        with pytest.raises(Interrupted):
            await running


async def test_who_did_not_wait_for_the_peer_stops_as_soon_as_there_is_one() -> None:
    stream, line = Bare(), Line()
    line.ended.set_exception(PeerLost("lost"))
    with pytest.raises(PeerLost):
        await stream.run(line, stopped=True)
    assert stream.script.cancelled == [Reason.CANCELLED]


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
    stream = Bare()
    stream.peer_turn((report,))
    assert stream.told == [event]
    assert stream.path_known.is_set() is isinstance(event, Connected)


async def test_the_path_is_the_peers() -> None:
    stream = Bare()
    assert stream.path == ""
    stream.peer = cast("Peer", Line())
    assert stream.path == "direct"
    stream.peer_turn((MailboxFree(),))  # a receiver has nothing to do then
    assert stream.told == []

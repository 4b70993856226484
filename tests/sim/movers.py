"""The use cases of both sides on a virtual clock: a machine between the session and a disk in memory."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

import pytest
from tests.sim.disk import FakeSink, Tree
from tests.sim.peers import App
from tests.sim.transfers import TRANSFER_ID, FakeSource, entries_of

from p2pal.session.events import LaneAlive, LaneSilent, SessionClosed
from p2pal.transfer import events, ops
from p2pal.transfer.manifest import Manifest
from p2pal.transfer.receiver import Receiver
from p2pal.transfer.sender import Sender

if TYPE_CHECKING:
    from tests.sim.two_peers import TransferPeer


# What makes small trees behave as large ones do.
PIECE: Final = 16 * 1024
HIGH_WATER: Final = 64 * 1024
MAX_FRAME: Final = 16 * 1024
WINDOW: Final = 256 * 1024


@contextmanager
def small_scale() -> Iterator[None]:
    """Cut files into small pieces, and let little wait in a session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("p2pal.wire.pieces.MIN_PIECE_SIZE", PIECE)
        patch.setattr("p2pal.session.core.HIGH_WATER", HIGH_WATER)
        yield


READ_BATCH: Final = 20
"""Results that the source returns at once, at most."""


@dataclass
class Pace:
    """How fast the disks and the person are; bytes, and seconds.

    Attributes:
        read: Bytes per second that the source reads.
        write: Bytes per second that the sink writes.
        hold: How long the sink stands still once in a while.
        think: How long the person takes to say yes.
        backlog: Bytes read that may wait for the session.
    """

    read: float = 50e6
    write: float = 50e6
    hold: float = 0.0
    think: float = 0.5
    backlog: int = 128 * 1024


class Mover(App):
    """What the use cases of both sides share: a machine between the session and a disk."""

    machine: Sender | Receiver
    peer: TransferPeer

    def __init__(self, pace: Pace, rng: random.Random) -> None:
        self.pace = pace
        self.random = rng
        self.events: list[events.TransferEvent] = []
        self.finished: events.Finished | None = None
        self.given = 0  # bytes that the session got
        self._busy = False  # the disk works
        self._armed: float | None = None

    def on_event(self, event: SessionClosed | LaneSilent | LaneAlive) -> None:
        self.peer.session_event(event)

    def on_writable(self) -> None:
        if not self.peer.closing:
            for payload in self.machine.outputs():
                self.given += sum(map(len, payload))
                self.session.send(payload, self.clock.time())
                if not self.session.writable:
                    break

    def turn(self) -> None:
        """All payloads of this turn were given: work the disk, hear the machine."""
        self.work()
        for event in self.machine.events():
            self.peer.network.trace(self.peer.name, event)
            self.events.append(event)
            self.heard(event)
            if isinstance(event, events.Finished):
                assert self.finished is None
                self.finished = event
        if self.machine.done:
            self.peer.part()

    def work(self) -> None:
        """Give the disk the next portion, unless it is busy."""

    def heard(self, event: events.TransferEvent) -> None:
        """The machine told something."""


class SendingApp(Mover):
    """The sending use case."""

    machine: Sender

    def __init__(self, tree: Tree, pace: Pace, rng: random.Random, *, limit: int, skip_errors: bool) -> None:
        super().__init__(pace, rng)
        self.source = FakeSource(tree, block=rng.choice((3000, 8192, 1 << 20)))
        self.machine = Sender(TRANSFER_ID, payload_limit=limit, skip_errors=skip_errors, manifest=Manifest(), now=0.0)
        self.standing: Callable[[bytes], bool]  # whether the receiver's disk has this entry
        self.most_backlog = 0
        self._listing = deque(entries_of(tree))
        self._jobs: deque[ops.ReadJob] = deque()
        self._results = self._read()

    def start(self) -> None:
        self.machine.start(self.clock.time())
        self._walk()

    def _walk(self) -> None:
        now = self.clock.time()
        if not self._listing:
            self.machine.finish_offer(now)
            return
        count = min(len(self._listing), self.random.randint(1, 30))
        self.machine.add_entries([self._listing.popleft() for _ in range(count)], now)
        self.peer.later(self.random.uniform(0, 0.1), self._walk)

    def on_payload(self, payload: memoryview) -> None:
        self.machine.handle_payload(payload, self.clock.time())
        self.session.consumed(1, self.clock.time())

    def work(self) -> None:
        self._jobs.extend(self.machine.jobs())
        self.most_backlog = max(self.most_backlog, self.machine.backlog)
        if not self._busy and self.machine.backlog < self.pace.backlog:
            results = list(islice(self._results, self.random.randint(1, READ_BATCH)))
            if results:
                size = sum(len(each.data) for each in results if isinstance(each, ops.BlockRead))
                self._busy = True
                self.peer.later(size / self.pace.read, lambda: self._done(results))
            else:
                self._results = self._read()
        due = self.machine.next_timeout()
        if due is not None and due != self._armed:
            self._armed = due
            self.peer.later(due - self.clock.time(), self._timeout)

    def _timeout(self) -> None:
        self.machine.handle_timeout(self.clock.time(), self.session.unacked_bytes)

    def _read(self) -> Iterator[ops.SourceResult]:
        while self._jobs:
            yield from self.source.read(self._jobs.popleft())

    def _done(self, results: list[ops.SourceResult]) -> None:
        self._busy = False
        self.machine.handle_source(results, self.clock.time())

    def heard(self, event: events.TransferEvent) -> None:
        if isinstance(event, events.EntryFinished):
            path = self.machine.manifest[event.index].path
            assert self.standing(path), "the sender may believe only what the disk has"


class ReceivingApp(Mover):
    """The receiving use case: the window opens again when the disk has done what a payload brought."""

    machine: Receiver

    def __init__(self, pace: Pace, rng: random.Random, *, limit: int) -> None:
        super().__init__(pace, rng)
        self.sink = FakeSink(prompt=rng.random() < 0.5)
        self.machine = Receiver(payload_limit=limit, manifest=Manifest(), now=0.0)
        self.written: list[int] = []  # files, as they got their final names
        self._ops: deque[ops.SinkOp] = deque()
        self._taken = 0
        self._executed = 0
        self._owed: deque[int] = deque()

    def on_payload(self, payload: memoryview) -> None:
        self.machine.handle_payload(payload, self.clock.time())
        self._take()
        self._owed.append(self._taken)

    def _take(self) -> None:
        some = list(self.machine.ops())
        self._taken += len(some)
        self._ops.extend(some)

    def work(self) -> None:
        self._take()
        count = 0
        while self._owed and self._owed[0] <= self._executed:
            self._owed.popleft()
            count += 1
        if count:
            self.peer.consumed(count)
        if self._ops and not self._busy:
            portion = [self._ops.popleft() for _ in range(min(len(self._ops), self.random.randint(1, 20)))]
            size = sum(len(op.data) for op in portion if isinstance(op, ops.Write))
            hold = self.pace.hold if self.random.random() < 0.05 else 0.0
            self._busy = True
            self.peer.later(size / self.pace.write + hold, lambda: self._done(portion))

    def _done(self, portion: list[ops.SinkOp]) -> None:
        self._busy = False
        results = [result for op in portion for result in self.sink.execute(op)]
        finished = {op.index for op in portion if isinstance(op, ops.Finish)}
        self.written += [each.index for each in results if isinstance(each, ops.EntryDone) and each.index in finished]
        self._executed += len(portion)
        self.machine.handle_results(results, self.clock.time())

    def heard(self, event: events.TransferEvent) -> None:
        if isinstance(event, events.OfferComplete):
            self.peer.later(self.pace.think, lambda: self.machine.accept(self.clock.time()))

    def discard(self) -> None:
        """Remove what is not complete, as the sink does when it is closed."""
        self.sink.open.clear()

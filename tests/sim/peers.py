"""Two session peers on a virtual clock, joined by links that come, go, stall and are cut. For any test to use.

``World`` makes the clock, both peers and the links. What a peer says and hears is an :class:`App`: subclass it to drive
the machines of the transfer; :class:`Stream` sends a list of payloads and keeps what arrives::

    world = World(Stream(payloads), Stream(), seed=7)
    world.link(PathModel(delay=0.01, rate=10e6))
    assert world.run(world.settled)
    assert world.right.app.received == payloads
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from p2pal.lanes.base import Lane
from p2pal.lanes.memory import EmulatedPath, MemoryLink, VirtualClock
from p2pal.session.core import Session
from p2pal.session.events import Delivered, LaneAlive, LaneSilent, SessionClosed

MAX_FRAME = 64 * 1024
WINDOW = 4 * 1024 * 1024


class App:
    """What a peer does with the session. The session and the clock are set before anything is called."""

    session: Session
    clock: VirtualClock

    def on_payload(self, payload: memoryview) -> None:
        """The next payload came; call ``self.session.consumed`` once done with it."""
        self.session.consumed(1, self.clock.time())

    def on_writable(self) -> None:
        """The session takes payloads: called at every turn while it does."""

    def on_event(self, event: SessionClosed | LaneSilent | LaneAlive) -> None:
        """Something else happened."""

    def settled(self) -> bool:
        """Whether there is nothing left to do on this side."""
        return self.session.drained


class Stream(App):
    """Sends payloads and keeps what arrives.

    Args:
        payloads: What to send.
        consume_after: Seconds until a received payload is consumed: the slow disk.
    """

    def __init__(self, payloads: Iterable[bytes] = (), consume_after: float = 0.0) -> None:
        self.waiting = deque(payloads)
        self.received: list[bytes] = []
        self.events: list[SessionClosed | LaneSilent | LaneAlive] = []
        self.unconsumed = 0
        self.most_unconsumed = 0
        self._consume_after = consume_after
        self.wake: Callable[[], None] = lambda: None

    def on_payload(self, payload: memoryview) -> None:
        self.received.append(bytes(payload))
        self.unconsumed += 1
        self.most_unconsumed = max(self.most_unconsumed, self.unconsumed)
        self.clock.call_at(self.clock.time() + self._consume_after, self._consume)

    def _consume(self) -> None:
        self.unconsumed -= 1
        self.session.consumed(1, self.clock.time())
        self.wake()

    def on_writable(self) -> None:
        while self.waiting and self.session.writable:
            self.session.send(self.waiting.popleft(), self.clock.time())

    def on_event(self, event: SessionClosed | LaneSilent | LaneAlive) -> None:
        self.events.append(event)

    def settled(self) -> bool:
        return not self.waiting and self.session.drained


A = TypeVar("A", bound=App)


class SimPeer(Generic[A]):
    """Drives one session as the peer floor does, without keys: the listener of its lanes."""

    def __init__(self, clock: VirtualClock, app: A, *, max_frame: int, window: int) -> None:
        self.clock = clock
        self.app = app
        self.session = Session(
            max_frame=max_frame, window=window, peer_max_frame=max_frame, peer_window=window, now=clock.time()
        )
        self.lanes: dict[int, Lane] = {}
        self.frames = 0
        self.controlled = True
        self._armed: float | None = None
        self._awake = False
        app.session = self.session
        app.clock = clock
        if isinstance(app, Stream):
            app.wake = self.wake

    def lane_opened(self, lane: Lane) -> None:
        self.lanes[lane.id] = lane
        self.session.lane_up(lane.id, self.clock.time(), controlled=self.controlled)
        self.wake()

    def lane_message(self, lane: Lane, data: bytes) -> None:
        self.frames += 1
        self.session.handle_frame(lane.id, data, self.clock.time())
        self.wake()

    def lane_writable(self, lane: Lane) -> None:
        self.wake()

    def lane_closed(self, lane: Lane, reason: str) -> None:
        if self.lanes.pop(lane.id, None) is not None:
            self.session.lane_down(lane.id, self.clock.time())
        self.wake()

    def wake(self) -> None:
        """Flush before time goes on."""
        if not self._awake:
            self._awake = True
            self.clock.call_at(self.clock.time(), self._flush)

    def _flush(self) -> None:
        self._awake = False
        for event in self.session.events():
            if isinstance(event, Delivered):
                self.app.on_payload(event.payload)
            else:
                self.app.on_event(event)
        if self.session.writable:
            self.app.on_writable()
        now = self.clock.time()
        for lane in list(self.lanes.values()):
            for frame in self.session.outputs(lane.id, self.budget(lane), now):
                lane.send(frame)
        self._arm()

    def budget(self, lane: Lane) -> int:
        """Bytes of DATA that may go onto a lane now."""
        return lane.budget()

    def _arm(self) -> None:
        due = self.session.next_timeout()
        if due is not None and (self._armed is None or due < self._armed):
            self._armed = due
            self.clock.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._armed = None
        self.session.handle_timeout(self.clock.time())
        self.wake()


B = TypeVar("B", bound=App)


class World(Generic[A, B]):
    """The clock, both peers, and the links between them.

    Args:
        left: What the left peer does.
        right: What the right peer does.
        seed: Of every random choice.
        max_frame: The largest frame either way, in bytes.
        window: The receive window of both, in bytes.
    """

    def __init__(self, left: A, right: B, *, seed: int = 0, max_frame: int = MAX_FRAME, window: int = WINDOW) -> None:
        self.clock = VirtualClock()
        self.random = random.Random(seed)
        self.left = SimPeer(self.clock, left, max_frame=max_frame, window=window)
        self.right = SimPeer(self.clock, right, max_frame=max_frame, window=window)
        self.links: list[MemoryLink] = []

    def link(self, path: EmulatedPath | None = None) -> MemoryLink:
        """Join the peers by one more link; it opens one delay later."""
        link = MemoryLink(self.clock, len(self.links) + 1, self.left, self.right, path, self.random.random)
        self.links.append(link)
        return link

    def keep_linked(self, path: EmulatedPath, pause: float = 0.1) -> None:
        """Make a link, and after each cut another one, ``pause`` seconds after both ends noticed."""
        link = self.link(path)

        def look() -> None:
            if link.left.closed and link.right.closed:
                self.clock.call_at(self.clock.time() + pause, lambda: self.keep_linked(path, pause))
            else:
                self.clock.call_at(self.clock.time() + pause, look)

        self.clock.call_at(self.clock.time() + pause, look)

    def settled(self) -> bool:
        """Whether both sides have nothing left to do."""
        return self.left.app.settled() and self.right.app.settled()

    def run(self, until: Callable[[], bool] | None = None, limit: float = 600.0) -> bool:
        """Run until the condition (both settled) holds; return whether it did within ``limit`` seconds."""
        return self.clock.run(until or self.settled, limit)

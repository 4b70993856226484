"""Lanes in memory, with faults: for tests and simulations, on a virtual clock or on an event loop.

A :class:`MemoryLink` joins two lanes. Each direction models a lane over a real path: a send buffer, a bottleneck with
a rate and a queue, and a delay. A lane loses nothing while it lives; a fault shows as a stall, or ends it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final, Protocol

from p2pal.lanes.base import BUFFER_LIMIT, LaneListener

MAX_MESSAGE: Final = 256 * 1024


class Clock(Protocol):
    """What tells the time and calls back: a :class:`VirtualClock`, or an asyncio event loop as it is."""

    def time(self) -> float:
        """Return the time in seconds."""

    def call_at(self, when: float, callback: Callable[[], object], /) -> object:
        """Call back at that time, never before this method returns."""


class VirtualClock:
    """A clock that jumps from one timer to the next. Timers of the same time run in the order they were set."""

    def __init__(self) -> None:
        self._now = 0.0
        self._timers: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()

    def time(self) -> float:
        """Return the time in seconds."""
        return self._now

    def call_at(self, when: float, callback: Callable[[], object], /) -> None:
        """Call back once :meth:`run` gets there; a time that has passed means now."""
        heapq.heappush(self._timers, (max(when, self._now), next(self._order), callback))

    def step(self) -> bool:
        """Jump to the next timer and run it; return whether there was one."""
        if not self._timers:
            return False
        self._now, _, callback = heapq.heappop(self._timers)
        callback()
        return True

    def run(self, until: Callable[[], bool], limit: float) -> bool:
        """Step until the condition holds; return whether it did before ``limit`` seconds had passed."""
        end = self._now + limit
        while not until():
            if not self._timers or self._timers[0][0] > end:
                return False
            self.step()
        return True

    def advance(self, seconds: float) -> None:
        """Run every timer of the next seconds, and stand at their end."""
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            self.step()
        self._now = end


@dataclass(frozen=True, slots=True)
class EmulatedPath:
    """What a link runs over, alike in both directions.

    Attributes:
        delay: Seconds one way.
        rate: Bytes per second, or None for no limit.
        queue: Bytes that the bottleneck holds; the rest waits in the lane's buffer.
        loss: The chance that sending a message cuts the link, as a lost path does.
        detect: Seconds until the ends notice a cut; the two of a link notice one after the other.
    """

    delay: float = 0.0
    rate: float | None = None
    queue: int = 0
    loss: float = 0.0
    detect: float = 0.0


class MemoryLane:
    """One end of a :class:`MemoryLink`; implements :class:`p2pal.lanes.base.Lane`."""

    max_message = MAX_MESSAGE
    likes_large = False

    def __init__(self, lane_id: int, link: MemoryLink, listener: LaneListener) -> None:
        self.id = lane_id
        self.opened = False
        self.closed = False
        self.listener = listener
        self._link = link
        self._free_at = 0.0  # when the bottleneck is done with what was sent so far
        self._buffered = 0
        self._buffer: deque[tuple[float, float, bytes]] = deque()  # leaves at, arrives at, message
        self._moving: deque[tuple[float, bytes | None]] = deque()  # arrives at, message; None is the end

    def send(self, message: bytes) -> None:
        """Queue one message; dropped if the lane is not open.

        Raises:
            ValueError: If it is larger than :attr:`max_message`.
        """
        if len(message) > self.max_message:
            raise ValueError("the message is larger than the lane carries")
        if self.closed or not self.opened or self._link.lose():
            return
        path, now = self._link.path, self._link.clock.time()
        seconds_per_byte = 1 / path.rate if path.rate else 0.0
        self._free_at = max(self._free_at, now) + len(message) * seconds_per_byte
        leaves = max(now, self._free_at - path.queue * seconds_per_byte)
        arrives = self._free_at + path.delay
        self._buffer.append((leaves, arrives, message))
        self._buffered += len(message)
        self._link.clock.call_at(leaves, self.pump)
        self._link.clock.call_at(arrives, self.pump)

    def budget(self) -> int:
        """Bytes that fit before the buffer holds :data:`p2pal.lanes.base.BUFFER_LIMIT`."""
        return 0 if self.closed or not self.opened else BUFFER_LIMIT - self._buffered

    @property
    def backlog(self) -> float:
        """Bytes at the bottleneck, in the path's queue and before it."""
        return max(0.0, self._free_at - self._link.clock.time()) * (self._link.path.rate or 0.0)

    def close(self) -> None:
        """End it. What left the buffer still arrives before the other end hears of it; the rest is lost."""
        if self.closed:
            return
        self.end("closed here")
        last = self._moving[-1][0] if self._moving else 0.0
        arrives = max(last, self._link.clock.time() + self._link.path.delay)
        self._moving.append((arrives, None))
        self._link.clock.call_at(arrives, self.pump)

    def end(self, reason: str) -> None:
        """Tell the listener that it is over, once."""
        if not self.closed:
            self.closed = True
            self._buffer.clear()
            self.listener.lane_closed(self, reason)

    def drop(self) -> None:
        """Lose everything on its way from here."""
        self._buffer.clear()
        self._moving.clear()

    def pump(self) -> None:
        """Move what is due: from the buffer onto the path, and off the path to the other end."""
        if self._link.stalled:
            return
        now = self._link.clock.time()
        other = self._link.other(self)
        was_full = self._buffered > BUFFER_LIMIT // 2
        while self._buffer and self._buffer[0][0] <= now:
            _, arrives, message = self._buffer.popleft()
            self._buffered -= len(message)
            self._moving.append((arrives, message))
        while self._moving and self._moving[0][0] <= now:
            _, arrived = self._moving.popleft()
            if arrived is None:
                other.end("the other side closed the lane")
            elif not other.closed:
                other.listener.lane_message(other, arrived)
        if was_full and self._buffered <= BUFFER_LIMIT // 2 and not self.closed:
            self.listener.lane_writable(self)


class MemoryLink:
    """Two lanes and the path between them. Both open one delay after the link was made.

    Args:
        clock: Where time comes from.
        lane_id: The number of both lanes.
        left: Who hears of the left lane.
        right: Who hears of the right lane.
        path: What it runs over.
        random: Returns the next number in [0, 1); needed for ``path.loss``.
    """

    def __init__(
        self,
        clock: Clock,
        lane_id: int,
        left: LaneListener,
        right: LaneListener,
        path: EmulatedPath | None = None,
        random: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self.clock = clock
        self.path = path or EmulatedPath()
        self.stalled = False
        self.left = MemoryLane(lane_id, self, left)
        self.right = MemoryLane(lane_id, self, right)
        self._random = random
        self._is_cut = False
        clock.call_at(clock.time() + self.path.delay, self._open)

    @property
    def alive(self) -> bool:
        """Whether both ends are open, or will be, and messages can still arrive."""
        return not (self._is_cut or self.left.closed or self.right.closed)

    def other(self, lane: MemoryLane) -> MemoryLane:
        """Return the other end."""
        return self.right if lane is self.left else self.left

    def cut(self, reason: str = "the path was cut") -> None:
        """Lose everything on its way; both ends notice after ``path.detect``, the right one a delay later."""
        if self._is_cut:
            return
        self._is_cut = True
        self.left.drop()
        self.right.drop()
        noticed = self.clock.time() + self.path.detect
        self.clock.call_at(noticed, lambda: self.left.end(reason))
        self.clock.call_at(noticed + self.path.delay, lambda: self.right.end(reason))

    def stall(self) -> None:
        """Hold everything where it is; no end notices."""
        self.stalled = True

    def resume(self) -> None:
        """Let it move again."""
        self.stalled = False
        now = self.clock.time()
        self.clock.call_at(now, self.left.pump)
        self.clock.call_at(now, self.right.pump)

    def lose(self) -> bool:
        """Whether a message sent now is lost, because the link is cut or is cut by this very message."""
        if not self._is_cut and self._random() < self.path.loss:
            self.cut()
        return self._is_cut

    def _open(self) -> None:
        for lane in (self.left, self.right):
            if not self._is_cut and not lane.closed:
                lane.opened = True
                lane.listener.lane_opened(lane)

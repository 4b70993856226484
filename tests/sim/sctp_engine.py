"""A session's sending side over an SCTP association, on a link and processors of a virtual clock.

The association is the engine's, as far as congestion control sees it (RFC 9260): slow start grows by one packet for
each SACK while the window is used, at most four packets leave at a time, a loss halves the window. The threads of
both ends may have to wait for a processor. Time is virtual, and all that is random comes from one seed.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from p2pal.session.congestion import CongestionWindow
from p2pal.session.lane import ACK_DELAY, ACK_EVERY, LaneState
from p2pal.wire.frames import LaneAck

PACKET: Final = 1200
MAX_BURST: Final = 4
"""Packets that the engine lets out at a time (RFC 9260, section 7.2.4)."""
FRAME: Final = 64 * 1024
PACKETS: Final = -(-FRAME // PACKET)
RTO: Final = 1.0
RECEIVE_WINDOW: Final = 5 << 20


@dataclass
class Path:
    """What lies between the two ends, one way; the way back has no queue.

    Attributes:
        rate: Bytes per second.
        rtt: Seconds of the round trip, without a queue.
        queue: Bytes that wait at the bottleneck at most.
    """

    rate: float
    rtt: float
    queue: float


class Processor:
    """When one thread runs: always, or in turns with ``rivals`` others that never rest.

    Args:
        random: The seed's.
        rivals: Seconds that others run between two turns, on average; 0 for a processor of its own.
        turn: Seconds that a turn lasts.
    """

    def __init__(self, random: Random, rivals: float, turn: float = 0.003) -> None:
        self._random, self._rivals, self._turn = random, rivals, turn
        self._begins, self._ends = 0.0, turn
        self._pause = (0.0, 0.0)

    def pause(self, begins: float, ends: float) -> None:
        """Let the thread not run from ``begins`` until ``ends``; to be told before."""
        self._pause = (begins, ends)

    def set(self, rivals: float, now: float) -> None:
        self._rivals = rivals
        self._begins, self._ends = now, now + self._turn

    def runs(self, now: float) -> float:
        """Return when it runs next, from ``now`` on."""
        begins, ends = self._pause
        if begins <= now < ends:
            now = ends
        if not self._rivals:
            return now
        while now >= self._ends:
            self._begins = self._ends + self._random.expovariate(1 / self._rivals)
            self._ends = self._begins + self._turn
        return max(now, self._begins)


class Association:
    """One sender, one receiver, one link.

    Args:
        path: The link; another one may take its place while it runs.
        seed: Of all that is random.
        rivals: Seconds that the threads of both ends wait for the processor between two turns, on average.

    Attributes:
        now: The time.
        delivered: Bytes of whole frames that arrived.
        dropped: Packets that found no room in the queue.
        longest: The longest wait in the queue, in seconds.
        lane: The session's lane.
    """

    def __init__(self, path: Path, *, seed: int = 1, rivals: float = 0.0) -> None:
        random = Random(seed)
        self.path = path
        self.now = 0.0
        self.delivered = 0
        self.dropped = 0
        self.longest = 0.0
        self.congestion = CongestionWindow(FRAME)
        self.lane = LaneState(1, self.congestion, 0.0)
        self._loop, self._engine, self._far_engine, self._far_loop = (Processor(random, rivals) for _ in range(4))
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._count = 0
        # Our engine: packets are numbered, and a lost run of them is a hole
        self._cwnd = 10 * PACKET
        self._ssthresh = RECEIVE_WINDOW
        self._queued = 0
        self._next = 0
        self._again: deque[tuple[int, int]] = deque()
        self._holes: list[tuple[int, int]] = []
        self._flight = 0
        self._recover = -1
        self._free = 0.0  # when the link has sent all that it was given
        # The other end
        self._cumulative = 0
        self._early: list[tuple[int, int]] = []
        self._complete = 0
        self._owed = 0
        self._data_counter = -1
        self._data_at = 0.0
        self._ack_at = float("inf")

    def _at(self, when: float, what: Callable[..., None], *args: object) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, what, args))

    def busy(self, rivals: float) -> None:
        """From now on the threads of both ends wait for so many seconds between two turns, on average."""
        for processor in (self._loop, self._engine, self._far_engine, self._far_loop):
            processor.set(rivals, self.now)

    def pause(self, begins: float, ends: float) -> None:
        """Our loop does not run meanwhile: acknowledgements wait for it, and all come in at its end."""
        self._loop.pause(begins, ends)

    def run(self, until: float) -> None:
        """Let time pass."""
        if not self._count:
            self._hello()
        while self._events and self._events[0][0] <= until:
            self.now, _, what, args = heapq.heappop(self._events)
            what(*args)
        self.now = until

    # Our loop

    def _hello(self) -> None:
        """A small frame goes first: its round trip is the path's latency, and that of the threads."""
        self.lane.on_sent(0, 140, 0.0)
        there = self._far_loop.runs(self._far_engine.runs(self._engine.runs(0.0) + self.path.rtt / 2))
        self._data_counter, self._data_at = 0, there
        sent = self._far_engine.runs(there + ACK_DELAY)
        back = self._loop.runs(self._engine.runs(sent + self.path.rtt / 2))
        self._at(back, self._acknowledged, 0, sent - there)

    def _fill(self) -> None:
        while self.congestion.can_send(FRAME):
            self.lane.on_sent(self.lane.sent, FRAME, self.now)
            self._at(self._engine.runs(self.now), self._queue)

    def _acknowledged(self, counter: int, delay: float) -> None:
        self.lane.on_acknowledged(counter, delay, self.now)
        self._fill()

    # Our engine

    def _queue(self) -> None:
        self._queued += PACKETS
        self._burst()

    def _burst(self) -> None:
        room = int((min(self._cwnd, RECEIVE_WINDOW) - self._flight) // PACKET)
        left = min(MAX_BURST, room)
        while left > 0:
            if self._again:
                first, count = self._again.popleft()
                take = min(left, count)
                if count > take:
                    self._again.appendleft((first + take, count - take))
            elif self._queued:
                first, take = self._next, min(left, self._queued)
                self._next += take
                self._queued -= take
            else:
                return
            left -= take
            self._transmit(first, take)

    def _transmit(self, first: int, count: int) -> None:
        self._flight += count * PACKET
        path = self.path
        begins = max(self.now, self._free)
        waiting = (begins - self.now) * path.rate
        fits = min(count, max(0, int((path.queue - waiting) // PACKET) + 1)) if waiting > 0 else count
        self.longest = max(self.longest, begins - self.now)
        if fits < count:
            self.dropped += count - fits
            self._holes.append((first + fits, count - fits))
            if not fits:
                self._at(self.now + RTO, self._timeout, first)
                return
        self._free = begins + fits * PACKET / path.rate
        arrives = self._free + path.rtt / 2
        self._at(self._far_engine.runs(arrives), self._arrived, first, fits)

    def _timeout(self, first: int) -> None:
        lost = [hole for hole in self._holes if hole[0] <= first]
        if lost:
            self._lost(lost)
            self._cwnd = PACKET * 10
            self._burst()

    def _lost(self, holes: list[tuple[int, int]]) -> None:
        for hole in holes:
            self._holes.remove(hole)
            self._again.append(hole)
            self._flight -= hole[1] * PACKET
        if holes and holes[0][0] > self._recover:
            self._cwnd = self._ssthresh = max(self._cwnd // 2, 4 * PACKET)
            self._recover = self._next

    def _sack(self, first: int, count: int) -> None:
        used = self._flight + PACKET >= self._cwnd
        self._flight -= count * PACKET
        self._lost([hole for hole in self._holes if hole[0] < first])
        if used and first > self._recover:
            if self._cwnd < self._ssthresh:
                self._cwnd += min(count * PACKET, -(-count // 2) * PACKET)
            else:
                self._cwnd += count * PACKET * PACKET // self._cwnd
        for _ in range(-(-count // 2)):
            self._burst()

    # The other end

    def _arrived(self, first: int, count: int) -> None:
        back = self.now + self.path.rtt / 2
        self._at(self._engine.runs(back), self._sack, first, count)
        self._early.append((first, count))
        if first == self._cumulative:
            self._early.sort()
            for start, size in list(self._early):
                if start > self._cumulative:
                    break
                self._cumulative = max(self._cumulative, start + size)
                self._early.remove((start, size))
            while (self._complete + 1) * PACKETS <= self._cumulative:
                self._complete += 1
                self._at(self._far_loop.runs(self.now), self._frame_came)

    def _frame_came(self) -> None:
        self.delivered += FRAME
        self._owed += 1
        self._data_counter += 1
        self._data_at = self.now
        if self._owed >= ACK_EVERY:
            self._acknowledge()
        elif self._owed == 1:
            self._ack_at = self.now + ACK_DELAY
            self._at(self._far_loop.runs(self._ack_at), self._ack_timer, self._ack_at)

    def _ack_timer(self, due: float) -> None:
        if self._owed and due == self._ack_at:
            self._acknowledge()

    def _acknowledge(self) -> None:
        self._owed = 0
        self._ack_at = float("inf")
        ack = LaneAck(1, self._data_counter, self.now - self._data_at)
        arrives = self._engine.runs(self._far_engine.runs(self.now) + self.path.rtt / 2)
        self._at(self._loop.runs(arrives), self._acknowledged, ack.counter, ack.delay)

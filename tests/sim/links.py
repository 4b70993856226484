"""Links with a rate, a queue, delay, loss, jitter and a policer, and what sends over them, on a virtual clock.

Everything that is random comes from one seeded generator, and time is virtual: the same seed gives the same run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from random import Random

from p2pal.lanes.memory import VirtualClock
from p2pal.lanes.udp.addresses import Address, CandidateKind, DatagramCandidate
from p2pal.lanes.udp.events import Closed, Message, Opened, PathSelected, Resumed, Stalled, Writable
from p2pal.lanes.udp.lane import DatagramLane
from p2pal.lanes.udp.packet import Kind
from p2pal.lanes.udp.seal import LaneSecrets

HEADERS = 28
"""Bytes of IP and UDP that each datagram has on the wire."""
MESSAGE = bytes(63 * 1024)


@dataclass
class LinkModel:
    """One direction of a link.

    Attributes:
        rate: Bytes per second.
        delay: Seconds.
        queue: Bytes that wait for the bottleneck at most.
        loss: The chance that a datagram is lost.
        jitter: Seconds of further delay at most, drawn for each datagram.
        reorder: Whether jitter may change the order.
        pause: Seconds for which the link now and then brings nothing, at most; what waited comes at once then, as over
            a radio that others use, too.
        pause_every: Seconds from one such pause to the next, on average.
        police: Bytes per second of a token bucket before the bottleneck; 0 for none.
        burst: Bytes that the bucket holds.
        mtu: The largest datagram, with headers.
    """

    rate: float
    delay: float
    queue: float
    loss: float = 0.0
    jitter: float = 0.0
    reorder: bool = False
    pause: float = 0.0
    pause_every: float = 0.1
    police: float = 0.0
    burst: float = 64_000.0
    mtu: int = 1500


class Link:
    """Carries datagrams one way."""

    def __init__(self, clock: VirtualClock, random: Random, model: LinkModel) -> None:
        self.clock = clock
        self.random = random
        self.model = model
        self.free_at = 0.0
        self.tokens = model.burst
        self.tokens_at = 0.0
        self.last_arrival = 0.0
        self.pause_end = self.pause_next = 0.0
        self.sent = self.dropped = self.carried = self.oversized = 0
        self.queue_time = 0.0
        self.cut = False

    def send(self, size: int, arrive: Callable[[], None]) -> None:
        """A datagram of this size, with headers, comes to the link."""
        model, now = self.model, self.clock.time()
        if size > model.mtu:
            self.oversized += 1
            return
        self.sent += 1
        if self.cut or (model.loss and self.random.random() < model.loss):
            self.dropped += 1
            return
        if model.police:
            self.tokens = min(model.burst, self.tokens + (now - self.tokens_at) * model.police)
            self.tokens_at = now
            if self.tokens < size:
                self.dropped += 1
                return
            self.tokens -= size
        waits = max(self.free_at - now, 0.0)
        if waits * model.rate > model.queue:
            self.dropped += 1
            return
        self.queue_time += waits
        self.carried += 1
        self.free_at = max(self.free_at, now) + size / model.rate
        arrival = self.free_at + model.delay
        if model.jitter:
            arrival += self.random.random() * model.jitter
            if not model.reorder:
                arrival = max(arrival, self.last_arrival)
        if model.pause:
            arrival = self._after_pause(arrival)
        self.last_arrival = arrival
        self.clock.call_at(arrival, arrive)

    def _after_pause(self, arrival: float) -> float:
        """Return when it arrives if the link pauses."""
        while arrival >= self.pause_next:
            self.pause_end = self.pause_next + self.random.random() * self.model.pause
            self.pause_next = self.pause_end + self.random.expovariate(1 / self.model.pause_every)
        return max(arrival, self.pause_end)

    @property
    def mean_wait(self) -> float:
        """Seconds that a datagram waited in the queue on average."""
        return self.queue_time / max(self.carried, 1)

    @property
    def loss(self) -> float:
        """The share of datagrams that were lost."""
        return self.dropped / max(self.sent, 1)


class Network:
    """Two links, there and back, and the flows that share them."""

    def __init__(self, seed: int, there: LinkModel, back: LinkModel | None = None) -> None:
        self.clock = VirtualClock()
        self.random = Random(seed)
        self.there = Link(self.clock, self.random, there)
        self.back = Link(self.clock, self.random, back or replace(there, loss=0.0, police=0.0, queue=1e9))
        self.flows: list[LaneFlow] = []

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)


def secrets(number: int = 0) -> tuple[LaneSecrets, LaneSecrets]:
    """Return what both ends of a lane agreed on."""
    a, b = (sha256(b"%d %d" % (number, side)).digest() for side in (0, 1))
    one, two = int.from_bytes(a[:8], "big"), int.from_bytes(b[:8], "big")
    return LaneSecrets(a, b, one, two), LaneSecrets(b, a, two, one)


@dataclass(frozen=True)
class Processor:
    """How much of a processor one end gets beside other processes.

    Attributes:
        runs: Seconds for which it may run, on average.
        waits: Seconds for which it then has to wait, on average.
        buffer: Bytes of datagrams that its socket holds meanwhile, headers included.
    """

    runs: float = 1.0
    waits: float = 0.0
    buffer: int = 200_000


class Side:
    """One end of a lane, driven as a shell would."""

    def __init__(
        self, flow: LaneFlow, lane: DatagramLane, link: Link, ip: str, processor: Processor | None = None
    ) -> None:
        self.flow = flow
        self.processor = processor
        self.waits_until = self.runs_until = 0.0
        self.waiting: deque[tuple[bytes, Address, float]] = deque()
        self.waiting_bytes = 0
        self.overrun = 0
        self.lane = lane
        self.link = link
        self.ip = ip
        self.port = 1000
        self.other: Side
        self.armed = float("inf")
        self.messages = 0
        self.bytes = 0
        self.opened_at: float | None = None
        self.closed: Closed | None = None
        self.paths = 0
        self.stalls: list[tuple[float, bool]] = []
        self.writable = 0
        self.kinds: dict[int, int] = {}
        self.source: Callable[[], bytes | None] | None = None
        self.on_message: Callable[[bytes], None] | None = None

    def pump(self) -> None:
        """Fill, send, hear, and arm the timer."""
        clock, lane = self.flow.clock, self.lane
        now = clock.time()
        self._hear()
        if self.source is not None:
            while lane.budget() > 0 and (message := self.source()) is not None:
                lane.send(message)
        other, link = self.other, self.link
        for batch in lane.datagrams(now):
            for buffers in batch.datagrams():
                data = b"".join(buffers)
                self.kinds[data[0]] = self.kinds.get(data[0], 0) + 1
                if (batch.ip, batch.port) == (other.ip, other.port):
                    link.send(len(data) + HEADERS, _Arrival(self, other, data))
        self._hear()
        at = lane.next_timeout()
        if at is not None and at != float("inf"):
            at = max(at, now)
            if at < self.armed or self.armed <= now:
                self.armed = at
                clock.call_at(at, self.fire)

    def receive(self, data: bytes, source: Address) -> None:
        """A datagram comes to the socket, and is read once this end has the processor."""
        now = self.flow.clock.time()
        if self._has_processor(now):
            self.lane.receive_datagram(data, source, now)
            self.pump()
        elif self.processor and self.waiting_bytes + len(data) <= self.processor.buffer:
            if not self.waiting:
                self.flow.clock.call_at(self.waits_until, self._read)
            self.waiting.append((data, source, now))
            self.waiting_bytes += len(data)
        else:
            self.overrun += 1

    def _read(self) -> None:
        """Read all that waits, before anything is made of it, as the shell does."""
        now = self.flow.clock.time()
        while self.waiting:
            data, source, received = self.waiting.popleft()
            self.lane.receive_datagram(data, source, now, 0, received)
        self.waiting_bytes = 0
        self.pump()

    def _has_processor(self, now: float) -> bool:
        processor, random = self.processor, self.flow.network.random
        if processor is None:
            return True
        while now >= self.runs_until:
            self.waits_until = self.runs_until + processor.waits * (0.5 + random.random())
            self.runs_until = self.waits_until + processor.runs * (0.5 + random.random())
        return now >= self.waits_until

    def fire(self) -> None:
        now = self.flow.clock.time()
        if now < self.armed:
            return
        if not self._has_processor(now):
            self.armed = self.waits_until
            self.flow.clock.call_at(self.waits_until, self.fire)
            return
        if self.waiting:
            self._read()
            if now < self.armed:
                return
        self.armed = float("inf")
        self.lane.handle_timeout(now)
        self.pump()

    def _hear(self) -> None:
        for event in self.lane.events():
            if isinstance(event, Message):
                assert self.opened_at is not None, "nothing is heard of a lane before it is open"
                self.messages += 1
                self.bytes += len(event.data)
                if self.on_message is not None:
                    self.on_message(event.data)
            elif isinstance(event, Opened):
                self.opened_at = self.flow.clock.time()
            elif isinstance(event, PathSelected):
                self.paths += 1
            elif isinstance(event, Writable):
                self.writable += 1
            elif isinstance(event, Stalled | Resumed):
                self.stalls.append((self.flow.clock.time(), isinstance(event, Stalled)))
            elif isinstance(event, Closed):
                self.closed = event


class _Arrival:
    __slots__ = ("data", "other", "side", "source")

    def __init__(self, side: Side, other: Side, data: bytes) -> None:
        self.other = other
        self.data = data
        self.source = Address(side.ip, side.port, 0)

    def __call__(self) -> None:
        self.other.receive(self.data, self.source)


class LaneFlow:
    """One datagram lane over a network: ``left`` sends the files.

    Args:
        network: What it goes over.
        start: When it begins.
        endless: Whether there is always something to send.
        window: Bytes that may be on the way or wait for a gap to be filled.
        processor: What both ends have of a processor; all of it if None.
    """

    def __init__(
        self,
        network: Network,
        start: float = 0.0,
        *,
        endless: bool = True,
        window: int = 32 << 20,
        processor: Processor | None = None,
    ) -> None:
        self.network = network
        self.clock = network.clock
        number = len(network.flows)
        network.flows.append(self)
        mine, theirs = secrets(number)
        now = self.clock.time()
        seeds = [network.random.randbytes(32) for _ in range(2)]
        left = DatagramLane(1, mine, leads=True, seed=seeds[0], now=now, window=window)
        right = DatagramLane(1, theirs, leads=False, seed=seeds[1], now=now, window=window)
        self.left = Side(self, left, network.there, f"10.0.{number}.1", processor)
        self.right = Side(self, right, network.back, f"10.0.{number}.2", processor)
        self.left.other, self.right.other = self.right, self.left
        if endless:
            self.left.source = lambda: MESSAGE
        for side in (self.left, self.right):
            side.lane.add_local(0, side.ip, side.port, now)
            side.lane.add_remote(DatagramCandidate(CandidateKind.HOST, side.other.ip, side.other.port), now)
            self.clock.call_at(start, side.pump)

    @property
    def goodput(self) -> float:
        """Bytes of messages that arrived."""
        return self.right.bytes

    @property
    def data_packets(self) -> int:
        return self.left.kinds.get(Kind.DATA, 0)

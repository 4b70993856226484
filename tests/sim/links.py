"""Links with a rate, a queue, delay, loss, jitter and a policer, and what sends over them, on a virtual clock.

Everything that is random comes from one seeded generator, and time is virtual: the same seed gives the same run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from random import Random

from p2pal.lanes.memory import VirtualClock
from p2pal.lanes.udp.addresses import Address, Candidate, CandidateKind
from p2pal.lanes.udp.events import Closed, Message, Opened, PathChanged, Resumed, Stalled, Writable
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
        self.last_arrival = arrival
        self.clock.call_at(arrival, arrive)

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


class Side:
    """One end of a lane, driven as a shell would."""

    def __init__(self, flow: LaneFlow, lane: DatagramLane, link: Link, ip: str) -> None:
        self.flow = flow
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

    def fire(self) -> None:
        now = self.flow.clock.time()
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
            elif isinstance(event, PathChanged):
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
        other = self.other
        other.lane.receive_datagram(self.data, self.source, other.flow.clock.time())
        other.pump()


class LaneFlow:
    """One datagram lane over a network: ``left`` sends the files."""

    def __init__(self, network: Network, start: float = 0.0, *, endless: bool = True, window: int = 32 << 20) -> None:
        self.network = network
        self.clock = network.clock
        number = len(network.flows)
        network.flows.append(self)
        mine, theirs = secrets(number)
        now = self.clock.time()
        seeds = [network.random.randbytes(32) for _ in range(2)]
        left = DatagramLane(1, mine, leads=True, seed=seeds[0], now=now, window=window)
        right = DatagramLane(1, theirs, leads=False, seed=seeds[1], now=now, window=window)
        self.left = Side(self, left, network.there, f"10.0.{number}.1")
        self.right = Side(self, right, network.back, f"10.0.{number}.2")
        self.left.other, self.right.other = self.right, self.left
        if endless:
            self.left.source = lambda: MESSAGE
        for side in (self.left, self.right):
            side.lane.add_local(0, side.ip, side.port, now)
            side.lane.add_remote(Candidate(CandidateKind.HOST, side.other.ip, side.other.port), now)
            self.clock.call_at(start, side.pump)

    @property
    def goodput(self) -> float:
        """Bytes of messages that arrived."""
        return self.right.bytes

    @property
    def data_packets(self) -> int:
        return self.left.kinds.get(Kind.DATA, 0)

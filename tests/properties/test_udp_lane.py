"""The datagram lane over a wire that loses, repeats, reorders, cuts and forges: the same bytes, once, in order, or an
error that is documented; and memory that is bounded by the window.
"""

from __future__ import annotations

import heapq
from collections import deque
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.sim.links import secrets

from p2pal.errors import ProtocolError
from p2pal.lanes.udp.acks import TOLD
from p2pal.lanes.udp.addresses import MAX_CANDIDATES, MAX_LOCALS, Address, CandidateKind, DatagramCandidate
from p2pal.lanes.udp.connectivity import MAX_ANSWERS, MAX_NONCES
from p2pal.lanes.udp.events import Closed, Message
from p2pal.lanes.udp.lane import MAX_EARLY, DatagramLane
from p2pal.lanes.udp.packet import MAX_DATAGRAM, MAX_RANGES, AckFields, Kind, encode_ack
from p2pal.lanes.udp.reflexive import MAX_REQUESTS
from p2pal.lanes.udp.seal import PacketSealer

IPS = "10.0.0.1", "10.0.0.2"
WINDOW = 200_000


class Wire:
    """Two lanes, and a wire between them that a seeded generator is in charge of."""

    def __init__(self, seed: int, faults: float, window: int = WINDOW) -> None:
        self.random = Random(seed)
        self.faults = faults
        self.now = 0.0
        both = secrets()
        self.lanes = [
            DatagramLane(1, both[side], leads=not side, seed=self.random.randbytes(32), now=0.0, window=window)
            for side in (0, 1)
        ]
        for side, lane in enumerate(self.lanes):
            lane.add_local(0, IPS[side], 1, 0.0)
            lane.add_remote(DatagramCandidate(CandidateKind.HOST, IPS[1 - side], 1), 0.0)
        self.heard: list[list[bytes]] = [[], []]
        self.closed: list[Closed | None] = [None, None]
        self.coming: list[tuple[float, int, int, bytes, int, Address]] = []
        self.seen: deque[tuple[int, bytes, int]] = deque(maxlen=50)
        self.order = 0
        self.held = 0

    def put(self, to: int, data: bytes, segment: int = 0, source: Address | None = None) -> None:
        self.order += 1
        at = self.now + 0.005 + 0.02 * self.random.random()
        heapq.heappush(self.coming, (at, self.order, to, data, segment, source or Address(IPS[1 - to], 1, 0)))

    def carry(self, to: int, data: bytes, segment: int) -> None:
        """Put a datagram, or a batch, on the wire, with whatever happens to it there."""
        random = self.random
        if random.random() < self.faults:
            return
        if random.random() < self.faults:
            self.put(to, data, segment)
        if random.random() < self.faults:
            self.put(to, data[: random.randrange(len(data) + 1)], segment)
        if random.random() < self.faults:
            self.put(to, random.randbytes(random.randrange(1, 200)))
        if random.random() < self.faults:
            # Of DATA what shows that it is the other side's: who reads along can forge the rest (see below).
            forged, where = bytearray(data), range(8, 16) if data[0] == Kind.DATA else range(len(data))
            forged[random.choice(where)] ^= 1 << random.randrange(8)
            self.put(to, bytes(forged))
        self.seen.append((to, data, segment))
        if random.random() < self.faults:
            # What was overheard comes again, from here or from elsewhere, or goes back to the side that sent it.
            old, again, together = random.choice(self.seen)
            stranger = Address("203.0.113.66", 2000 + random.randrange(60_000), 0)
            source = random.choice([None, stranger])
            self.put(random.choice([old, 1 - old]), again, together, source)
        self.put(to, data, segment)

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.flush()
            times = [at for lane in self.lanes if (at := lane.next_timeout()) is not None]
            if self.coming:
                times.append(self.coming[0][0])
            self.now = max(min([*times, until]), self.now + 1e-5)
            while self.coming and self.coming[0][0] <= self.now:
                _, _, to, data, segment, source = heapq.heappop(self.coming)
                self.lanes[to].receive_datagram(data, source, self.now, segment)
            for lane in self.lanes:
                lane.handle_timeout(self.now)
                self.held = max(self.held, lane._inbound.held)
                assert_bounded(lane)

    def flush(self) -> None:
        for side, lane in enumerate(self.lanes):
            for batch in lane.datagrams(self.now):
                if batch.ip == IPS[1 - side]:
                    self.carry(1 - side, b"".join(batch.buffers), batch.segment)
            for event in lane.events():
                if isinstance(event, Message):
                    self.heard[side].append(event.data)
                elif isinstance(event, Closed):
                    self.closed[side] = event


def assert_bounded(lane: DatagramLane) -> None:
    """What a lane keeps has bounds that nobody else moves: one for each of its collections."""
    inbound, stream, loss, connectivity = lane._inbound, lane.sender.stream, lane.sender.loss, lane._connectivity
    assert len(inbound._pieces) <= inbound._max_pieces + 64
    assert len(inbound._parts) <= 513
    assert len(stream._acked) <= stream._max_ranges + 32
    assert len(stream._again) <= stream._max_ranges + len(loss._flight) + 33
    assert stream.sent - stream.acked <= WINDOW
    assert len(lane._acks._packets) <= 4 * MAX_RANGES
    assert len(lane._acks._told) <= TOLD
    assert len(loss._recent) <= 64
    assert len(loss._skipped) <= 16
    assert len(connectivity._remotes) <= 2 * MAX_CANDIDATES
    assert len(connectivity._pairs) <= 2 * MAX_CANDIDATES * MAX_LOCALS
    assert len(connectivity._nonces) <= MAX_NONCES
    assert len(connectivity._answers) <= MAX_ANSWERS
    assert len(lane._mtu_nonces) <= 7
    assert lane._early_bytes <= MAX_EARLY + MAX_DATAGRAM * 129
    assert len(lane._reflexive._requests) <= MAX_REQUESTS


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32),
    st.floats(0, 0.15),
    st.lists(st.integers(1, 30_000), min_size=1, max_size=20),
    st.lists(st.integers(1, 3000), max_size=10),
)
def test_the_same_bytes_once_and_in_order(seed: int, faults: float, there: list[int], back: list[int]) -> None:
    wire = Wire(seed, faults)
    for _ in range(14):
        wire.run(1)
        if all(lane.path is not None for lane in wire.lanes):
            break
    messages = [[wire.random.randbytes(size) for size in sizes] for sizes in (there, back)]
    for lane, each in zip(wire.lanes, messages, strict=True):
        for message in each:
            lane.send(message)
    for _ in range(40):
        wire.run(1)
        if [len(heard) for heard in wire.heard] == [len(back), len(there)]:
            break
    assert wire.closed == [None, None]
    assert wire.heard == [messages[1], messages[0]]
    assert wire.held <= WINDOW + 300_000
    assert [lane.path and lane.path.ip for lane in wire.lanes] == [IPS[1], IPS[0]], "a copy moves no path"
    wire.faults = 0.0
    wire.run(5)
    assert all(lane.sender.stream.kept == 0 for lane in wire.lanes)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60), st.sampled_from([0, 1]))
@example(1006, 1, 1)
def test_data_that_somebody_forged_ends_in_wrong_bytes_or_an_error_and_never_in_a_hole(
    seed: int, count: int, to: int
) -> None:
    """Who reads along knows the tag, and can forge DATA: frames have a seal of their own, which shows it."""
    wire = Wire(seed, 0.0)
    wire.run(0.5)
    tag = secrets()[to].receive_tag
    stream = wire.lanes[1 - to].sender.stream
    for _ in range(count):
        number, offset = wire.random.randrange(200), wire.random.randrange(100_000)
        size = wire.random.randrange(1, 1400)
        head = (Kind.DATA << 56 | number).to_bytes(8, "big") + tag.to_bytes(8, "big") + offset.to_bytes(8, "big")
        wire.put(to, head + wire.random.randbytes(size))
    messages = [wire.random.randbytes(20_000) for _ in range(10)]
    for message in messages:
        wire.lanes[1 - to].send(message)
    for _ in range(40):
        wire.run(0.5)
    if wire.closed == [None, None]:
        assert stream.acked == stream.end
        assert sum(map(len, wire.heard[to])) == sum(map(len, messages))
    else:
        assert any(closed is not None and closed.broken for closed in wire.closed)


ranges = st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 400)), max_size=5)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.tuples(st.integers(0, 200_000), ranges, ranges), min_size=1, max_size=6))
def test_a_hostile_peer_that_acknowledges_what_it_likes(
    seed: int, acks: list[tuple[int, list[tuple[int, int]], list[tuple[int, int]]]]
) -> None:
    """It ends the lane with an error, or has what it says it has; nothing else comes of it."""
    wire = Wire(seed, 0.0)
    wire.run(0.5)
    for _ in range(3):
        wire.lanes[0].send(bytes(50_000))
    sealer = PacketSealer(secrets()[1].seal_key, secrets()[1].send_tag)
    sealer._count = 10_000
    for following, packets, stream in acks:
        wire.run(0.01)
        ack = AckFields(0, 0, following, ascending(packets, -1), ascending(stream, following))
        wire.put(0, sealer.seal(Kind.ACK, encode_ack(ack)))
    wire.run(1)
    stream_out, loss = wire.lanes[0].sender.stream, wire.lanes[0].sender.loss
    assert 0 <= stream_out.acked <= stream_out.sent <= stream_out.end
    assert loss.in_flight >= 0
    closed = wire.closed[0]
    assert closed is None or closed.broken


def ascending(pairs: list[tuple[int, int]], below: int) -> list[tuple[int, int]]:
    found = []
    for gap, size in pairs:
        found.append((below + 1 + gap, below + 1 + gap + size))
        below = found[-1][1]
    return found


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 2**32), st.sampled_from([kind for kind in Kind if kind is not Kind.DATA]), st.binary(max_size=200)
)
def test_whatever_a_hostile_peer_seals(seed: int, kind: Kind, inside: bytes) -> None:
    wire = Wire(seed, 0.0)
    wire.run(0.5)
    sealer = PacketSealer(secrets()[1].seal_key, secrets()[1].send_tag)
    sealer._count = 10_000
    wire.put(0, sealer.seal(kind, inside))
    wire.run(0.1)
    closed = wire.closed[0]
    assert closed is None or closed.broken or kind is Kind.CLOSE


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 2000), st.booleans())
def test_a_flood_of_fragments_fills_no_memory(seed: int, size: int, gaps: bool) -> None:
    random = Random(seed)
    wire = Wire(seed, 0.0)
    wire.run(0.5)
    lane, source, tag = wire.lanes[1], Address(IPS[0], 1, 0), secrets()[1].receive_tag
    for number in range(3000):
        offset = random.randrange(1, 2 * WINDOW if not number % 500 and not gaps else WINDOW - 3000)
        head = (Kind.DATA << 56 | number).to_bytes(8, "big") + tag.to_bytes(8, "big") + offset.to_bytes(8, "big")
        lane.receive_datagram(head + bytes(size), source, wire.now)
    assert lane._inbound.held <= WINDOW
    assert lane._inbound.holes <= WINDOW // 256 + 1
    assert all(isinstance(piece, bytes) for piece in lane._inbound._pieces.values())


def test_errors_are_of_the_protocol() -> None:
    lane = Wire(1, 0.0).lanes[1]
    source, tag = Address(IPS[0], 1, 0), secrets()[1].receive_tag
    head = (Kind.DATA << 56).to_bytes(8, "big") + tag.to_bytes(8, "big") + bytes(8)
    lane.receive_datagram(head + bytes(4), source, 0.0)
    (closed,) = [event for event in lane.events() if isinstance(event, Closed)]
    assert closed.broken
    assert "length" in closed.reason
    assert issubclass(ProtocolError, Exception)

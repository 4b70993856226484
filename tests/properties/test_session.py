"""Whatever lanes do, both streams arrive once and in order; whatever bytes come, only ProtocolError comes of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2pal.errors import ProtocolError
from p2pal.session.core import Session
from p2pal.session.events import Delivered, LaneAlive, LaneSilent, SessionClosed
from p2pal.wire.frames import Ack, Close, LaneAck, Ping, Pong, encode, encode_data

FRAME = 1024
WINDOW = 12 * FRAME
SIDES = st.integers(0, 1)


class Streams(RuleBasedStateMachine):
    """Two sessions; lanes that deliver late, go down at each end at another time, and drop what is on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.sides = [
            Session(max_frame=FRAME, window=WINDOW, peer_max_frame=FRAME, peer_window=WINDOW, now=0.0) for _ in range(2)
        ]
        self.sent: list[list[bytes]] = [[], []]
        self.got: list[list[bytes]] = [[], []]
        self.unconsumed = [0, 0]
        self.up: list[set[int]] = [set(), set()]
        self.wires: dict[tuple[int, int], deque[bytes]] = {}  # (lane, from side)
        self.lanes = 0

    @rule(side=SIDES, size=st.integers(1, FRAME - 9), count=st.integers(1, 10))
    def send(self, side: int, size: int, count: int) -> None:
        for _ in range(count):
            payload = bytes([len(self.sent[side]) % 256]) * size
            self.sides[side].send(payload, self.now)
            self.sent[side].append(payload)

    @precondition(lambda self: self.lanes < 12)
    @rule(controlled=st.booleans())
    def lane_up(self, controlled: bool) -> None:
        self.lanes += 1
        for side in (0, 1):
            self.sides[side].lane_up(self.lanes, self.now, controlled=controlled)
            self.up[side].add(self.lanes)
            self.wires[self.lanes, side] = deque()

    @rule(side=SIDES, data=st.data())
    def lane_down(self, side: int, data: st.DataObject) -> None:
        """One end closes; the other may still have what was on its way, or part of it, and learns later."""
        if self.up[side]:
            lane = data.draw(st.sampled_from(sorted(self.up[side])))
            self.up[side].discard(lane)
            self.sides[side].lane_down(lane, self.now)
            wire = self.wires[lane, side]
            for _ in range(data.draw(st.integers(0, len(wire)))):
                wire.pop()

    @rule(side=SIDES, data=st.data())
    def lane_stalled(self, side: int, data: st.DataObject) -> None:
        """What is on its way over a lane is due again, and may arrive twice."""
        if self.up[side]:
            self.sides[side].lane_stalled(data.draw(st.sampled_from(sorted(self.up[side]))), self.now)

    @rule(side=SIDES, data=st.data())
    def lane_resumed(self, side: int, data: st.DataObject) -> None:
        if self.up[side]:
            self.sides[side].lane_resumed(data.draw(st.sampled_from(sorted(self.up[side]))), self.now)

    @rule(side=SIDES, budget=st.integers(-10, 20 * FRAME), data=st.data())
    def flush(self, side: int, budget: int, data: st.DataObject) -> None:
        if self.up[side]:
            lane = data.draw(st.sampled_from(sorted(self.up[side])))
            self.wires[lane, side].extend(self.sides[side].outputs(lane, budget, self.now))

    @rule(side=SIDES, count=st.integers(1, 30), data=st.data())
    def arrive(self, side: int, count: int, data: st.DataObject) -> None:
        if self.up[side]:
            self._arrive(side, data.draw(st.sampled_from(sorted(self.up[side]))), count)

    def _arrive(self, side: int, lane: int, count: int) -> None:
        wire = self.wires[lane, 1 - side]
        for _ in range(min(count, len(wire))):
            self.sides[side].handle_frame(lane, wire.popleft(), self.now)
        self._events(side)

    def _events(self, side: int) -> None:
        for event in self.sides[side].events():
            if isinstance(event, Delivered):
                self.got[side].append(bytes(event.payload))
                self.unconsumed[side] += 1
            else:
                assert isinstance(event, (LaneSilent, LaneAlive))

    @rule(side=SIDES, data=st.data())
    def consume(self, side: int, data: st.DataObject) -> None:
        count = data.draw(st.integers(0, self.unconsumed[side]))
        self.sides[side].consumed(count, self.now)
        self.unconsumed[side] -= count

    @rule(seconds=st.floats(0.0, 7.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for side in (0, 1):
            self.sides[side].handle_timeout(self.now)
            due = self.sides[side].next_timeout()
            assert due is None or due > self.now
            self._events(side)

    @invariant()
    def nothing_is_out_of_order(self) -> None:
        for side in (0, 1):
            assert self.got[side] == self.sent[1 - side][: len(self.got[side])]
            unacked = self.sides[side].unacked_bytes
            assert 0 <= unacked <= sum(map(len, self.sent[side]))
            assert unacked >= sum(map(len, self.sent[side][len(self.got[1 - side]) + 12 :]))

    def teardown(self) -> None:
        """A lane comes up at last, and everything arrives."""
        for side in (0, 1):
            for lane in sorted(self.up[side]):
                self.sides[side].lane_down(lane, self.now)
            self.up[side].clear()
        self.lanes = 12 + self.lanes
        for side in (0, 1):
            self.sides[side].lane_up(self.lanes, self.now)
            self.up[side].add(self.lanes)
            self.wires[self.lanes, side] = deque()
        for _ in range(2000):
            self.now += 0.004
            for side in (0, 1):
                self.sides[side].consumed(self.unconsumed[side], self.now)
                self.unconsumed[side] = 0
                self.sides[side].handle_timeout(self.now)
                self.wires[self.lanes, side].extend(self.sides[side].outputs(self.lanes, 64 * FRAME, self.now))
                self._arrive(1 - side, self.lanes, 1000)
            if self.sides[0].drained and self.sides[1].drained:
                break
        assert self.sides[0].drained
        assert self.sides[1].drained
        assert self.got == [self.sent[1], self.sent[0]]


TestStreams = Streams.TestCase
TestStreams.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)


def make_states() -> dict[str, Callable[[], Session]]:
    """Return every state of a session, made anew at each call."""

    def fresh() -> Session:
        return Session(max_frame=FRAME, window=WINDOW, peer_max_frame=FRAME, peer_window=WINDOW, now=0.0)

    def with_lane() -> Session:
        session = fresh()
        session.lane_up(1, 0.0)
        return session

    def busy() -> Session:
        session = with_lane()
        for _ in range(3):
            session.send(b"x", 0.0)
        list(session.outputs(1, 1 << 20))
        session.handle_frame(1, encode_data(0, b"y"), 0.0)
        session.handle_frame(1, encode_data(2, b"y"), 0.0)
        session.handle_timeout(1.5)
        list(session.outputs(1, 1 << 20))
        return session

    def retired() -> Session:
        session = busy()
        session.lane_down(1, 0.0)
        return session

    def closing() -> Session:
        session = busy()
        session.close(0, "done", 0.0)
        return session

    def closed() -> Session:
        session = busy()
        session.handle_frame(1, encode(Close(0, "done")), 0.0)
        return session

    return {f.__name__: f for f in (fresh, with_lane, busy, retired, closing, closed)}


STATES = make_states()
FRAMES: dict[str, bytes] = {
    "data": encode_data(1, b"z"),
    "data again": encode_data(0, b"z"),
    "data past the edge": encode_data(12, b"z"),
    "ack": encode(Ack(2, 14, (), [LaneAck(1, 1, 0.0)])),
    "ack of what was never sent": encode(Ack(4, 12)),
    "ack of a lane that never was": encode(Ack(0, 12, (), [LaneAck(7, 0, 0.0)])),
    "ack with too wide a window": encode(Ack(0, 13)),
    "ping": encode(Ping(1)),
    "pong": encode(Pong(1)),
    "pong to nothing": encode(Pong(77)),
    "close": encode(Close(1, "bye")),
    "nonsense": b"\x99",
    "too large": bytes(FRAME + 1),
}
# Which frames break the rules, in which state; a retired lane's frames are dropped unread.
WHILE_OPEN = {"data past the edge", "ack of what was never sent", "ack of a lane that never was"}
WHILE_OPEN |= {"ack with too wide a window", "pong to nothing", "nonsense", "too large"}
REFUSED: dict[str, set[str]] = {
    "with_lane": WHILE_OPEN | {"ack", "pong"},
    "busy": WHILE_OPEN,
    "retired": set(),
    "closing": {"nonsense", "too large"},
    "closed": {"nonsense", "too large"},
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", FRAMES)
def test_every_frame_in_every_state(state: str, name: str) -> None:
    session = STATES[state]()
    expected: type[Exception] | None = None
    if state == "fresh":
        expected = ValueError
    elif name in REFUSED[state]:
        expected = ProtocolError
    if expected is None:
        session.handle_frame(1, FRAMES[name], 2.0)
        list(session.outputs(1, 1 << 20, 2.0))
        assert all(isinstance(event, (Delivered, SessionClosed, LaneAlive)) for event in session.events())
    else:
        with pytest.raises(expected):
            session.handle_frame(1, FRAMES[name], 2.0)


CALLS: dict[str, tuple[Callable[[Session], Any], dict[str, type[Exception]]]] = {
    "lane_up": (lambda s: s.lane_up(2, 2.0), {}),
    "lane_up of a used number": (lambda s: s.lane_up(1, 2.0), dict.fromkeys(set(STATES) - {"fresh"}, ValueError)),
    "lane_down": (lambda s: s.lane_down(1, 2.0), {"fresh": ValueError}),
    "send": (lambda s: s.send(b"x", 2.0), {"closing": RuntimeError, "closed": RuntimeError}),
    "consumed": (lambda s: s.consumed(1, 2.0), {"fresh": ValueError, "with_lane": ValueError}),
    "consumed nothing": (lambda s: s.consumed(0, 2.0), {}),
    "close": (lambda s: s.close(9, "x", 2.0), {}),
    "handle_timeout": (lambda s: s.handle_timeout(2.0), {}),
    "handle_timeout, much later": (lambda s: s.handle_timeout(1e6), {}),
    "next_timeout": (lambda s: s.next_timeout(), {}),
    "events": (lambda s: list(s.events()), {}),
    "outputs": (lambda s: list(s.outputs(1, 1 << 20, 2.0)), {"fresh": ValueError}),
    "properties": (lambda s: (s.writable, s.unacked_bytes, s.max_payload, s.closed, s.drained), {}),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", CALLS)
def test_every_call_in_every_state(state: str, name: str) -> None:
    call, errors = CALLS[name]
    session = STATES[state]()
    if state in errors:
        with pytest.raises(errors[state]):
            call(session)
    else:
        call(session)


_hostile = st.one_of(
    st.binary(max_size=60),
    st.builds(encode_data, st.integers(0, 20), st.binary(min_size=1, max_size=20)),
    st.builds(
        lambda n, room, start, length, lane, counter: encode(
            Ack(n, n + room, [(n + start, n + start + length)], [LaneAck(lane, counter, 0.001)])
        ),
        st.integers(0, 10), st.integers(0, 30), st.integers(0, 5), st.integers(0, 5), st.integers(0, 3),
        st.integers(0, 9),
    ),
    st.builds(lambda n: encode(Pong(n)), st.integers(0, 3)),
    st.builds(lambda n: encode(Ping(n)), st.integers(0, 3)),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(set(STATES) - {"fresh"})), st.lists(_hostile, max_size=30), st.booleans())
def test_hostile_bytes_give_only_protocol_errors(state: str, attack: list[bytes], drain: bool) -> None:
    session = STATES[state]()
    for step, frame in enumerate(attack):
        now = 2.0 + step
        try:
            session.handle_frame(1, frame, now)
        except ProtocolError:
            return
        session.handle_timeout(now)
        if drain:
            for output in session.outputs(1, 1 << 20, now):
                assert len(output) <= FRAME
        list(session.events())
        due = session.next_timeout()
        assert due is None or due > now

"""The session, call by call: two of them joined by hand."""

from __future__ import annotations

import pytest

from p2pal.errors import ProtocolError
from p2pal.session.core import CLOSE_WAIT, Session, window_frames
from p2pal.session.events import Delivered, SessionClosed, SessionEvent
from p2pal.wire.frames import MAX_CONTROL, Ack, Close, Data, LaneAck, Ping, Pong, decode, encode, encode_data

FRAME = 2048
PLENTY = 1 << 20


def session(window: int = 16 * FRAME) -> Session:
    return Session(max_frame=FRAME, window=window, peer_max_frame=FRAME, peer_window=window, now=0.0)


def pair(window: int = 16 * FRAME) -> tuple[Session, Session]:
    left, right = session(window), session(window)
    left.lane_up(1, 0.0)
    right.lane_up(1, 0.0)
    return left, right


def carry(source: Session, target: Session, now: float = 0.0, lane: int = 1) -> list[type]:
    """Move what the lane carries one way; return the kinds of frames."""
    kinds: list[type] = []
    for frame in source.outputs(lane, PLENTY, now):
        kinds.append(type(decode(frame)))
        target.handle_frame(lane, frame, now)
    return kinds


def delivered(events: list[SessionEvent]) -> list[bytes]:
    return [bytes(event.payload) for event in events if isinstance(event, Delivered)]


def test_a_payload_arrives_and_is_acknowledged() -> None:
    left, right = pair()
    left.send([b"hel", memoryview(b"lo")], 0.0)
    assert (left.unacked_bytes, left.drained) == (5, False)
    assert carry(left, right) == [Data]
    assert delivered(list(right.events())) == [b"hello"]
    assert list(right.events()) == []
    assert right.next_timeout() == 0.003
    right.handle_timeout(0.003)
    assert carry(right, left, 0.003) == [Ack]
    assert left.drained


@pytest.mark.parametrize("larger_sends", [True, False])
def test_each_direction_has_the_window_of_its_receiver(larger_sends: bool) -> None:
    """An older peer's window is smaller than ours: we keep to it, and it keeps to ours as far as it likes."""
    ours, theirs = 32 * FRAME, 16 * FRAME
    newer = Session(max_frame=FRAME, window=ours, peer_max_frame=FRAME, peer_window=theirs, now=0.0)
    older = Session(max_frame=FRAME, window=theirs, peer_max_frame=FRAME, peer_window=ours, now=0.0)
    for side in (newer, older):
        side.lane_up(1, 0.0, controlled=False)
    sender, receiver, window = (newer, older, theirs) if larger_sends else (older, newer, ours)
    payloads = [bytes([number]) * sender.max_payload for number in range(100)]
    for payload in payloads:
        sender.send(payload, 0.0)
    carry(sender, receiver)
    received = delivered(list(receiver.events()))
    assert len(received) == window_frames(window, FRAME) == window // FRAME
    while len(received) < len(payloads):
        receiver.consumed(1, 0.0)
        carry(receiver, sender)
        carry(sender, receiver)
        received += delivered(list(receiver.events()))
    assert received == payloads


def test_the_payload_is_a_view_into_the_frame() -> None:
    left, right = pair()
    left.send(b"x" * 1000, 0.0)
    (frame,) = left.outputs(1, PLENTY)
    right.handle_frame(1, frame, 0.0)
    (event,) = right.events()
    assert isinstance(event, Delivered)
    assert event.payload.obj is frame


def test_the_edge_stops_the_sender_until_payloads_are_consumed() -> None:
    left, right = pair(window=8 * FRAME)
    for _ in range(20):
        left.send(b"x", 0.0)
    assert len(carry(left, right)) == 8
    carry(right, left)
    assert carry(left, right) == []
    right.consumed(1, 0.0)
    assert carry(right, left) == []
    right.consumed(1, 0.0)
    assert carry(right, left) == [Ack]
    assert len(carry(left, right)) == 2


def test_eight_frames_or_a_gap_are_acknowledged_at_once() -> None:
    left, right = pair()
    for _ in range(12):
        left.send(b"x", 0.0)
    frames = list(left.outputs(1, PLENTY))
    for count, frame in enumerate(frames[:8], 1):
        right.handle_frame(1, frame, 0.0)
        assert len(list(right.outputs(1, PLENTY))) == (count == 8)
    right.handle_frame(1, frames[9], 0.0)
    (ack,) = right.outputs(1, PLENTY)
    received = decode(ack)
    assert isinstance(received, Ack)
    assert (received.next, received.ranges) == (8, [(9, 10)])


def test_a_lane_that_goes_down_gives_its_frames_to_the_next() -> None:
    left, right = pair()
    for number in range(4):
        left.send(bytes([number]), 0.0)
    frames = list(left.outputs(1, PLENTY))
    right.handle_frame(1, frames[0], 0.0)
    left.lane_down(1, 0.1)
    left.lane_up(2, 0.1)
    right.lane_up(2, 0.1)
    again = list(left.outputs(2, PLENTY))
    assert again == frames
    for frame in again:
        right.handle_frame(2, frame, 0.1)
    assert delivered(list(right.events())) == [bytes([number]) for number in range(4)]
    right.lane_down(1, 0.2)
    carry(right, left, 0.2, lane=2)
    assert left.drained


def test_a_probe_asks_every_lane() -> None:
    left, _ = pair()
    left.lane_up(2, 0.0)
    left.probe(1.0)
    for lane in (1, 2):
        assert [type(decode(frame)) for frame in left.outputs(lane, 1 << 20, 1.0)] == [Ping]


def test_the_counters_of_a_retired_lane_may_still_be_acknowledged() -> None:
    left, _ = pair()
    left.send(b"x", 0.0)
    list(left.outputs(1, PLENTY))
    left.lane_down(1, 0.0)
    left.lane_up(2, 0.0)
    left.handle_frame(2, encode(Ack(1, 17, (), [LaneAck(1, 0, 0.0)])), 0.0)
    assert left.drained
    with pytest.raises(ProtocolError, match="never sent"):
        left.handle_frame(2, encode(Ack(1, 17, (), [LaneAck(1, 1, 0.0)])), 0.0)


def test_data_respects_the_budget_and_control_frames_do_not() -> None:
    left, right = pair()
    for _ in range(3):
        left.send(b"x" * 1000, 0.0)
    assert len(list(left.outputs(1, 2500))) == 2
    left.handle_frame(1, encode(Ping(5)), 0.0)
    assert [decode(frame) for frame in left.outputs(1, 0)] == [Pong(5)]
    left.handle_frame(1, encode(Ping(6)), 0.0)
    assert list(left.outputs(1, -PLENTY)) == []
    assert isinstance(right, Session)


def test_a_controlled_lane_is_limited_by_its_window_and_another_is_not() -> None:
    big = 64 * 1024
    for controlled, expected in ((True, 4), (False, 20)):
        sender = Session(max_frame=big, window=1 << 24, peer_max_frame=big, peer_window=1 << 24, now=0.0)
        sender.lane_up(1, 0.0, controlled=controlled)
        for _ in range(20):
            sender.send(bytes(sender.max_payload), 0.0)
        assert len(list(sender.outputs(1, 1 << 24))) == expected


def test_a_controlled_lane_counts_in_usual_frames_and_takes_a_larger_one() -> None:
    usual, big = 64 * 1024, 255 * 1024
    usually, mostly = (
        Session(max_frame=big, window=1 << 24, peer_max_frame=big, peer_window=1 << 24, now=0.0, usual_frame=frame)
        for frame in (usual, None)
    )
    for session in (usually, mostly):
        session.lane_up(1, 0.0)
        for _ in range(3):
            session.send(bytes(session.max_payload), 0.0)
    assert len(list(usually.outputs(1, 1 << 24))) == 1
    assert len(list(mostly.outputs(1, 1 << 24))) == 2, "two of the largest always fit"


def test_a_consumer_that_stops_half_way_loses_nothing() -> None:
    left, right = pair()
    for number in range(3):
        left.send(bytes([number]), 0.0)
    outputs = left.outputs(1, PLENTY)
    right.handle_frame(1, next(outputs), 0.0)
    left.lane_down(1, 0.0)
    assert list(outputs) == []
    left.lane_up(2, 0.0)
    right.lane_up(2, 0.0)
    carry(left, right, lane=2)
    assert delivered(list(right.events())) == [bytes([number]) for number in range(3)]


def test_writable_until_a_mebibyte_waits() -> None:
    sender = session()
    count = 0
    while sender.writable:
        sender.send(bytes(1024), 0.0)
        count += 1
    assert count == 1024


def test_idle_lanes_are_pinged_and_answer() -> None:
    left, right = pair()
    assert left.next_timeout() == 5.0
    left.handle_timeout(5.0)
    assert carry(left, right, 5.0) == [Ping]
    assert carry(right, left, 5.0) == [Pong]
    assert list(left.events()) == []


def test_closing_is_answered_on_the_same_lane() -> None:
    left, right = pair()
    left.send(b"last", 0.0)
    carry(left, right)
    left.close(3, "enough", 0.0)
    left.close(4, "again", 0.0)
    assert left.closed
    assert not left.writable
    assert list(left.events()) == []
    assert carry(left, right) == [Ack, Close]
    events = list(right.events())
    assert delivered(events) == [b"last"]
    assert events[-1] == SessionClosed(3, "enough", by_peer=True)
    assert right.closed
    assert carry(right, left) == [Close]
    assert list(left.events()) == [SessionClosed(3, "enough", by_peer=False)]
    assert carry(left, right) == carry(right, left) == []
    assert left.next_timeout() is None


def test_closing_tells_first_what_arrived() -> None:
    left, right = pair()
    left.send(b"last", 0.0)
    carry(left, right)
    right.close(0, "done", 0.0)
    assert carry(right, left) == [Ack, Close]
    assert left.drained


def test_both_may_close_at_once() -> None:
    left, right = pair()
    left.close(1, "left", 0.0)
    right.close(2, "right", 0.0)
    (_, from_left), (_, from_right) = list(left.outputs(1, PLENTY)), list(right.outputs(1, PLENTY))
    left.handle_frame(1, from_right, 0.0)
    right.handle_frame(1, from_left, 0.0)
    assert list(left.events()) == [SessionClosed(1, "left", by_peer=False)]
    assert list(right.events()) == [SessionClosed(2, "right", by_peer=False)]
    assert list(left.outputs(1, PLENTY)) == list(right.outputs(1, PLENTY)) == []


def test_without_an_answer_closing_ends_by_itself() -> None:
    left, _ = pair()
    left.close(0, "done", 1.0)
    assert left.next_timeout() == 1.0 + CLOSE_WAIT
    left.handle_timeout(2.0)
    assert list(left.events()) == []
    left.handle_timeout(1.0 + CLOSE_WAIT)
    assert list(left.events()) == [SessionClosed(0, "done", by_peer=False)]


def test_after_the_end_frames_are_checked_and_dropped() -> None:
    left, _ = pair()
    left.close(0, "done", 0.0)
    left.handle_frame(1, encode_data(10**6, b"x"), 0.0)
    with pytest.raises(ProtocolError):
        left.handle_frame(1, b"\xff", 0.0)


@pytest.mark.parametrize("payload", [b"", [], bytes(FRAME), [bytes(FRAME // 2)] * 2])
def test_payloads_have_a_size(payload: bytes | list[bytes]) -> None:
    with pytest.raises(ValueError, match="a payload has 1 to"):
        session().send(payload, 0.0)


def test_misuse_is_refused() -> None:
    left, _ = pair()
    with pytest.raises(ValueError, match="used once"):
        left.lane_up(1, 0.0)
    with pytest.raises(ValueError, match="no lane 9"):
        left.handle_frame(9, encode(Ping(1)), 0.0)
    with pytest.raises(ValueError, match="no lane 9"):
        left.lane_down(9, 0.0)
    with pytest.raises(ValueError, match="no lane 9"):
        list(left.outputs(9, 1))
    with pytest.raises(ValueError, match="more payloads consumed"):
        left.consumed(1, 0.0)
    with pytest.raises(ValueError, match="16 bits"):
        left.close(2**16, "", 0.0)
    with pytest.raises(ValueError, match="at least"):
        Session(max_frame=MAX_CONTROL - 1, window=1, peer_max_frame=FRAME, peer_window=1, now=0.0)
    left.lane_down(1, 0.0)
    left.lane_down(1, 0.0)
    left.handle_frame(1, encode(Ping(1)), 0.0)
    assert list(left.outputs(1, PLENTY)) == []
    with pytest.raises(ValueError, match="used once"):
        left.lane_up(1, 0.0)
    left.close(0, "", 0.0)
    with pytest.raises(RuntimeError, match="closed"):
        left.send(b"x", 0.0)


def test_a_window_has_at_least_eight_frames() -> None:
    assert window_frames(1, 1024) == 8
    assert window_frames(1 << 20, 1 << 16) == 16


def test_what_is_consumed_while_no_lane_is_up_is_told_to_the_next() -> None:
    left, right = pair(window=8 * FRAME)
    for _ in range(16):
        left.send(b"x", 0.0)
    carry(left, right)
    carry(right, left)
    left.lane_down(1, 0.0)
    right.lane_down(1, 0.0)
    right.consumed(8, 0.0)
    left.lane_up(2, 0.0)
    right.lane_up(2, 0.0)
    assert carry(left, right, lane=2) == []
    assert carry(right, left, lane=2) == [Ack]
    assert len(carry(left, right, lane=2)) == 8


def test_an_acknowledgement_lost_with_its_lane_is_repeated_on_another() -> None:
    left, right = pair()
    for side in (left, right):
        side.lane_up(2, 0.0)
    left.send(b"x", 0.0)
    carry(left, right)
    right.handle_timeout(0.003)
    list(right.outputs(1, PLENTY))
    right.lane_down(1, 0.004)
    assert carry(right, left, lane=2) == [Ack]
    assert left.drained


def test_what_a_stalled_lane_has_goes_over_another_as_well() -> None:
    left, right = pair()
    for number in range(4):
        left.send(bytes([number]), 0.0)
    frames = list(left.outputs(1, PLENTY))
    left.lane_up(2, 0.1)
    right.lane_up(2, 0.1)
    left.lane_stalled(1, 0.5)
    assert list(left.outputs(2, PLENTY)) == frames
    for frame in frames:
        right.handle_frame(2, frame, 0.6)
    for frame in frames:
        right.handle_frame(1, frame, 0.7)  # it had only been late
    assert delivered(list(right.events())) == [bytes([number]) for number in range(4)]
    carry(right, left, 0.7, lane=2)
    carry(right, left, 0.7, lane=1)
    assert left.drained


def test_what_a_lane_that_resumes_has_is_not_sent_again() -> None:
    left, right = pair()
    for number in range(4):
        left.send(bytes([number]), 0.0)
    frames = list(left.outputs(1, PLENTY))
    left.lane_up(2, 0.1)
    left.lane_stalled(1, 0.5)
    assert next(left.outputs(2, PLENTY)) == frames[0]
    left.lane_resumed(1, 0.6)
    assert list(left.outputs(2, PLENTY)) == []
    for frame in frames:
        right.handle_frame(1, frame, 0.7)
    assert delivered(list(right.events())) == [bytes([number]) for number in range(4)]
    right.handle_timeout(0.8)
    carry(right, left, 0.8)
    assert left.drained


def test_what_arrived_before_a_stall_is_told_once_more_over_the_other_lane() -> None:
    left, right = pair()
    left.send(b"x", 0.0)
    carry(left, right)
    list(right.outputs(1, PLENTY, 0.1))
    right.lane_up(2, 0.1)
    list(right.outputs(2, PLENTY, 0.1))
    right.lane_stalled(1, 0.5)
    assert [type(decode(frame)) for frame in right.outputs(2, PLENTY, 0.5)] == [Ack]


def test_a_lane_that_is_over_does_not_stall() -> None:
    left, _ = pair()
    left.lane_down(1, 0.0)
    left.lane_stalled(1, 0.1)
    with pytest.raises(ValueError, match="no lane"):
        left.lane_stalled(9, 0.1)
    left.lane_resumed(1, 0.1)

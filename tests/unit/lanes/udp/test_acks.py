"""When acknowledgements are due, and what they tell."""

from __future__ import annotations

from p2pal.lanes.udp.acks import ACK_BYTES, ACK_DELAY, ACK_FIRST, ACK_PACKETS, NEVER, TOLD, AckTracker
from p2pal.lanes.udp.packet import MAX_RANGES, decode_ack, encode_ack
from p2pal.lanes.udp.stream import ReceiveStream

STREAM = ReceiveStream()


def past_the_first() -> AckTracker:
    tracker = AckTracker()
    tracker.on_packets(0, ACK_FIRST, 1000, 0, 1.0, 1.0)
    assert tracker.due_at == 1.0
    tracker.take(STREAM, 1.0)
    assert tracker.due_at == NEVER
    return tracker


def test_a_packet_is_acknowledged_after_a_moment() -> None:
    tracker = past_the_first()
    tracker.on_packets(64, 1, 1000, 0, 2.0, 2.0)
    tracker.on_packets(65, 1, 1000, 0, 2.001, 2.001)
    assert tracker.due_at == 2.0 + ACK_DELAY
    ack = tracker.take(STREAM, 2.002)
    assert ack.packets == [(0, 66)]
    assert abs(ack.delay - 0.001) < 1e-9
    assert ack.received == 2.001


def test_many_packets_or_bytes_are_acknowledged_at_once() -> None:
    tracker = past_the_first()
    tracker.on_packets(64, ACK_PACKETS, 1000, 0, 2.0, 2.0)
    assert tracker.due_at == 2.0
    tracker.take(STREAM, 2.0)
    tracker.on_packets(96, 1, ACK_BYTES, 0, 3.0, 3.0)
    assert tracker.due_at == 3.0


def test_who_asks_is_told_at_once() -> None:
    tracker = past_the_first()
    tracker.on_packets(64, 1, 1000, 0, 2.0, 2.0, asked=True)
    assert tracker.due_at == 2.0
    tracker.take(STREAM, 2.0)
    tracker.on_packets(65, 1, 1000, 0, 2.0, 2.0)
    assert tracker.due_at == 2.0 + ACK_DELAY


def test_a_new_gap_is_told_at_once_and_an_old_one_is_not() -> None:
    tracker = past_the_first()
    tracker.on_packets(70, 1, 1000, 1, 2.0, 2.0)
    assert tracker.due_at == 2.0
    tracker.take(STREAM, 2.0)
    tracker.on_packets(71, 1, 1000, 1, 2.0, 2.0)
    assert tracker.due_at > 2.0


def test_what_was_told_often_is_forgotten_and_the_newest_is_not() -> None:
    tracker = AckTracker()
    for number in range(0, 4 * TOLD, 2):
        tracker.on_packets(number, 1, 1000, 0, 1.0, 1.0)
        ack = tracker.take(STREAM, 1.0)
        assert ack.packets[-1] == (number, number + 1)
    assert len(tracker._packets) <= TOLD + 1


def test_very_many_ranges_fit_one_ack() -> None:
    tracker = AckTracker()
    for number in range(0, 2000, 2):
        tracker.on_packets(number, 1, 1000, 0, 1.0, 1.0)
    assert len(tracker._packets) <= 4 * MAX_RANGES
    ack = decode_ack(encode_ack(tracker.take(STREAM, 1.0)))
    assert len(ack.packets) == MAX_RANGES
    assert ack.packets[-1] == (1998, 1999)


def test_a_late_packet_is_told() -> None:
    tracker = past_the_first()
    tracker.on_packets(100, 10, 1000, 0, 2.0, 2.0)
    tracker.on_packets(80, 1, 1000, 0, 2.0, 2.0)
    assert tracker.take(STREAM, 2.0).packets == [(0, 64), (80, 81), (100, 110)]

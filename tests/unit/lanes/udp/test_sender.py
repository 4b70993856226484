"""The sending half: what a late loop and a full window make of it."""

from __future__ import annotations

import pytest

from p2pal.lanes.udp.data_packet import DATA_HEADER, read_data
from p2pal.lanes.udp.entropy import Entropy
from p2pal.lanes.udp.packet import AckFields
from p2pal.lanes.udp.sender import DatagramSender

TAG = 7
RTT = 0.02


def sender(*, loopback: bool = False) -> DatagramSender:
    one = DatagramSender(TAG, Entropy(bytes(32)), 1.0)
    one.use_path(1.0, RTT, ipv6=False, loopback=loopback, dead=False)
    return one


def send_all(one: DatagramSender, began: float) -> list[bool]:
    """Send for a millisecond what may leave; return of each batch whether it asks for an acknowledgement."""
    asks = []
    for microseconds in range(0, 1000, 10):
        while (found := one.next_batch(began + microseconds / 1e6)) is not None:
            (run,) = read_data(b"".join(found.buffers), found.segment, TAG)
            asks.append(run.ask)
    return asks


def test_acknowledgements_that_are_read_late_are_taken_as_of_when_they_came() -> None:
    one = sender()
    one.stream.write(bytes(5000))
    assert send_all(one, 1.0)
    assert not one.stream.unsent
    sent = one.loss.next_number
    assert sent > 2
    # The last packet was faster than the others by a millisecond; the loop was busy for 0.3 s, and reads both then.
    last = one.stream.sent - 100, one.stream.sent
    one.on_ack(AckFields(9.0, 0.0, 0, [(sent - 1, sent)], [last]), 1.3, 1.0 + RTT)
    one.on_ack(AckFields(9.001, 0.0, one.stream.sent, [(0, sent)], []), 1.3, 1.001 + RTT)
    assert one.rate.lost == 0
    assert one.loss.rtt.smoothed == pytest.approx(RTT, rel=0.1)
    assert one.congestion.min_rtt == pytest.approx(RTT, rel=0.1)
    assert one.idle


def test_times_of_arrival_never_go_back() -> None:
    one = sender()
    for number, arrived in enumerate((1.5, 1.1, 99.0)):
        one.stream.write(bytes(100))
        assert send_all(one, 1.0 + number / 10)
        one.on_ack(AckFields(9.0, 0.0, one.stream.sent, [(number, number + 1)], []), 1.6, arrived)
    assert one._heard_at == 1.6
    assert one.idle


def test_a_full_window_within_one_machine_holds_a_question() -> None:
    one = sender(loopback=True)
    for now, size in enumerate((1200, 8972, 32_000, 65_507), 1):
        one.mtu.size = size
        one.resize()
        assert one.congestion.window >= size
        while one.stream.unsent < 2 * one.congestion.window:
            one.stream.write(bytes(64_000))
        asks = send_all(one, now)
        assert any(asks), "nobody would tell before the acknowledgement is due by itself"
        assert sum(asks) <= 6
        one.on_ack(AckFields(9.0, 0.0, one.stream.sent, [(0, one.loss.next_number)], []), now + 0.1, now + 0.1)


def test_a_path_through_a_network_is_never_asked() -> None:
    one = sender()
    one.stream.write(bytes(200_000))
    assert not any(send_all(one, 1.0))
    assert one.loss.in_flight > DATA_HEADER


def write_much(one: DatagramSender) -> None:
    for _ in range(150):
        one.stream.write(bytes(64_000))


def sent_at(one: DatagramSender, now: float) -> int:
    """Send what may leave at one moment; return how many bytes that is."""
    return sum(found.size for found in iter(lambda: one.next_batch(now), None))


def test_a_late_loop_makes_up_for_some_of_what_it_missed() -> None:
    one = sender()
    write_much(one)
    one.congestion.window = 1e9
    on_time = sent_at(one, 1.0)
    assert sent_at(one, 1.0) == 0
    rate = one.congestion.pacing_rate
    assert sent_at(one, 1.008) == pytest.approx(0.008 * rate, abs=2 * on_time)
    assert sent_at(one, 9.0) == pytest.approx(RTT * rate, abs=2 * on_time)


def test_a_time_without_room_or_without_anything_to_send_is_not_made_up_for() -> None:
    one = sender()
    write_much(one)
    one.congestion.window = 20_000.0
    for milliseconds in range(10):
        sent_at(one, 1.0 + milliseconds / 1000)
    on_the_way = one.loss.in_flight
    assert on_the_way > 18_000
    number = one.loss.next_number
    one.on_ack(AckFields(9.0, 0.0, one.stream.sent, [(0, number)], []), 1.5, 1.5)
    one.congestion.window = 1e9
    batch = one.congestion.burst + one.mtu.size
    assert sent_at(one, 1.5) <= batch, "the window was full, so nothing is to be caught up with"
    # Read late, it counts as of when it came.
    one.congestion.window = 0.0
    sent_at(one, 1.6)
    number = one.loss.next_number
    one.congestion.window = 1e9
    one.on_ack(AckFields(9.1, 0.0, one.stream.sent, [(0, number)], []), 1.708, 1.7)
    one.congestion.window = 1e9
    assert sent_at(one, 1.708) > 0.006 * one.congestion.pacing_rate
    # And so where there was nothing to send.
    one = sender()
    one.congestion.window = 1e9
    assert sent_at(one, 5.0) == 0
    write_much(one)
    assert 0 < sent_at(one, 6.0) <= batch

"""Loss detection: what arrived, what is lost, and what no peer can know."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.errors import ProtocolError
from p2pal.lanes.udp.data_packet import DATA_HEADER
from p2pal.lanes.udp.loss import (
    MAX_PTO,
    PACKET_THRESHOLD,
    LossDetection,
    Lost,
    SentBatch,
)
from p2pal.lanes.udp.rtt import RttEstimator

SIZE = 1000
WIRE = SIZE + DATA_HEADER


def detection(rtt: float = 0.1) -> LossDetection:
    return LossDetection(RttEstimator(rtt))


def sent(loss: LossDetection, count: int, now: float, last: int = SIZE) -> SentBatch:
    """Send a batch of packets whose stream offset follows from their number."""
    number = loss.next_number
    offset = number * SIZE
    batch = SentBatch(number, count, offset, offset + SIZE * (count - 1) + last, SIZE, now, 0)
    loss.on_sent(batch)
    return batch


def numbers(lost: list[Lost]) -> list[tuple[int, int]]:
    return [(each.start, each.stop) for each in lost]


def test_the_first_round_trip_counts_whole_and_later_ones_by_an_eighth() -> None:
    rtt = RttEstimator(0.3)
    rtt.add(0.1, 0.02)
    assert (rtt.smoothed, rtt.variation, rtt.least) == (0.1, 0.05, 0.1)
    rtt.add(0.2, 0.02)  # RFC 9002, section 5.3
    assert rtt.smoothed == pytest.approx(0.1 * 7 / 8 + 0.18 / 8)
    assert rtt.variation == pytest.approx(0.05 * 3 / 4 + 0.08 / 4)


def test_a_delay_that_cannot_be_is_not_taken_off() -> None:
    rtt = RttEstimator()
    rtt.add(0.1, 0.0)
    assert rtt.add(0.11, 0.5) == 0.11
    assert rtt.least == 0.1


def test_what_arrives_is_no_longer_on_the_way() -> None:
    loss = detection()
    first, second = sent(loss, 10, 1.0), sent(loss, 5, 1.1, last=300)
    assert loss.in_flight == 14 * WIRE + 300 + DATA_HEADER
    acked = loss.on_ack([(0, 4), (12, 15)])
    assert acked.size == 6 * WIRE + 300 + DATA_HEADER
    assert acked.newest is second
    assert acked.is_largest
    assert first.missing == [(4, 10)]
    assert second.missing == [(10, 12)]
    assert loss.in_flight == 8 * WIRE
    assert loss.on_ack([(0, 4), (12, 15)]).size == 0
    loss.on_ack([(0, 15)])
    assert loss.in_flight == 0


def test_what_many_packets_overtook_is_lost_and_what_few_overtook_is_not() -> None:
    loss = detection()
    sent(loss, 30, 1.0)
    loss.on_ack([(0, 5), (6, 6 + PACKET_THRESHOLD - 1)])
    assert loss.detect(1.05) == []
    loss.on_ack([(0, 5), (6, 6 + PACKET_THRESHOLD)])
    assert numbers(loss.detect(1.05)) == [(5, 6)]
    assert loss.detect(1.06) == []


def test_what_was_overtaken_is_lost_after_a_while() -> None:
    loss = detection(0.1)
    sent(loss, 2, 1.0)
    loss.on_ack([(1, 2)])
    assert loss.detect(1.1) == []
    due = loss.next_timeout()
    assert due == pytest.approx(1.0 + 0.1 * 9 / 8)
    assert numbers(loss.detect(due)) == [(0, 1)]
    assert loss.in_flight == 0


def test_lost_packets_name_their_bytes() -> None:
    loss = detection()
    sent(loss, 3, 1.0, last=10)
    sent(loss, 40, 1.0)
    loss.on_ack([(0, 1), (20, 43)])
    (lost, *_) = loss.detect(1.01)
    assert lost.batch.range_of(lost.start, lost.stop) == (SIZE, 2 * SIZE + 10)


def test_a_loss_that_was_none_makes_it_more_patient() -> None:
    loss = detection()
    sent(loss, 60, 1.0)
    loss.on_ack([(0, 5), (6, 30)])
    assert numbers(loss.detect(1.01)) == [(5, 6)]
    assert loss.on_ack([(0, 30)]).spurious == WIRE
    loss.on_ack([(0, 30), (31, 31 + PACKET_THRESHOLD + 2)])
    assert loss.detect(1.02) == []


@pytest.mark.parametrize("ranges", [[(0, 11)], [(10, 11)], [(0, 1), (500, 501)], [(2**48 - 1, 2**48)]])
def test_a_packet_that_was_never_sent(ranges: list[tuple[int, int]]) -> None:
    loss = detection()
    sent(loss, 10, 1.0)
    with pytest.raises(ProtocolError, match="never sent"):
        loss.on_ack(ranges)


def test_an_optimistic_peer_acknowledges_the_number_that_was_left_out() -> None:
    loss = detection()
    sent(loss, 10, 1.0)
    loss.skip()
    sent(loss, 10, 1.0)
    loss.on_ack([(0, 10), (11, 21)])
    with pytest.raises(ProtocolError, match="never sent"):
        loss.on_ack([(0, 21)])


def test_probe_timeouts_back_off_and_end_with_an_acknowledgement() -> None:
    loss = detection(0.1)
    sent(loss, 1, 1.0)
    waits = []
    for _ in range(8):
        due = loss.next_timeout()
        waits.append(due - 1.0)
        assert not loss.on_timeout(due - 0.001)
        assert loss.on_timeout(due)
    assert waits == sorted(waits)
    assert waits[1] == pytest.approx(2 * waits[0])
    assert waits[-1] <= MAX_PTO
    loss.on_ack([(0, 1)])
    assert loss.pto_count == 0
    assert loss.next_timeout() == float("inf")


def test_congestion_is_persistent_only_if_nothing_in_between_arrived() -> None:
    loss = detection(0.05)
    batches = [sent(loss, 1, 1.0 + index) for index in range(10)]
    assert loss.is_persistent([Lost(batch, batch.number, batch.number + 1) for batch in batches])
    assert not loss.is_persistent([Lost(batch, batch.number, batch.number + 1) for batch in batches[::2]])
    assert not loss.is_persistent([Lost(batches[0], 0, 1)])


def test_a_dead_path_loses_all_that_was_on_the_way_and_a_living_one_nothing() -> None:
    loss = detection()
    sent(loss, 10, 1.0)
    assert loss.change_path(1, RttEstimator(0.1), dead=False) == []
    assert loss.in_flight == 0
    assert loss.on_ack([(0, 5)]).size == 5 * WIRE
    assert loss.in_flight == 0
    assert numbers(loss.change_path(2, RttEstimator(0.1), dead=True)) == [(5, 10)]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(1, 64), min_size=1, max_size=15),
    st.lists(st.lists(st.tuples(st.integers(0, 700), st.integers(1, 80)), max_size=8), max_size=8),
)
def test_every_packet_arrives_or_is_lost_once(counts: list[int], acks: list[list[tuple[int, int]]]) -> None:
    loss = detection(0.1)
    now = 1.0
    for count in counts:
        sent(loss, count, now)
        now += 0.01
    total = sum(counts)
    arrived: set[int] = set()
    lost: list[int] = []
    size = 0
    for ranges in acks:
        told = {n for start, count in ranges for n in range(start, start + count) if n < total}
        merged: list[tuple[int, int]] = []
        for number in sorted(told):
            if merged and merged[-1][1] == number:
                merged[-1] = merged[-1][0], number + 1
            else:
                merged.append((number, number + 1))
        size += loss.on_ack(merged).size
        arrived |= told - set(lost)
        now += 0.02
        for _, start, stop in loss.detect(now):
            lost += range(start, stop)
        assert not arrived & set(lost)
        assert len(lost) == len(set(lost))
        assert size == len(arrived) * WIRE
        assert loss.in_flight == (total - len(arrived) - len(lost)) * WIRE

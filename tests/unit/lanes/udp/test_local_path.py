"""The window within one machine: as much as the buffer holds, less after a loss, and never paced."""

from __future__ import annotations

import pytest

from p2pal.lanes.udp.local_path import BETA, MIN_WINDOW, RATE, LocalPath
from p2pal.lanes.udp.packet import MAX_DATAGRAM
from p2pal.lanes.udp.rate import RateSample


def sample(acked: int, lost: int = 0, in_flight: int = 0, rtt: float = 0.01) -> RateSample:
    return RateSample(1e9, False, acked, acked, lost, 0, acked, lost, in_flight, rtt)


@pytest.mark.parametrize(
    ("buffer", "segment", "datagrams"),
    # What Linux 6.18 took at most without a loss, whatever was read meanwhile.
    [
        (212_992, 1200, 69), (212_992, 1472, 69), (212_992, 8972, 9), (212_992, 32_000, 5), (212_992, MAX_DATAGRAM, 3),
        (425_984, 1200, 138), (425_984, 8972, 19), (425_984, 16_000, 19), (425_984, 32_000, 9),
        (425_984, 49_000, 6), (425_984, MAX_DATAGRAM, 5),
    ],
)  # fmt: skip
def test_what_the_buffer_holds_may_be_on_the_way(buffer: int, segment: int, datagrams: int) -> None:
    path = LocalPath(0.001, buffer, 1200)
    path.resize(segment)
    assert path.window <= max(datagrams * segment, MIN_WINDOW)
    assert path.window >= 0.7 * datagrams * segment


def test_one_datagram_may_be_on_the_way_whatever_the_buffer() -> None:
    assert LocalPath(0.001, 1, 1200).window == MIN_WINDOW


def test_delays_change_nothing() -> None:
    path = LocalPath(0.001, 1_000_000, MAX_DATAGRAM)
    before = path.window
    for rtt in (0.001, 0.5, 10.0):
        path.on_ack(sample(100_000, rtt=rtt), 1.0)
    assert path.window == before
    assert path.pacing_rate == RATE
    assert path.min_rtt == 0.001


def test_a_loss_costs_once_for_all_that_was_on_the_way_and_is_made_good() -> None:
    path = LocalPath(0.001, 1_000_000, MAX_DATAGRAM)
    before = path.window
    path.on_ack(sample(10_000, lost=60_000, in_flight=100_000), 1.0)
    path.on_ack(sample(10_000, lost=60_000, in_flight=90_000), 1.0)
    assert path.window == BETA * before
    for _ in range(200):
        path.on_ack(sample(100_000), 1.0)
    assert path.window == before


def test_one_datagram_may_always_be_on_the_way() -> None:
    path = LocalPath(0.001, 1_000_000, MAX_DATAGRAM)
    for _ in range(50):
        path.on_ack(sample(100_000, lost=60_000), 1.0)
    assert path.window == MIN_WINDOW
    path.on_persistent_congestion(1.0)
    assert path.window == MIN_WINDOW

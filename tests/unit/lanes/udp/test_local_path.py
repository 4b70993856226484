"""The window within one machine: as much as the buffer holds, less after a loss, and never paced."""

from __future__ import annotations

from p2pal.lanes.udp.local_path import BETA, MIN_WINDOW, RATE, SHARE, LocalPath
from p2pal.lanes.udp.rate import RateSample


def sample(acked: int, lost: int = 0, in_flight: int = 0, rtt: float = 0.01) -> RateSample:
    return RateSample(1e9, False, acked, acked, lost, 0, acked, lost, in_flight, rtt)


def test_the_buffer_is_what_may_be_on_the_way() -> None:
    assert LocalPath(0.001, 1_000_000).window == SHARE * 1_000_000
    assert LocalPath(0.001, 1).window == MIN_WINDOW


def test_delays_change_nothing() -> None:
    path = LocalPath(0.001, 1_000_000)
    for rtt in (0.001, 0.5, 10.0):
        path.on_ack(sample(100_000, rtt=rtt), 1.0)
    assert path.window == SHARE * 1_000_000
    assert path.pacing_rate == RATE
    assert path.min_rtt == 0.001


def test_a_loss_costs_once_for_all_that_was_on_the_way_and_is_made_good() -> None:
    path = LocalPath(0.001, 1_000_000)
    before = path.window
    path.on_ack(sample(10_000, lost=60_000, in_flight=100_000), 1.0)
    path.on_ack(sample(10_000, lost=60_000, in_flight=90_000), 1.0)
    assert path.window == BETA * before
    for _ in range(200):
        path.on_ack(sample(100_000), 1.0)
    assert path.window == before


def test_one_datagram_may_always_be_on_the_way() -> None:
    path = LocalPath(0.001, 1_000_000)
    for _ in range(50):
        path.on_ack(sample(100_000, lost=60_000), 1.0)
    assert path.window == MIN_WINDOW
    path.on_persistent_congestion(1.0)
    assert path.window == MIN_WINDOW

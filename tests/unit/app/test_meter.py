from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.app.meter import Meter


def test_a_steady_rate_is_told_exactly_from_the_start() -> None:
    meter = Meter(10.0)
    assert meter.rate == 0.0
    for second in range(1, 20):
        assert meter.sample(second * 1000, 10.0 + second) == pytest.approx(1000.0)
    assert meter.eta(5000) == pytest.approx(5.0)


def test_a_stall_shows_within_seconds_and_a_hiccup_hardly() -> None:
    meter = Meter(0.0)
    for tick in range(1, 51):
        meter.sample(tick * 200, tick * 0.2)
    assert meter.sample(50 * 200, 10.2) > 900
    for tick in range(52, 100):
        meter.sample(50 * 200, tick * 0.2)
    assert meter.rate == 0.0
    assert meter.eta(1) is None
    # What comes afterwards has a rate of its own.
    assert meter.sample(50 * 200 + 400, 20.2) == pytest.approx(1000.0, rel=0.1)


def test_samples_that_come_too_fast_count_together() -> None:
    meter = Meter(0.0)
    assert meter.sample(1000, 0.01) == 0.0
    assert meter.sample(1000, 1.0) == pytest.approx(1000.0)


def test_what_cannot_be_told_is_none() -> None:
    meter = Meter(0.0)
    assert meter.eta(1) is None
    assert meter.eta(0) == 0.0
    assert meter.eta(-5) == 0.0
    meter.sample(0, 1.0)
    assert meter.eta(1) is None


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**12), st.floats(0, 100)), max_size=30))
def test_the_rate_is_never_negative_nor_beyond_the_fastest_moment(steps: list[tuple[int, float]]) -> None:
    meter, now, done, fastest = Meter(0.0), 0.0, 0, 0.0
    for more, seconds in steps:
        now += 0.05 + seconds
        done += more
        fastest = max(fastest, more / (0.05 + seconds))
        assert 0.0 <= meter.sample(done, now) <= fastest * 1.001 + 1e-6

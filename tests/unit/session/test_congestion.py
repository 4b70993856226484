"""The window: its invariants under any history, and what single rounds do to it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.session.congestion import (
    HEADROOM,
    INITIAL_WINDOW,
    MAX_WINDOW,
    MIN_WINDOW,
    MIN_WINDOW_FRAMES,
    RATE_ROUNDS,
    Congestion,
    tolerated_delay,
)

FRAME = 64 * 1024


def round_trip(congestion: Congestion, rtt: float | None, size: int = FRAME) -> None:
    """Fill the window, and have all of it acknowledged at once."""
    while congestion.can_send(size):
        congestion.on_sent(size, 0.0)
    congestion.on_ack(congestion.in_flight, rtt, 0.0)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1000, 262_144),
    st.lists(
        st.one_of(
            st.tuples(st.just("sent"), st.integers(1, 262_144)),
            st.tuples(st.just("acked"), st.one_of(st.none(), st.floats(1e-6, 10))),
        ),
        max_size=150,
    ),
)
def test_the_window_stays_within_its_bounds(max_frame: int, history: list[tuple[str, float | None]]) -> None:
    congestion = Congestion(max_frame)
    flight: list[int] = []
    for name, value in history:
        if name == "sent" and isinstance(value, int):
            size = min(value, max_frame)
            if congestion.can_send(size):
                congestion.on_sent(size, 0.0)
                flight.append(size)
        elif flight:
            congestion.on_ack(flight.pop(0), value, 0.0)
        assert congestion.in_flight == sum(flight)
        assert max(MIN_WINDOW, MIN_WINDOW_FRAMES * max_frame) <= congestion.window <= MAX_WINDOW
        assert congestion.in_flight <= max(MAX_WINDOW, max_frame)
        assert flight or congestion.can_send(max_frame)


def test_grows_while_the_round_trip_stays_and_the_window_is_used() -> None:
    congestion = Congestion(FRAME)
    for _ in range(40):
        before = congestion.window
        round_trip(congestion, 0.02)
        assert before < congestion.window <= max(before * 1.2, MAX_WINDOW)
        if congestion.window == MAX_WINDOW:
            break
    assert congestion.window == MAX_WINDOW


def test_grows_more_slowly_the_nearer_the_round_trip_comes_to_the_bound() -> None:
    steps = []
    for rtt in (0.04, 0.042, 0.044, 0.0459):
        congestion = Congestion(FRAME)
        round_trip(congestion, 0.04)
        before = congestion.window
        round_trip(congestion, rtt)
        steps.append(congestion.window / before)
    assert steps == sorted(steps, reverse=True)
    assert steps[0] == pytest.approx(1.2, rel=1e-4)
    assert 1 <= steps[-1] < 1.01


def test_a_window_that_is_not_used_does_not_grow() -> None:
    congestion = Congestion(FRAME)
    for _ in range(10):
        congestion.on_sent(FRAME, 0.0)
        congestion.on_ack(FRAME, 0.02, 0.0)
    assert congestion.window == INITIAL_WINDOW


@pytest.mark.parametrize(("rtt", "least", "most"), [(0.0461, 0.97, 0.97), (0.05, 0.92, 0.92), (1.0, 0.85, 0.85)])
def test_shrinks_by_3_to_15_percent_a_round_beyond_the_bound(rtt: float, least: float, most: float) -> None:
    congestion = Congestion(FRAME)
    for _ in range(6):
        round_trip(congestion, 0.04)
    before = congestion.window
    round_trip(congestion, rtt)
    assert least - 0.001 <= congestion.window / before <= most + 0.001


def test_shrinks_no_further_than_two_frames() -> None:
    congestion = Congestion(FRAME)
    round_trip(congestion, 0.001)
    for _ in range(60):
        round_trip(congestion, 5.0)
    assert congestion.window == 2 * FRAME


def test_one_late_sample_in_a_round_is_ignored() -> None:
    congestion = Congestion(FRAME)
    round_trip(congestion, 0.02)
    before = congestion.window
    while congestion.can_send(FRAME):
        congestion.on_sent(FRAME, 0.0)
    congestion.on_ack(FRAME, 0.02, 0.0)
    while congestion.in_flight > FRAME:
        congestion.on_ack(FRAME, 0.5, 0.0)
    congestion.on_ack(FRAME, 0.5, 0.0)
    assert congestion.window > before


def test_rounds_without_a_sample_change_nothing() -> None:
    congestion = Congestion(FRAME)
    for _ in range(5):
        round_trip(congestion, None)
    assert congestion.window == INITIAL_WINDOW
    assert congestion.min_rtt is None


def test_a_frame_larger_than_the_window_may_travel_alone() -> None:
    congestion = Congestion(1000)
    assert congestion.can_send(MAX_WINDOW + 1)
    congestion.on_sent(INITIAL_WINDOW + 1, 0.0)
    assert not congestion.can_send(1)


def test_more_cannot_be_acknowledged_than_was_sent() -> None:
    congestion = Congestion(FRAME)
    congestion.on_sent(10, 0.0)
    with pytest.raises(ValueError, match="more bytes acknowledged"):
        congestion.on_ack(11, None, 0.0)


@pytest.mark.parametrize("min_rtt", [0.0001, 0.001, 0.005, 0.010, 0.015, 0.019])
def test_what_a_short_path_tolerates_fits_its_queue_even_when_overshot(min_rtt: float) -> None:
    assert tolerated_delay(min_rtt) > 0.004
    assert (min_rtt + tolerated_delay(min_rtt)) * 1.5 <= min_rtt + 0.020


def test_a_long_path_tolerates_in_proportion() -> None:
    assert tolerated_delay(0.020) == 0.004
    assert tolerated_delay(0.100) == pytest.approx(0.015)


def timed_round(congestion: Congestion, now: float, seconds: float, rtt: float) -> float:
    """Fill the window, and have all of it acknowledged after some seconds; return the time then."""
    while congestion.can_send(FRAME):
        congestion.on_sent(FRAME, now)
    congestion.on_ack(congestion.in_flight, rtt, now + seconds)
    return now + seconds


def test_the_window_stops_growing_at_what_the_path_has_shown_to_deliver() -> None:
    congestion, now = Congestion(FRAME), 0.0
    rate, rtt = 12_500_000, 0.020  # the delay has not been seen yet: the round trips say that there is room
    for _ in range(40):
        now = timed_round(congestion, now, max(rtt, congestion.window / rate), rtt)
    bound = rate * (rtt + tolerated_delay(rtt)) * HEADROOM
    assert 0.8 * bound < congestion.window <= bound * 1.01


def test_a_path_that_delivers_more_again_lets_the_window_grow_again() -> None:
    congestion, now = Congestion(FRAME), 0.0
    for _ in range(2 * RATE_ROUNDS):
        now = timed_round(congestion, now, 0.1, 0.020)  # slow
    held = congestion.window
    for _ in range(40):
        now = timed_round(congestion, now, 0.020, 0.020)
    assert congestion.window > 4 * held

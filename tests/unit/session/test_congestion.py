"""The window: its invariants under any history, and what single rounds do to it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.session.congestion import (
    DRAIN,
    GROWTH,
    HEADROOM,
    INITIAL_WINDOW,
    LEAST_CUT,
    LEAST_TRIAL,
    MAX_WINDOW,
    MIN_RTT_WINDOW,
    MIN_WINDOW,
    MIN_WINDOW_FRAMES,
    MOST_CUT,
    MOST_PATIENCE,
    RATE_ROUNDS,
    SETTLE_ROUNDS,
    START_GROWTH,
    START_HEADROOM,
    START_RATE,
    START_ROUNDS,
    SUSTAINED,
    CongestionWindow,
    tolerated_delay,
)

FRAME = 64 * 1024


class Rounds:
    """Fills the window of a new controller round by round.

    Attributes:
        congestion: The controller.
        now: The time, in seconds.
    """

    def __init__(self) -> None:
        self.congestion = CongestionWindow(FRAME)
        self.now = 0.0

    @property
    def window(self) -> int:
        return self.congestion.window

    def round(self, rtt: float | None, seconds: float = 0.0, rate: float = 0.0) -> float:
        """Fill the window, and have all of it acknowledged; return how the window changed.

        That takes so many seconds, or as long as at this rate, or else one round trip.
        """
        congestion, before = self.congestion, self.window
        while congestion.can_send(FRAME):
            congestion.on_sent(FRAME, self.now)
        self.now += congestion.in_flight / rate if rate else seconds or rtt or 0.02
        congestion.on_ack(congestion.in_flight, rtt, self.now)
        return self.window / before

    def started(self, rtt: float, count: int = 8) -> Rounds:
        """Let some rounds at one rate pass, and then as many that are late as end the start."""
        for _ in range(count):
            self.round(rtt, rate=10e6)
        for _ in range(START_ROUNDS - 1):
            assert self.round(2 * rtt, rate=10e6) == 1.0
        return self


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1000, 262_144),
    st.lists(
        st.one_of(
            st.tuples(st.just("sent"), st.integers(1, 262_144)),
            st.tuples(st.just("acked"), st.one_of(st.none(), st.floats(1e-6, 10))),
            st.tuples(st.just("waited"), st.floats(0, 20)),
        ),
        max_size=150,
    ),
)
def test_the_window_stays_within_its_bounds(max_frame: int, history: list[tuple[str, float | None]]) -> None:
    congestion = CongestionWindow(max_frame)
    flight: list[int] = []
    now = 0.0
    for name, value in history:
        if name == "waited":
            now += value or 0.0
        elif name == "sent" and isinstance(value, int):
            size = min(value, max_frame)
            if congestion.can_send(size):
                congestion.on_sent(size, now)
                flight.append(size)
        elif flight:
            congestion.on_ack(size := flight.pop(0), value, now, size)
        assert congestion.in_flight == sum(flight)
        assert max(MIN_WINDOW, MIN_WINDOW_FRAMES * max_frame) <= congestion.window <= MAX_WINDOW
        assert congestion.in_flight <= max(MAX_WINDOW, max_frame)
        assert flight or congestion.can_send(max_frame)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0.001, 3), st.floats(0.001, 3)), max_size=40), st.floats(0.1, 0.5))
def test_whatever_was_before_it_comes_to_fill_a_good_path(history: list[tuple[float, float]], rtt: float) -> None:
    rounds = Rounds()
    for late, seconds in history:
        rounds.round(late, seconds=seconds)
    ends = rounds.now + 3 * MIN_RTT_WINDOW
    most = 0
    while rounds.now < ends:
        rounds.round(rtt)
        most = max(most, rounds.window)  # less for a moment, while the round trip is measured anew
    assert most == MAX_WINDOW


def test_grows_while_the_round_trip_stays_and_the_window_is_used() -> None:
    rounds = Rounds()
    for _ in range(40):
        grown = rounds.round(0.02)
        assert 1 < grown <= START_GROWTH
        if rounds.window == MAX_WINDOW:
            break
    assert rounds.window == MAX_WINDOW


def test_grows_by_half_at_the_start_while_each_round_brings_more_however_late_it_is() -> None:
    rounds = Rounds()
    rounds.congestion.on_sent(140, 0.0)
    rounds.congestion.on_ack(140, 0.1, 0.1, 140)
    rounds.now = 0.1
    first = rounds.window
    for number in range(6):
        # The engine's slow start: it sends more in each round, and the rest of the window waits in it.
        rounds.round(0.1 + 0.1 * (number % 2), rate=500_000 * 1.5**number)
    assert rounds.window > 2 * first


@pytest.mark.parametrize("first", range(100, 112))
def test_acknowledgements_that_waited_together_show_no_more_of_the_path_at_the_start(first: int) -> None:
    congestion, rate, rtt = CongestionWindow(FRAME), 10e6, 0.04
    waited = range(first, first + 6)
    for number in range(200):
        while congestion.can_send(FRAME):
            congestion.on_sent(FRAME, number * FRAME / rate)
        now = (waited[-1] if number in waited else number) * FRAME / rate + rtt
        congestion.on_ack(FRAME, rtt, now)
        assert congestion.window <= rate * (rtt + tolerated_delay(rtt)) * SUSTAINED * START_HEADROOM
    assert congestion.starting


def test_the_start_ends_after_some_late_rounds_that_bring_no_more() -> None:
    rounds = Rounds().started(0.04)
    assert rounds.round(0.08, rate=10e6) == pytest.approx(1 - MOST_CUT, abs=0.001)


def test_grows_more_slowly_the_nearer_the_round_trip_comes_to_the_bound() -> None:
    steps = []
    for rtt in (0.04, 0.042, 0.044, 0.0459):
        rounds = after_the_start()
        rounds.round(rtt)
        steps.append(rounds.round(rtt))
    assert steps == sorted(steps, reverse=True)
    assert steps[0] == pytest.approx(GROWTH, rel=1e-4)
    assert 1 <= steps[-1] < 1.02


def after_the_start() -> Rounds:
    """Return rounds of a path of 40 ms and a low rate, past the start, with no trial under way."""
    rounds = Rounds().started(0.04)
    rounds.round(0.08, rate=10e6)
    for _ in range(SETTLE_ROUNDS - 1):
        rounds.round(0.04, rate=10e6)
    return rounds


def test_a_window_that_is_not_used_does_not_grow() -> None:
    congestion = CongestionWindow(FRAME)
    for number in range(10):
        congestion.on_sent(FRAME, number * 0.02)
        congestion.on_ack(FRAME, 0.02, number * 0.02 + 0.02)
    assert congestion.window == INITIAL_WINDOW


@pytest.mark.parametrize(("rtt", "cut"), [(0.0461, LEAST_CUT), (0.05, 0.08), (0.08, MOST_CUT), (1.0, MOST_CUT)])
def test_is_cut_by_3_to_15_percent_beyond_the_bound(rtt: float, cut: float) -> None:
    rounds = Rounds().started(0.04)
    assert rounds.round(rtt, rate=10e6) == pytest.approx(1 - cut, abs=0.001)


def test_a_queue_is_drained_by_one_cut_after_the_other() -> None:
    rounds = Rounds().started(0.04)
    rate, full = 10e6, rounds.window
    for _ in range(60):
        rtt = max(0.04, rounds.window / rate)  # a queue: less on the way, less late, the same rate
        rounds.round(rtt, seconds=rtt)
    bound = rate * (0.04 + tolerated_delay(0.04))
    assert full > 1.2 * bound
    assert 0.9 * bound - FRAME <= rounds.window <= 1.1 * bound + FRAME


def test_a_cut_that_costs_as_much_of_the_rate_is_taken_back() -> None:
    rounds = Rounds().started(0.04)
    before = rounds.window
    late = 0.1  # of processors: whatever is on the way takes so long
    assert rounds.round(late) < 1
    for _ in range(SETTLE_ROUNDS - 1):
        assert rounds.round(late) == 1.0
    rounds.round(late)
    assert rounds.window == before


def test_a_round_that_happens_to_bring_less_is_no_proof_while_the_delay_falls_as_that_of_a_queue() -> None:
    rounds = Rounds().started(0.04)
    before, rate = rounds.window, 10e6
    assert rounds.round(before / rate, rate=rate) < 1
    for _ in range(SETTLE_ROUNDS - 1):
        rounds.round(before / rate, rate=rate)
    assert rounds.round(rounds.window / rate, rate=0.7 * rate) <= 1
    assert rounds.window < before


def test_small_cuts_are_judged_together() -> None:
    rounds = Rounds().started(0.04)
    before = rounds.window
    assert rounds.round(0.048, rate=10e6) > 0.95  # a little late: a small cut, of which a rate tells nothing
    taken_back = 0
    for _ in range(5 * SETTLE_ROUNDS):
        smaller = rounds.window
        rounds.round(0.048, rate=8e6)  # as much slower as a busy moment makes it
        if rounds.window > smaller:
            assert smaller < before * (1 - LEAST_TRIAL)
            taken_back += 1
    assert taken_back == 1


def test_one_round_that_brings_a_burst_does_not_raise_the_bound() -> None:
    rounds = after_the_start()
    for _ in range(10):
        rounds.round(0.04, rate=10e6)
    before = rounds.window
    rounds.round(0.04, rate=30e6)
    assert rounds.window == before


def test_delays_that_are_no_queue_do_not_keep_the_window_from_growing() -> None:
    rounds = Rounds().started(0.04)
    least = rounds.window
    for _ in range(60):
        rounds.round(0.1)
        assert rounds.window >= least * (1 - MOST_CUT) - 1
    assert rounds.window > 8 * least


def test_trials_become_rarer_while_they_fail() -> None:
    rounds = Rounds().started(0.04)
    cuts = [number for number in range(90) if rounds.round(0.1 * 1.0001**number) < 1]
    gaps = [later - sooner for sooner, later in pairwise(cuts)]
    assert gaps == sorted(gaps)
    assert max(gaps) >= MOST_PATIENCE
    assert max(gaps) <= MOST_PATIENCE + SETTLE_ROUNDS + 1


def test_shrinks_no_further_than_two_frames() -> None:
    rounds = Rounds().started(0.04)
    for number in range(60):
        rounds.round(5.0 + number, rate=10e6)  # a lie: late, but at the same rate
    assert rounds.window == 2 * FRAME


def test_one_late_sample_in_a_round_is_ignored() -> None:
    rounds = Rounds()
    rounds.round(0.02)
    congestion, before = rounds.congestion, rounds.window
    while congestion.can_send(FRAME):
        congestion.on_sent(FRAME, rounds.now)
    congestion.on_ack(FRAME, 0.02, rounds.now + 0.02)
    while congestion.in_flight > FRAME:
        congestion.on_ack(FRAME, 0.5, rounds.now + 0.02)
    congestion.on_ack(FRAME, 0.5, rounds.now + 0.02)
    assert congestion.window > before


def test_rounds_without_a_sample_change_nothing() -> None:
    rounds = Rounds()
    for _ in range(5):
        rounds.round(None)
    assert rounds.window == INITIAL_WINDOW
    assert rounds.congestion.min_rtt is None


def test_a_small_frame_gives_no_sample_of_a_large_one() -> None:
    congestion = CongestionWindow(FRAME)
    congestion.on_sent(FRAME // 2 - 1, 0.0)
    congestion.on_ack(FRAME // 2 - 1, 0.02, 0.02, FRAME // 2 - 1)
    assert congestion.min_rtt is None
    congestion.on_sent(FRAME // 2, 0.1)
    congestion.on_ack(FRAME // 2, 0.03, 0.13, FRAME // 2)
    assert congestion.min_rtt == 0.03


def test_a_small_frame_tells_what_of_a_round_trip_is_the_engines_start() -> None:
    windows = []
    for small in (True, False):
        rounds = Rounds()
        if small:
            rounds.congestion.on_sent(140, 0.0)
            rounds.congestion.on_ack(140, 0.02, 0.02, 140)
            rounds.now = 0.02
        for _ in range(12):  # no round trip of a large frame is ever below 80 ms
            rtt = max(0.08, rounds.window / 10e6)
            rounds.round(rtt, seconds=rtt)
        windows.append(rounds.window)
    assert windows[0] < windows[1]


@pytest.mark.parametrize(("rtt", "least"), [(0.02, 0), (0.2, START_RATE * 0.2)])
def test_a_long_path_is_trusted_with_more_than_its_first_rounds_show(rtt: float, least: float) -> None:
    rounds = Rounds()
    rounds.congestion.on_sent(140, 0.0)
    rounds.congestion.on_ack(140, rtt, rtt, 140)
    rounds.now = rtt
    for _ in range(8):
        rounds.round(rtt, rate=500_000)
    assert rounds.window == max(INITIAL_WINDOW, int(least))


def test_a_frame_larger_than_the_window_may_travel_alone() -> None:
    congestion = CongestionWindow(1000)
    assert congestion.can_send(MAX_WINDOW + 1)
    congestion.on_sent(INITIAL_WINDOW + 1, 0.0)
    assert not congestion.can_send(1)


def test_more_cannot_be_acknowledged_than_was_sent() -> None:
    congestion = CongestionWindow(FRAME)
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


def test_the_window_stops_growing_at_what_the_path_has_shown_to_deliver() -> None:
    rounds = after_the_start()
    for _ in range(40):  # the delay has not been seen yet: the round trips say that there is room
        rounds.round(0.04, rate=10e6)
    bound = 10e6 * (0.04 + tolerated_delay(0.04)) * HEADROOM
    assert 0.8 * bound < rounds.window <= bound * 1.05


def test_a_path_that_delivers_more_again_lets_the_window_grow_again() -> None:
    rounds = Rounds()
    for _ in range(2 * RATE_ROUNDS):
        rounds.round(0.020, seconds=0.1)  # slow
    held = rounds.window
    for _ in range(40):
        rounds.round(0.020)
    assert rounds.window > 4 * held


# The path's own round trip


def test_the_least_round_trip_is_forgotten_once_nothing_came_near_it_for_ten_seconds() -> None:
    rounds = Rounds().started(0.02)
    seen, drained = rounds.now, None
    while rounds.congestion.min_rtt != 0.1 and rounds.now < 60:
        before = rounds.window
        rounds.round(0.1)
        if rounds.congestion.min_rtt is None and drained is None:
            drained = rounds.window / before
            assert rounds.now > seen + MIN_RTT_WINDOW - 5
    assert rounds.congestion.min_rtt == 0.1
    assert drained is not None
    assert drained <= DRAIN


def test_a_path_that_became_longer_is_filled_again() -> None:
    rounds = Rounds().started(0.02)
    rate = 10e6
    for _ in range(400):
        rtt = max(0.2, rounds.window / rate)
        rounds.round(rtt, seconds=rtt)
    assert rounds.window >= rate * 0.2


def test_a_path_that_became_shorter_is_not_overrun() -> None:
    rounds = Rounds().started(0.2)
    while rounds.now < 10 * MIN_RTT_WINDOW:
        rtt = max(0.02, rounds.window / 10e6)
        rounds.round(rtt, seconds=rtt)
    assert rounds.window <= 10e6 * (0.02 + tolerated_delay(0.02)) * HEADROOM + 2 * FRAME


def test_a_standing_queue_does_not_come_to_pass_for_the_path() -> None:
    rounds, rate, own = Rounds(), 10e6, 0.05
    most = 0.0
    while rounds.now < 20 * MIN_RTT_WINDOW:
        rtt = max(own, rounds.window / rate)
        rounds.round(rtt, seconds=rtt)
        if rounds.now > MIN_RTT_WINDOW:
            most = max(most, rtt)
    assert most <= 1.5 * own


def test_a_round_trip_measured_anew_gives_the_window_back() -> None:
    rounds = Rounds()
    for _ in range(8):
        rounds.round(0.05, rate=10e6)
    before = 0
    while rounds.congestion.min_rtt is not None:
        before = rounds.window
        rounds.round(0.0501, rate=10e6)
    assert rounds.window < before
    for _ in range(SETTLE_ROUNDS):
        rounds.round(0.05)
    assert rounds.window >= before


def test_an_application_that_pauses_has_the_round_trip_forgotten_without_a_drain() -> None:
    congestion, now = CongestionWindow(FRAME), 0.0
    for rtt in (0.02, *(0.1,) * 20):
        congestion.on_sent(FRAME, now)
        congestion.on_ack(FRAME, rtt, now + rtt)
        now += 1.0
        assert congestion.min_rtt is not None
        assert congestion.window == INITIAL_WINDOW
    assert congestion.min_rtt == 0.1

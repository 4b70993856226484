"""The controller on its own: its invariants under any history, and what single events do to it."""

from __future__ import annotations

from itertools import repeat

from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.lanes.udp.congestion import Congestion, Phase
from p2pal.lanes.udp.loss import SentBatch
from p2pal.lanes.udp.parameters import INITIAL_PACKETS, MAX_FLOOR, MIN_PACKETS, STARTUP_GAIN
from p2pal.lanes.udp.rate import DeliveryRate, RateSample

SEGMENT = 1200
RTT = 0.1


def controller(rtt: float = RTT) -> Congestion:
    return Congestion(0.0, SEGMENT, rtt, repeat(0.5))


def sample(rate: float, total: int, newly: int, **more: float) -> RateSample:
    fields = {
        "rate": rate, "limited": False, "delivered": newly, "newly_acked": newly, "newly_lost": 0,
        "prior_delivered": total, "tx_in_flight": newly, "lost": 0, "in_flight": newly, "rtt": RTT,
    }  # fmt: skip
    return RateSample(**(fields | more))  # type: ignore[arg-type]


def rounds(one: Congestion, rate: float, count: int, start: float, **more: float) -> float:
    """Round trips in which the path delivers at a rate."""
    now = start
    for _ in range(count):
        now += RTT
        one.on_ack(sample(rate, one.model.total, int(rate * RTT), **more), now)
    return now


def test_the_first_packets_are_paced_over_a_round_trip() -> None:
    one = controller()
    assert one.window == INITIAL_PACKETS * SEGMENT
    assert one.pacing_rate == STARTUP_GAIN * INITIAL_PACKETS * SEGMENT / RTT
    assert controller(0.0).pacing_rate < 1e12


def test_start_up_goes_on_while_the_rate_doubles() -> None:
    one = controller()
    now = 0.0
    for rate in (1e5, 2e5, 4e5, 8e5, 1.6e6):
        now = rounds(one, rate, 1, now)
        assert one.phase is Phase.STARTUP
        assert one.pacing_rate > 2.5 * rate
    rounds(one, 1.6e6, 4, now)
    assert one.phase is not Phase.STARTUP
    assert one.pacing_rate < 1.7e6


def test_start_up_does_not_end_because_the_application_has_nothing_to_send() -> None:
    one = controller()
    now = rounds(one, 1e6, 1, 0.0)
    rounds(one, 1e5, 30, now, limited=True)
    assert one.phase is Phase.STARTUP
    assert one.max_rate == 1e6


def test_start_up_ends_by_loss_and_by_delay() -> None:
    lossy = controller()
    now = rounds(lossy, 1e6, 1, 0.0)
    rounds(lossy, 1.5e6, 1, now, newly_lost=40_000)
    assert lossy.phase in {Phase.DRAIN, Phase.DOWN}
    late = controller()
    now = rounds(late, 1e6, 1, 0.0)
    rounds(late, 1.4e6, 1, now, rtt=2 * RTT)
    assert late.phase in {Phase.DRAIN, Phase.DOWN}


def test_a_little_loss_does_not_end_it() -> None:
    one = controller()
    now = 0.0
    for rate in (1e6, 2e6, 4e6):
        now = rounds(one, rate, 1, now, newly_lost=int(0.02 * rate * RTT))
    assert one.phase is Phase.STARTUP
    assert 0 < one.floor <= MAX_FLOOR


def settled(rate: float = 1e6) -> tuple[Congestion, float]:
    one = controller()
    now = rounds(one, rate, 6, 0.0)
    while one.phase is not Phase.CRUISE:
        now = rounds(one, rate, 1, now)
    return one, now


def test_it_looks_for_more_now_and_then_and_follows_what_it_finds() -> None:
    one, now = settled()
    seen = set()
    for _ in range(60):
        now = rounds(one, min(one.pacing_rate, 4e6), 1, now)
        seen.add(one.phase)
    assert {Phase.REFILL, Phase.UP, Phase.DOWN, Phase.CRUISE} <= seen
    assert one.max_rate > 3.5e6


def test_too_much_loss_is_believed_within_a_round_trip() -> None:
    one, now = settled(2e6)
    rounds(one, 1e6, 1, now, newly_lost=50_000)
    assert one.pacing_rate < 1.5e6


def test_the_paths_own_loss_costs_no_rate() -> None:
    one, now = settled(2e6)
    for _ in range(200):
        now = rounds(one, 2e6, 1, now, newly_lost=4_000)
    assert one.pacing_rate > 1.7e6
    assert 0.01 < one.floor <= MAX_FLOOR


def test_what_was_drawn_from_a_loss_that_was_none_is_taken_back() -> None:
    one, now = settled(2e6)
    before = one.max_rate
    rounds(one, 1e6, 1, now, newly_lost=50_000)
    one.on_spurious(50_000)
    assert one.max_rate == before


def test_the_least_round_trip_is_forgotten_in_the_end() -> None:
    one, now = settled()
    seen = set()
    for _ in range(150):
        now = rounds(one, 1e6, 1, now, rtt=0.2, in_flight=10_000)
        seen.add(one.phase)
    assert Phase.PROBE_RTT in seen
    assert one.min_rtt == 0.2


def test_persistent_congestion_begins_anew() -> None:
    one, now = settled()
    one.on_persistent_congestion(now)
    assert one.phase is Phase.STARTUP
    assert one.window == MIN_PACKETS * SEGMENT
    rounds(one, 1e6, 5, now)
    assert one.max_rate == 1e6


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 1e10),
            st.booleans(),
            st.integers(0, 10_000_000),
            st.integers(0, 10_000_000),
            st.integers(0, 10_000_000),
            st.floats(-1, 100),
            st.floats(0, 20),
        ),
        max_size=60,
    )
)
def test_whatever_happens_something_may_be_sent(history: list[tuple[float, bool, int, int, int, float, float]]) -> None:
    one = controller()
    now = 0.0
    for rate, limited, acked, lost, prior, rtt, pause in history:
        now += pause
        one.on_ack(RateSample(rate, limited, acked, acked, lost, prior, acked, lost, acked, rtt), now)
        assert one.window >= MIN_PACKETS * SEGMENT
        assert one.pacing_rate > 0
        assert one.burst >= SEGMENT
        assert 0 <= one.floor <= MAX_FLOOR
        assert one.min_rtt > 0


def batch(now: float, size: int = 10_000) -> SentBatch:
    one = SentBatch(0, 1, 0, size, size, now, 0)
    one.flight = size
    return one


def test_the_rate_is_what_arrived_between_two_arrivals() -> None:
    rate = DeliveryRate(0.0)
    first, second = batch(0.0), batch(0.05)
    rate.on_sent(first, 10_000)
    one = rate.on_ack(10_000, first, 0, 0, 0.1, 5.0)
    assert one.rate == 10_000 / 0.1
    rate.on_sent(second, 20_000)
    assert rate.on_ack(10_000, second, 0, 0, 0.9, 5.04).rate == 10_000 / 0.05  # the send interval is the longer one


def test_a_peer_that_lies_about_its_clock_gains_nothing() -> None:
    rate = DeliveryRate(0.0)
    now = 0.0
    for _ in range(20):
        sent = batch(now)
        rate.on_sent(sent, 20_000)
        now += 0.05
        told = rate.on_ack(10_000, sent, 0, 10_000, now, 1.0 + 1e-9 * now)
        assert told.rate <= 10_000 / 0.05 * 1.01


def test_a_pause_of_the_application_is_no_slow_path() -> None:
    rate = DeliveryRate(0.0)
    rate.on_limited(0)
    sent = batch(0.0)
    rate.on_sent(sent, 10_000)
    assert sent.limited
    assert rate.on_ack(10_000, sent, 0, 0, 0.1).limited
    later = batch(50.0)
    rate.on_sent(later, 10_000)
    assert not later.limited
    assert rate.on_ack(10_000, later, 0, 0, 50.1).rate > 90_000


def test_samples_over_too_little_time_are_none() -> None:
    rate = DeliveryRate(0.0)
    sent = batch(0.0)
    rate.on_sent(sent, 10_000)
    assert rate.on_ack(10_000, sent, 0, 0, 0.001, 0.0, -1.0, 0.1).rate == 0

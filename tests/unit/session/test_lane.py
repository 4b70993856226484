"""One lane: counters, round trips, and signs of life."""

from __future__ import annotations

import pytest

from p2pal.errors import ProtocolError
from p2pal.session.congestion import CongestionWindow
from p2pal.session.lane import ACK_DELAY, ACK_EVERY, MAX_PONGS, NEVER, LaneState
from p2pal.wire.frames import LaneAck

FRAME = 64 * 1024


def lane() -> LaneState:
    return LaneState(1, CongestionWindow(FRAME), 0.0)


def run(state: LaneState, until: float) -> list[tuple[str, float]]:
    """Call the timer whenever it is due; return what it asked for."""
    happened = []
    while (due := min(state.check_at, state.ack_at)) <= until:
        silent = state.on_timer(due)
        if silent is not None:
            happened.append(("silent", round(silent, 3)))
        if state.ping_now:
            state.take_ping(due)
            happened.append(("ping", round(due, 3)))
        if state.ack_now:
            state.take_ack(due)
            happened.append(("ack", round(due, 3)))
        assert min(state.check_at, state.ack_at) > due, "a timer must not fire twice at one time"
    return happened


def test_the_round_trip_is_taken_without_the_peers_delay() -> None:
    state = lane()
    state.on_sent(0, FRAME, 1.0)
    state.on_acknowledged(0, 0.003, 1.023)
    assert state.congestion is not None
    assert state.congestion.min_rtt == pytest.approx(0.02)
    assert not state.flight
    assert state.congestion.in_flight == 0


def test_small_frames_and_impossible_delays_give_no_sample() -> None:
    state = lane()
    state.on_sent(0, 100, 1.0)
    state.on_acknowledged(0, 0.0, 1.02)
    state.on_sent(1, FRAME, 2.0)
    state.on_acknowledged(1, 5.0, 2.02)
    assert state.congestion is not None
    assert state.congestion.min_rtt is None
    assert state.congestion.in_flight == 0


def test_counters_run_over_all_frames() -> None:
    state = lane()
    state.take_ping(0.0)
    state.on_sent(0, FRAME, 0.0)
    state.take_ack(0.0)
    state.on_sent(1, FRAME, 0.0)
    assert [on_way.counter for on_way in state.flight] == [1, 3]
    with pytest.raises(ProtocolError, match="never sent"):
        state.on_acknowledged(2, 0.0, 0.1)


@pytest.mark.parametrize("counter", [1, 2**32 - 1])
def test_a_counter_that_was_not_used_is_an_error(counter: int) -> None:
    state = lane()
    state.on_sent(0, FRAME, 0.0)
    with pytest.raises(ProtocolError, match="never sent"):
        state.on_acknowledged(counter, 0.0, 0.1)
    idle = lane()
    with pytest.raises(ProtocolError, match="never sent"):
        idle.on_acknowledged(counter, 0.0, 0.1)


def test_an_old_acknowledgement_changes_nothing() -> None:
    state = lane()
    for number in range(3):
        state.on_sent(number, FRAME, 0.0)
    state.on_acknowledged(1, 0.0, 0.1)
    state.on_acknowledged(0, 0.0, 0.1)
    assert [on_way.number for on_way in state.flight] == [2]


def test_an_ack_is_due_after_eight_frames_or_three_milliseconds() -> None:
    state = lane()
    for count in range(1, ACK_EVERY + 1):
        state.on_frame(1.0)
        state.on_data(1.0)
        assert state.ack_now == (count == ACK_EVERY)
    (entry,) = state.take_ack(1.25)
    assert entry == LaneAck(1, 7, 0.25)
    assert state.ack_at == NEVER
    state.on_frame(2.0)
    state.on_data(2.0)
    assert state.ack_at == 2.0 + ACK_DELAY
    state.on_timer(2.0 + ACK_DELAY)
    assert state.ack_now


def test_an_ack_names_the_lane_only_if_it_brought_data() -> None:
    assert lane().take_ack(0.0) == ()


def test_an_idle_lane_is_pinged_and_its_silence_reported() -> None:
    assert run(lane(), 20.0) == [("ping", 5.0), ("silent", 3.0), ("silent", 8.0), ("silent", 13.0)]


def test_a_lane_that_brought_data_is_asked_sooner_but_only_once() -> None:
    state = lane()
    state.on_frame(4.0)
    state.on_data(4.0)
    state.take_ack(4.0)
    assert run(state, 9.0) == [("ping", 5.0), ("silent", 3.0)]
    state = lane()
    state.on_frame(0.5)
    state.on_data(0.5)
    state.take_ack(0.5)
    assert run(state, 1.5) == [("ping", 1.5)]
    state.on_frame(1.6)
    state.on_pong(1)
    assert run(state, 6.7) == [("ping", 6.6)]


def test_data_without_acknowledgement_is_probed_and_reported() -> None:
    state = lane()
    state.on_sent(0, FRAME, 0.1)
    assert run(state, 9.0) == [("ping", 1.1), ("silent", 3.0), ("silent", 8.0)]


def test_a_lane_that_is_heard_is_not_silent() -> None:
    state = lane()
    state.on_sent(0, FRAME, 0.0)
    for second in range(1, 10):
        assert state.on_frame(second - 0.5) is False
        assert run(state, second) == []


def test_a_silent_lane_that_is_heard_again() -> None:
    state = lane()
    state.on_sent(0, FRAME, 0.0)
    run(state, 4.0)
    assert state.on_frame(4.5) is True
    assert state.on_frame(4.6) is False
    assert run(state, 8.0) == [("silent", 3.0)], "the wait begins anew"


def test_a_probe_asks_at_once_and_forgets_the_time_before() -> None:
    state = lane()
    state.on_sent(0, FRAME, 0.0)
    state.probe(100.0)
    assert state.ping_now
    state.take_ping(100.0)
    assert run(state, 104.0) == [("silent", 3.0)]
    state.probe(104.0)
    assert not state.ping_now, "one PING is out at a time"


def test_pings_and_pongs_match() -> None:
    state = lane()
    with pytest.raises(ProtocolError, match="never sent"):
        state.on_pong(0)
    number = state.take_ping(0.0)
    with pytest.raises(ProtocolError, match="never sent"):
        state.on_pong(number + 1)
    state.on_pong(number)
    with pytest.raises(ProtocolError, match="never sent"):
        state.on_pong(number)


def test_a_flood_of_pings_is_an_error() -> None:
    state = lane()
    for number in range(MAX_PONGS):
        state.on_ping(number)
    with pytest.raises(ProtocolError, match="floods"):
        state.on_ping(99)

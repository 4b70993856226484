from __future__ import annotations

import pytest

from p2pal.link.datagrams import (
    ANSWER,
    DISTANCE,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    MOST_BROKEN,
    SETTLED,
    SOON,
    STANDBY_AFTER,
    STANDBY_PAUSE,
    STEADY,
    TRIES,
    DatagramSchedule,
)
from p2pal.wire.signal import DATAGRAM_LANES

FIRST = DATAGRAM_LANES + 1


def leading(now: float = 0.0) -> DatagramSchedule:
    """A leader that tries the first lane."""
    schedule = DatagramSchedule(leader=True)
    assert schedule.start(now) == FIRST
    return schedule


def made() -> DatagramSchedule:
    """A leader whose first lane both sides know."""
    schedule = leading()
    schedule.on_made()
    return schedule


def test_nothing_is_planned_before_both_sides_can() -> None:
    schedule = DatagramSchedule(leader=True)
    assert (schedule.enabled, schedule.carries, schedule.next_timeout()) == (False, False, None)
    assert not schedule.take_due(100.0)
    assert not DatagramSchedule(leader=False).accept(FIRST, 0.0)


def test_an_open_lane_carries_while_it_is_heard() -> None:
    schedule = leading()
    assert not schedule.carries
    schedule.on_open(1.0)
    assert schedule.carries
    schedule.on_silent()
    assert not schedule.carries
    schedule.on_alive()
    assert schedule.carries
    schedule.on_closed(5.0, broken=False)
    schedule.on_alive()
    assert not schedule.carries


def test_a_lane_that_worked_is_followed_soon() -> None:
    schedule = leading()
    schedule.on_open(1.0)
    over = 1.0 + STEADY
    schedule.on_closed(over, broken=False)
    assert schedule.next_timeout() == over + SOON
    assert not schedule.take_due(over)
    assert schedule.take_due(over + SOON)
    assert schedule.begin(over + SOON) == FIRST + 1
    schedule.on_made()
    assert schedule.next_timeout() is None


def test_a_lane_that_did_not_open_is_followed_ever_later() -> None:
    schedule, now, pause = leading(), 0.0, FIRST_PAUSE
    for _ in range(12):
        now += 15.0
        schedule.on_closed(now, broken=False)
        due = schedule.next_timeout()
        assert due == now + pause
        schedule.begin(due)
        now, pause = due, min(2 * pause, LONGEST_PAUSE)
    assert pause == LONGEST_PAUSE


def test_a_new_network_and_a_lost_link_hurry_the_next_try() -> None:
    for hurry, due in ((DatagramSchedule.on_networks, 16.0 + SETTLED), (DatagramSchedule.on_missed, 16.0)):
        schedule = leading()
        schedule.on_closed(15.0, broken=False)
        hurry(schedule, 16.0)
        assert schedule.next_timeout() == due
    schedule = leading()
    schedule.on_closed(15.0, broken=False)
    schedule.begin(16.0)
    schedule.on_closed(16.5, broken=False)
    schedule.on_missed(16.6)
    assert schedule.next_timeout() == 16.0 + DISTANCE, "not sooner than that after the one before"


def test_nothing_hurries_while_a_lane_lives() -> None:
    schedule = made()
    schedule.on_missed(1.0)
    schedule.on_networks(1.0)
    assert schedule.next_timeout() is None


def test_tries_are_bounded_in_the_long_run() -> None:
    schedule, now, begun = leading(), 0.0, 1
    while now < LONGEST_PAUSE / 2:
        now += 1.0
        schedule.on_closed(now, broken=False)
        schedule.on_missed(now)
        due = schedule.next_timeout()
        assert due is not None
        now = max(now, due)
        if schedule.take_due(now):
            schedule.begin(now)
            begun += 1
    assert begun <= TRIES + 1


def test_lanes_that_are_broken_again_and_again_are_the_last() -> None:
    schedule, now = leading(), 0.0
    for number in range(MOST_BROKEN):
        assert schedule.enabled, number
        schedule.on_open(now)
        now += 20.0
        schedule.on_closed(now, broken=True)
        if schedule.enabled:
            schedule.begin(now)
    assert (schedule.enabled, schedule.next_timeout()) == (False, None)
    schedule.on_missed(now)
    assert schedule.next_timeout() is None


def test_the_follower_takes_what_the_leader_begins_once_and_in_order() -> None:
    schedule = DatagramSchedule(leader=False)
    assert schedule.start(0.0) == FIRST
    assert schedule.takes(FIRST)
    assert not schedule.takes(FIRST + 1)
    assert not schedule.accept(FIRST, 1.0)
    assert schedule.accept(FIRST + 3, 1.0), "one whose word was lost is passed over"
    assert not schedule.takes(FIRST)
    assert not schedule.accept(FIRST + 2, 1.0)
    assert schedule.next_timeout() is None, "the leader begins"


def test_a_leader_that_begins_without_end_is_not_followed() -> None:
    schedule = DatagramSchedule(leader=False)
    schedule.start(0.0)
    taken = sum(schedule.accept(FIRST + n, n / 1000) for n in range(1, 200))
    assert taken <= TRIES


@pytest.mark.parametrize("leader", [True, False])
def test_the_engine_stands_by_once_data_moves(leader: bool) -> None:
    schedule = DatagramSchedule(leader=leader)
    schedule.start(0.0)
    schedule.on_made()
    schedule.on_data(0.5)
    assert not schedule.take_standby(100.0), "nothing carries"
    schedule.on_open(1.0)
    assert schedule.next_timeout() is None
    schedule.on_data(2.0)
    schedule.on_data(6.0)
    assert not schedule.take_standby(2.0 + STANDBY_AFTER - 0.01)
    assert (schedule.next_timeout() == 2.0 + STANDBY_AFTER) is leader
    assert schedule.take_standby(2.0 + STANDBY_AFTER)
    assert not schedule.take_standby(1000.0)


def test_a_lane_that_stalls_alone_has_the_engine_start_at_once() -> None:
    schedule = made()
    schedule.on_open(1.0)
    schedule.on_stalled(2.0)
    assert schedule.next_timeout() == 2.0
    assert schedule.take_standby(2.0)
    assert schedule.next_timeout() is None
    schedule.on_standby_lost(10.0)
    schedule.on_stalled(11.0)
    assert schedule.next_timeout() == 10.0 + STANDBY_PAUSE, "one that failed is not tried again at each stall"


def test_a_lane_of_which_the_other_side_says_nothing_is_over() -> None:
    schedule = leading()
    assert schedule.next_timeout() == ANSWER
    assert not schedule.take_unanswered(ANSWER - 0.1)
    assert schedule.take_unanswered(ANSWER)
    assert not schedule.take_unanswered(2 * ANSWER)
    assert schedule.next_timeout() == ANSWER + FIRST_PAUSE
    schedule.begin(ANSWER + FIRST_PAUSE)
    schedule.on_made()
    assert schedule.next_timeout() is None
    assert not schedule.take_unanswered(1e6)


def test_a_standby_that_fails_is_tried_again_ever_later() -> None:
    schedule = made()
    schedule.on_open(1.0)
    schedule.on_standby_lost(10.0)
    assert schedule.next_timeout() == 10.0 + STANDBY_PAUSE
    assert schedule.take_standby(10.0 + STANDBY_PAUSE)
    schedule.on_standby_lost(50.0)
    assert schedule.next_timeout() == 50.0 + 2 * STANDBY_PAUSE
    schedule.on_closed(51.0, broken=False)
    assert not schedule.take_standby(1e6), "the link sees to itself"
    schedule.on_standby_lost(52.0)
    assert not schedule.take_standby(1e6)

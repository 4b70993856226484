from __future__ import annotations

import pytest

from p2pal.link.actions import GaveUp, LinkUp, Retrying, WaitingFor
from p2pal.link.backoff import MAX_BACKOFF, MIN_PATIENCE
from p2pal.link.first_link import FIRST_LINK, FIRST_SLACK, FIRST_TRY
from p2pal.link.generations import ATTEMPT_TIMEOUT
from p2pal.link.presence import FLAP
from p2pal.link.retry import CERTAIN, Repair

OVERDUE = MAX_BACKOFF + ATTEMPT_TIMEOUT
WAIT = 100.0


def begun(*, leader: bool = True, max_retries: int | None = 2, backoff: float = 1.0, jitter: float = 1.0) -> Repair:
    """A link whose first generation is tried since second 0."""
    repair = Repair(leader=leader, max_retries=max_retries, backoff=backoff, jitter=lambda: jitter, wait=WAIT)
    repair.start(0.0)
    repair.on_begun(0.0)
    return repair


def linked(*, leader: bool = True, max_retries: int | None = 2, backoff: float = 1.0) -> Repair:
    """One whose first lane opened in second 1."""
    repair = begun(leader=leader, max_retries=max_retries, backoff=backoff)
    repair.on_replaced()
    repair.on_up(1, 1.0)
    assert told(repair) == [LinkUp(1)]
    return repair


def told(repair: Repair) -> list[object]:
    found: list[object] = list(repair.events)
    repair.events.clear()
    return found


def test_the_first_link_has_its_time() -> None:
    leader, follower = begun(), begun(leader=False)
    for repair, seconds in ((leader, FIRST_LINK), (follower, FIRST_LINK + FIRST_SLACK)):
        assert repair.next_timeout(missed=True) == seconds
        assert not repair.is_over(seconds - 0.1)
        assert repair.is_over(seconds)
        repair.give_up()
        assert told(repair) == [GaveUp(False)]


@pytest.mark.parametrize("max_retries", [0, 2, None])
@pytest.mark.parametrize("leader", [True, False])
def test_a_fast_network_leaves_time_for_another_try(leader: bool, max_retries: int | None) -> None:
    repair = begun(leader=leader, max_retries=max_retries)
    assert repair.on_first_candidate(ours=True, last=False, now=0.5) is None
    assert repair.on_first_candidate(ours=False, last=True, now=0.5) is None
    ends = repair.on_first_candidate(ours=True, last=True, now=1.0)
    assert ends == (1.0 + FIRST_TRY if leader and max_retries != 0 else None), "its only one, or not its own"
    slack = 0.0 if leader else FIRST_SLACK
    assert repair.next_timeout(missed=True) in (0.5 + FIRST_LINK + slack, OVERDUE, None)


def test_a_follower_waits_for_the_first_offer() -> None:
    repair = Repair(leader=False, max_retries=None, backoff=1.0, jitter=lambda: 1.0, wait=WAIT)
    repair.start(5.0)
    assert repair.next_timeout(missed=True) == 5.0 + OVERDUE
    assert not repair.take_due(5.0)
    assert repair.take_due(5.0 + OVERDUE)
    assert not repair.take_due(5.0 + OVERDUE), "said once"


def test_a_follower_with_nothing_to_try_waits_for_the_next_offer() -> None:
    repair = linked(leader=False)
    repair.on_lost(20.0)
    repair.on_begun(20.0)
    for now in (30.0, 40.0):
        repair.await_offer(now)
        assert repair.due == 30.0 + OVERDUE


def test_delays_double_from_the_second_failure_of_an_outage_on() -> None:
    repair = linked(max_retries=None, backoff=2.0)
    repair.on_lost(20.0)
    assert repair.retry(20.0, counted=True)
    assert told(repair) == [Retrying(1, None, 0.0)]
    now = 20.0
    for delay in (2.0, 4.0, 8.0, 16.0, MAX_BACKOFF, MAX_BACKOFF):
        assert repair.take_due(now)
        repair.on_begun(now)
        assert not repair.take_due(now), "something is tried"
        now += 5.0
        repair.retry(now, counted=repair.counts(now))
        now += delay
        assert repair.due == now


def test_before_the_first_link_every_failure_counts_and_nobody_is_waited_for() -> None:
    repair = begun(jitter=0.5)
    repair.on_presence(False, True, 0.0)
    assert repair.retry(3.0, counted=False)
    assert repair.due == 3.5
    assert repair.take_due(3.5)
    assert repair.retry(4.0, counted=False)
    assert not repair.retry(5.0, counted=False)
    repair.look_around(50.0, missed=True)
    assert told(repair) == [Retrying(1, None, 0.5), Retrying(2, None, 1.0)]


def test_a_link_that_stood_ends_after_so_many_failures_and_so_long() -> None:
    repair = linked()
    repair.on_lost(20.0)
    for at in (20.0, 21.0, 22.0):
        assert repair.retry(at, counted=True)
    assert repair.retry(19.0 + MIN_PATIENCE, counted=True)
    assert not repair.retry(20.0 + MIN_PATIENCE, counted=True)
    repair.give_up()
    assert told(repair)[-1] == GaveUp(True)


def test_what_is_lost_at_once_keeps_its_distance() -> None:
    repair = linked(backoff=5.0)
    repair.on_lost(2.0)
    repair.retry(2.0, counted=True)
    assert repair.due == 5.0


def test_the_follower_plans_for_an_offer_that_does_not_come() -> None:
    repair = linked(leader=False)
    repair.on_silent(20.0)
    repair.retry(20.0, counted=True)
    assert repair.due == 20.0 + OVERDUE
    assert told(repair) == [Retrying(1, 2, 0.0)]


def test_a_failure_counts_if_both_sides_were_there_all_the_while() -> None:
    repair = linked()
    repair.on_begun(20.0)
    assert repair.counts(25.0)
    repair.on_presence(True, False, 21.0)
    assert repair.counts(21.0 + FLAP / 2), "a socket that was replaced"
    assert not repair.counts(21.0 + FLAP)
    repair.on_begun(30.0)
    assert repair.on_presence(True, True, 40.0) == 19.0
    assert not repair.counts(40.0), "it began without the other side"
    repair.on_begun(50.0)
    repair.excuse()
    assert not repair.counts(50.0)


@pytest.mark.parametrize("leader", [True, False])
def test_nothing_is_due_while_a_side_is_gone(leader: bool) -> None:
    repair = linked(leader=leader)
    repair.on_presence(False, True, 20.0)
    assert not repair.both_online
    repair.on_lost(20.0)
    assert repair.retry(20.0, counted=False)
    assert (repair.due, told(repair)) == (None, [])
    assert repair.next_timeout(missed=True) == 20.0 + FLAP
    assert repair.next_timeout(missed=False) is None
    repair.look_around(20.0 + FLAP, missed=True)
    assert told(repair) == [WaitingFor("network", WAIT)]
    assert repair.next_timeout(missed=True) == 20.0 + FLAP + WAIT
    repair.on_presence(True, True, 40.0)
    repair.resume(40.0)
    repair.look_around(40.0, missed=True)
    assert repair.due == (40.0 if leader else 40.0 + OVERDUE)
    assert told(repair) == [Retrying(1, 2, 0.0), WaitingFor("", float("inf"))]


def test_what_falls_due_while_a_side_is_gone_is_of_no_use() -> None:
    repair = linked()
    repair.on_lost(20.0)
    repair.retry(20.0, counted=True)
    repair.on_presence(True, False, 20.0)
    assert not repair.take_due(20.0)
    assert repair.due is None


def test_waiting_comes_to_an_end() -> None:
    repair = linked()
    repair.on_presence(True, False, 20.0)
    repair.on_lost(30.0)
    repair.look_around(30.0, missed=True)
    assert not repair.is_over(30.0 + WAIT - 0.1)
    assert repair.is_over(30.0 + WAIT)


@pytest.mark.parametrize("wakes", [True, False])
def test_without_retries_a_silent_lane_gets_some_time_to_wake(wakes: bool) -> None:
    repair = linked(max_retries=0)
    assert repair.hopeless
    repair.on_silent(20.0)
    repair.challenge(20.0)
    assert repair.due is None
    assert repair.next_timeout(missed=True) == 20.0 + CERTAIN
    if wakes:
        repair.on_up(1, 21.0)
    assert repair.is_over(20.0 + CERTAIN) is not wakes


def test_a_challenger_of_a_lane_that_is_heard_is_told_of_once_it_has_won() -> None:
    repair = linked(backoff=5.0)
    for now in (3.0, 4.0):
        repair.challenge(now)
        assert repair.due == 5.0
    repair.on_begun(5.0)
    assert told(repair) == []
    repair.on_replaced()
    repair.on_up(2, 6.0)
    assert told(repair) == [Retrying(1, 2, 0.0), LinkUp(2)]


def test_one_of_a_lane_that_was_missed_is_told_of_before() -> None:
    repair = linked()
    repair.on_silent(20.0)
    repair.retry(20.0, counted=True)
    repair.on_replaced()
    repair.on_up(2, 21.0)
    assert told(repair) == [Retrying(1, 2, 0.0), LinkUp(2)]


def test_progress_makes_failures_no_longer_count() -> None:
    repair = linked(max_retries=1)
    for start in (200.0, 400.0, 600.0):
        repair.on_lost(start)
        assert repair.retry(start, counted=True)
        assert repair.retry(start + MIN_PATIENCE - 1.0, counted=True)
        repair.on_progress()
    repair.on_lost(800.0)
    assert repair.retry(800.0, counted=True)
    assert not repair.retry(800.0 + MIN_PATIENCE, counted=True)

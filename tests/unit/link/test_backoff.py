from __future__ import annotations

import pytest

from p2pal.link.backoff import MAX_BACKOFF, MIN_PATIENCE, PROVEN, Patience


def stood(max_retries: int | None = 1) -> Patience:
    patience = Patience(max_retries=max_retries, backoff=1.0, wait=100.0)
    patience.on_up(0.0)
    return patience


def test_failures_and_time_must_both_be_used_up() -> None:
    patience = stood()
    patience.on_lost(50.0)
    patience.on_failed(50.0, counted=True)
    assert not patience.exhausted(50.0 + 2 * MIN_PATIENCE)
    patience.on_failed(60.0, counted=True)
    assert not patience.exhausted(49.0 + MIN_PATIENCE)
    assert patience.exhausted(50.0 + MIN_PATIENCE)
    assert (patience.tries, patience.attempts) == (2, None)


def test_what_does_not_count_is_not_counted() -> None:
    patience = stood()
    for _ in range(9):
        patience.on_failed(50.0, counted=False)
    assert not patience.exhausted(1e9)
    assert patience.delay() == MAX_BACKOFF


def test_before_the_first_link_only_the_number_matters() -> None:
    patience = Patience(max_retries=1, backoff=1.0, wait=100.0)
    assert not patience.hopeless
    delays = []
    for _ in range(2):
        assert not patience.exhausted(0.0)
        patience.on_failed(0.0, counted=True)
        delays.append(patience.delay())
    assert patience.exhausted(0.0)
    assert delays == [1.0, 2.0]
    assert patience.attempts is None, "it is time that ends it, as a rule"


@pytest.mark.parametrize(("seconds", "tries"), [(PROVEN, 0), (PROVEN - 1.0, 1)])
def test_a_lane_that_stood_for_a_while_begins_a_new_account(seconds: float, tries: int) -> None:
    patience = stood()
    patience.on_lost(20.0)
    patience.on_failed(20.0, counted=True)
    patience.on_up(21.0)
    patience.on_lost(21.0 + seconds)
    assert patience.tries == tries


def test_waiting_adds_up_within_one_outage() -> None:
    patience = stood()
    patience.on_lost(20.0)
    for begin in (20.0, 100.0):
        patience.on_absent(True, begin)
        patience.on_absent(True, begin + 1.0)
        patience.on_absent(False, begin + 30.0)
        patience.on_absent(False, begin + 31.0)
    assert patience.absent_until is None
    patience.on_absent(True, 200.0)
    assert patience.absent_until == 240.0
    patience.on_absent(False, 210.0)
    patience.on_up(210.0)
    patience.on_progress()
    patience.on_lost(300.0)
    patience.on_absent(True, 300.0)
    assert patience.absent_until == 400.0


def test_without_a_limit_nothing_ends_it() -> None:
    patience = stood(None)
    patience.on_absent(True, 0.0)
    for _ in range(2000):
        patience.on_failed(0.0, counted=True)
    assert patience.absent_until is None
    assert not patience.exhausted(1e9)
    assert patience.delay() == MAX_BACKOFF
    assert patience.attempts is None

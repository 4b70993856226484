from __future__ import annotations

from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.rate_limit import LATE_INTERVAL, Allowance, Rate, Throttle, spend

RATE = Rate(3, 30.0)


def test_a_burst_then_one_in_a_while() -> None:
    throttle = Throttle(burst=3, interval=10.0, most=inf)
    assert [throttle.admit("a", 100.0) for _ in range(5)] == [True, True, True, False, False]
    assert throttle.due("a") == 110.0
    assert not throttle.admit("a", 109.9)
    assert throttle.admit("a", 110.0)
    assert not throttle.admit("a", 110.0)
    assert throttle.admit("b", 110.0)
    assert [throttle.admit("a", 500.0) for _ in range(4)] == [True, True, True, False]


def test_after_many_one_in_an_hour() -> None:
    throttle = Throttle(burst=2, interval=1.0, most=5)
    now, admitted = 0.0, []
    while now < 3 * LATE_INTERVAL:
        if throttle.admit("a", now):
            admitted.append(now)
        now += 0.5
    assert admitted == [0.0, 0.5, 1.0, 2.0, 3.0, 3.0 + LATE_INTERVAL, 3.0 + 2 * LATE_INTERVAL]


@given(st.lists(st.floats(0, 30), max_size=80), st.integers(1, 5), st.integers(1, 20))
@settings(deadline=None)
def test_never_more_than_that(steps: list[float], burst: int, most: int) -> None:
    throttle = Throttle(burst=burst, interval=10.0, most=most)
    now, admitted = 0.0, 0
    for step in steps:
        now += step
        due = throttle.due("a")
        assert throttle.admit("a", now) is (due <= now)
        admitted += due <= now
        assert admitted <= burst + now / 10.0 + 1e-6
        assert admitted <= most + now // LATE_INTERVAL


def test_it_is_taken_so_often_at_once_and_then_slowly() -> None:
    allowance = Allowance(3, 2.0)
    assert [allowance.take(10.0) for _ in range(5)] == [True, True, True, False, False]
    assert not allowance.take(11.5)
    assert [allowance.take(12.0) for _ in range(2)] == [True, False]
    assert [allowance.take(16.0) for _ in range(3)] == [True, True, False]


def test_a_long_rest_gives_no_more_than_the_burst() -> None:
    allowance = Allowance(2, 1.0)
    assert sum(allowance.take(1e6) for _ in range(10)) == 2


def test_whoever_keeps_the_distance_is_never_refused() -> None:
    allowance = Allowance(1, 0.5)
    assert all(allowance.take(second / 2) for second in range(1000))


def test_it_says_when_it_is_free() -> None:
    allowance = Allowance(2, 10.0)
    assert allowance.free_at < 0.0
    for now, free in ((0.0, 0.0), (1.0, 10.0)):
        assert allowance.take(now)
        assert allowance.free_at == free
    assert not allowance.take(9.0)
    assert allowance.take(10.0)
    assert allowance.free_at == 20.0


def test_all_at_once_after_a_pause_then_one_by_one() -> None:
    whole = 0.0
    for _ in range(3):
        whole, wait = spend(whole, 1000.0, RATE)
        assert wait == 0
    assert spend(whole, 1000.0, RATE) == (whole, 10.0)
    assert spend(whole, 1004.0, RATE) == (whole, 6.0)
    whole, wait = spend(whole, 1010.0, RATE)
    assert wait == 0
    assert spend(whole, 1010.0, RATE)[1] == 10.0


def test_being_refused_takes_nothing() -> None:
    whole = 0.0
    for _ in range(3):
        whole, _ = spend(whole, 0.0, RATE)
    for _ in range(100):
        whole, wait = spend(whole, 9.0, RATE)
        assert wait == 1.0
    assert spend(whole, 10.0, RATE)[1] == 0


def test_a_pause_never_saves_up_more_than_all() -> None:
    whole = spend(0.0, 0.0, RATE)[0]
    allowed = 0
    while (step := spend(whole, 1e9, RATE))[1] == 0:
        whole, allowed = step[0], allowed + 1
    assert allowed == 3

from __future__ import annotations

from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.throttle import LATE_INTERVAL, Throttle


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

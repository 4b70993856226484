from __future__ import annotations

from p2pal.link.allowance import Allowance


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

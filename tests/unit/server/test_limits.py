from __future__ import annotations

from p2pal.server.config import Rate
from p2pal.server.limits import spend

RATE = Rate(3, 30.0)


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

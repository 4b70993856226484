from __future__ import annotations

import pytest

from p2pal.link.deadlines import earliest, passed


@pytest.mark.parametrize(("deadline", "now", "has"), [(None, 1e9, False), (2.0, 1.9, False), (2.0, 2.0, True)])
def test_a_deadline_has_come_from_its_time_on(deadline: float | None, now: float, has: bool) -> None:
    assert passed(deadline, now) is has


def test_the_earliest_is_of_those_there_are() -> None:
    assert earliest() is None
    assert earliest(None, None) is None
    assert earliest(3.0, None, 0.0, 2.0) == 0.0
    assert earliest(None, float("inf")) == float("inf")

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.server.stores.deadlines import Deadlines

NAMES = st.sampled_from("abcd")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(NAMES, st.one_of(st.none(), st.integers(0, 20))), max_size=60))
def test_each_id_comes_at_the_earliest_of_its_times(steps: list[tuple[str, int | None]]) -> None:
    deadlines = Deadlines()
    noted: dict[str, float] = {}
    for name, due in steps:
        if due is None:
            deadlines.forget(name)
            noted.pop(name, None)
        else:
            deadlines.note(name, float(due))
            noted[name] = min(noted.get(name, 1e9), due)
    for now in range(21):
        came = set()
        while (came_now := deadlines.pop(now)) is not None:
            came.add(came_now)
        assert came == {name for name, due in noted.items() if due == now}


def test_what_was_forgotten_does_not_pile_up() -> None:
    deadlines = Deadlines()
    deadlines.note("stays", 5.0)
    for n in range(10_000):
        deadlines.note(str(n), 1e6)
        deadlines.forget(str(n))
    assert len(deadlines) < 200
    assert deadlines.pop(5.0) == "stays"
    assert deadlines.pop(1e9) is None

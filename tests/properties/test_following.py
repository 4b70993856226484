"""An instance learns every step of a transfer once and in order, or notices that one is missing."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.server import rules
from p2pal.server.stores.redis.replica import PATIENCE, Following, Update

TRANSFER = rules.create("r" * 32, 1, b"s", 60.0, 0.0)


def step(version: int) -> Update:
    return Update("i", TRANSFER.id, version, TRANSFER, [])


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[int], set[int], int]:
    """The order in which steps are heard of, which of them were the instance's own, and its first."""
    count = draw(st.integers(1, 12))
    own = sorted(draw(st.sets(st.integers(1, count), min_size=1)))
    order = draw(st.permutations(range(1, count + 1)))
    places = sorted(order.index(version) for version in own)
    for place, version in zip(places, own, strict=True):  # its own it hears of in order: one step at a time
        order[place] = version
    return order, set(own), own[0]


@settings(max_examples=300, deadline=None)
@given(histories())
def test_each_step_from_its_own_first_comes_once_and_in_order(history: tuple[list[int], set[int], int]) -> None:
    order, own, first = history
    following = Following()
    seen = [u.version for v in order for u in following.take(step(v), 0.0, own=v in own)]
    assert seen == list(range(first, len(order) + 1))
    assert following.current is not None
    assert following.current.version == len(order)
    assert following.waits_until is None
    assert following.overdue(1e9) is None


@settings(max_examples=300, deadline=None)
@given(histories(), st.data())
def test_a_step_that_is_lost_is_noticed_and_nothing_is_held_back_for_ever(
    history: tuple[list[int], set[int], int], data: st.DataObject
) -> None:
    order, own, first = history
    following = Following()
    later = [version for version in order if version > first and version not in own]
    lost = data.draw(st.sampled_from(later)) if later else None
    seen = [u.version for v in order if v != lost for u in following.take(step(v), 5.0, own=v in own)]
    assert seen == sorted(seen)
    if lost is None or lost == len(order):
        assert following.waits_until is None
        return
    assert seen == list(range(first, lost))
    assert following.waits_until == 5.0 + PATIENCE
    assert following.overdue(5.0 + PATIENCE / 2) is None
    late = following.overdue(5.0 + PATIENCE)
    assert late is not None
    assert [u.version for u in late] == list(range(lost + 1, len(order) + 1))
    assert following.current is None
    assert following.waits_until is None
    begun = following.take(step(len(order) + 1), 9.0, own=True)  # attached again
    assert [u.version for u in begun] == [len(order) + 1]


def test_steps_of_others_before_its_own_first_are_bounded() -> None:
    following = Following()
    for version in range(2, 10_000):
        assert following.take(step(version), 0.0) == []
    assert len(following.take(step(1), 0.0, own=True)) < 100


def test_a_repeated_step_is_no_news() -> None:
    following = Following()
    following.take(step(3), 0.0, own=True)
    assert following.take(step(3), 0.0) == []
    assert following.take(step(2), 0.0) == []

"""RangeSet against a plain set of integers, and its edges."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.ranges import RangeSet

_intervals = st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))
_changes = st.lists(st.tuples(st.sampled_from(["add", "remove"]), _intervals), max_size=30)


def _apply(changes: list[tuple[str, tuple[int, int]]]) -> tuple[RangeSet, set[int]]:
    ranges, model = RangeSet(), set[int]()
    for name, (start, stop) in changes:
        if name == "add":
            ranges.add(start, stop)
            model |= set(range(start, stop))
        else:
            ranges.remove(start, stop)
            model -= set(range(start, stop))
    return ranges, model


@settings(max_examples=300, deadline=None)
@given(_changes)
def test_behaves_like_a_set(changes: list[tuple[str, tuple[int, int]]]) -> None:
    ranges, model = _apply(changes)
    assert {value for start, stop in ranges for value in range(start, stop)} == model
    assert ranges.total == len(model)
    assert bool(ranges) == bool(model)
    assert [value in ranges for value in range(-1, 60)] == [value in model for value in range(-1, 60)]


@settings(max_examples=200, deadline=None)
@given(_changes)
def test_intervals_are_sorted_disjoint_and_never_adjacent(changes: list[tuple[str, tuple[int, int]]]) -> None:
    ranges, _ = _apply(changes)
    intervals = list(ranges)
    assert len(ranges) == len(intervals)
    assert all(start < stop for start, stop in intervals)
    assert all(left[1] < right[0] for left, right in pairwise(intervals))


@settings(max_examples=200, deadline=None)
@given(_changes, _intervals)
def test_gaps_and_covers(changes: list[tuple[str, tuple[int, int]]], window: tuple[int, int]) -> None:
    ranges, model = _apply(changes)
    missing = [value for start, stop in ranges.gaps(*window) for value in range(start, stop)]
    assert missing == [value for value in range(*window) if value not in model]
    assert ranges.covers(*window) == (not missing)


@settings(max_examples=100, deadline=None)
@given(st.lists(_intervals, max_size=12))
def test_order_of_adding_does_not_matter(intervals: list[tuple[int, int]]) -> None:
    assert RangeSet(intervals) == RangeSet(reversed(intervals)) == RangeSet(sorted(intervals))


def test_adjacent_intervals_merge() -> None:
    assert list(RangeSet([(0, 3), (3, 5)])) == [(0, 5)]
    assert list(RangeSet([(0, 3), (4, 5)])) == [(0, 3), (4, 5)]


def test_removing_the_middle_splits() -> None:
    ranges = RangeSet([(0, 10)])
    ranges.remove(3, 5)
    assert list(ranges) == [(0, 3), (5, 10)]
    assert ranges.total == 8


def test_empty_intervals_change_nothing() -> None:
    ranges = RangeSet([(1, 1)])
    ranges.remove(0, 0)
    assert not ranges
    assert list(ranges.gaps(4, 4)) == []
    assert ranges.covers(4, 4)


@pytest.mark.parametrize("method", ["add", "remove", "covers", "gaps"])
def test_reversed_intervals_are_refused(method: str) -> None:
    with pytest.raises(ValueError, match="cannot end before it starts"):
        list(getattr(RangeSet(), method)(2, 1))


def test_compares_only_with_its_own_kind() -> None:
    assert RangeSet([(0, 1)]) != [(0, 1)]
    assert repr(RangeSet([(0, 1), (3, 4)])) == "RangeSet([(0, 1), (3, 4)])"
    with pytest.raises(TypeError):
        hash(RangeSet())

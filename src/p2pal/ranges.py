"""Sets of integers kept as half-open intervals: acknowledged, received, on disk."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class RangeSet:
    """A set of integers as sorted, disjoint, never adjacent half-open intervals ``[start, stop)``.

    Searching costs O(log n) in the number of intervals n; a change also moves at most n entries of a list.
    Appending at the end, which is what streams do, is O(1).

    Args:
        ranges: Intervals to add at once, in any order; they may overlap.

    Raises:
        ValueError: From every method that takes an interval, if it ends before it starts.
    """

    __slots__ = ("_starts", "_stops", "_total")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._total = 0
        for start, stop in ranges:
            self.add(start, stop)

    @property
    def total(self) -> int:
        """How many integers are in the set."""
        return self._total

    def add(self, start: int, stop: int) -> None:
        """Put every integer of ``[start, stop)`` into the set."""
        if _is_empty(start, stop):
            return
        starts, stops = self._starts, self._stops
        if stops and start == stops[-1]:
            stops[-1] = stop
            self._total += stop - start
            return
        if not stops or start > stops[-1]:
            starts.append(start)
            stops.append(stop)
            self._total += stop - start
            return
        # Touching neighbours merge: the first that ends at or after start, up to the last that begins by stop.
        first = bisect_left(stops, start)
        last = bisect_right(starts, stop)
        if first < last:
            self._total -= sum(stops[first:last]) - sum(starts[first:last])
            start = min(start, starts[first])
            stop = max(stop, stops[last - 1])
        starts[first:last] = [start]
        stops[first:last] = [stop]
        self._total += stop - start

    def remove(self, start: int, stop: int) -> None:
        """Take every integer of ``[start, stop)`` out; what is not in the set is no error."""
        if _is_empty(start, stop):
            return
        starts, stops = self._starts, self._stops
        first = bisect_right(stops, start)
        last = bisect_left(starts, stop)
        if first >= last:
            return
        kept: list[tuple[int, int]] = []
        if starts[first] < start:
            kept.append((starts[first], start))
        if stops[last - 1] > stop:
            kept.append((stop, stops[last - 1]))
        self._total -= sum(stops[first:last]) - sum(starts[first:last])
        self._total += sum(end - begin for begin, end in kept)
        starts[first:last] = [begin for begin, _ in kept]
        stops[first:last] = [end for _, end in kept]

    def covers(self, start: int, stop: int) -> bool:
        """Whether every integer of ``[start, stop)`` is in the set; true for an empty interval."""
        if _is_empty(start, stop):
            return True
        index = bisect_right(self._starts, start) - 1
        return index >= 0 and stop <= self._stops[index]

    def gaps(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield, ascending, the intervals of ``[start, stop)`` that are not in the set.

        The set must not change while the iterator is in use.
        """
        if _is_empty(start, stop):
            return
        starts, stops = self._starts, self._stops
        index = bisect_right(stops, start)
        while index < len(starts) and starts[index] < stop:
            if start < starts[index]:
                yield start, starts[index]
            start = stops[index]
            index += 1
        if start < stop:
            yield start, stop

    def __contains__(self, value: int) -> bool:
        index = bisect_right(self._starts, value) - 1
        return index >= 0 and value < self._stops[index]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield the intervals, ascending."""
        return zip(self._starts, self._stops, strict=True)

    def __len__(self) -> int:
        """The number of intervals; see :attr:`total` for the number of integers."""
        return len(self._starts)

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RangeSet) and self._starts == other._starts and self._stops == other._stops

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"RangeSet({list(self)})"


def _is_empty(start: int, stop: int) -> bool:
    """Whether the interval holds nothing; one that ends before it starts is a mistake of the caller."""
    if stop < start:
        message = f"an interval cannot end before it starts: [{start}, {stop})"
        raise ValueError(message)
    return start == stop

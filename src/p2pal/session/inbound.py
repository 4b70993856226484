"""What arrives: DATA frames from any lane, put back in order, within a window that the application opens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from p2pal.errors import ProtocolError
from p2pal.ranges import RangeSet
from p2pal.wire.frames import MAX_RANGES


class Inbound:
    """Restores the order, drops duplicates, and says how far the peer may go.

    At most ``window`` frames are held here or by the application together.

    Args:
        window: The size of the receive window, in frames.

    Attributes:
        next: The number of the frame that the application gets next: all below it arrived.
        announced: The right edge of the window as the peer was told; a frame from there on is an error.
    """

    __slots__ = ("_consumed", "_ranges", "_waiting", "_window", "announced", "next")

    def __init__(self, window: int) -> None:
        self._window = window
        self._consumed = 0
        self._waiting: dict[int, memoryview] = {}
        self._ranges = RangeSet()
        self.next = 0
        self.announced = window

    @property
    def edge(self) -> int:
        """The right edge that the window has now; it never shrinks."""
        return self._consumed + self._window

    @property
    def has_gap(self) -> bool:
        """Whether frames wait for an earlier one."""
        return bool(self._waiting)

    def receive(self, number: int, payload: memoryview) -> Sequence[memoryview] | None:
        """Take a frame in; return the payloads that are now in order, or None for a duplicate.

        Raises:
            ProtocolError: If the frame is past the window's right edge.
        """
        if number >= self.announced:
            raise ProtocolError("the other side sent a frame past the window's edge")
        waiting = self._waiting
        if number == self.next:
            self.next = number + 1
            return self._in_order(payload) if waiting else (payload,)
        if number < self.next or number in waiting:
            return None
        waiting[number] = payload
        self._ranges.add(number, number + 1)
        return ()

    def _in_order(self, payload: memoryview) -> list[memoryview]:
        ready = [payload]
        while (following := self._waiting.pop(self.next, None)) is not None:
            ready.append(following)
            self.next += 1
        self._ranges.remove(0, self.next)
        return ready

    def consume(self, count: int) -> bool:
        """The application is done with its ``count`` oldest payloads; return whether the peer should hear of it.

        It should once a quarter of the window has opened since it was last told.

        Raises:
            ValueError: If that many were never delivered.
        """
        if not 0 <= count <= self.next - self._consumed:
            raise ValueError("more payloads consumed than were delivered")
        self._consumed += count
        return (self.edge - self.announced) * 4 >= self._window

    def ranges(self) -> list[tuple[int, int]]:
        """Return what arrived past the first gap, as far as one ACK can tell."""
        return list(islice(self._ranges, MAX_RANGES))

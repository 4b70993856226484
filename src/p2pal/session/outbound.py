"""What we send: DATA frames from the application until their acknowledgement, whatever lanes come and go."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from p2pal.errors import ProtocolError
from p2pal.ranges import RangeSet
from p2pal.wire import frames
from p2pal.wire.frames import DATA_HEADER

HIGH_WATER: Final = 1 << 20
"""Bytes that may wait unsent before the application is asked to pause."""


class Outbound:
    """Numbers payloads, keeps each as one encoded frame until it is acknowledged, and says which goes next.

    A frame is waiting (never sent), on its way over a lane, or due again because that lane went down or stalled. One
    that is due again because of a stall may still arrive by the first way, or by both.

    Args:
        edge: The number of the first frame past the peer's window, as both sides know it at the start.
        window: The most frames that the peer's window ever holds.

    Attributes:
        given: Payload bytes in all.
        unacked: Payload bytes not yet acknowledged, sent or not.
        queued: Payload bytes never sent.
    """

    __slots__ = (
        "_acked",
        "_again",
        "_base",
        "_edge",
        "_frames",
        "_next_number",
        "_next_unsent",
        "_window",
        "given",
        "queued",
        "unacked",
    )

    def __init__(self, edge: int, window: int) -> None:
        self._edge = edge
        self._window = window
        self._frames: dict[int, bytes] = {}
        self._base = 0  # every frame below it is acknowledged
        self._next_unsent = 0
        self._next_number = 0
        self._again: deque[int] = deque()  # ascending
        self._acked = RangeSet()  # past the base
        self.given = 0
        self.unacked = 0
        self.queued = 0

    def queue(self, payload: frames.Buffer | Sequence[frames.Buffer]) -> int:
        """Encode a payload as the next frame and return the frame's size."""
        frame = frames.encode_data(self._next_number, payload)
        self._frames[self._next_number] = frame
        self._next_number += 1
        size = len(frame) - DATA_HEADER
        self.given += size
        self.unacked += size
        self.queued += size
        return len(frame)

    def next(self) -> tuple[int, bytes] | None:
        """Return the number and bytes of the frame that goes next, or None while nothing may go.

        Frames of a lost lane go first, oldest first: the peer waits for them, and they have their credit already.
        """
        again = self._again
        while again:
            number = again[0]
            frame = self._frames.get(number)
            if frame is not None:
                return number, frame
            again.popleft()
        number = self._next_unsent
        if number < self._next_number and number < self._edge:
            return number, self._frames[number]
        return None

    def took(self, number: int, size: int) -> None:
        """The frame that :meth:`next` returned went onto a lane."""
        if number == self._next_unsent:
            self._next_unsent = number + 1
            self.queued -= size - DATA_HEADER
        else:
            self._again.popleft()

    def lost(self, numbers: Iterable[int]) -> None:
        """These frames were on a lane that went down or stalled; those not acknowledged are due again."""
        self._again = deque(sorted({n for n in (*self._again, *numbers) if n in self._frames}))

    def found(self, numbers: Iterable[int]) -> None:
        """These frames are on their way after all: those that are due again, and were not sent yet, are not."""
        on_way = set(numbers)
        self._again = deque(number for number in self._again if number not in on_way)

    def acknowledge(self, ack: frames.Ack) -> None:
        """Forget what arrived and move the window. An ACK that came late, past a newer one, changes nothing.

        Raises:
            ProtocolError: If it acknowledges what was never sent, or opens a window wider than was agreed.
        """
        highest = ack.ranges[-1][1] if ack.ranges else ack.next
        if highest > self._next_unsent:
            raise ProtocolError("the other side acknowledged what was never sent")
        if ack.edge > ack.next + self._window:
            raise ProtocolError("the other side opened a window wider than agreed")
        if ack.edge > self._edge:
            self._edge = ack.edge
        for start, stop in ack.ranges:
            self._forget(max(start, self._base), stop)
        if ack.next > self._base:
            self._forget(self._base, ack.next)
            self._base = ack.next
            if self._acked:
                self._acked.remove(0, ack.next)

    def _forget(self, start: int, stop: int) -> None:
        if start >= stop:
            return
        pop = self._frames.pop
        acked = self._acked
        if not acked and start == self._base:  # the common case: one lane, nothing out of order
            size = 0
            for number in range(start, stop):
                size += len(pop(number))
            self.unacked -= size - (stop - start) * DATA_HEADER
            return
        # Every ACK repeats its ranges: only what is new in them costs anything.
        for begin, end in list(acked.gaps(start, stop)):
            for number in range(begin, end):
                self.unacked -= len(pop(number)) - DATA_HEADER
        acked.add(start, stop)

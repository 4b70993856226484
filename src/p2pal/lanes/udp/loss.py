"""Which packets were lost (RFC 9002), counted by the batch.

Packets that leave together have one record, which is split only where part of it arrives. What RFC 9002 says of
packets holds for each of them; the thresholds are wider than its smallest because batches arrive in bursts of our own
making, and they grow when a loss turns out to be none.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from p2pal.errors import ProtocolError
from p2pal.lanes.udp.acks import NEVER
from p2pal.lanes.udp.data_packet import DATA_HEADER
from p2pal.lanes.udp.rtt import GRANULARITY, RttEstimator

PACKET_THRESHOLD: Final = 8
"""Packets by which one may be overtaken before it counts as lost."""
MOST_PACKET_THRESHOLD: Final = 1024
TIME_THRESHOLD: Final = 9 / 8
"""Round trips after which a packet that was overtaken counts as lost."""
MOST_TIME_THRESHOLD: Final = 2.0
PERSISTENT: Final = 3
"""PTOs of nothing but loss that make congestion persistent (RFC 9002, section 7.6)."""
MAX_PTO: Final = 3.0
"""Seconds between two probes, however many went unanswered."""

_REMEMBERED: Final = 64  # losses that may still turn out to be none
_SKIPS: Final = 16


class SentBatch:
    """Packets that left together.

    Attributes:
        number: The first packet's.
        count: Packets.
        offset: Of the first payload byte in the stream.
        stop: The offset past the last one.
        size: Payload of each packet but the last, in bytes.
        sent_at: When they left.
        path: Which of the lane's paths, one after another, they took.
        flight: Bytes of it that neither arrived nor count as lost, with their headers.
        missing: The packet numbers of these; None while it is all of them.
        delivered: Bytes that had arrived when it was sent (see :mod:`p2pal.lanes.udp.rate`).
        delivered_at: When the last of these was acknowledged.
        received_at: When the last of these arrived, on the peer's clock; negative if that is not known.
        first_sent_at: When what was acknowledged last had been sent.
        in_flight: Bytes on the way when it had been sent, itself included.
        lost: Bytes that counted as lost when it was sent.
        limited: Whether the application, not the path, held us back.
    """

    __slots__ = (
        "count", "delivered", "delivered_at", "first_sent_at", "flight", "in_flight", "limited", "lost", "missing",
        "number", "offset", "path", "received_at", "sent_at", "size", "stop",
    )  # fmt: skip

    def __init__(self, number: int, count: int, offset: int, stop: int, size: int, sent_at: float, path: int) -> None:
        self.number = number
        self.count = count
        self.offset = offset
        self.stop = stop
        self.size = size
        self.sent_at = sent_at
        self.path = path
        self.flight = stop - offset + count * DATA_HEADER
        self.missing: list[tuple[int, int]] | None = None
        self.delivered = self.in_flight = self.lost = 0
        self.delivered_at = self.first_sent_at = sent_at
        self.received_at = -1.0
        self.limited = False

    def range_of(self, start: int, stop: int) -> tuple[int, int]:
        """Return the part of the stream that these packets carry."""
        first = self.offset + (start - self.number) * self.size
        return first, min(self.stop, self.offset + (stop - self.number) * self.size)

    def bytes_of(self, start: int, stop: int) -> int:
        """Return how many bytes these packets have, with their headers."""
        first, last = self.range_of(start, stop)
        return last - first + (stop - start) * DATA_HEADER

    def arrived(self, ranges: Sequence[tuple[int, int]]) -> int:
        """Take out of :attr:`missing` what arrived; return how many bytes that was."""
        first, end = self.number, self.number + self.count
        missing = [(first, end)] if self.missing is None else self.missing
        for start, stop in ranges:
            if start >= end:
                break
            if stop > first:
                missing = [
                    piece
                    for a, b in missing
                    for piece in ((a, min(b, start)), (max(a, stop), b))
                    if piece[0] < piece[1]
                ]
        self.missing = missing
        before = self.flight
        self.flight = sum(self.bytes_of(a, b) for a, b in missing)
        return before - self.flight


class Lost(NamedTuple):
    """Packets of one batch that count as lost."""

    batch: SentBatch
    start: int
    stop: int


class Acked(NamedTuple):
    """What an acknowledgement showed.

    Attributes:
        size: Bytes that arrived for the first time.
        newest: The batch with the highest packet number among these, if any.
        is_largest: Whether the highest number that the ACK names is among these: then there is a round trip.
        spurious: Bytes that counted as lost, and were not.
    """

    size: int
    newest: SentBatch | None
    is_largest: bool
    spurious: int


class LossDetection:
    """Packets from leaving until they arrived or count as lost.

    Attributes:
        rtt: The round trips.
        in_flight: Bytes on the path in use that neither arrived nor count as lost.
        next_number: The next packet's.
        pto_count: Probe timeouts since anything arrived.
    """

    __slots__ = (
        "_flight", "_largest", "_last_sent_at", "_loss_at", "_packets", "_path", "_recent", "_skipped", "_time",
        "in_flight", "next_number", "pto_count", "rtt",
    )  # fmt: skip

    def __init__(self, rtt: RttEstimator) -> None:
        self.rtt = rtt
        self.in_flight = 0
        self.next_number = 0
        self.pto_count = 0
        self._flight: deque[SentBatch] = deque()
        self._path = 0
        self._largest = -1
        self._last_sent_at = 0.0
        self._loss_at = NEVER
        self._packets = PACKET_THRESHOLD
        self._time = TIME_THRESHOLD
        self._recent: deque[tuple[int, int, int, float]] = deque(maxlen=_REMEMBERED)
        self._skipped: deque[int] = deque(maxlen=_SKIPS)

    def change_path(self, path: int, rtt: RttEstimator, *, dead: bool) -> list[Lost]:
        """What leaves from now on takes another path; return what counts as lost by that.

        Args:
            path: Its number.
            rtt: Its round trips.
            dead: Whether what is on the way over the path before will not arrive.
        """
        self._path = path
        self.rtt = rtt
        self.in_flight = 0
        self.pto_count = 0
        self._loss_at = NEVER
        if not dead:
            return []
        found = [
            Lost(batch, start, stop)
            for batch in self._flight
            for start, stop in batch.missing or [(batch.number, batch.number + batch.count)]
        ]
        self._flight.clear()
        return found

    def abandon(self) -> None:
        """Nothing that is on the way matters any more."""
        self._flight.clear()
        self.in_flight = 0
        self._loss_at = NEVER

    def skip(self) -> None:
        """Leave one packet number out: a peer that acknowledges it acknowledges blindly (RFC 9000, section 21.4)."""
        self._skipped.append(self.next_number)
        self.next_number += 1

    def on_sent(self, batch: SentBatch) -> None:
        """A batch leaves, with the next packet numbers."""
        self.next_number = batch.number + batch.count
        self.in_flight += batch.flight
        self._flight.append(batch)
        self._last_sent_at = batch.sent_at

    def on_ack(self, ranges: Sequence[tuple[int, int]]) -> Acked:
        """The peer has these packets.

        Args:
            ranges: Packet numbers, half-open, ascending.

        Raises:
            ProtocolError: If one of them was never sent.
        """
        if not ranges:
            return Acked(0, None, False, 0)
        largest = ranges[-1][1] - 1
        if largest >= self.next_number or (self._skipped and self._has_skipped(ranges)):
            raise ProtocolError("the other side acknowledged a packet that was never sent")
        flight, kept = self._flight, []
        size = before = index = 0
        last = len(ranges)
        newest: SentBatch | None = None
        while flight and flight[0].number <= largest:
            batch = flight.popleft()
            first, end = batch.number, batch.number + batch.count
            while index < last and ranges[index][1] <= first:
                index += 1
            if index < last and ranges[index][0] < end:
                start, stop = ranges[index]
                if start <= first and end <= stop:
                    arrived, batch.flight = batch.flight, 0
                else:
                    arrived = batch.arrived(ranges[index:])
                if arrived:
                    size += arrived
                    newest = batch
                    if batch.path != self._path:
                        before += arrived
            if batch.flight:
                kept.append(batch)
        flight.extendleft(reversed(kept))
        is_largest = newest is not None and largest > self._largest
        self._largest = max(self._largest, largest)
        self.in_flight -= size - before
        if size:
            self.pto_count = 0
        return Acked(size, newest, is_largest, self._spurious(ranges, largest) if self._recent else 0)

    def _has_skipped(self, ranges: Sequence[tuple[int, int]]) -> bool:
        skipped = self._skipped
        while skipped and skipped[0] < ranges[0][0]:
            skipped.popleft()
        return any(start <= number < stop for number in skipped for start, stop in ranges)

    def _spurious(self, ranges: Sequence[tuple[int, int]], largest: int) -> int:
        """Return how many bytes that counted as lost arrived after all; and be more patient from now on."""
        size = 0
        starts = [start for start, _ in ranges]
        for record in list(self._recent):
            at = bisect_right(starts, record[0]) - 1
            if at < 0 or ranges[at][1] < record[1]:
                continue
            self._recent.remove(record)
            size += record[2]
            self._packets = min(max(self._packets, 2 * (largest - record[0])), MOST_PACKET_THRESHOLD)
            self._time = min(self._time + 1 / 8, MOST_TIME_THRESHOLD)
        return size

    def detect(self, now: float) -> list[Lost]:
        """Return the packets that count as lost now, each once."""
        wait = max(self._time * max(self.rtt.smoothed, self.rtt.latest), GRANULARITY)
        largest = self._largest
        self._loss_at = NEVER
        while self._recent and self._recent[0][3] < now - 4 * wait:
            self._recent.popleft()
        found: list[Lost] = []
        kept: list[SentBatch] = []
        flight = self._flight
        while flight and flight[0].number <= largest:
            batch = flight.popleft()
            late = batch.sent_at + wait <= now
            # What another path overtook need not be lost.
            bound = largest if late else largest - self._packets + 1 if batch.path == self._path else batch.number
            missing = batch.missing or [(batch.number, batch.number + batch.count)]
            if missing[0][0] < bound:
                self._lose(batch, missing, bound, found, now)
            if batch.flight:
                kept.append(batch)
                if not late and (batch.missing or missing)[0][0] < largest:
                    self._loss_at = min(self._loss_at, batch.sent_at + wait)
        flight.extendleft(reversed(kept))
        return found

    def _lose(
        self, batch: SentBatch, missing: list[tuple[int, int]], bound: int, found: list[Lost], now: float
    ) -> None:
        for start, stop in missing:
            if start < bound:
                end = min(stop, bound)
                found.append(Lost(batch, start, end))
                self._recent.append((start, end, batch.bytes_of(start, end), now))
        batch.missing = [(max(start, bound), stop) for start, stop in missing if stop > bound]
        before = batch.flight
        batch.flight = sum(batch.bytes_of(a, b) for a, b in batch.missing)
        if batch.path == self._path:
            self.in_flight -= before - batch.flight

    def is_persistent(self, lost: Sequence[Lost]) -> bool:
        """Whether nothing of what left during :data:`PERSISTENT` PTOs arrived (RFC 9002, section 7.6)."""
        began, end = 0.0, -1
        for batch, start, stop in lost:
            if start != end:
                began = batch.sent_at
            end = stop
            if batch.sent_at - began > PERSISTENT * self.rtt.pto:
                return True
        return False

    def next_timeout(self) -> float:
        """Return when :meth:`detect` or a probe is due; infinity if nothing is on the way."""
        if self._loss_at != NEVER:
            return self._loss_at
        if not self._flight:
            return NEVER
        backoff = float(1 << min(self.pto_count, 8))
        return self._last_sent_at + min(self.rtt.pto * backoff, max(MAX_PTO, self.rtt.pto))

    def on_timeout(self, now: float) -> bool:
        """Return whether a probe is due: the last packets may be lost, and nothing overtook them to show it."""
        if self._loss_at == NEVER and self._flight and now >= self.next_timeout():
            self.pto_count += 1
            return True
        return False

"""What the receiver says: consent and what it lacks, verdicts in batches, and all as payloads. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from p2pal.transfer.payloads import Buffer, PayloadQueue
from p2pal.wire import transfer as wire
from p2pal.wire.transfer import Reason, Verdict

_ITEM_BYTES = 12  # of a packed range or verdict, at most, without its text
_RECORD_BYTES = 32  # of a record's header and fixed fields, rounded up


class Replies:
    """The receiver's outgoing records.

    Args:
        limit: The largest payload, in bytes.
    """

    def __init__(self, limit: int) -> None:
        self._out = PayloadQueue(limit)
        self._max_items = (limit - _RECORD_BYTES) // _ITEM_BYTES
        self._verdicts: list[Verdict] = []
        self._cost = 0

    @property
    def backlog(self) -> int:
        """Bytes that wait."""
        return self._out.backlog

    def take(self) -> list[Buffer] | None:
        """Return the next payload, or None."""
        taken = self._out.take()
        return None if taken is None else taken[0]

    def add(self, record: wire.Record) -> None:
        """Queue one record."""
        self._out.add(record)

    def consent(self, digest: bytes, count: int, skipped: Sequence[int]) -> None:
        """Accept the offer with this digest and ask for all its ``count`` entries but those skipped (ascending)."""
        self._out.add(wire.Accept(digest))
        ranges = []
        start = 0
        for index in (*skipped, count):
            if start < index:
                ranges.append((start, index))
            start = index + 1
        step = min(wire.MAX_RANGES, self._max_items)
        for first in range(0, len(ranges), step):
            self._out.add(wire.Want(ranges[first : first + step], [], last=first + step >= len(ranges)))
        if not ranges:
            self._out.add(wire.Want([], []))

    def judge(self, index: int, reason: Reason | None, text: str) -> None:
        """Note a verdict; it leaves with the next :meth:`flush`, or when there are many."""
        verdict = Verdict(index, True) if reason is None else Verdict(index, False, reason, wire.clean_text(text))
        cost = _ITEM_BYTES + len(verdict.text.encode())
        if len(self._verdicts) == wire.MAX_VERDICTS or self._cost + cost > self._out.limit - _RECORD_BYTES:
            self.flush()
        self._verdicts.append(verdict)
        self._cost += cost

    def flush(self) -> None:
        """Queue the verdicts noted so far."""
        if self._verdicts:
            self._out.add(wire.Verdicts(self._verdicts))
            self._verdicts = []
            self._cost = 0

"""What the receiver says: what it lacks, verdicts in batches, and all as payloads. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from p2pal.transfer.packer import BlockData, PayloadQueue
from p2pal.wire import transfer as wire
from p2pal.wire.transfer import Reason, Verdict

_ITEM_BYTES = 12  # of a packed range or verdict, at most, without its text
_RECORD_BYTES = 32  # of a record's header and fixed fields, rounded up
_PIECES_BYTES = 16  # of a WantPieces, at most, without its ranges
_RANGE_BYTES = 19  # of each of those


class Replies:
    """The receiver's outgoing records.

    Args:
        limit: The largest payload, in bytes.
    """

    def __init__(self, limit: int) -> None:
        self._out = PayloadQueue(limit)
        self._room = limit - _RECORD_BYTES
        self._verdicts: list[Verdict] = []
        self._cost = 0

    @property
    def backlog(self) -> int:
        """Bytes that wait."""
        return self._out.backlog

    @property
    def max_ranges(self) -> int:
        """How many ranges of pieces one file may be asked for with."""
        return min(wire.MAX_RANGES, (self._room - _PIECES_BYTES) // _RANGE_BYTES)

    def take(self) -> list[BlockData] | None:
        """Return the next payload, or None."""
        taken = self._out.take()
        return None if taken is None else taken[0]

    def add(self, record: wire.Record) -> None:
        """Queue one record."""
        self._out.add(record)

    def want(self, lacking: Iterable[tuple[int, int] | wire.WantPieces]) -> None:
        """Ask for that: ranges of entries, and pieces of others (:attr:`max_ranges` each), ascending together."""
        whole: list[tuple[int, int]] = []
        pieces: list[wire.WantPieces] = []
        cost = 0
        for item in lacking:
            price = _ITEM_BYTES if isinstance(item, tuple) else _PIECES_BYTES + _RANGE_BYTES * len(item.pieces)
            if cost + price > self._room or max(len(whole), len(pieces)) == wire.MAX_RANGES:
                self._out.add(wire.Want(whole, pieces, last=False))
                whole, pieces, cost = [], [], 0
            if isinstance(item, tuple):
                whole.append(item)
            else:
                pieces.append(item)
            cost += price
        self._out.add(wire.Want(whole, pieces))

    def judge(self, index: int, reason: Reason | None, text: str) -> None:
        """Note a verdict; it leaves with the next :meth:`flush`, or when there are many."""
        verdict = Verdict(index, True) if reason is None else Verdict(index, False, reason, wire.clean_text(text))
        cost = _ITEM_BYTES + len(verdict.text.encode())
        if len(self._verdicts) == wire.MAX_VERDICTS or self._cost + cost > self._room:
            self.flush()
        self._verdicts.append(verdict)
        self._cost += cost

    def flush(self) -> None:
        """Queue the verdicts noted so far."""
        if self._verdicts:
            self._out.add(wire.Verdicts(self._verdicts))
            self._verdicts = []
            self._cost = 0

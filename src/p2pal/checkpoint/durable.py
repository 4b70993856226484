"""How much of a transfer is durable at the receiver: what both sides show, save and list. Pure.

*Durable* are the bytes of the files that stand under their names, and of unfinished files what the checkpoint claims:
pieces with the right leaf, and the head of one more, once they are on the medium. It is what a transfer that stops now
goes on from.
"""

from __future__ import annotations

from p2pal.checkpoint.records import Begun, CheckpointRecord, Claimed, Done, Dropped, Unclaimed
from p2pal.checkpoint.replay import ReceiveState
from p2pal.ranges import RangeSet
from p2pal.wire.pieces import LEAF_BYTES, piece_count, piece_size


class _Part:
    """What is claimed of one unfinished file."""

    __slots__ = ("_each", "_size", "begun", "head", "pieces")

    def __init__(self, begun: Begun) -> None:
        self.begun = begun
        self.pieces = RangeSet()
        self.head = (0, 0)
        self._size = begun.size
        self._each = piece_size(begun.size)

    @property
    def count(self) -> int:
        return piece_count(self._size, self._each)

    def length(self, piece: int) -> int:
        return min(self._each, self._size - piece * self._each)

    @property
    def bytes(self) -> int:
        if not self.pieces and not self.head[1]:
            return 0
        last = self.count - 1
        short = self._each - self.length(last) if last in self.pieces else 0
        return self.pieces.total * self._each - short + self.head[1]

    def inherit(self, before: _Part) -> None:
        """Take over what is the same bytes for the size of now."""
        if before._each != self._each or self.count < 2:
            return
        for start, stop in before.pieces:
            for piece in range(start, min(stop, self.count)):
                if before.length(piece) == self.length(piece):
                    self.pieces.add(piece, piece + 1)
        piece, head = before.head
        if piece < self.count and head < self.length(piece):
            self.head = before.head


class DurableCount:
    """Counts bytes from the receiver's records, as they are written: the figures of the list, without its memory.

    What is remembered is some hundred bytes for each unfinished file.

    Args:
        state: What earlier sessions left, if there were any. It is read, now and later, and not changed.

    Attributes:
        bytes: Bytes that are durable.
        files: Files that stand under their names.
    """

    __slots__ = ("_earlier", "_parts", "_redone", "bytes", "files")

    def __init__(self, state: ReceiveState | None = None) -> None:
        self.bytes = 0
        self.files = 0
        self._earlier = state
        self._redone: set[int] = set()  # files that stood already, and began anew
        self._parts: dict[int, _Part] = {}
        if state is None:
            return
        self.bytes, self.files = state.done_bytes + state.claimed_bytes, state.done_files
        claims = state.claims
        for index, begun in state.begun.items():
            part = self._parts[index] = _Part(begun)
            claim = claims.get(index)
            if claim is not None:
                part.head = (claim.piece, claim.head)
                for piece in sorted(claim.leaves):
                    part.pieces.add(piece, piece + 1)

    def apply(self, record: CheckpointRecord) -> None:
        """Count one more record; those of which nothing follows are passed over."""
        match record:
            case Begun():
                self._begin(record)
            case Claimed():
                self._claim(record)
            case Unclaimed():
                part = self._parts.get(record.index)
                if part is not None:
                    self.bytes -= part.bytes
                    part.pieces.remove(record.first, record.stop)
                    self.bytes += part.bytes
            case Done():
                for start, stop in record.ranges:
                    self._settle(start, stop)
            case Dropped():
                self._forget(record.index)
            case _:
                pass

    def _begin(self, record: Begun) -> None:
        index = record.index
        before = self._forget(index)
        part = self._parts[index] = _Part(record)
        if before is not None and before.begun.part == record.part:
            part.inherit(before)
            self.bytes += part.bytes
        earlier = self._earlier
        if earlier is None or index in self._redone or index not in earlier.done:
            return
        placed = earlier.placed.get(index)
        if placed is not None:  # it did not stand any more, or was not right
            self._redone.add(index)
            self.files -= 1
            self.bytes -= placed.size

    def _claim(self, record: Claimed) -> None:
        part = self._parts.get(record.index)
        if part is None or part.count < 2:
            return
        self.bytes -= part.bytes
        part.pieces.add(record.first, record.first + len(record.leaves) // LEAF_BYTES)
        part.head = (record.piece, record.head) if record.piece not in part.pieces else (0, 0)
        self.bytes += part.bytes

    def _settle(self, start: int, stop: int) -> None:
        if stop - start < len(self._parts):
            settled = [index for index in range(start, stop) if index in self._parts]
        else:
            settled = [index for index in self._parts if start <= index < stop]
        for index in settled:
            part = self._forget(index)
            if part is not None:
                self.files += 1
                self.bytes += part.begun.size

    def _forget(self, index: int) -> _Part | None:
        part = self._parts.pop(index, None)
        if part is not None:
            self.bytes -= part.bytes
        return part

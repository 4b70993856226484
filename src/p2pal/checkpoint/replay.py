"""What follows from a checkpoint's records: how far each side is. Pure.

A fold believes no more than it can check: an index beyond the header's entries, a piece that the file cannot have, or
a claim on another part file than the one begun is left out, as if it had not been written. What is left out is read,
hashed or sent again; nothing is ever believed that no record says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from p2pal.checkpoint.placed import Placed, PlacedFiles
from p2pal.checkpoint.records import (
    Arrived,
    Begun,
    CheckpointHeader,
    CheckpointRecord,
    Claim,
    Claimed,
    Declined,
    Done,
    Dropped,
    Finishing,
    Finishings,
    Leaves,
    Made,
    Named,
    PlaceRecord,
    Places,
    Rooted,
    SessionBegins,
    Stopped,
    StoredIdentity,
    TopRecord,
    Tops,
    Unclaimed,
)
from p2pal.ranges import RangeSet
from p2pal.wire.pieces import LEAF_BYTES, piece_count, piece_size
from p2pal.wire.transfer import MAX_TOPS

MAX_LEAVES: Final = 1 << 20
"""Leaves that are remembered at most (a piece has at least 1 MiB); further pieces count as unknown."""

MAX_NAMES: Final = 100_000
"""Entries that have another name than their own, as far as it is remembered: some 300 bytes each."""


class _Progress:
    """What is known of an unfinished file."""

    __slots__ = ("begun", "count", "head", "leaves", "piece", "piece_size")

    def __init__(self, begun: Begun) -> None:
        self.begun = begun
        self.piece_size = piece_size(begun.size)
        self.count = piece_count(begun.size, self.piece_size)
        self.leaves: dict[int, bytes] = {}
        self.piece = 0
        self.head = 0

    def length(self, piece: int) -> int:
        """Return how many bytes a piece has."""
        return min(self.piece_size, self.begun.size - piece * self.piece_size)

    def inherit(self, before: _Progress) -> None:
        """Take over what was known of the same part file, as far as it is the same bytes for the new size."""
        if before.piece_size != self.piece_size or self.count < 2:
            return
        self.leaves = {
            n: leaf for n, leaf in before.leaves.items() if n < self.count and before.length(n) == self.length(n)
        }
        if before.piece < self.count and before.head < self.length(before.piece):
            self.piece, self.head = before.piece, before.head

    @property
    def bytes(self) -> int:
        """How many bytes are claimed."""
        return sum(self.length(piece) for piece in self.leaves) + self.head


class ReceiveState:
    """The receiver's side, record by record.

    Attributes:
        header: The checkpoint's.
        places: Where each top-level entry goes, by its name as offered. Names are not checked here.
        done: Entries that stand under their names.
        declined: Entries that the person did not want.
        finishing: Files that may have got their names already, and are not done, by entry.
        made: Top-level directories that the transfer made.
        root: Which directory is written into.
        stopped: What part files looked like at the last clean stop, if no session and no claim came after it.
        names: The names of entries below the top-level ones whose own were taken, by their paths. Not checked here.
        placed: What was put under the final names of files, of those begun again, too.
        done_files: How many of the entries done are files, as far as known; for the list.
        done_bytes: Their bytes together; for the list.
    """

    __slots__ = (
        "_files", "_leaves", "declined", "done", "done_bytes", "done_files", "finishing", "header", "made", "names",
        "placed", "places", "root", "stopped",
    )  # fmt: skip

    def __init__(self, header: CheckpointHeader) -> None:
        self.header = header
        self.places: dict[bytes, PlaceRecord] = {}
        self.done = RangeSet()
        self.declined = RangeSet()
        self.finishing: dict[int, Finishing] = {}
        self.made: dict[bytes, StoredIdentity] = {}
        self.stopped: dict[int, Stopped] = {}
        self.names: dict[bytes, bytes] = {}
        self.root: StoredIdentity | None = None if header.target is None else header.target.identity
        self.placed = PlacedFiles()
        self.done_files = 0
        self.done_bytes = 0
        self._files: dict[int, _Progress] = {}
        self._leaves = 0

    @property
    def begun(self) -> dict[int, Begun]:
        """The files that have a part file, by entry. A new dictionary."""
        return {index: file.begun for index, file in self._files.items()}

    @property
    def claims(self) -> dict[int, Claim]:
        """What of unfinished files of two pieces or more is there, by entry. A new dictionary."""
        return {
            index: Claim(file.begun.part, dict(file.leaves), file.piece, file.head, index in self.stopped)
            for index, file in self._files.items()
            if file.leaves or file.head
        }

    @property
    def claimed_bytes(self) -> int:
        """How many bytes of unfinished files are there; for the list."""
        return sum(file.bytes for file in self._files.values() if file.leaves or file.head)

    def apply(self, record: CheckpointRecord) -> None:
        """Fold one more record in; the sender's are passed over."""
        match record:
            case Begun():
                self._begin(record)
            case Claimed():
                self._claim(record)
            case Unclaimed():
                self._revoke(record)
            case Finishings():
                for each in record.files:
                    self._finish(each)
            case Done():
                for start, stop in _within(record.ranges, self.header.entries):
                    self._settle(start, stop)
            case Dropped():
                self._forget(record.index)
            case Stopped():
                file = self._files.get(record.index)
                if file is not None and file.begun.part == record.part:
                    self.stopped[record.index] = record
            case _:
                self._apply_other(record)

    def _apply_other(self, record: CheckpointRecord) -> None:
        """Fold in a record that is not about the contents of files."""
        match record:
            case SessionBegins():
                self.stopped.clear()
            case Rooted():
                self.root = record.identity
            case Declined():
                for start, stop in _within(record.ranges, self.header.entries):
                    self.declined.add(start, stop)
            case Places():
                for place in record.places:
                    if len(self.places) < MAX_TOPS or place.top in self.places:
                        self.places[place.top] = place
            case Named():
                self._name(record)
            case Made():
                if len(self.made) < MAX_TOPS or record.top in self.made:
                    self.made[record.top] = record.identity
            case _:
                pass

    def _name(self, record: Named) -> None:
        """Give an entry another name; at the top that is another place, where nothing may be replaced."""
        if b"/" not in record.path:
            if record.path in self.places:
                self.places[record.path] = PlaceRecord(record.path, record.name, "NEW")
        elif len(self.names) < MAX_NAMES or record.path in self.names:
            self.names[record.path] = record.name

    def _begin(self, record: Begun) -> None:
        index = record.index
        if index >= self.header.entries:
            return
        before = self._forget(index)
        file = self._files[index] = _Progress(record)
        if before is not None and before.begun.part == record.part:
            file.inherit(before)
            self._leaves += len(file.leaves)
        if index in self.done:  # it did not stand any more, or was not right
            self.done.remove(index, index + 1)
            placed = self.placed.get(index)
            if placed is not None:
                self.done_files = max(0, self.done_files - 1)
                self.done_bytes = max(0, self.done_bytes - placed.size)

    def _claim(self, record: Claimed) -> None:
        file = self._files.get(record.index)
        if file is None or file.count < 2:
            return
        number, rest = divmod(len(record.leaves), LEAF_BYTES)
        if rest or record.first + number > file.count:
            return
        self.stopped.pop(record.index, None)
        self._leaves -= len(file.leaves)
        for offset in range(min(number, MAX_LEAVES - self._leaves - len(file.leaves))):
            file.leaves[record.first + offset] = record.leaves[offset * LEAF_BYTES : (offset + 1) * LEAF_BYTES]
        self._leaves += len(file.leaves)
        piece, head = record.piece, record.head
        fits = piece < file.count and piece not in file.leaves and head < file.length(piece)
        file.piece, file.head = (piece, head) if fits and head else (0, 0)

    def _revoke(self, record: Unclaimed) -> None:
        file = self._files.get(record.index)
        if file is None:
            return
        self.stopped.pop(record.index, None)
        self._leaves -= len(file.leaves)
        for piece in _keys_within(file.leaves, record.first, record.stop):
            del file.leaves[piece]
        self._leaves += len(file.leaves)

    def _finish(self, record: Finishing) -> None:
        file = self._files.get(record.index)
        if record.index < self.header.entries and (file is None or file.begun.part == record.part):
            self.finishing[record.index] = record

    def _settle(self, start: int, stop: int) -> None:
        self.done.add(start, stop)
        for index in _keys_within(self._files, start, stop):
            finishing = self.finishing.get(index)
            file = self._forget(index)
            if file is not None:
                digest = bytes(LEAF_BYTES) if finishing is None else finishing.digest
                self.placed.put(index, Placed(file.begun.size, file.begun.mtime_ns, digest))
                self.done_files += 1
                self.done_bytes += file.begun.size
        for index in _keys_within(self.finishing, start, stop):  # links
            del self.finishing[index]

    def _forget(self, index: int) -> _Progress | None:
        """Leave out all that is said of a part file."""
        self.stopped.pop(index, None)
        self.finishing.pop(index, None)
        file = self._files.pop(index, None)
        if file is not None:
            self._leaves -= len(file.leaves)
        return file


def _within(ranges: Iterable[tuple[int, int]], entries: int) -> Iterable[tuple[int, int]]:
    """Return the parts of these ranges that an offer of so many entries has."""
    return ((start, min(stop, entries)) for start, stop in ranges if start < min(stop, entries))


def _keys_within(table: Mapping[int, object], start: int, stop: int) -> list[int]:
    """Return the keys in ``[start, stop)``, however long either is."""
    if stop - start < len(table):
        return [index for index in range(start, stop) if index in table]
    return [index for index in table if start <= index < stop]


class SendState:
    """The sender's side, record by record. The listing is not kept: it is read from the file when it is needed.

    Attributes:
        header: The checkpoint's.
        tops: The arguments of the command line, in their order.
        leaves: Leaves of each file as it was offered, by entry and piece. Whether a file has such a piece is not
            checked: its size is in the listing.
        leaves_at: When the first of an entry's leaves was hashed, seconds since the epoch.
        done: Bytes that are known to be at the receiver.
        files: Files, likewise.
        declined: Entries that a person gave up.
    """

    __slots__ = ("_leaves", "declined", "done", "files", "header", "leaves", "leaves_at", "tops")

    def __init__(self, header: CheckpointHeader) -> None:
        self.header = header
        self.tops: list[TopRecord] = []
        self.leaves: dict[int, dict[int, bytes]] = {}
        self.leaves_at: dict[int, float] = {}
        self.done = 0
        self.files = 0
        self.declined = RangeSet()
        self._leaves = 0

    def apply(self, record: CheckpointRecord) -> None:
        """Fold one more record in; the receiver's, and listings, are passed over."""
        match record:
            case Declined():
                for start, stop in _within(record.ranges, self.header.entries):
                    self.declined.add(start, stop)
            case Leaves():
                self._add(record)
            case Arrived():
                self.done, self.files = record.done, record.files
            case Tops():
                self.tops += record.tops[: MAX_TOPS - len(self.tops)]
            case _:
                pass

    def _add(self, record: Leaves) -> None:
        number, rest = divmod(len(record.leaves), LEAF_BYTES)
        if rest or record.index >= self.header.entries or self._leaves + number > MAX_LEAVES:
            return
        known = self.leaves.setdefault(record.index, {})
        self._leaves -= len(known)
        for offset in range(number):
            known[record.first + offset] = record.leaves[offset * LEAF_BYTES : (offset + 1) * LEAF_BYTES]
        self._leaves += len(known)
        self.leaves_at[record.index] = min(record.at, self.leaves_at.get(record.index, record.at))

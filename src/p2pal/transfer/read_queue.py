"""What the sender's source shall read next: wanted files and repairs become jobs, as many as are good for memory."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import Final

from p2pal.errors import ProtocolError
from p2pal.transfer.manifest import Manifest
from p2pal.transfer.ops import ReadJob
from p2pal.wire.pieces import MAX_REPAIRS, piece_count, piece_size
from p2pal.wire.transfer import MAX_WANTED_RANGES, EntryKind, Want, WantPieces

MAX_JOBS: Final = 256
MAX_READ_AHEAD: Final = 32 << 20

# An entry's byte: its kind in the low bits, and how far it has come.
KIND: Final = 0x03
BEGUN: Final = 0x04  # a job was made
CLOSED: Final = 0x08  # FileDone is queued or gone
FAILED: Final = 0x10  # FileFailed is
JUDGED: Final = 0x20  # the receiver said how it ended
WANTED: Final = 0x40  # the receiver lacks this file, or some of it

_WANTED_FILE: Final = bytes((EntryKind.FILE | WANTED,))
# Marks fresh files; directories, links, and what failed or was judged before stay as they are.
_WANT: Final = bytes(each | WANTED if each == EntryKind.FILE else each for each in range(256))


class Flight:
    """A job that the source has not answered in full.

    Attributes:
        job: The job.
        left: Bytes that are still to come.
        started: Something came.
        compared: The file is being read once more, because it may have changed.
    """

    __slots__ = ("_piece", "_position", "_range", "_stop", "compared", "job", "left", "started")

    def __init__(self, job: ReadJob) -> None:
        self.job = job
        self.started = False
        self.compared = False
        self._range = 0
        self._piece = job.first  # the first whose end has not come
        if job.wanted is None:
            self._position = job.first * job.piece_size
            self._stop = min(job.stop * job.piece_size, job.entry.size)
            self.left = self._stop - self._position
        else:
            self._position = self._stop = 0
            self.left = _bytes_of(job.wanted, job.head, job.piece_size, job.entry.size)
            self._next_range(job.head)

    def _next_range(self, head: int = 0) -> None:
        job = self.job
        if job.wanted is not None and self._range < len(job.wanted):
            start, stop = job.wanted[self._range]
            self._range += 1
            self._position = start * job.piece_size + head
            self._stop = min(stop * job.piece_size, job.entry.size)

    def take_block(self, offset: int, count: int) -> None:
        """Take ``count`` bytes that were read at ``offset``.

        Raises:
            RuntimeError: If they are not the next ones: a bug in the source.
        """
        if offset != self._position or offset + count > self._stop:
            raise RuntimeError("the source read another block")
        self._position += count
        self.left -= count
        if self._position == self._stop:
            self._next_range()

    def take_piece(self, piece: int) -> None:
        """Take the end of a piece."""
        self._piece = max(self._piece, piece + 1)

    def will_send(self, piece: int) -> bool:
        """Whether this piece is still to come, or its end."""
        job = self.job
        if piece < self._piece:
            return False
        if job.wanted is None:
            return True
        at = bisect_right(job.wanted, piece, key=lambda each: each[0]) - 1
        return at >= 0 and piece < job.wanted[at][1]


def _bytes_of(ranges: tuple[tuple[int, int], ...], head: int, piece_size: int, size: int) -> int:
    return sum(min(stop * piece_size, size) - start * piece_size for start, stop in ranges) - head


class Reading:
    """The order of reading: repairs first, then the wanted files by index.

    Args:
        manifest: The entries.
        status: A byte for each entry, shared with the sender.

    Attributes:
        flights: Jobs that were made and not answered in full, in order.
        ready: Those of them that the source has not been given.
        owed: Bytes that the source still owes for them.
        there: Bytes of files in parts that the receiver has.
    """

    def __init__(self, manifest: Manifest, status: bytearray) -> None:
        self.flights: deque[Flight] = deque()
        self.ready: deque[ReadJob] = deque()
        self.owed = 0
        self.there = 0
        self._manifest = manifest
        self._status = status
        self._next = 0  # where the next wanted file is looked for
        self._wanted_up_to = 0
        self._parts: dict[int, tuple[tuple[tuple[int, int], ...], int]] = {}  # wanted pieces and head, until begun
        self._ranges = 0
        self._repairs: deque[tuple[int, int]] = deque()
        self._repaired: set[tuple[int, int]] = set()

    @property
    def exhausted(self) -> bool:
        """Every wanted file was read; repairs may still be under way."""
        return self._next == self._wanted_up_to and all(each.job.again for each in self.flights)

    def clear(self) -> None:
        """Read no more."""
        self.flights.clear()
        self.ready.clear()
        self._next = self._wanted_up_to
        self._parts.clear()
        self._repairs.clear()

    def want(self, record: Want, *, resumed: bool = False) -> None:
        """Take what the receiver lacks; single pieces only if the transfer is ``resumed``.

        Raises:
            ProtocolError: If it does not ascend or was not offered, or names pieces that it must not.
        """
        if record.pieces and not resumed:
            raise ProtocolError("the other side wants to resume what it never proved to know")
        first = last = self._wanted_up_to
        for start, stop in record.whole:
            if not last <= start < stop <= len(self._manifest):
                raise ProtocolError("the other side wants what was not offered")
            # A mark on the entry, not a list of ranges: a hostile receiver could make that one very long.
            self._status[start:stop] = self._status[start:stop].translate(_WANT)
            last = stop
        for part in record.pieces:
            # One that a range of the same record covers has its mark already.
            if not first <= part.entry < len(self._manifest) or self._status[part.entry] != EntryKind.FILE:
                raise ProtocolError("the other side wants pieces of what was not offered, or twice")
            self._want_pieces(part)
            first = part.entry + 1
        self._wanted_up_to = max(first, last)

    def _want_pieces(self, part: WantPieces) -> None:
        size = self._manifest[part.entry].size
        each = piece_size(size)
        count = piece_count(size, each)
        last = 0
        for start, stop in part.pieces:
            if not last <= start < stop <= count:
                raise ProtocolError("the other side wants pieces that the file does not have")
            last = stop
        self._ranges += max(1, len(part.pieces))
        if count < 2 or self._ranges > MAX_WANTED_RANGES:
            raise ProtocolError("the other side wants more single pieces than it may")
        if part.head and (not part.pieces or part.head >= min(each, size - part.pieces[0][0] * each)):
            raise ProtocolError("the other side has more of a piece than there is")
        ranges = tuple(part.pieces)
        self._parts[part.entry] = (ranges, part.head)
        self._status[part.entry] |= WANTED
        self.there += size - _bytes_of(ranges, part.head, each, size)

    def want_again(self, index: int, piece: int) -> None:
        """Take a request to repair one piece.

        Raises:
            ProtocolError: If the receiver cannot have it, or it was asked for before, or too many were.
        """
        if (
            index >= len(self._status)
            or self._status[index] & (JUDGED | KIND)
            or not self._may_have(index, piece)
            or (index, piece) in self._repaired
            or len(self._repaired) >= MAX_REPAIRS
        ):
            raise ProtocolError("the other side wants a piece again that it cannot miss")
        self._repaired.add((index, piece))
        self._repairs.append((index, piece))

    def _may_have(self, index: int, piece: int) -> bool:
        """Whether the peer may have found this piece of this file damaged."""
        size, status = self._manifest[index].size, self._status[index]
        pieces = piece_count(size, piece_size(size))
        if piece >= pieces:
            return False
        if status & CLOSED:
            return True
        if pieces < 2:
            return False
        if status & FAILED:
            return True  # it failed in its midst: the request may have crossed that news, and comes to nothing
        return bool(self.flights) and self.flights[0].job.index == index and not self.flights[0].will_send(piece)

    def fill(self, backlog: int, *, files: bool) -> None:
        """Make jobs up to the limits; ``files`` is false while too many files await their verdict."""
        while len(self.flights) < MAX_JOBS and self.owed + backlog < MAX_READ_AHEAD:
            job = self._next_repair() or (self._next_file() if files else None)
            if job is None:
                return
            flight = Flight(job)
            self.flights.append(flight)
            self.ready.append(job)
            self.owed += flight.left

    def _next_repair(self) -> ReadJob | None:
        while self._repairs:
            index, piece = self._repairs.popleft()
            if not self._status[index] & (JUDGED | FAILED):
                entry = self._manifest[index]
                return ReadJob(index, entry, piece_size(entry.size), piece, piece + 1, again=True)
        return None

    def _next_file(self) -> ReadJob | None:
        index = self._status.find(_WANTED_FILE, self._next, self._wanted_up_to)  # passes over the judged, too
        if index < 0:
            self._next = self._wanted_up_to
            return None
        self._next = index + 1
        self._status[index] |= BEGUN
        entry = self._manifest[index]
        size = piece_size(entry.size)
        count = piece_count(entry.size, size)
        if index not in self._parts:
            return ReadJob(index, entry, size, 0, count)
        wanted, head = self._parts.pop(index)
        return ReadJob(index, entry, size, 0, count, wanted=wanted, head=head)

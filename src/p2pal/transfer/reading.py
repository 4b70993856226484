"""What the sender's source shall read next: wanted files and repairs become jobs, as many as are good for memory."""

from __future__ import annotations

from collections import deque
from typing import Final

from p2pal.errors import ProtocolError
from p2pal.transfer.manifest import Manifest
from p2pal.transfer.ops import ReadJob
from p2pal.transfer.pieces import MAX_REPAIRS, piece_count, piece_size
from p2pal.wire.transfer import Kind, Want

MAX_JOBS: Final = 256
MAX_READ_AHEAD: Final = 32 << 20

# An entry's byte: its kind in the low bits, and how far it has come.
KIND: Final = 0x03
BEGUN: Final = 0x04  # a job was made
CLOSED: Final = 0x08  # FileDone is queued or gone
FAILED: Final = 0x10  # FileFailed is
JUDGED: Final = 0x20  # the receiver said how it ended
WANTED: Final = 0x40  # the receiver lacks this file

_WANTED_FILE: Final = bytes((Kind.FILE | WANTED,))
# Marks fresh files; directories, links, and what failed or was judged before stay as they are.
_WANT: Final = bytes(each | WANTED if each == Kind.FILE else each for each in range(256))


class Flight:
    """A job that the source has not answered in full.

    Attributes:
        job: The job.
        position: The offset of the next byte to come.
        stop: Where the job's bytes end.
        pieces: Pieces that came.
        started: Something came.
    """

    __slots__ = ("job", "pieces", "position", "started", "stop")

    def __init__(self, job: ReadJob) -> None:
        self.job = job
        self.position = job.first * job.piece_size
        self.stop = min(job.stop * job.piece_size, job.entry.size)
        self.pieces = 0
        self.started = False


class Reading:
    """The order of reading: repairs first, then the wanted files by index.

    Args:
        manifest: The entries.
        status: A byte for each entry, shared with the sender.

    Attributes:
        flights: Jobs that were made and not answered in full, in order.
        ready: Those of them that the source has not been given.
        owed: Bytes that the source still owes for them.
    """

    def __init__(self, manifest: Manifest, status: bytearray) -> None:
        self.flights: deque[Flight] = deque()
        self.ready: deque[ReadJob] = deque()
        self.owed = 0
        self._manifest = manifest
        self._status = status
        self._next = 0  # where the next wanted file is looked for
        self._wanted_up_to = 0
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
        self._repairs.clear()

    def want(self, record: Want) -> None:
        """Take what the receiver lacks.

        Raises:
            ProtocolError: If it does not ascend or was not offered, or names single pieces.
        """
        if record.pieces:
            raise ProtocolError("the other side wants to resume what it never proved to know")
        last = self._wanted_up_to
        for start, stop in record.whole:
            if not last <= start < stop <= len(self._manifest):
                raise ProtocolError("the other side wants what was not offered")
            # A mark on the entry, not a list of ranges: a hostile receiver could make that one very long.
            self._status[start:stop] = self._status[start:stop].translate(_WANT)
            last = stop
        self._wanted_up_to = last

    def want_again(self, index: int, piece: int) -> None:
        """Take a request to repair one piece.

        Raises:
            ProtocolError: If the piece was not sent, was asked for before, or too many were.
        """
        if (
            index >= len(self._status)
            or self._status[index] & (JUDGED | KIND)
            or piece >= self._pieces_sent(index)
            or (index, piece) in self._repaired
            or len(self._repaired) >= MAX_REPAIRS
        ):
            raise ProtocolError("the other side wants a piece again that it cannot miss")
        self._repaired.add((index, piece))
        self._repairs.append((index, piece))

    def _pieces_sent(self, index: int) -> int:
        """Return how many pieces of this file the peer may have found damaged."""
        size = self._manifest[index].size
        pieces = piece_count(size, piece_size(size))
        if self._status[index] & CLOSED:
            return pieces
        if pieces > 1 and self._status[index] & FAILED:
            return pieces  # it failed in its midst: the request may have crossed that news, and comes to nothing
        if pieces > 1 and self.flights and self.flights[0].job.index == index:
            return self.flights[0].pieces
        return 0

    def fill(self, backlog: int, *, files: bool) -> None:
        """Make jobs up to the limits; ``files`` is false while too many files await their verdict."""
        while len(self.flights) < MAX_JOBS and self.owed + backlog < MAX_READ_AHEAD:
            job = self._next_repair() or (self._next_file() if files else None)
            if job is None:
                return
            flight = Flight(job)
            self.flights.append(flight)
            self.ready.append(job)
            self.owed += flight.stop - flight.position

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
        return ReadJob(index, entry, size, 0, piece_count(entry.size, size))

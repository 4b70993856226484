"""One file on its way in: what of it must come next, what must come again. Pure; part of the receiver's machine."""

from __future__ import annotations

from collections.abc import Sequence

from p2pal.errors import ProtocolError
from p2pal.ranges import RangeSet
from p2pal.wire.pieces import piece_count, piece_size
from p2pal.wire.transfer import Chunk


class ArrivingFile:
    """Follows one file. Its bytes come in order; pieces that were damaged come once more after its end.

    Args:
        index: Its entry.
        size: Its bytes.
        wanted: The pieces that come (half-open ranges, ascending), if an earlier session left the others; the ends of
            those may come, without bytes, when the wanted ones are here.
        head: Bytes of the first wanted piece that are here and do not come.

    Attributes:
        index: Its entry.
        piece_size: Bytes in each of its pieces but the last.
        pieces: How many pieces it has.
        digest: What the sender says it must have, once it has said so.
        finishing: The sink was told to finish it and has not answered.
        repaired: A damaged piece came again since the sink was last told to finish it.
        dead: It failed; what still comes of it is dropped.
    """

    __slots__ = (
        "_asked", "_check_from", "_checked", "_piece", "_piece_stop", "_position", "_range", "_range_stop", "_repairs",
        "_restate_from", "_size", "_wanted", "dead", "digest", "finishing", "index", "piece_size", "pieces", "repaired",
    )  # fmt: skip

    def __init__(self, index: int, size: int, wanted: Sequence[tuple[int, int]] | None = None, head: int = 0) -> None:
        self.index = index
        self.piece_size = piece_size(size)
        self.pieces = piece_count(size, self.piece_size)
        self.digest: bytes | None = None
        self.finishing = False
        self.repaired = False
        self.dead = False
        self._size = size
        self._position = 0  # of the next byte
        self._piece = 0  # the piece in work; past the last one when all that are wanted are here
        self._piece_stop = min(size, self.piece_size)
        self._range_stop = self.pieces  # the first piece that does not follow on
        self._wanted = wanted
        self._range = 0
        self._checked: RangeSet | None = None  # pieces that the sender's leaf was, or will be, compared with
        self._check_from = 0
        self._restate_from = 0  # the first piece whose end may still be said again
        if wanted is not None:
            self._checked = RangeSet(wanted)
            self._next_range()
            self._position += head
        self._asked: set[int] | None = None  # pieces that were asked for again, ever
        self._repairs: dict[int, int] | None = None  # those not here yet: the next offset of each

    @property
    def repairing(self) -> bool:
        """Whether pieces that were asked for again are still to come."""
        return bool(self._repairs)

    def chunk(self, chunk: Chunk) -> None:
        """Take the next bytes.

        Raises:
            ProtocolError: If they are not the next ones, or pass the piece's end.
        """
        stop = chunk.offset + len(chunk.data)
        if chunk.offset != self._position or stop > self._piece_stop:
            raise ProtocolError("the other side sent bytes out of their place")
        self._position = stop

    def piece_done(self, piece: int) -> bool:
        """Take the end of a piece. Say whether it is to be compared: not one that was found damaged before.

        Once all that is wanted is here, ends come alone: first those of pieces that an earlier session left; then, of
        any, those that changed at their source after they were sent.

        Raises:
            ProtocolError: If it is not the current one, or bytes of it are missing, or the file has only one.
        """
        if self.pieces < 2 or piece >= self.pieces:
            raise ProtocolError("the other side ended a piece out of its place")
        if piece == self._piece and self._position == self._piece_stop:
            self._piece += 1
            if self._piece == self._range_stop:
                self._next_range()
            else:
                self._piece_stop = min(self._size, self._piece_stop + self.piece_size)
            return True
        checked = self._checked
        if self._piece < self.pieces or piece < self._restate_from:
            raise ProtocolError("the other side ended a piece out of its place")
        first = not self._restate_from and checked is not None and piece >= self._check_from and piece not in checked
        if first:
            self._check_from = piece + 1
        else:
            self._restate_from = piece + 1
        if checked is not None:
            checked.add(piece, piece + 1)
        return not self.awaits(piece)

    def _next_range(self) -> None:
        if self._wanted is None or self._range == len(self._wanted):
            self._piece = self._range_stop = self.pieces
            self._position = self._piece_stop = self._size
            return
        self._piece, self._range_stop = self._wanted[self._range]
        self._range += 1
        self._position = self._piece * self.piece_size
        self._piece_stop = self._stop_of(self._piece)

    def unchecked(self) -> list[int]:
        """Return the pieces that an earlier session left and that nothing was compared with; each only once."""
        if self._checked is None:
            return []
        asked = self._asked or ()
        found = [piece for gap in self._checked.gaps(0, self.pieces) for piece in range(*gap) if piece not in asked]
        self._checked.add(0, self.pieces)
        return found

    def file_done(self, digest: bytes) -> None:
        """Take the end of the file.

        Raises:
            ProtocolError: If bytes or ends of pieces are missing.
        """
        if self._position != self._size or (self.pieces > 1 and self._piece != self.pieces):
            raise ProtocolError("the other side ended a file too early")
        self.digest = digest

    def awaits(self, piece: int) -> bool:
        """Whether this piece was asked for again and is still to come."""
        return self._repairs is not None and piece in self._repairs

    def may_be_said_twice(self, piece: int) -> bool:
        """Whether news of damage in this piece may be of before it was asked for again.

        A piece that an earlier session left can be found damaged twice, by being read and by being compared, and one
        that changed at its source by its first leaf and its second. The second news may even come after the repair. If
        it is of the repair, the file's digest will show.
        """
        twice = self._wanted is not None or piece < self._restate_from
        return twice and self._asked is not None and piece in self._asked

    def ask_again(self, piece: int) -> bool:
        """Expect this piece once more; False if it was asked for before."""
        if self._asked is None or self._repairs is None:
            self._asked, self._repairs = set(), {}
        if piece in self._asked:
            return False
        self._asked.add(piece)
        self._repairs[piece] = piece * self.piece_size
        return True

    def repair_chunk(self, chunk: Chunk) -> None:
        """Take bytes of a piece that was asked for again.

        Raises:
            ProtocolError: If none was, or they are not the next of one.
        """
        piece, stop = chunk.offset // self.piece_size, chunk.offset + len(chunk.data)
        if not self._repairs or self._repairs.get(piece) != chunk.offset or stop > self._stop_of(piece):
            raise ProtocolError("the other side sent bytes that were not asked for")
        self._repairs[piece] = stop

    def repair_done(self, piece: int) -> None:
        """Take the end of a piece that was asked for again.

        Raises:
            ProtocolError: If it was not, or bytes of it are missing. A dead file's may be missing.
        """
        if not self._repairs or piece not in self._repairs:
            raise ProtocolError("the other side sent a piece that was not asked for")
        if not self.dead and self._repairs[piece] != self._stop_of(piece):
            raise ProtocolError("the other side ended a piece out of its place")
        del self._repairs[piece]
        self.repaired = True

    def _stop_of(self, piece: int) -> int:
        return min(self._size, (piece + 1) * self.piece_size)

"""One file on its way in: what of it must come next, what must come again. Pure; part of the receiver's machine."""

from __future__ import annotations

from p2pal.errors import ProtocolError
from p2pal.transfer.pieces import piece_count, piece_size
from p2pal.wire.transfer import Chunk


class ArrivingFile:
    """Follows one file. Its bytes come in order; pieces that were damaged come once more after its end.

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
        "_asked", "_piece", "_piece_stop", "_position", "_repairs", "_size",
        "dead", "digest", "finishing", "index", "piece_size", "pieces", "repaired",
    )  # fmt: skip

    def __init__(self, index: int, size: int) -> None:
        self.index = index
        self.piece_size = piece_size(size)
        self.pieces = piece_count(size, self.piece_size)
        self.digest: bytes | None = None
        self.finishing = False
        self.repaired = False
        self.dead = False
        self._size = size
        self._position = 0
        self._piece = 0
        self._piece_stop = min(size, self.piece_size)
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

    def piece_done(self, piece: int) -> None:
        """Take the end of a piece.

        Raises:
            ProtocolError: If it is not the current one, or bytes of it are missing, or the file has only one.
        """
        if self.pieces < 2 or piece != self._piece or self._position != self._piece_stop or piece >= self.pieces:
            raise ProtocolError("the other side ended a piece out of its place")
        self._piece += 1
        self._piece_stop = min(self._size, self._piece_stop + self.piece_size)

    def file_done(self, digest: bytes) -> None:
        """Take the end of the file.

        Raises:
            ProtocolError: If bytes or ends of pieces are missing.
        """
        if self._position != self._size or (self.pieces > 1 and self._piece != self.pieces):
            raise ProtocolError("the other side ended a file too early")
        self.digest = digest

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

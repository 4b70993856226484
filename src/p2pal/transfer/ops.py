"""The words in which the transfer's machines and the disk talk: jobs to read, operations to write, results.

The machines (:mod:`p2pal.transfer.sender`, :mod:`p2pal.transfer.receiver`) decide; the files floor carries out, in
threads and in order, and answers with results. All are plain data.
"""

from __future__ import annotations

import msgspec

from p2pal.checkpoint.records import Claim
from p2pal.wire.transfer import Entry, Reason


class ReadJob(msgspec.Struct, frozen=True):
    """Sender: read these pieces (half-open range) of one file; hash each piece.

    ``again`` marks a repair: the file was closed before, and only the pieces travel.

    ``wanted`` is given when the receiver has part of the file already; ``first`` and ``stop`` then cover all of it. Of
    the wanted pieces (ascending, half-open ranges) the bytes are given out, of the first of them only those from
    ``head`` on. Afterwards every other piece whose leaf the source does not know is read for its leaf alone:
    :class:`PieceRead` without :class:`BlockRead`, ascending. The digest is the whole file's.
    """

    index: int
    entry: Entry
    piece_size: int
    first: int
    stop: int
    again: bool = False
    wanted: tuple[tuple[int, int], ...] | None = None
    head: int = 0


class BlockRead(msgspec.Struct, frozen=True):
    """Source: bytes of one piece, at most 1 MiB at once, in ascending order; memory stays flat with 16 MiB pieces."""

    index: int
    offset: int
    data: bytes | memoryview


class PieceRead(msgspec.Struct, frozen=True):
    """Source: every block of this piece was given out, and this is the piece's leaf; or see :class:`PieceReread`."""

    index: int
    piece: int
    leaf: bytes


class PieceReread(msgspec.Struct, frozen=True):
    """Source: the file may have changed since it was read; a piece of it is about to be read again, and compared.

    Each piece that turns out to be another has a second :class:`PieceRead`, without blocks, in ascending order, before
    the :class:`FileRead`: the receiver asks for it.
    """

    index: int


class FileRead(msgspec.Struct, frozen=True):
    """Source: the job's last piece was read, and all leaves are of one state of the file.

    ``digest`` is the whole file's, or empty where the job did not cover the whole file.
    """

    index: int
    digest: bytes
    again: bool = False


class ReadFailed(msgspec.Struct, frozen=True):
    """Source: the file could not be read, or never in one state; nothing more of it follows."""

    index: int
    reason: Reason
    text: str


SourceResult = BlockRead | PieceRead | PieceReread | FileRead | ReadFailed


class Begin(msgspec.Struct, frozen=True):
    """Sink: a file is about to arrive. Opens its part file: a new one, or with ``claim`` that of an earlier session.

    The claim then names only what will not be written: every other piece arrives, ``claim.piece`` from ``head`` on.
    """

    index: int
    entry: Entry
    piece_size: int
    claim: Claim | None = None


class Write(msgspec.Struct, frozen=True):
    """Sink: put these bytes at this offset of the part file, and hash them. Offsets ascend within a piece."""

    index: int
    offset: int
    data: bytes | memoryview


class CheckPiece(msgspec.Struct, frozen=True):
    """Sink: the piece is complete; does it have this leaf? A repair resets the piece before it is written again.

    It also comes, without writes, for pieces that an earlier session claimed.
    """

    index: int
    piece: int
    leaf: bytes


class ResetPiece(msgspec.Struct, frozen=True):
    """Sink: forget what was hashed of this piece; it will arrive again."""

    index: int
    piece: int


class Finish(msgspec.Struct, frozen=True):
    """Sink: the file is complete; verify the digest, then make it durable under its final name."""

    index: int
    digest: bytes


class Discard(msgspec.Struct, frozen=True):
    """Sink: delete the part file of this entry, also one that an earlier session left.

    ``given_up`` says that a person does not want the entry any more: the checkpoint is to remember that.
    """

    index: int
    given_up: bool = False


class Suspend(msgspec.Struct, frozen=True):
    """Sink: the file failed, or all stops; keep what is here of it for another session, as far as the disk has it.

    Where no checkpoint is kept it is a :class:`Discard`. There is no answer. Writes of the file may stand before it.
    """

    index: int


class MakeDirectory(msgspec.Struct, frozen=True):
    """Sink: make this directory now; its mode and times come last, after all children."""

    index: int
    entry: Entry


class MakeLink(msgspec.Struct, frozen=True):
    """Sink: make this link, once every file and directory stands."""

    index: int
    entry: Entry


class Seal(msgspec.Struct, frozen=True):
    """Sink, last: set directories' modes and times, make everything durable.

    When the transfer only stops (not ``final``) and can go on later, directories stay as they are, without an answer:
    their own modes might keep the next session from writing. For the same reason the directories that the transfer made
    stay writable for their owner where entries failed that can still be had (not ``settled``).
    """

    final: bool = True
    settled: bool = True


SinkOp = Begin | Write | CheckPiece | ResetPiece | Finish | Discard | Suspend | MakeDirectory | MakeLink | Seal


class PieceBad(msgspec.Struct, frozen=True):
    """Sink: the piece has another leaf than announced, or is not what an earlier session claimed of it.

    Said of complete pieces, and once for each until it is reset: a piece of an earlier session may be found damaged
    before or after its :class:`CheckPiece`.
    """

    index: int
    piece: int


class EntryDone(msgspec.Struct, frozen=True):
    """Sink: this entry stands, durable, under its final name."""

    index: int


class EntryRenamed(msgspec.Struct, frozen=True):
    """Sink: this entry stands under ``name``: its own was taken, and what stands there may not be replaced.

    Comes before its :class:`EntryDone`, and for a directory before anything in it.
    """

    index: int
    name: bytes


class WriteFailed(msgspec.Struct, frozen=True):
    """Sink: this entry failed. ``Reason.DISK`` means no later one can succeed.

    Its part file stays where a checkpoint is kept and a later session can go on with it; otherwise it is gone.
    """

    index: int
    reason: Reason
    text: str


class DigestBad(msgspec.Struct, frozen=True):
    """Sink: all pieces are there but the file's digest is another (or a one-piece file differs)."""

    index: int


class Sealed(msgspec.Struct, frozen=True):
    """Sink: the answer to :class:`Seal`."""


SinkResult = PieceBad | DigestBad | EntryDone | EntryRenamed | WriteFailed | Sealed

"""What sender and receiver tell each other about files, inside the durable session. The server never sees it.

A session payload is a run of records: ``u8 type | u32 length | body`` (big-endian), at most the payload limit
together, so that many small files share one frame. :class:`Chunk` carries file bytes and has a packed body
(``u32 entry | u64 offset | data``); every other body is a MessagePack array in its shortest form. Entries are named
by their index in the offer; only the offer knows names. See ``docs/protocol.md``.

The order on the wire: OfferBegin, OfferPart..., OfferEnd; [Proof] Accept, [Verdicts...] Want...; then the wanted files
one after another by ascending index, each as Chunk... [PieceDone] ... FileDone, or cut short by FileFailed; AllSent.
Repairs (Chunk... PieceDone, after PieceAgain) come between files, after the FileDone of theirs. Verdicts flow back all
the while, one for every entry, and Complete closes. The receiver says Hold when its disk cannot take any more, and
when it can again. After an Abort, from either side, no more file bytes are wanted; if files were on their way, the
receiver still sends the Verdicts of those in work, and Complete.

An OfferBegin that carries a proof is answered by one Proof, which may come before the rest of the offer and must come
before the Accept; only a receiver that aborts may leave it out. A sender whose code was used before offers nothing to
whoever joins again, no OfferPart and no OfferEnd, until that one has proved itself or a person has let it in.

A transfer is *resumed* if OfferBegin, Proof and Accept carry the right proofs. Then the Verdicts before the last Want
name what stands at the receiver already and is not wanted; and of a file in Want.pieces come: the wanted pieces
ascending, the first of them without its first ``head`` bytes, each closed by its PieceDone; then, ascending, a
PieceDone alone for any other piece, so that the receiver compares what it has; then FileDone. A PieceAgain may ask for
any piece of such a file that is not still to come.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Annotated, Final

import msgspec

from p2pal.errors import ProtocolError

MAX_PATH: Final = 4096
MAX_ENTRIES: Final = 10_000_000
"""Entries that one offer may hold: bounds what either side must remember (about 30 bytes each)."""
MAX_DIRECTORIES: Final = 1_000_000
"""Directories among them: a receiver remembers each for as long as the offer comes in (about 90 bytes)."""
MAX_TOPS: Final = 100_000
"""Top-level entries among them: a receiver looks for each in its target before it asks (about 500 bytes)."""
MAX_OFFER_BYTES: Final = 512 << 20
"""Bytes of all entries as MessagePack: a receiver keeps them in a temporary file before anyone has agreed."""
MAX_FILE_SIZE: Final = 2**63 - 1
MAX_MTIME_NS: Final = 2**63 - 1
"""Nanoseconds before and after 1970 that an entry's time may be: to the year 2262."""
RECORD_HEADER: Final = 5
CHUNK_HEADER: Final = 12
CHUNK_OVERHEAD: Final = RECORD_HEADER + CHUNK_HEADER
MAX_PART_ENTRIES: Final = 4096
MAX_RANGES: Final = 1024
MAX_WANTED_RANGES: Final = 65_536
"""Ranges of pieces in all the Wants of a transfer; an entry of which no piece is wanted counts as one."""
MAX_VERDICTS: Final = 4096
MAX_TEXT: Final = 300
MIN_PAYLOAD: Final = 4096
"""Bytes that every record but an :class:`OfferPart` of one very long name fits into."""

_Index = Annotated[int, msgspec.Meta(ge=0, le=MAX_ENTRIES)]
_Piece = Annotated[int, msgspec.Meta(ge=0, le=MAX_FILE_SIZE)]
_Size = Annotated[int, msgspec.Meta(ge=0, le=MAX_FILE_SIZE)]
_Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
_Path = Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_PATH)]
_Proof = Annotated[bytes, msgspec.Meta(max_length=32)]
_Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]


class EntryKind(IntEnum):
    """What an entry is. Nothing else travels: devices, sockets and pipes are refused at the source."""

    FILE = 0
    DIRECTORY = 1
    LINK = 2


class Reason(IntEnum):
    """Why a file, or the whole transfer, did not go through; the text beside it is for the log only."""

    OTHER = 0
    READ = 1  # the source could not be read
    CHANGED = 2  # the source changed while it was read
    VERIFY = 3  # digests differ, twice
    NAME = 4  # the name cannot be used at the target
    DISK = 5  # the target's disk takes nothing: full, read-only, gone
    PERMISSION = 6  # the target may not be written
    EXISTS = 7  # something else stands at the target
    DECLINED = 8  # a person said no
    CANCELLED = 9  # stopped by a person or a signal
    BATCH = 10  # another file failed, and the sender did not choose to skip errors


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One file, directory or link of an offer.

    Attributes:
        path: Relative POSIX path as bytes (UTF-8 where the source has it so), ``/`` between parts. The first
            part is the top-level name.
        kind: What it is.
        size: Bytes; 0 unless a file.
        mode: Permission bits, ``& 0o777``.
        mtime_ns: Modification time in nanoseconds since the epoch.
        target: A link's target as bytes, else empty.
    """

    path: _Path
    kind: EntryKind
    size: _Size = 0
    mode: Annotated[int, msgspec.Meta(ge=0, le=0o777)] = 0o644
    mtime_ns: Annotated[int, msgspec.Meta(ge=-MAX_MTIME_NS, le=MAX_MTIME_NS)] = 0
    target: Annotated[bytes, msgspec.Meta(max_length=MAX_PATH)] = b""

    @property
    def name(self) -> str:
        """The path as text; bytes that are no UTF-8 become surrogates (PEP 383)."""
        return name_text(self.path)


def name_text(path: bytes) -> str:
    """Return a path or name as text; bytes that are no UTF-8 become surrogates (PEP 383)."""
    return path.decode("utf-8", "surrogateescape")


def _check_proof(proof: bytes) -> None:
    if len(proof) not in (0, 32):
        raise ValueError("a proof has 32 bytes, or none")


class OfferBegin(msgspec.Struct, frozen=True, array_like=True):
    """Sender, first: which transfer this is, and whether one bad file stops the batch.

    ``proof`` is empty for a new transfer; to resume, it is the sender's :func:`~p2pal.crypto.keys.resume_proof`.
    """

    transfer_id: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    skip_errors: bool = False
    proof: _Proof = b""

    def __post_init__(self) -> None:
        _check_proof(self.proof)


class Proof(msgspec.Struct, frozen=True, array_like=True):
    """Receiver, once, to an OfferBegin that carries a proof: whether it had the earlier transfer, too.

    ``proof`` is the receiver's :func:`~p2pal.crypto.keys.resume_proof`. It is empty if the receiver knows nothing of
    that transfer, or if the sender's proof is wrong.
    """

    proof: _Proof = b""

    def __post_init__(self) -> None:
        _check_proof(self.proof)


class OfferPart(msgspec.Struct, frozen=True, array_like=True):
    """Sender: entries from index ``first`` on, in order, without gaps."""

    first: _Index
    entries: Annotated[list[Entry], msgspec.Meta(min_length=1, max_length=MAX_PART_ENTRIES)]


class OfferEnd(msgspec.Struct, frozen=True, array_like=True):
    """Sender: the totals, and the digest of all entries that consent binds.

    ``left_out`` counts what the sender could not list or read and left out of the offer.
    """

    entries: _Index
    files: _Index
    total: _Size
    digest: _Digest
    left_out: _Size = 0


class Accept(msgspec.Struct, frozen=True, array_like=True):
    """Receiver: consent to exactly the manifest with this digest.

    ``proof`` is the receiver's :func:`~p2pal.crypto.keys.resume_proof` if it goes on from a checkpoint, else empty: who
    has sent it in a :class:`Proof` may still begin anew, once the whole offer is known.
    """

    digest: _Digest
    proof: _Proof = b""

    def __post_init__(self) -> None:
        _check_proof(self.proof)


class WantPieces(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one file of two pieces or more still lacks: half-open ranges of pieces, ascending.

    ``head`` bytes at the start of the first of them are here already, fewer than it has: the sender leaves them out.
    No range at all asks for the file's digest only.
    """

    entry: _Index
    pieces: Annotated[list[tuple[_Piece, _Piece]], msgspec.Meta(max_length=MAX_RANGES)]
    head: Annotated[int, msgspec.Meta(ge=0, lt=2**24)] = 0


class Want(msgspec.Struct, frozen=True, array_like=True):
    """Receiver: what it lacks. ``whole`` are half-open ranges of entry indices; ``pieces`` name one entry each.

    Each list ascends; nothing comes twice, and nothing in a Want lies below what an earlier one named; ``last`` closes
    them. Directories, links and judged entries inside a range are passed over. What no Want names is not sent.
    ``pieces`` is for resuming: it stays empty unless both sides proved that they know the earlier transfer, and has at
    most :data:`MAX_WANTED_RANGES` ranges in all Wants together.
    """

    whole: Annotated[list[tuple[_Index, _Index]], msgspec.Meta(max_length=MAX_RANGES)]
    pieces: Annotated[list[WantPieces], msgspec.Meta(max_length=MAX_RANGES)]
    last: bool = True


class Hold(msgspec.Struct, frozen=True, array_like=True):
    """Receiver, about its disk: with ``held`` it takes nothing for now, because of ``reason``; without, it does.

    ``durable`` bytes of the transfer are on it for good, those from earlier sessions included, as far as that is told.
    For the other side's screen: what is under way stays so, and the session's window holds the rest back.
    """

    held: bool
    reason: Reason = Reason.DISK
    durable: _Size | None = None


class PieceDone(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Sender, after a piece's last chunk: the leaf that the piece must have.

    It closes each piece of a file of two pieces or more, and each repaired piece of any file. In a file of which only
    pieces are wanted it also comes, after those, without chunks: the piece that the receiver has must have this leaf.
    """

    entry: _Index
    piece: _Piece
    leaf: _Digest


class FileDone(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Sender, after a file's last piece: the digest of the whole file."""

    entry: _Index
    digest: _Digest


class FileFailed(msgspec.Struct, frozen=True, array_like=True):
    """Sender: this file will not be completed; what arrived of it is to be dropped."""

    entry: _Index
    reason: Reason
    text: _Text = ""


class AllSent(msgspec.Struct, frozen=True, array_like=True):
    """Sender: every wanted file was closed, ``failed`` of them by FileFailed. Repairs may still follow."""

    failed: _Index = 0


class PieceAgain(msgspec.Struct, frozen=True, array_like=True):
    """Receiver: this piece has another leaf (or the one-piece file another digest) than it must; send it once more.

    At most once for each piece. In a resumed file it may be a piece that was not sent in this session.
    """

    entry: _Index
    piece: _Piece


class Verdict(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How one entry ended at the receiver. ``ok`` means durable under its final name."""

    entry: _Index
    ok: bool
    reason: Reason = Reason.OTHER
    text: _Text = ""


class Verdicts(msgspec.Struct, frozen=True, array_like=True):
    """Receiver: the ends of some entries, each entry once, in any order."""

    verdicts: Annotated[list[Verdict], msgspec.Meta(min_length=1, max_length=MAX_VERDICTS)]


class Complete(msgspec.Struct, frozen=True, array_like=True):
    """Receiver, last: how many entries ended well and how many did not. Every entry has had its verdict.

    Only after an Abort may some have none: they did not arrive. ``durable`` is as in :class:`Hold`.
    """

    ok: _Index
    failed: _Index
    durable: _Size | None = None


class Abort(msgspec.Struct, frozen=True, array_like=True):
    """Either side: the transfer stops here; complete files stay."""

    reason: Reason
    text: _Text = ""


class Chunk:
    """File bytes: ``data`` belongs at ``offset`` of entry ``entry``. The data is a view, not a copy."""

    __slots__ = ("data", "entry", "offset")

    def __init__(self, entry: int, offset: int, data: bytes | memoryview) -> None:
        self.entry = entry
        self.offset = offset
        self.data = data

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Chunk)
            and (self.entry, self.offset) == (other.entry, other.offset)
            and self.data == other.data
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Chunk(entry={self.entry}, offset={self.offset}, {len(self.data)} bytes)"


Record = (
    Chunk | OfferBegin | OfferPart | OfferEnd | Proof | Accept | Want | PieceDone | FileDone | FileFailed | AllSent
    | PieceAgain | Verdicts | Complete | Hold | Abort
)  # fmt: skip

_CHUNK: Final = 0x10
_TYPES: Final[dict[int, type[msgspec.Struct]]] = {
    0x01: OfferBegin,
    0x02: OfferPart,
    0x03: OfferEnd,
    0x04: Accept,
    0x05: Want,
    0x06: Proof,
    0x11: PieceDone,
    0x12: FileDone,
    0x13: FileFailed,
    0x14: AllSent,
    0x20: PieceAgain,
    0x21: Verdicts,
    0x22: Complete,
    0x23: Hold,
    0x2F: Abort,
}
_NUMBERS: Final = {kind: number for number, kind in _TYPES.items()}
_decoders: Final = {number: msgspec.msgpack.Decoder(kind) for number, kind in _TYPES.items()}
_encoder: Final = msgspec.msgpack.Encoder()
_record_header: Final = struct.Struct("!BI")
_chunk_header: Final = struct.Struct("!IQ")
_chunk_record: Final = struct.Struct("!BIIQ")


def encode_record(record: Record) -> list[bytes | memoryview]:
    """Return the record as buffers to be joined; file bytes are not copied here."""
    if isinstance(record, Chunk):
        length = CHUNK_HEADER + len(record.data)
        return [_chunk_record.pack(_CHUNK, length, record.entry, record.offset), record.data]
    body = _encoder.encode(record)
    return [_record_header.pack(_NUMBERS[type(record)], len(body)), body]


def chunk_header(entry: int, offset: int, length: int) -> bytes:
    """Return what stands before ``length`` file bytes in a chunk record: :data:`CHUNK_OVERHEAD` bytes."""
    return _chunk_record.pack(_CHUNK, CHUNK_HEADER + length, entry, offset)


def offer_part(first: int, count: int, entries: bytes) -> bytes:
    """Return the record of an :class:`OfferPart` whose ``count`` entries are encoded already, one after another.

    The offer of a million entries is sent without decoding and encoding each again.
    """
    array = bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
    body = b"\x92" + _encoder.encode(first) + array + entries
    return _record_header.pack(_NUMBERS[OfferPart], len(body)) + body


def clean_text(text: str) -> str:
    """Return the text as a record can carry it: valid Unicode, at most :data:`MAX_TEXT` characters."""
    return text.encode("utf-8", "replace").decode("utf-8")[:MAX_TEXT]


def decode_payload(payload: bytes | memoryview) -> Iterator[Record]:
    """Yield the records of one session payload; chunk data are views into it.

    Raises:
        ProtocolError: At the first malformed record; those before it were yielded.
    """
    view = memoryview(payload)
    position, end = 0, len(view)
    if not end:
        raise ProtocolError("the other side sent an empty message")
    while position < end:
        if end - position < RECORD_HEADER:
            raise ProtocolError("the other side sent a truncated message")
        number, length = _record_header.unpack_from(view, position)
        position += RECORD_HEADER
        if length > end - position:
            raise ProtocolError("the other side sent a truncated message")
        body = view[position : position + length]
        position += length
        if number == _CHUNK:
            if length <= CHUNK_HEADER:
                raise ProtocolError("the other side sent an empty chunk")
            entry, offset = _chunk_header.unpack_from(body)
            if offset > MAX_FILE_SIZE:
                raise ProtocolError("the other side sent a chunk out of any file")
            yield Chunk(entry, offset, body[CHUNK_HEADER:])
            continue
        decoder = _decoders.get(number)
        if decoder is None:
            raise ProtocolError("the other side sent a message of an unknown kind")
        try:
            yield decoder.decode(body)  # type: ignore[misc]
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise ProtocolError("the other side sent a malformed message") from error

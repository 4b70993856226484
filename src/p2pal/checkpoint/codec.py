"""How a checkpoint's records stand in its file: read with bounds, up to the first one that is torn or damaged. Pure.

The file begins with ``b"p2pal-cp"``; then records, each ``u32 length | u32 CRC-32 of the body | body``, integers
big-endian, the body one record (:mod:`p2pal.checkpoint.records`) as MessagePack. It is only ever appended to.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from p2pal.checkpoint.records import VERSION, CheckpointHeader, CheckpointRecord, Leaves, Listing
from p2pal.errors import CheckpointError

MAGIC: Final = b"p2pal-cp"
MAX_RECORD: Final = 16 << 20
"""Bytes of one record's body."""
MAX_LISTED: Final = 65_536
"""Entries in one :class:`Listing`: they are decoded together."""

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final[msgspec.msgpack.Decoder[CheckpointRecord]] = msgspec.msgpack.Decoder(CheckpointRecord)
_frame: Final = struct.Struct("!II")
_MAX_SECONDS: Final = 2.0**40
_AHEAD: Final = 256 << 10
_PEEK: Final = 16 << 10
_UNREADABLE: Final = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)

LISTING: Final = 4
"""The tag of :class:`Listing`, for ``skip`` of :func:`scan`."""
FINISHINGS: Final = 12
"""The tag of :class:`Finishings`, likewise."""
LEAVES: Final = 20
"""The tag of :class:`Leaves`, likewise."""

ReadAt = Callable[[int, int], bytes | memoryview]
"""Returns up to so many bytes (first argument) at an offset (second): fewer only where the file ends."""


class NewerVersion(CheckpointError):
    """A newer p2pal wrote it."""

    default_hint = "update p2pal on this machine"


class _Version(msgspec.Struct, array_like=True, tag=1):
    """What every version's header begins with."""

    version: int


def encode(record: CheckpointRecord) -> bytes:
    """Return the record as it stands in the file.

    Raises:
        ValueError: If it is too large: more than 16 MiB, or a :class:`Listing` of more than 65,536 entries.
    """
    body = _encoder.encode(record)
    if len(body) > MAX_RECORD or (isinstance(record, Listing) and len(record.identities) > MAX_LISTED):
        raise ValueError("the record is too large for a checkpoint")
    return _frame.pack(len(body), zlib.crc32(body)) + body


def decode(data: bytes | memoryview) -> Iterator[CheckpointRecord]:
    """Yield the records of a checkpoint, the :class:`CheckpointHeader` first. A torn or damaged tail is left out.

    Raises:
        CheckpointError: If it is no checkpoint, of a newer version, or its header is damaged.
    """
    view = memoryview(data)
    for _, record in scan(lambda count, offset: view[offset : offset + count]):
        if record is not None:
            yield record


def scan(
    read_at: ReadAt, *, skip: frozenset[int] = frozenset(), unchecked: bool = False
) -> Iterator[tuple[int, CheckpointRecord | None]]:
    """Yield each good record with the offset of its end, the header first. Stops before the first bad one.

    Args:
        read_at: Reads the file.
        skip: Tags of records that are not decoded: None stands for each.
        unchecked: What is skipped is not even read. A later damage may then pass for a record's end: for the list only.

    Raises:
        CheckpointError: If it is no checkpoint, of a newer version, or its header is damaged.
    """
    window = _Window(read_at, _PEEK if unchecked else _AHEAD)
    if bytes(window.read(len(MAGIC), 0)) != MAGIC:
        raise CheckpointError("it is no checkpoint of p2pal")
    end = len(MAGIC)
    header = True
    while True:
        start = end + _frame.size
        opening = window.read(_frame.size, end)
        length, check = _frame.unpack(opening) if len(opening) == _frame.size else (0, 0)
        record: CheckpointRecord | None = None
        good = 0 < length <= MAX_RECORD
        if good:
            skipped = not header and bool(skip) and _tag(window.read(min(length, 4), start)) in skip
            if not (skipped and unchecked):
                body = window.read(length, start)
                good = len(body) == length and zlib.crc32(body) == check
                if good and not skipped:
                    record = _decode_header(body) if header else _decode(body)
                    good = record is not None
        if not good:
            if header:
                raise CheckpointError("it is damaged")
            return
        header = False
        end = start + length
        yield end, record


def _tag(opening: bytes | memoryview) -> int:
    """Return the tag of the record that begins like this; -1 if it is not where the encoder puts it."""
    if len(opening) >= 2 and opening[0] & 0xF0 == 0x90:
        return opening[1]
    return -1


def _decode(body: bytes | memoryview) -> CheckpointRecord | None:
    """Return a record that is not the first; None if it is none."""
    try:
        record = _decoder.decode(body)
    except _UNREADABLE:
        return None
    if isinstance(record, CheckpointHeader) or (isinstance(record, Leaves) and not _is_time(record.at)):
        return None
    return record


def _decode_header(body: bytes | memoryview) -> CheckpointHeader | None:
    """Return the first record; None if it cannot be used.

    Raises:
        NewerVersion: If it is of a newer version.
    """
    try:
        version = msgspec.msgpack.decode(body, type=_Version).version
        if version > VERSION:
            raise NewerVersion("it was made by a newer p2pal")
        header = _decoder.decode(body)
    except _UNREADABLE:
        return None
    if not isinstance(header, CheckpointHeader) or version < 1:
        return None
    if not (_is_time(header.created) and _is_time(header.ttl)) or (header.role == "receive") != (
        header.target is not None
    ):
        return None
    return header


def _is_time(seconds: float) -> bool:
    """Whether these can be seconds since the epoch: not NaN, not infinite, and a calendar has the date."""
    return 0 <= seconds < _MAX_SECONDS


class _Window:
    """A stretch of the file in memory, so that small records do not cost a read each."""

    __slots__ = ("_ahead", "_data", "_read_at", "_start")

    def __init__(self, read_at: ReadAt, ahead: int) -> None:
        self._read_at = read_at
        self._ahead = ahead
        self._start = 0
        self._data = memoryview(b"")

    def read(self, count: int, offset: int) -> memoryview:
        """Return ``count`` bytes at ``offset``, or fewer where the file ends."""
        position = offset - self._start
        if not 0 <= position <= position + count <= len(self._data):
            self._data = memoryview(self._read_at(max(count, self._ahead), offset))
            self._start, position = offset, 0
        return self._data[position : position + count]

"""Records to build a checkpoint from, with little to write in a test."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

import msgspec

from p2pal.checkpoint.codec import MAGIC, encode
from p2pal.checkpoint.records import (
    Begun,
    CheckpointHeader,
    CheckpointRecord,
    Finishing,
    Listing,
    StoredIdentity,
    Target,
)
from p2pal.role import Role
from p2pal.wire.transfer import Entry, EntryKind

ID = "abcdefgh234567abcdefgh2345"
OTHER = "abcdzzzz234567abcdefgh2345"
TRANSFER = b"t" * 16
TARGET = Target(b"/nowhere", (1, 2))
MIB = 1 << 20


def header(
    role: Role = "receive", *, entries: int = 100, ident: str = ID, target: Target | None = None
) -> CheckpointHeader:
    if role == "receive" and target is None:
        target = TARGET
    return CheckpointHeader(
        version=1,
        role=role,
        id=ident,
        transfer_id=TRANSFER,
        resume_key=b"k" * 32,
        created=1000.0,
        ttl=600.0,
        digest=b"d" * 32,
        shape=b"s" * 32,
        entries=entries,
        files=entries,
        total=entries * 10 * MIB,
        names=[b"top"],
        more=0,
        target=target,
    )


def begun(index: int, size: int = 3 * MIB, part: StoredIdentity = (7, 70), path: bytes = b"top/file") -> Begun:
    return Begun(index, part, size, 5, path)


def finishing(index: int, part: StoredIdentity = (7, 70), replaces: StoredIdentity | None = None) -> Finishing:
    return Finishing(index, part, bytes((index % 256,)) * 32, replaces)


def leaves(*numbers: int) -> bytes:
    return b"".join(leaf(number) for number in numbers)


def leaf(number: int) -> bytes:
    return bytes((number,)) * 32


def checkpoint(*records: CheckpointRecord) -> bytes:
    return MAGIC + b"".join(map(encode, records))


def frame(body: bytes) -> bytes:
    """Return a record of any body, with the right length and check."""
    return struct.pack("!II", len(body), zlib.crc32(body)) + body


def entries_of(count: int) -> list[Entry]:
    return [Entry(b"top/%d" % number, EntryKind.FILE, number, 0o644, number) for number in range(count)]


def listing(first: int, entries: Iterable[Entry]) -> Listing:
    entries = list(entries)
    identities = [(1, first + number, number) for number in range(len(entries))]
    return Listing(first, b"".join(map(msgspec.msgpack.encode, entries)), identities)

"""Pieces: how a file is cut, and how its pieces and the whole of it are hashed. Pure.

The piece is the unit of verification and repair. Its size depends on the file's size alone, so that both sides
know it without saying it, and it doubles so that up to 16 GiB no file has more than 1,024 pieces:

====================  ==========  ==============
file size, up to      piece size  pieces at most
====================  ==========  ==============
1 GiB                 1 MiB       1,024
2 GiB                 2 MiB       1,024
4 GiB                 4 MiB       1,024
8 GiB                 8 MiB       1,024
any                   16 MiB      size / 16 MiB
====================  ==========  ==============

A piece's *leaf* is ``SHA-256(0x00 || data)``. A file's digest is ``SHA-256(0x01 || u64 size || u32 piece size ||
leaves)``, integers big-endian; an empty file has no leaves. The prefixes keep a leaf from passing for a file
(RFC 6962, section 2.1, has the same trick). This is not what ``sha256sum`` prints.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from typing import Final

from p2pal.wire.transfer import MAX_FILE_SIZE

MIN_PIECE_SIZE: Final = 1 << 20
MAX_PIECE_SIZE: Final = 16 << 20
TARGET_PIECES: Final = 1024

LEAF_BYTES: Final = 32
"""Of a leaf, and of a file's digest: SHA-256."""

MAX_REPAIRS: Final = 65_536
"""Pieces that travel twice in one transfer, at most; more damage than that is not repaired but failed."""
MAX_RESTATED: Final = 16_384
"""Pieces of one file that the sender may take back because they changed after they were sent."""
MAX_UNJUDGED: Final = 16_384
"""Files that the sender has closed and the receiver has not judged: the sender begins no other while they are more."""

_LEAF_PREFIX: Final = b"\x00"
_FILE_PREFIX: Final = b"\x01"
_file_header: Final = struct.Struct("!QI")


def piece_size(file_size: int) -> int:
    """Return the piece size, in bytes, of a file of ``file_size`` bytes; see the table above.

    Raises:
        ValueError: If the size is negative or more than the protocol can say.
    """
    if not 0 <= file_size <= MAX_FILE_SIZE:
        raise ValueError("no such file size")
    size = MIN_PIECE_SIZE
    while size < MAX_PIECE_SIZE and size * TARGET_PIECES < file_size:
        size *= 2
    return size


def piece_count(size: int, piece_size: int) -> int:
    """Return how many pieces a file of ``size`` bytes has; 0 for an empty file."""
    return -(-size // piece_size)


def leaf(data: bytes | bytearray | memoryview) -> bytes:
    """Return the leaf of one whole piece, 32 bytes."""
    digest = hashlib.sha256(_LEAF_PREFIX)
    digest.update(data)
    return digest.digest()


def file_digest(size: int, piece_size: int, leaves: Iterable[bytes]) -> bytes:
    """Return the digest of a file from its size, its piece size (bytes) and its leaves in order, 32 bytes."""
    digest = hashlib.sha256(_FILE_PREFIX)
    digest.update(_file_header.pack(size, piece_size))
    for each in leaves:
        digest.update(each)
    return digest.digest()


class LeafHasher:
    """The leaf of a piece that comes in blocks."""

    __slots__ = ("_hash",)

    def __init__(self) -> None:
        self._hash = hashlib.sha256(_LEAF_PREFIX)

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Add the next block. Releases the GIL for blocks of 2 KiB and more."""
        self._hash.update(data)

    def digest(self) -> bytes:
        """Return the leaf of what was added so far, 32 bytes."""
        return self._hash.digest()

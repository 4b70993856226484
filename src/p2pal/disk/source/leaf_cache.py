"""The leaves that the sender knows of files in work: a piece that was hashed once need not be read to be hashed again.

A leaf is believed only for the file that was listed, to the nanosecond of its change time. File systems' clocks tick
coarsely, though, and a second change within one tick leaves the same times: so what was hashed less than
:data:`GRACE` after the last change is not believed either.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from typing import Final

from p2pal.disk.fs.names import ON_WINDOWS
from p2pal.wire.pieces import LEAF_BYTES, piece_count

GRACE: Final = 2.0
"""Seconds; the coarsest clock of a file system in use (FAT) ticks that slowly."""

MAX_PIECES: Final = 1 << 22
"""A checkpoint's word for files of more pieces (64 TiB) is not taken: an edited one could cost any memory."""


def can_be_trusted(found: os.stat_result, at: float) -> bool:
    """Say whether leaves that were hashed from ``at`` (seconds since the epoch) on are those of the file's last change.

    Args:
        found: The file as it is.
        at: When the first of the leaves was hashed, or any earlier time.
    """
    return max(found.st_mtime_ns, found.st_ctime_ns) <= (at - GRACE) * 1e9  # false, too, if ``at`` is no number


def settled_at(found: os.stat_result) -> float:
    """Return from when on, in seconds since the epoch, no further change can leave a file's fields as they are.

    A person may set the modification time to any; the change time, where there is one, only the system does.
    """
    return (found.st_mtime_ns if ON_WINDOWS else found.st_ctime_ns) / 1e9 + GRACE


class FileLeaves:
    """What is known of one file's leaves, in 33 bytes for each piece up to the last known one. For one thread.

    Args:
        piece_size: In bytes.
        at: When the first of them was, or will be, hashed: seconds since the epoch.
    """

    __slots__ = ("_known", "_leaves", "at", "piece_size")

    def __init__(self, piece_size: int, at: float) -> None:
        self.piece_size: Final = piece_size
        self.at = at
        self._leaves = bytearray()
        self._known = bytearray()

    def add(self, piece: int, leaf: bytes) -> None:
        """Remember the leaf (32 bytes) of a piece; it replaces what was known."""
        missing = piece + 1 - len(self._known)
        if missing > 0:
            self._known += bytes(missing)
            self._leaves += bytes(missing * LEAF_BYTES)
        self._known[piece] = 1
        self._leaves[piece * LEAF_BYTES : (piece + 1) * LEAF_BYTES] = leaf

    def __contains__(self, piece: int) -> bool:
        return piece < len(self._known) and self._known[piece] == 1

    def get(self, piece: int) -> bytes | None:
        """Return the leaf of a piece, 32 bytes; None if it is not known."""
        return bytes(self._leaves[piece * LEAF_BYTES : (piece + 1) * LEAF_BYTES]) if piece in self else None

    def __len__(self) -> int:
        return self._known.count(1)

    def unknown(self, count: int) -> Iterator[int]:
        """Yield those of the first ``count`` pieces that are not known, ascending; they may be added meanwhile."""
        piece = self._known.find(0)
        while 0 <= piece < count:
            yield piece
            piece = self._known.find(0, piece + 1)
        yield from range(len(self._known), count)

    def first(self, count: int) -> Iterator[bytes]:
        """Yield the leaves of the first ``count`` pieces; all of them must be known."""
        for start in range(0, count * LEAF_BYTES, LEAF_BYTES):
            yield bytes(self._leaves[start : start + LEAF_BYTES])

    def restart(self, at: float) -> None:
        """Forget all; what is added from now on is hashed after ``at``."""
        self.at = at
        self._known.clear()
        self._leaves.clear()


class LeafStore:
    """The leaves of files of two pieces or more, by their index. A file is forgotten once the receiver has judged it.

    Any thread may call any method. What :meth:`of` returns belongs to the thread that reads the file; if the file is
    forgotten meanwhile, it goes on with what nobody else will see.
    """

    def __init__(self) -> None:
        self._files: dict[int, FileLeaves] = {}
        self._lock = threading.Lock()

    def restore(self, index: int, size: int, piece_size: int, leaves: Mapping[int, bytes], at: float) -> None:
        """Take what a checkpoint knows of a file of ``size`` bytes; what cannot be true of it is left out."""
        count = piece_count(size, piece_size)
        if not 2 <= count <= MAX_PIECES:
            return
        known = FileLeaves(piece_size, at)
        for piece, leaf in leaves.items():
            if 0 <= piece < count and len(leaf) == LEAF_BYTES:
                known.add(piece, leaf)
        if len(known):
            with self._lock:
                self._files[index] = known

    def of(self, index: int, piece_size: int, now: float) -> FileLeaves:
        """Return what is known of a file that is about to be read at ``now``, to be believed and added to."""
        with self._lock:
            known = self._files.get(index)
            if known is None or known.piece_size != piece_size:
                known = self._files[index] = FileLeaves(piece_size, now)
            return known

    def find(self, index: int) -> FileLeaves | None:
        """Return what is known of a file; None for one that is unknown."""
        with self._lock:
            return self._files.get(index)

    def since(self, index: int) -> float | None:
        """Return when the first leaf of a file was hashed, or any earlier time; None for a file that is unknown."""
        known = self.find(index)
        return None if known is None else known.at

    def forget(self, index: int) -> None:
        """Drop what is known of a file; of one that is unknown, nothing."""
        with self._lock:
            self._files.pop(index, None)

    def __contains__(self, index: int) -> bool:
        return index in self._files

    def __len__(self) -> int:
        return len(self._files)

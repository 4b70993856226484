"""One file on its way to the disk: its part file, and the hashes of the pieces written so far."""

from __future__ import annotations

import contextlib
import errno
import os
from concurrent.futures import Future
from typing import Final

from p2pal.errors import ProtocolError
from p2pal.files.names import ON_WINDOWS
from p2pal.files.renames import Identity
from p2pal.files.rooted import Directory
from p2pal.transfer.ops import Begin
from p2pal.transfer.pieces import LeafHasher, file_digest, piece_count

MAX_PIECES_IN_WORK: Final = 16
"""Pieces of one file that may be incomplete at one time: the one that arrives, and some that are repaired."""

if hasattr(os, "pwrite"):

    def _write_some(fd: int, data: bytes | memoryview, offset: int) -> int:
        return os.pwrite(fd, data, offset)
else:

    def _write_some(fd: int, data: bytes | memoryview, offset: int) -> int:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, data)


class _Piece:
    """A piece in work: its hash so far, and where its next byte and its end are in the file."""

    __slots__ = ("hasher", "next", "number", "stop")

    def __init__(self, number: int, start: int, stop: int) -> None:
        self.number = number
        self.hasher = LeafHasher()
        self.next = start
        self.stop = stop


class Arriving:
    """A file between :class:`~p2pal.transfer.ops.Begin` and its end. Owns the part file's descriptor.

    Attributes:
        directory: Where the part file is and the file will be; retained by this file.
        part: The part file's name.
        name: The final name.
        fd: The part file's descriptor; -1 while it is parked.
        identity: The part file's device and inode: nothing else is ever renamed or removed.
        parked_at: When the parked file was last changed (ctime, nanoseconds).
        unsynced: Bytes written since the last sync began.
        syncing: A sync that runs in another thread; the descriptor stays open until it is done.
    """

    __slots__ = (
        "_current", "_leaves", "_piece_size", "_pieces", "_size", "directory", "entry", "fd", "identity", "index",
        "name", "parked_at", "part", "syncing", "unsynced",
    )  # fmt: skip

    def __init__(self, op: Begin, directory: Directory, part: bytes, name: bytes) -> None:
        self.fd = directory.create(part)
        found = os.fstat(self.fd)
        self.identity: Identity = (found.st_dev, found.st_ino)
        self.index = op.index
        self.entry = op.entry
        self.directory = directory.retain()
        self.part = part
        self.name = name
        self.parked_at = 0
        self.unsynced = 0
        self.syncing: Future[None] | None = None
        self._size = op.entry.size
        self._piece_size = op.piece_size
        self._pieces: dict[int, _Piece] = {}
        self._leaves: dict[int, bytes] = {}
        self._current: _Piece | None = None

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write and hash.

        Raises:
            ProtocolError: If the bytes are outside the declared size, out of order within their piece, or a repeat.
            OSError: If the disk refuses.
        """
        stop = offset + len(data)
        if offset < 0 or stop > self._size:
            raise ProtocolError("the other side sent data beyond the end of a file")
        piece = self._current
        if piece is not None and offset == piece.next and stop <= piece.stop:
            self._put(piece, offset, data)
            return
        view = memoryview(data)
        while view:
            piece = self._current = self._in_work(offset // self._piece_size)
            if offset != piece.next:
                raise ProtocolError("the other side sent data of a piece out of order")
            part = view[: piece.stop - offset]
            self._put(piece, offset, part)
            offset += len(part)
            view = view[len(part) :]

    def _put(self, piece: _Piece, offset: int, data: bytes | memoryview) -> None:
        length = len(data)
        written = _write_some(self.fd, data, offset)
        while written < length:  # a signal, or a disk that is nearly full
            written += _write_some(self.fd, memoryview(data)[written:], offset + written)
        piece.hasher.update(data)
        piece.next = offset + length
        self.unsynced += length
        if piece.next == piece.stop:
            self._leaves[piece.number] = piece.hasher.digest()
            del self._pieces[piece.number]
            self._current = None

    def _in_work(self, number: int) -> _Piece:
        piece = self._pieces.get(number)
        if piece is None:
            if number in self._leaves:
                raise ProtocolError("the other side sent a piece twice")
            if len(self._pieces) >= MAX_PIECES_IN_WORK:
                raise ProtocolError("the other side began too many pieces at once")
            start = number * self._piece_size
            piece = self._pieces[number] = _Piece(number, start, min(start + self._piece_size, self._size))
        return piece

    def has_leaf(self, number: int, leaf: bytes) -> bool:
        """Say whether the piece is complete and has this leaf; forget it if not."""
        if self._leaves.get(number) == leaf:
            return True
        self.reset(number)
        return False

    def reset(self, number: int) -> None:
        """Forget what was hashed of a piece: it will be written again."""
        self._leaves.pop(number, None)
        self._pieces.pop(number, None)
        if self._current is not None and self._current.number == number:
            self._current = None

    def has_digest(self, digest: bytes) -> bool:
        """Say whether the file is complete and has this digest."""
        count = piece_count(self._size, self._piece_size)
        if len(self._leaves) != count:
            return False
        leaves = (self._leaves[number] for number in range(count))
        return file_digest(self._size, self._piece_size, leaves) == digest

    def set_attributes(self, umask: int) -> None:
        """Give the part file the mode and the time that the final file shall have; no bits but rwx."""
        mode = self.entry.mode & 0o777 & ~umask
        self.directory.set_file_attributes(self.fd, self.part, mode, self.entry.mtime_ns)

    def park(self) -> None:
        """Close the descriptor for a while: many damaged files may wait for repair.

        Raises:
            OSError: If what was written may be lost.
        """
        self.settle()
        self.parked_at = os.fstat(self.fd).st_ctime_ns
        self._close()

    def unpark(self) -> None:
        """Open the part file again.

        Raises:
            OSError: If it is gone, or another file has its name (perhaps with the same inode, used again).
        """
        fd = self.directory.open_part(self.part)
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino, found.st_ctime_ns) != (*self.identity, self.parked_at):
            os.close(fd)
            raise FileNotFoundError(errno.ENOENT, "the unfinished file was replaced")
        self.fd = fd

    def settle(self) -> None:
        """Wait for a sync under way.

        Raises:
            OSError: If it failed: what was written may be lost.
        """
        syncing, self.syncing = self.syncing, None
        if syncing is not None:
            syncing.result()

    def discard(self) -> None:
        """Close and remove the part file, if its name still means it; end the use of the directory."""
        with contextlib.suppress(OSError):
            self.settle()
        with contextlib.suppress(OSError):
            if self.fd < 0:
                self.unpark()
            if ON_WINDOWS:  # which removes no open file
                self._close()
            remove_own(self.directory, self.part, self.identity)  # while it is open its inode means no other file
        self._close()
        self.directory.release()

    def _close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def remove_own(directory: Directory, part: bytes, identity: Identity) -> None:
    """Remove a part file unless another file has its name now."""
    if directory.has(part, identity):
        directory.remove(part)

"""One file on its way to the disk: its part file, the hashes of the pieces written so far, what is claimed of it."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from typing import Final

from p2pal.checkpoint.records import Claim, Claimed, Unclaimed
from p2pal.disk.fs.directory import Directory, sync_file
from p2pal.disk.fs.io import write_some
from p2pal.disk.fs.os_errors import REPLACED
from p2pal.disk.fs.part_files import open_left, remove_own
from p2pal.disk.fs.rename import Identity, identity_from
from p2pal.disk.sink.rehash import Rehash, hash_range
from p2pal.errors import ProtocolError
from p2pal.ranges import RangeSet
from p2pal.transfer.ops import Begin
from p2pal.wire.pieces import LEAF_BYTES, LeafHasher, file_digest, piece_count

MAX_PIECES_IN_WORK: Final = 16
"""Pieces of one file that may be incomplete at one time: the one that arrives, and some that are repaired."""

_MAX_RUN: Final = 1 << 20
"""Bytes of leaves in one record, about."""

_PATIENCE: Final = 1.0
"""Seconds for a thread that reads a file to let go of it."""


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

    Args:
        op: Its beginning. With a claim the part file is there, and is opened again; otherwise it is made.
        directory: Where it is.
        part: The part file's name.
        name: The final name.

    Raises:
        OSError: If that cannot be, or what is there is not the part file of the claim.

    Attributes:
        directory: Where the part file is and the file will be; retained by this file.
        part: The part file's name.
        name: The final name.
        fd: The part file's descriptor; -1 while it is parked.
        identity: The part file's device and inode: nothing else is ever renamed or removed.
        parked_at: When the parked file was last changed (ctime, nanoseconds).
        pieces: How many pieces it has.
        unsynced: Bytes written since the last sync began.
        syncing: A sync that runs in another thread; the descriptor stays open until it is done.
        broken: A sync failed: nothing that was not claimed before can be claimed.
        due: When what arrived last shall be claimed (seconds of the monotonic clock); 0 if nothing waits for that.
        unverified: Claimed pieces that were not yet looked at again.
        rehash: Who looks at them.
        digest: What the file must have; set while its end waits for ``unverified``.
        then: The mode and the time (ns) that the part file gets once it is closed, where that is the order.
    """

    __slots__ = (
        "_again", "_checked", "_claimed", "_current", "_head", "_leaves", "_piece_size", "_pieces", "_size", "broken",
        "digest", "directory", "due", "entry", "fd", "identity", "index", "name", "parked_at", "part", "pieces",
        "rehash", "syncing", "then", "unsynced", "unverified",
    )  # fmt: skip

    def __init__(self, op: Begin, directory: Directory, part: bytes, name: bytes) -> None:
        self.index = op.index
        self.entry = op.entry
        self.part = part
        self.name = name
        self.parked_at = 0
        self.pieces = piece_count(op.entry.size, op.piece_size)
        self.unsynced = 0
        self.syncing: Future[None] | None = None
        self.broken = False
        self.due = 0.0
        self.unverified: set[int] = set()
        self.rehash: Rehash | None = None
        self.digest: bytes | None = None
        self.then: tuple[int, int] | None = None
        self._size = op.entry.size
        self._piece_size = op.piece_size
        self._pieces: dict[int, _Piece] = {}
        self._leaves: dict[int, bytes] = {}
        self._current: _Piece | None = None
        self._again = -1
        self._checked: dict[int, bytes] = {}  # not claimed yet
        self._claimed: set[int] = set()
        self._head = (0, 0)
        claim = op.claim
        self.fd = directory.create(part) if claim is None else open_left(directory, part, claim.part)
        try:
            found = os.fstat(self.fd)
            self.identity: Identity = identity_from(found)
            if claim is not None:
                self._go_on(claim, found.st_size)
        except BaseException:
            os.close(self.fd)
            raise
        self.directory = directory.retain()

    def _go_on(self, claim: Claim, size: int) -> None:
        """Take over what an earlier session left."""
        if size > self._size:  # the file has become shorter at its source
            os.ftruncate(self.fd, self._size)
        self._leaves = {piece: leaf for piece, leaf in claim.leaves.items() if piece < self.pieces}
        self._claimed = set(self._leaves)
        if not claim.trusted:
            self.unverified = set(self._leaves)
        if claim.head and claim.piece not in self._leaves:
            piece = self._in_work(claim.piece)
            start, piece.next = piece.next, piece.next + claim.head
            if piece.next >= piece.stop or not hash_range(self.fd, start, piece.next, piece.hasher):
                raise OSError(errno.EINVAL, "the unfinished file is shorter than it was")
            self._head = (claim.piece, claim.head)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write and hash. After an OSError the very same bytes may be written again, or the file is given up.

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
        view, start = memoryview(data), offset
        if self._again >= 0:
            view, offset, self._again = view[self._again - offset :], self._again, -1
        while view:
            piece = self._current = self._in_work(offset // self._piece_size)
            if offset != piece.next:
                raise ProtocolError("the other side sent data of a piece out of order")
            part = view[: piece.stop - offset]
            try:
                self._put(piece, offset, part)
            except OSError:
                if offset > start:  # what came before in these bytes is hashed
                    self._again = offset
                raise
            offset += len(part)
            view = view[len(part) :]

    def _put(self, piece: _Piece, offset: int, data: bytes | memoryview) -> None:
        length = len(data)
        written = write_some(self.fd, data, offset)
        while written < length:  # a signal, or a disk that is nearly full
            written += write_some(self.fd, memoryview(data)[written:], offset + written)
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
            piece = self._pieces[number] = _Piece(number, *self.range_of(number))
        return piece

    def range_of(self, number: int) -> tuple[int, int]:
        """Return where a piece begins and ends."""
        start = number * self._piece_size
        return start, min(start + self._piece_size, self._size)

    def has_leaf(self, number: int, leaf: bytes) -> bool:
        """Say whether the piece is complete and has this leaf: then it may be claimed."""
        if self._leaves.get(number) != leaf:
            return False
        if number not in self._claimed:
            self._checked[number] = leaf
        return True

    def reset(self, number: int) -> bool:
        """Forget what was hashed of a piece: it will be written again. Say whether it was claimed."""
        self._leaves.pop(number, None)
        self._pieces.pop(number, None)
        self._checked.pop(number, None)
        self.unverified.discard(number)
        if self._current is not None and self._current.number == number:
            self._current = None
        claimed = number in self._claimed
        self._claimed.discard(number)
        return claimed

    def leaves_of(self, pieces: Iterable[int]) -> dict[int, bytes]:
        """Return the leaves of these complete pieces."""
        return {piece: self._leaves[piece] for piece in pieces}

    def looked_at(self, piece: int) -> bool:
        """A claimed piece was hashed again; say whether that still matters: it may have been reset since."""
        if piece not in self.unverified:
            return False
        self.unverified.discard(piece)
        return True

    def has_digest(self, digest: bytes) -> bool:
        """Say whether the file is complete and has this digest."""
        if len(self._leaves) != self.pieces:
            return False
        leaves = (self._leaves[number] for number in range(self.pieces))
        return file_digest(self._size, self._piece_size, leaves) == digest

    # What is claimed

    @property
    def claims(self) -> bool:
        """Whether anything of it is claimed."""
        return bool(self._claimed or self._head[1])

    def claim(self) -> list[Claimed]:
        """Return records of what a sync that begins now will have made durable, as far as they say anything new."""
        checked, self._checked = self._checked, {}
        self._claimed.update(checked)
        head = self._find_head()
        if not checked and head == self._head:
            return []
        self._head = head
        return self._records(checked)

    def gone_on_with(self) -> list[Claimed | Unclaimed]:
        """Return records that leave exactly what is gone on with: what is written now, no earlier claim may be of."""
        there = RangeSet((number, number + 1) for number in sorted(self._claimed))
        lacking = [Unclaimed(self.index, first, stop) for first, stop in there.gaps(0, self.pieces)]
        return [*lacking, *self._records({})]

    def _find_head(self) -> tuple[int, int]:
        """Return the first piece of which a part is here, and how much."""
        if not self._pieces:
            return 0, 0
        first = min(self._pieces)
        here = self._pieces[first].next - first * self._piece_size
        return (first, here) if here else (0, 0)

    def _records(self, leaves: dict[int, bytes]) -> list[Claimed]:
        runs: list[tuple[int, bytearray]] = []
        for number in sorted(leaves):
            if runs and runs[-1][0] + len(runs[-1][1]) // LEAF_BYTES == number and len(runs[-1][1]) < _MAX_RUN:
                runs[-1][1].extend(leaves[number])
            else:
                runs.append((number, bytearray(leaves[number])))
        return [Claimed(self.index, first, bytes(run), *self._head) for first, run in runs or [(0, bytearray())]]

    # The part file

    def set_attributes(self, umask: int) -> None:
        """Give the part file the mode and the time that the final file shall have, or set :attr:`then`; only rwx."""
        mode = self.entry.mode & 0o777 & ~umask
        if self.directory.closes_first:
            self.then = mode, self.entry.mtime_ns
        else:
            self.directory.set_file_attributes(self.fd, self.part, mode, self.entry.mtime_ns)

    def touch(self) -> None:
        """Give the part file the time of now, durably. Raises OSError."""
        self.directory.set_file_attributes(self.fd, self.part, 0o600, time.time_ns())
        sync_file(self.fd)

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
        if (*identity_from(found), found.st_ctime_ns) != (*self.identity, self.parked_at):
            os.close(fd)
            raise FileNotFoundError(errno.ENOENT, REPLACED)
        self.fd = fd

    def settle(self) -> None:
        """Wait for a sync under way.

        Raises:
            OSError: If it failed: what was written may be lost.
        """
        syncing, self.syncing = self.syncing, None
        if syncing is not None:
            try:
                syncing.result()
            except OSError:
                self.broken = True
                raise

    def discard(self) -> bool:
        """Close and remove the part file, if its name still means it; end the use of the directory.

        Returns False if it could not be removed.
        """
        self._stop()
        removed = True
        try:
            if self.fd < 0:
                self.unpark()
            if self.directory.closes_first:
                self._close()
                if self.rehash is not None:
                    wait_for((self.rehash.future,), _PATIENCE)
            remove_own(self.directory, self.part, self.identity)  # while it is open its inode means no other file
        except FileNotFoundError:
            pass
        except OSError:
            removed = False
        self._close()
        self.directory.release()
        return removed

    def leave(self) -> None:
        """Close the part file and leave it where it is; end the use of the directory."""
        self._stop()
        self._close()
        self.directory.release()

    def _stop(self) -> None:
        if self.rehash is not None:
            self.rehash.cancel()
        with contextlib.suppress(OSError):
            self.settle()

    def _close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

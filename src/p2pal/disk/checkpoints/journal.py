"""The append side of a checkpoint: what happens is written behind what happened, and made durable where it must be."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from p2pal.checkpoint.codec import encode
from p2pal.checkpoint.durable import DurableCount
from p2pal.checkpoint.records import CheckpointRecord
from p2pal.disk.fs.directory import Directory, sync_data
from p2pal.disk.fs.io import read_some, write_some
from p2pal.disk.fs.locks import identity_of, remove_locked
from p2pal.disk.fs.rename import Identity

MAX_PENDING: Final = 4 << 20
"""Bytes kept in memory while the disk takes nothing; with more, the journal is given up."""


def write_at(fd: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """Write all of it. Raises OSError."""
    written = write_some(fd, data, offset)
    while written < len(data):
        written += write_some(fd, memoryview(data)[written:], offset + written)


def read_at(fd: int, count: int, offset: int) -> bytes:
    """Read ``count`` bytes; fewer only where the file ends. Raises OSError."""
    data = read_some(fd, count, offset)
    while data and len(data) < count:
        more = read_some(fd, count - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


class Journal:
    """A locked checkpoint that records are added to. Safe from any thread.

    It raises no OSError: a disk that takes nothing now may take it later. What could not be written is kept, up to
    4 MiB, and goes out before what comes next; a torn append is cut off first. So does what a failed sync may have
    lost: the system reports that once, and then takes the data for written.

    Attributes:
        id: The checkpoint's.
        path: Its file, for messages.
    """

    __slots__ = (
        "_closed", "_count", "_directory", "_durable", "_end", "_failed", "_fd", "_identity", "_lock", "_name",
        "_pending", "_synced", "_syncing", "_torn", "id", "path",
    )  # fmt: skip

    def __init__(
        self,
        directory: Directory,
        name: bytes,
        fd: int,
        end: int,
        path: Path,
        *,
        torn: bool = False,
        count: DurableCount | None = None,
    ) -> None:
        """Take over a locked, synced file and one use of its directory.

        Args:
            directory: Where it is.
            name: Its name there.
            fd: Its descriptor.
            end: Where the next record goes, in bytes.
            path: Its path.
            torn: Something stands behind ``end`` that must go.
            count: Of a receiver's checkpoint: counts what its records say.
        """
        self.id = name.partition(b".")[0].decode("ascii")
        self.path = path
        self._directory = directory
        self._name = name
        self._fd = fd
        self._identity: Identity = identity_of(fd)
        self._end = end
        self._synced = end
        self._torn = torn
        self._pending = bytearray()
        self._failed = False
        self._closed = False
        self._count = count
        self._durable = None if count is None else count.bytes
        self._lock = threading.Lock()
        self._syncing = threading.Lock()  # taken before the other

    @property
    def failed(self) -> bool:
        """Whether it was given up: nothing is written any more, and a person should hear of it.

        What the file has stays true.
        """
        return self._failed

    @property
    def durable(self) -> int | None:
        """Bytes of the transfer that the records in the file say are durable; None of a sender's."""
        return self._durable

    def write(self, *records: CheckpointRecord, durable: bool = False) -> bool:
        """Add records, in one write.

        Args:
            records: What happened.
            durable: Return only once they, and all before, are on the medium.

        Returns:
            Whether they are written (and, if asked for, durable). False is no loss yet: see above. Records stand in
            the file in the order in which they were given, whatever failed: none is there without all before it. So
            who goes on after False risks that less is known later, never that something wrong is.

        Raises:
            ValueError: If a record is larger than a checkpoint can hold.
        """
        data = b"".join(map(encode, records))
        with self._lock:
            if self._fd < 0 or self._failed:
                return False
            self._pending += data
            if self._count is not None:
                for record in records:
                    self._count.apply(record)
            written = self._flush()
            if written and self._count is not None:
                self._durable = self._count.bytes
            end = self._end
        return written and (not durable or self._sync(end))

    def sync(self) -> bool:
        """Make durable what was written, and what could not be before; say whether that is so now."""
        return self.write(durable=True)

    def _flush(self) -> bool:
        try:
            if self._torn:
                os.ftruncate(self._fd, self._end)
                self._torn = False
            if self._pending:
                write_at(self._fd, self._pending, self._end)
        except OSError:
            self._torn = True
            if len(self._pending) > MAX_PENDING:
                self._give_up()
            return False
        self._end += len(self._pending)
        self._pending.clear()
        return True

    def _sync(self, wanted: int) -> bool:
        """Make durable what is written, up to ``wanted`` at least; say whether that is so.

        Others may write meanwhile, because a sync can take long, and who waited for it may find that it did for him,
        too. After one that failed what it should have covered is to be written again, at the same place.
        """
        with self._syncing:
            with self._lock:
                if self._synced >= wanted:
                    return True
                if self._fd < 0 or self._failed or self._end < wanted:
                    return False
                end = self._end
            try:
                sync_data(self._fd)  # close() and remove() wait for it
            except OSError:
                with self._lock:
                    self._take_back()
                return False
            with self._lock:
                self._synced = end
            return True

    def _take_back(self) -> None:
        """Count as unwritten what is not known to be durable."""
        lost = self._end - self._synced
        try:
            data = read_at(self._fd, lost, self._synced) if lost <= MAX_PENDING else b""
        except OSError:
            data = b""
        if len(data) != lost:
            self._give_up()
            return
        self._pending[:0] = data
        self._end = self._synced
        self._torn = True

    def _give_up(self) -> None:
        self._failed = True
        self._pending.clear()
        with contextlib.suppress(OSError):  # a torn tail is found out when it is read
            os.ftruncate(self._fd, self._end)

    def read(self, count: int, offset: int) -> bytes:
        """Return ``count`` bytes of the file at ``offset``; fewer only where it ends.

        Raises:
            OSError: If it cannot be read.
            ValueError: If it is closed.
        """
        with self._lock:
            if self._fd < 0:
                raise ValueError("the checkpoint is closed")
            return read_at(self._fd, count, offset)

    def close(self) -> None:
        """Write what is left, as far as that is possible, and let other processes use the checkpoint."""
        self.sync()
        with self._syncing, self._lock:
            self._release()

    def remove(self) -> None:
        """Delete the checkpoint: the transfer is over. A file that cannot be deleted stays, and says what is true."""
        with self._syncing, self._lock:
            if self._fd < 0:
                return
            with contextlib.suppress(OSError):
                if self._directory.has(self._name, self._identity):
                    fd, self._fd = self._fd, -1
                    remove_locked(self._directory, self._name, fd)
                    self._directory.sync()
            self._release()

    def _release(self) -> None:
        """Close the file, and with it the lock; once."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if not self._closed:
            self._closed = True
            self._directory.release()

    def __repr__(self) -> str:
        return f"<Journal of {self.id[:8]}>"


def write_records(fd: int, data: Iterable[bytes]) -> int:
    """Write these one after another from the file's start on, in large pieces; return where they end.

    Raises:
        OSError: If the disk refuses.
    """
    end = 0
    pending = bytearray()
    for each in data:
        pending += each
        if len(pending) >= 1 << 20:
            write_at(fd, pending, end)
            end += len(pending)
            pending.clear()
    write_at(fd, pending, end)
    return end + len(pending)

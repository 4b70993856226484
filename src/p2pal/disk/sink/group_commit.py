"""Making complete files durable, in batches and beside the writer: sync, rename, sync the directories, then say so.

The order is the promise: a name never stands for bytes that a power cut could take back. A single fsync of a small
file costs a third of a millisecond on a common disk; eight at a time, a tenth. So files are gathered, and while
one batch is made durable the writer fills the next (group commit): under load batches grow by themselves, and a lone
file does not wait.

Where a checkpoint is kept it hears of a batch before the first rename, durably, and of its end: whatever stops the
program in between, the next session knows which files to look for, and which older one may stand where.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from p2pal.checkpoint.records import Claimed, Done, Finishing, Finishings, Named
from p2pal.disk.checkpoints.journal import Journal
from p2pal.disk.fs.directory import Directory, sync_file
from p2pal.disk.fs.free_names import Announce, own_name, place_beside
from p2pal.disk.fs.os_errors import REPLACED, TARGET_GONE, sink_failure
from p2pal.disk.fs.part_files import remove_own
from p2pal.disk.fs.rename import Identity, identity_from
from p2pal.disk.fs.syncfs import LEAST_FILES, sync_together
from p2pal.disk.sink.part_file import Arriving
from p2pal.disk.sink.replacement import Replaceable, settle_name
from p2pal.ranges import RangeSet
from p2pal.transfer.ops import EntryDone, EntryRenamed, SinkResult, WriteFailed
from p2pal.wire.transfer import Reason

SYNC_THREADS: Final = 8
MAX_BATCHES: Final = 2
"""Batches handed over and not yet durable: the writer waits before it hands over another one."""

_Item = TypeVar("_Item")


class CompleteFile:
    """A file whose bytes are verified and written but not yet durable. Takes everything over from Arriving.

    Attributes:
        kept: It failed, and is as it was: what the checkpoint says of it stays true.
        replaces: What stands under its name and may be replaced, as the checkpoint was told.
        then: The mode and the time (ns) that it gets once it is closed, if it has not got them yet.
        named: It stands under another name than was meant: that was taken.
    """

    __slots__ = (
        "digest", "directory", "error", "fd", "identity", "index", "kept", "name", "named", "part", "path",
        "replaceable", "replaces", "syncing", "then",
    )  # fmt: skip

    def __init__(self, file: Arriving, replaceable: Replaceable | None, digest: bytes = b"") -> None:
        self.index = file.index
        self.directory = file.directory
        self.part = file.part
        self.path = file.entry.path
        self.name = file.name
        self.fd = file.fd
        self.identity = file.identity
        self.syncing = file.syncing
        self.then = file.then
        self.replaceable = replaceable
        self.digest = digest
        self.error: OSError | None = None
        self.kept = False
        self.named = b"/" in self.path and own_name(self.path) != self.name  # in an earlier session
        self.replaces: Identity | None = None

    def look(self) -> Finishing:
        """Find out what will be replaced; only that is, then. Return what the checkpoint is told."""
        replaceable = self.replaceable
        if replaceable is not None:
            try:
                found = self.directory.status(self.name)
            except OSError as error:
                self.error = error
                found = None
            if found is not None and replaceable(found):
                only = self.replaces = identity_from(found)
                self.replaceable = lambda there: replaceable(there) and identity_from(there) == only
        return Finishing(self.index, self.identity, self.digest, self.replaces)

    def sync(self) -> None:
        """Put the bytes on the medium and close the file."""
        try:
            if self.syncing is not None:  # begun earlier in the pool's queue, so it never waits for this one
                self.syncing.result()
            sync_file(self.fd)
        except OSError as error:
            self.error = self.error or error
        finally:
            os.close(self.fd)

    def synced(self) -> None:
        """The bytes were put on the medium together with others': close the file."""
        os.close(self.fd)

    def rename(self, announce: Announce) -> None:
        """Give the file its name, if its bytes are durable and its part file is still its own.

        Args:
            announce: Hears of another name, before the file gets it, if something else has its own.
        """
        if self.error is not None:
            return
        try:
            if not self.directory.has(self.part, self.identity):
                raise FileNotFoundError(errno.ENOENT, REPLACED)
            if self.then is not None:
                self.directory.set_file_attributes(-1, self.part, *self.then)
            try:
                settle_name(self.directory, self.part, self.name, self.replaceable)
            except FileExistsError:
                self.name = place_beside(self.directory, self.path, self.name, self._put, announce)
                self.named = True
        except OSError as error:
            self.error = error

    def _put(self, name: bytes) -> None:
        self.directory.rename_new(self.part, name)

    def result(self, *, keep: bool) -> SinkResult:
        """Return how it ended.

        Args:
            keep: Whether all stays as it is if it failed: it may have its name already, or can be gone on with.
                Otherwise what failed leaves no part file behind.
        """
        if self.error is None:
            return EntryDone(self.index)
        reason, text = sink_failure(self.error)
        if self.error.errno == errno.ENOENT and self.directory.gone():
            reason, text = Reason.DISK, TARGET_GONE
        self.kept = keep
        if not keep:
            self.remove_part()
        return WriteFailed(self.index, reason, text)

    def remove_part(self) -> None:
        """Remove the part file."""
        with contextlib.suppress(OSError):
            remove_own(self.directory, self.part, self.identity)


class GroupCommit:
    """One thread that finishes batches in order, and a pool that syncs. Called from the writer's thread only.

    Args:
        listener: Called, in another thread, whenever a batch or a sync is done.
        journal: The checkpoint.

    Attributes:
        kept: Files that failed, and whose part files were left for a later session.
    """

    def __init__(self, listener: Callable[[], None], journal: Journal | None = None) -> None:
        self._listener = listener
        self._journal = journal
        self._pool = ThreadPoolExecutor(SYNC_THREADS, "p2pal-sync")
        self._thread = ThreadPoolExecutor(1, "p2pal-finish")
        self._batches: deque[Future[list[SinkResult]]] = deque()
        self.kept: deque[CompleteFile] = deque()

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return all(batch.done() for batch in self._batches)

    @property
    def has_room(self) -> bool:
        """Whether :meth:`submit` would not wait."""
        return len(self._batches) < MAX_BATCHES or self._batches[0].done()

    def submit(self, batch: list[CompleteFile]) -> list[SinkResult]:
        """Hand a batch over; waits while too many are under way. Returns what ended meanwhile."""
        results = []
        while len(self._batches) >= MAX_BATCHES:
            results += self._batches.popleft().result()
        future = self._thread.submit(self._finish, batch)
        self._batches.append(future)
        future.add_done_callback(lambda _: self._listener())
        return results

    def collect(self) -> list[SinkResult]:
        """Return what ended since the last call; does not wait."""
        results = []
        while self._batches and self._batches[0].done():
            results += self._batches.popleft().result()
        return results

    def drain(self) -> list[SinkResult]:
        """Wait until everything ended, and return what did."""
        results = []
        while self._batches:
            results += self._batches.popleft().result()
        return results

    def sync_ahead(self, fd: int, *, drop: bool, claims: Sequence[Claimed] = ()) -> Future[None]:
        """Begin to put an open file on the medium while it is still being written.

        Args:
            fd: The file.
            drop: Whether to give its memory in the page cache back afterwards: a file of many gigabytes must not push
                out what other programs use, and reusing the same pages costs the system less than taking new ones.
            claims: What is true once that is done, for the checkpoint.
        """
        future = self._pool.submit(self._sync_ahead, fd, drop, claims)
        future.add_done_callback(lambda _: self._listener())
        return future

    def _sync_ahead(self, fd: int, drop: bool, claims: Sequence[Claimed]) -> None:
        sync_file(fd)
        if self._journal is not None and claims:
            self._journal.write(*claims, durable=True)
        if drop and sys.platform == "linux":
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def sync_directories(self, directories: Iterable[Directory]) -> dict[Identity, OSError]:
        """Sync each directory once, however many handles it has; return the failures."""
        distinct = list({directory.identity: directory for directory in directories}.values())
        failures: dict[Identity, OSError] = {}

        def sync(directory: Directory) -> None:
            try:
                directory.sync()
            except OSError as error:
                failures[directory.identity] = error

        self._each(sync, distinct)
        return failures

    def _each(self, function: Callable[[_Item], None], items: list[_Item]) -> None:
        """Call the function with every item, in a few threads; each takes every eighth: tasks cost more than items."""
        if len(items) == 1:
            function(items[0])
            return

        def run(start: int) -> None:
            for position in range(start, len(items), SYNC_THREADS):
                function(items[position])

        for _ in self._pool.map(run, range(min(SYNC_THREADS, len(items)))):
            pass

    def _finish(self, batch: list[CompleteFile]) -> list[SinkResult]:
        try:
            announced = self._announce(batch)
            self._sync(batch)
            if announced is not None:
                announced.result()
            for file in batch:
                file.rename(self._name)
            failures = self.sync_directories(file.directory for file in batch if file.error is None)
            for file in batch:
                file.error = file.error or failures.get(file.directory.identity)
            results: list[SinkResult] = [
                EntryRenamed(file.index, file.name) for file in batch if file.named and file.error is None
            ]
            results += [file.result(keep=self._journal is not None) for file in batch]
            self._conclude(batch)
            return results
        finally:
            for file in batch:
                file.directory.release()

    def _announce(self, batch: list[CompleteFile]) -> Future[bool] | None:
        """Tell the checkpoint, durably and beside the syncs, what gets its name next.

        If it cannot be made durable (its own disk may be full), the files are finished all the same. No later record
        can stand in the checkpoint without this one, so it never says more than is true: at worst the next session
        finds the part files gone, asks for these files again, and they fail because something stands there already.
        """
        journal = self._journal
        if journal is None:
            return None
        record = Finishings([file.look() for file in batch])
        return self._pool.submit(lambda: journal.write(record, durable=True))

    def _name(self, named: Named) -> None:
        if self._journal is not None:
            self._journal.write(named, durable=True)

    def _conclude(self, batch: list[CompleteFile]) -> None:
        self.kept.extend(file for file in batch if file.kept)
        if self._journal is None:
            return
        done = RangeSet((file.index, file.index + 1) for file in batch if file.error is None)
        self._journal.write(*([Done(list(done))] if done else []))

    def _sync(self, batch: list[CompleteFile]) -> None:
        """Make the files' bytes durable: many small ones on one file system with one call, else each by itself."""
        small: dict[int, list[CompleteFile]] = {}
        for file in batch:
            if file.syncing is None:
                small.setdefault(file.identity[0], []).append(file)
        together = {
            device for device, files in small.items() if len(files) >= LEAST_FILES and sync_together(files[0].fd)
        }
        rest: list[CompleteFile] = []
        for file in batch:
            if file.syncing is None and file.identity[0] in together:
                file.synced()
            else:
                rest.append(file)
        if rest:
            self._each(CompleteFile.sync, rest)

    def close(self) -> None:
        """End the threads; what was handed over is finished first."""
        self._thread.shutdown()
        self._pool.shutdown()

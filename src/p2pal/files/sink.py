"""The receiver's disk: carries out what the receiving machine decides, and nothing outside of the chosen places.

A file is written under a name of our own beside its target, verified, and only then given its name, durably
(:mod:`p2pal.files.finisher`). Every directory is reached by handles (:mod:`p2pal.files.rooted`); every name is judged
(:mod:`p2pal.files.names`); what may be replaced was decided with the person's consent (:mod:`p2pal.files.placement`).
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from typing import Final

from p2pal.errors import DiskError, ProtocolError
from p2pal.files.arriving import Arriving
from p2pal.files.failures import STANDS_THERE, error_text, sink_failure
from p2pal.files.finisher import Finished, Finisher, Replaceable, file_before, known_file, link_before, settle_name
from p2pal.files.limits import batch_limit, read_umask
from p2pal.files.names import check_link, check_path, part_name
from p2pal.files.placement import Place, Placement, Policy
from p2pal.files.renames import Identity
from p2pal.files.rooted import Directory, Tree, open_root
from p2pal.files.sealing import Deferred, finish_entries
from p2pal.transfer.ops import (
    Begin,
    CheckPiece,
    DigestBad,
    Discard,
    EntryDone,
    EntryFailed,
    Finish,
    MakeDirectory,
    MakeLink,
    PieceBad,
    ResetPiece,
    Seal,
    Sealed,
    SinkOp,
    SinkResult,
    Write,
)
from p2pal.wire.transfer import Entry, Reason

MAX_FILES_IN_WORK: Final = 64
"""Files that may be incomplete at one time: the one that arrives, and those that are being repaired."""

SYNC_BYTES: Final = 32 << 20
"""A batch, or the unsynced part of a big file, is not larger: bytes."""

BATCH_SECONDS: Final = 0.5
"""A complete file waits no longer for its batch, even while the writer is busy."""

_CLOCK_WAIT: Final = 0.05


class Sink:
    """Writes what arrives. One thread calls it; syncs and renames run in threads of its own.

    Args:
        placement: Where the top-level entries go; resolved.
        tag: Eight characters (0-9, a-z) that name this transfer's unfinished files.
        umask: Permission bits never given; the process's own by default.

    Raises:
        DiskError: If the root directory cannot be made or opened.
    """

    def __init__(self, placement: Placement, tag: str, *, umask: int | None = None) -> None:
        placement.prepare()
        try:
            self._root = open_root(os.fsencode(placement.root))
        except OSError as error:
            raise DiskError(f"{placement.root} cannot be used: {error_text(error)}") from error
        self._placement = placement
        self._tag = tag
        self._umask = read_umask() if umask is None else umask
        self._tree = Tree(self._open_top, limit=32)
        self._working: dict[int, Arriving] = {}
        self._ended: set[int] = set()
        self._refused: dict[bytes, Reason] = {}
        self._directories: set[Identity] = set()
        self._made = Deferred()
        self._links = Deferred()
        self._batch: list[Finished] = []
        self._batch_bytes = 0
        self._batch_limit = batch_limit()
        self._batch_due = 0.0
        self._listener: Callable[[], None] = lambda: None
        self._finisher = Finisher(self._notify)
        self._consent_time = self._filesystem_time() if placement.merges else 0

    def set_listener(self, listener: Callable[[], None]) -> None:
        """Call this, from another thread, whenever :meth:`poll` has something to return."""
        self._listener = listener

    def _notify(self) -> None:
        self._listener()

    def _open_top(self, name: bytes) -> Directory:
        return self._root.open_directory(self._place(name).name)

    def _place(self, top: bytes) -> Place:
        place = self._placement.place(top)
        if place is None:
            raise ProtocolError("the other side sent an entry that it did not offer")
        return place

    def _filesystem_time(self) -> int:
        """Return the file system's own time now (ns); what this transfer makes later has a later ctime.

        The clock behind ctime ticks (4 ms is common), so this waits for the next tick; coarser ones (FAT) are not
        waited for.
        """
        name = part_name(self._tag, "clock")
        fd = self._root.create(name)
        try:
            first = latest = os.fstat(fd).st_ctime_ns
            give_up = time.monotonic() + _CLOCK_WAIT
            while latest <= first and time.monotonic() < give_up:
                os.utime(fd if os.utime in os.supports_fd else os.path.join(self._placement.root, os.fsdecode(name)))
                latest = os.fstat(fd).st_ctime_ns
        finally:
            os.close(fd)
            self._root.remove(name)
        return first

    # Operations

    def execute(self, op: SinkOp) -> list[SinkResult]:
        """Carry out one operation; return what ended, of this operation or of earlier ones. Blocks.

        What comes for an entry that failed already is dropped: it was under way.

        Raises:
            ProtocolError: If the operation is none that an honest sender can cause.
        """
        match op:
            case Write():
                return self._write(op)
            case CheckPiece():
                file = self._in_work(op.index)
                return [] if file is None or file.has_leaf(op.piece, op.leaf) else [PieceBad(op.index, op.piece)]
            case Begin():
                return self._begin(op)
            case Finish():
                return self._finish(op)
            case ResetPiece():
                file = self._in_work(op.index)
                if file is not None:
                    file.reset(op.piece)
                return []
            case Discard():
                self._drop(op.index)
                return []
            case MakeDirectory():
                return self._make_directory(op)
            case MakeLink():
                return self._defer_link(op)
            case Seal():
                return self._seal()

    def _in_work(self, index: int) -> Arriving | None:
        """Return the file; None if it failed already."""
        file = self._working.get(index)
        if file is None and index not in self._ended:
            raise ProtocolError("the other side sent data of a file that is not open")
        return file

    def _fail(self, index: int, reason: Reason, text: str) -> list[SinkResult]:
        self._drop(index)
        return [EntryFailed(index, reason, text)]

    def _drop(self, index: int) -> None:
        self._ended.add(index)
        file = self._working.pop(index, None)
        if file is not None:
            file.discard()

    def _judge(self, path: bytes) -> tuple[Reason, str] | None:
        """Say why an entry cannot be made at this path; None if it may be tried."""
        text = check_path(path)
        if text is not None:
            return Reason.NAME, text
        if self._refused:
            position = path.find(b"/")
            while position >= 0:
                reason = self._refused.get(path[:position])
                if reason is not None:
                    return reason, "its directory could not be made"
                position = path.find(b"/", position + 1)
        return None

    def _locate(self, path: bytes) -> tuple[Directory, bytes]:
        """Return the directory (for the caller to release) and the final name of an entry."""
        parent, slash, name = path.rpartition(b"/")
        if not slash:
            return self._root.retain(), self._place(name).name
        return self._tree.directory(parent), name

    def _replaceable(self, path: bytes) -> Replaceable | None:
        place = self._place(path.split(b"/", 1)[0])
        if place.policy is Policy.MERGE:
            return file_before(self._consent_time)
        if place.policy is Policy.REPLACE and place.replaces is not None and b"/" not in path:
            return known_file(place.replaces)
        return None

    # Files

    def _begin(self, op: Begin) -> list[SinkResult]:
        if op.index in self._working or len(self._working) >= MAX_FILES_IN_WORK:
            raise ProtocolError("the other side began a file twice, or too many at once")
        problem = self._judge(op.entry.path)
        if problem is not None:
            return self._fail(op.index, *problem)
        try:
            directory, name = self._locate(op.entry.path)
            try:
                found = directory.status(name)
                if found is not None:
                    replaceable = self._replaceable(op.entry.path)
                    if replaceable is None or not replaceable(found):
                        return self._fail(op.index, Reason.EXISTS, STANDS_THERE)
                self._working[op.index] = Arriving(op, directory, part_name(self._tag, op.index), name)
            finally:
                directory.release()
        except OSError as error:
            return self._fail(op.index, *sink_failure(error))
        return []

    def _write(self, op: Write) -> list[SinkResult]:
        file = self._working.get(op.index) or self._in_work(op.index)
        if file is None:
            return []
        try:
            file.write(op.offset, op.data)
            if file.unsynced >= SYNC_BYTES:
                file.settle()  # a disk that is slower than the network slows the writer here
                file.syncing = self._finisher.sync_ahead(file.fd)
                file.unsynced = 0
        except OSError as error:
            return self._fail(op.index, *sink_failure(error))
        return []

    def _finish(self, op: Finish) -> list[SinkResult]:
        file = self._in_work(op.index)
        if file is None:
            return []
        if not file.has_digest(op.digest):
            return [DigestBad(op.index)]
        try:
            file.settle()
            file.set_attributes(self._umask)
        except OSError as error:
            return self._fail(op.index, *sink_failure(error))
        del self._working[op.index]
        if not self._batch:
            self._batch_due = time.monotonic() + BATCH_SECONDS
        self._batch.append(Finished(file, self._replaceable(file.entry.path)))
        self._batch_bytes += file.unsynced
        if len(self._batch) >= self._batch_limit or self._batch_bytes >= SYNC_BYTES:
            return self._hand_over()
        return []

    def _hand_over(self) -> list[SinkResult]:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        return self._finisher.submit(batch) if batch else []

    def poll(self, *, idle: bool) -> list[SinkResult]:
        """Return what ended meanwhile; begin to finish the current batch when that is due. Does not block.

        Args:
            idle: Whether no operation waits: then files that are complete need not wait for others.
        """
        results = self._finisher.collect()
        if self._batch:
            due = time.monotonic() >= self._batch_due
            if (idle and self._finisher.idle) or (due and self._finisher.has_room):
                results += self._hand_over()
        return results

    # Directories and links

    def _make_directory(self, op: MakeDirectory) -> list[SinkResult]:
        path = op.entry.path
        problem = self._judge(path)
        if problem is None:
            try:
                if not self._made_or_merged(path):
                    return [EntryDone(op.index)]
                self._made.append(op.index, op.entry)
            except OSError as error:
                problem = sink_failure(error)
            else:
                return []
        self._refused[path] = problem[0]
        return self._fail(op.index, *problem)

    def _made_or_merged(self, path: bytes) -> bool:
        """Make a directory, or find one that may be merged into: True if it was made.

        A second entry for the same directory is refused: on a file system that ignores case, two trees would mix.
        """
        parent, name = self._locate(path)
        try:
            made = True
            try:
                parent.make_directory(name)
            except FileExistsError:
                if self._place(path.split(b"/", 1)[0]).policy is not Policy.MERGE:
                    raise
                made = False
            found = parent.status(name)
            if found is None or not stat.S_ISDIR(found.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, STANDS_THERE)
            identity = (found.st_dev, found.st_ino)
            if identity in self._directories:
                raise FileExistsError(errno.EEXIST, STANDS_THERE)
            self._directories.add(identity)
        finally:
            parent.release()
        return made

    def _defer_link(self, op: MakeLink) -> list[SinkResult]:
        problem = self._judge(op.entry.path)
        if problem is None:
            text = check_link(op.entry.path, op.entry.target)
            problem = None if text is None else (Reason.NAME, text)
        if problem is not None:
            return self._fail(op.index, *problem)
        self._links.append(op.index, op.entry)
        return []

    def _make_link(self, index: int, entry: Entry) -> list[Directory]:
        directory, name = self._locate(entry.path)
        try:
            found = directory.status(name)
            if found is None:
                directory.make_link(name, entry.target)
            elif not (stat.S_ISLNK(found.st_mode) and directory.read_link(name) == entry.target):
                merging = self._place(entry.path.split(b"/", 1)[0]).policy is Policy.MERGE
                part = part_name(self._tag, index)
                if not merging or not link_before(self._consent_time)(found):
                    raise FileExistsError(errno.EEXIST, STANDS_THERE)
                directory.make_link(part, entry.target)
                settle_name(directory, part, name, link_before(self._consent_time))
        except BaseException:
            directory.release()
            raise
        return [directory]

    def _finish_directory(self, _index: int, entry: Entry) -> list[Directory]:
        directory = self._tree.directory(entry.path)
        try:
            directory.set_attributes(entry.mode & 0o777 & ~self._umask, entry.mtime_ns)
            parent, _ = self._locate(entry.path)
        except BaseException:
            directory.release()
            raise
        return [directory, parent]

    def _seal(self) -> list[SinkResult]:
        """Finish everything: files, then links, then directories from the deepest up."""
        results = self._hand_over()
        results += self._finisher.drain()
        for index in list(self._working):
            results += self._fail(index, Reason.OTHER, "the file was not completed")
        results += finish_entries(iter(self._links), self._make_link, self._finisher)
        results += finish_entries(reversed(self._made), self._finish_directory, self._finisher)
        results.append(Sealed())
        return results

    # The end

    def discard_all(self) -> list[SinkResult]:
        """Give up: finish what is verified, remove every unfinished file of our own. Returns what still ended well."""
        results = self._hand_over()
        results += self._finisher.drain()
        for index in list(self._working):
            self._drop(index)
        return results

    def close(self) -> None:
        """Discard what is unfinished and free everything. The sink cannot be used afterwards."""
        self.discard_all()
        self._finisher.close()
        self._tree.close()
        self._root.release()
        self._made.close()
        self._links.close()

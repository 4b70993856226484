"""The receiver's disk: carries out what the receiving machine decides, and nothing outside of the chosen places.

A file is written under a name of our own beside its target, verified, and only then given its name, durably
(:mod:`p2pal.files.finisher`). Every directory is reached by handles (:mod:`p2pal.files.rooted`); every name is judged
(:mod:`p2pal.files.names`); what may be replaced was decided with the person's consent (:mod:`p2pal.files.placement`).

Where a checkpoint is kept, its journal never says more than the medium has. A part file is named in it as soon as it is
made; its pieces are claimed once a sync that began after they were written and verified is done, about twice a second;
what gets its name is announced first. So a stop at any moment, also of the machine, costs what arrived since the last
claim, and the next session (:mod:`p2pal.files.resuming`) finds every file that this one made.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterable
from typing import Final

from p2pal.errors import ProtocolError
from p2pal.files.arriving import Arriving
from p2pal.files.failures import FULL, REPLACED, STANDS_THERE, TARGET_GONE, DiskFull, sink_failure
from p2pal.files.finisher import Finished, Finisher
from p2pal.files.journal import Journal
from p2pal.files.leftovers import Leftovers, open_part
from p2pal.files.limits import batch_limit, read_umask
from p2pal.files.names import check_link
from p2pal.files.placement import Placement
from p2pal.files.rehashing import Rehasher
from p2pal.files.renames import Identity
from p2pal.files.rooted import sync_file
from p2pal.files.sealing import Deferred, finish_entries, in_chunks
from p2pal.files.targets import Targets
from p2pal.transfer.checkpoint import Begun, Done, Dropped, Finishing, Finishings, Made, Record, Stopped, Unclaimed
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
    Suspend,
    Write,
)
from p2pal.transfer.recall import ReceiveState
from p2pal.wire.transfer import Reason

MAX_OPEN: Final = 32
"""Incomplete files that stay open: the one that arrives, and some that are being repaired."""

SYNC_BYTES: Final = 16 << 20
"""The unsynced part of a big file is not larger: bytes."""

BATCH_BYTES: Final = 32 << 20
"""Nor is a batch."""

DROP_FROM: Final = 256 << 20
"""Files of this size, in bytes, and larger leave the page cache once they are on the medium."""

BATCH_SECONDS: Final = 0.5
"""A complete file waits no longer for its batch, even while the writer is busy."""

CLAIM_SECONDS: Final = 0.5
"""What arrived is claimed so much later at most, and the time of a sync."""

_ENDED: Final = b"\x01"


class Sink:
    """Writes what arrives. One thread calls it; syncs and renames run in threads of its own.

    Args:
        placement: Where the top-level entries go; resolved or restored.
        tag: Eight characters (0-9, a-z) that name this transfer's unfinished files.
        umask: Permission bits never given; the process's own by default.
        journal: The checkpoint. Without one nothing is kept of an unfinished file. If it cannot be written any more
            (:attr:`~p2pal.files.journal.Journal.failed`) files arrive all the same, and less is known of them later.
        resume: What the checkpoint said, and a survey found true (:func:`p2pal.files.resuming.survey`).

    Raises:
        DiskError: If the root directory cannot be made or opened.

    Attributes:
        patient: A full disk raises DiskFull, and the operation may be tried again; otherwise the entry fails.
    """

    def __init__(
        self,
        placement: Placement,
        tag: str,
        *,
        umask: int | None = None,
        journal: Journal | None = None,
        resume: ReceiveState | None = None,
    ) -> None:
        self.patient = False
        self._tag = tag
        self._umask = read_umask() if umask is None else umask
        self._journal = journal
        self._targets = Targets(placement, tag, self._umask, resume)
        self._left = Leftovers(self._targets.locate, tag, resume)
        self._working: dict[int, Arriving] = {}
        self._unclaimed: dict[int, Arriving] = {}
        self._verifying: dict[int, Arriving] = {}
        self._ended = bytearray()  # by index; a set would cost a hundred bytes for each of a million files that fail
        self._made = Deferred()
        self._links = Deferred()
        self._batch: list[Finished] = []
        self._batch_bytes = 0
        self._batch_limit = batch_limit()
        self._batch_due = 0.0
        self._late: list[SinkResult] = []
        self._listener: Callable[[], None] = lambda: None
        self._publish: Callable[[list[SinkResult]], None] | None = None
        self._finisher = Finisher(self._notify, journal)
        self._rehasher = Rehasher(self._notify)
        self._begins = resume is None or journal is None or journal.sync()

    def set_listener(
        self, listener: Callable[[], None], publish: Callable[[list[SinkResult]], None] | None = None
    ) -> None:
        """Say who hears of results that no operation returns.

        Args:
            listener: Called, from another thread, whenever :meth:`poll` has something to do or to return.
            publish: Called, in the caller's thread, with results while one operation has very many.
        """
        self._listener = listener
        self._publish = publish

    def _notify(self) -> None:
        self._listener()

    def _record(self, *records: Record, durable: bool = False) -> None:
        if self._journal is not None and records:
            self._journal.write(*records, durable=durable)

    # Operations

    def execute(self, op: SinkOp) -> list[SinkResult]:
        """Carry out one operation; return what ended, of this operation or of earlier ones. Blocks.

        What comes for an entry that failed already is dropped: it was under way.

        Raises:
            ProtocolError: If the operation is none that an honest sender can cause.
            DiskFull: If :attr:`patient`, and there is no room for it now.
        """
        match op:
            case Write():
                return self._write(op)
            case CheckPiece():
                return self._check_piece(op)
            case Begin():
                return self._begin(op)
            case Finish():
                return self._finish(op)
            case ResetPiece():
                file = self._in_work(op.index)
                return [] if file is None else self._reset(file, op.piece)
            case Discard():
                self._drop(op.index)
                return []
            case Suspend():
                self._record(*self._suspend(op.index), durable=True)
                return []
            case MakeDirectory():
                return self._make_directory(op)
            case MakeLink():
                return self._defer_link(op)
            case Seal():
                return self._seal(final=op.final)

    def _in_work(self, index: int) -> Arriving | None:
        """Return the file; None if it failed already."""
        file = self._working.get(index)
        if file is None and self._ended[index : index + 1] != _ENDED:
            raise ProtocolError("the other side sent data of a file that is not open")
        return file

    def _refuse(self, index: int, path: bytes, error: OSError) -> list[SinkResult]:
        """Fail an entry because of the disk, or raise DiskFull if that may pass."""
        if error.errno in FULL and self.patient:
            raise DiskFull from error
        if error.errno == errno.ENOENT and self._targets.gone(path):
            return self._fail(index, Reason.DISK, TARGET_GONE)
        return self._fail(index, *sink_failure(error))

    def _fail(self, index: int, reason: Reason, text: str) -> list[SinkResult]:
        """End an entry; where the disk failed, what is claimed of it stays."""
        file = self._end(index)
        if file is not None and reason is Reason.DISK and self._is_claimed(file) and file.claims:
            self._leave(file)
        elif file is not None:
            self._discard(file)
        return [EntryFailed(index, reason, text)]

    def _drop(self, index: int) -> None:
        file = self._end(index)
        if file is not None:
            self._discard(file)
        elif self._left.remove(index):
            self._record(Dropped(index))

    def _end(self, index: int) -> Arriving | None:
        """Take a file out of everything; nothing of it is expected any more."""
        self._ended.extend(bytes(max(0, index + 1 - len(self._ended))))
        self._ended[index : index + 1] = _ENDED
        self._unclaimed.pop(index, None)
        self._verifying.pop(index, None)
        return self._working.pop(index, None)

    def _discard(self, file: Arriving) -> None:
        if file.discard():
            self._record(Dropped(file.index))
        else:
            self._left.add(file.index, file.entry.path, file.identity)

    def _leave(self, file: Arriving) -> None:
        self._left.add(file.index, file.entry.path, file.identity)
        file.leave()

    # Files

    def _begin(self, op: Begin) -> list[SinkResult]:
        if op.index in self._working:
            raise ProtocolError("the other side began a file twice")
        path = op.entry.path
        problem = self._targets.judge(path)
        if problem is not None:
            return self._fail(op.index, *problem)
        try:
            directory, name = self._targets.locate(path)
            try:
                found = directory.status(name)
                if found is not None:
                    replaceable = self._targets.replaceable(op.index, path)
                    if replaceable is None or not replaceable(found):
                        return self._fail(op.index, Reason.EXISTS, STANDS_THERE)
                before = self._left.take(op.index, directory, keep=op.claim is not None)
                file = open_part(op, directory, self._tag, name, resumed=self._left.resumed)
                if op.claim is not None:
                    self._distrust(file)
            finally:
                directory.release()
        except OSError as error:
            return self._refuse(op.index, path, error)
        self._make_room()
        self._working[op.index] = file
        begun = Begun(op.index, file.identity, op.entry.size, op.entry.mtime_ns, path)
        self._record(*([] if begun == before else [begun]), *([] if op.claim is None else file.gone_on_with()))
        if file.unverified:
            self._look_again(file)
        return []

    def _distrust(self, file: Arriving) -> None:
        """Make sure that what the last stop said of a part file is not believed once more, before it is written to.

        The checkpoint says so itself, by the beginning of the session. Where that is not durable, because its disk
        takes nothing, the part file does, by its time.

        Raises:
            OSError: If neither can be made durable; the file is left as it is.
        """
        self._begins = self._begins or self._journal is None or self._journal.sync()
        if self._begins:
            return
        try:
            file.touch()
        except OSError:
            self._leave(file)
            raise

    def _look_again(self, file: Arriving) -> None:
        """Have the claimed pieces hashed in the background."""
        try:
            fd = file.directory.open_read(file.part)
        except OSError as error:
            self._late += self._fail(file.index, *sink_failure(error))
            return
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino) != file.identity:
            os.close(fd)
            self._late += self._fail(file.index, Reason.OTHER, REPLACED)
            return
        file.rehash = self._rehasher.begin(fd, file.leaves_of(file.unverified), file.range_of)
        self._verifying[file.index] = file

    def _make_room(self) -> None:
        """Close the files that wait for repair, when there are many."""
        if len(self._working) >= MAX_OPEN:
            opened = [file for file in self._working.values() if file.fd >= 0]
            for file in opened if len(opened) >= MAX_OPEN else ():
                try:
                    file.park()
                except OSError as error:
                    self._late += self._fail(file.index, *sink_failure(error))

    def _write(self, op: Write) -> list[SinkResult]:
        file = self._working.get(op.index) or self._in_work(op.index)
        if file is None:
            return []
        try:
            if file.fd < 0:
                self._make_room()
                file.unpark()
            file.write(op.offset, op.data)
        except OSError as error:
            return self._refuse(op.index, file.entry.path, error)
        try:
            if file.unsynced >= SYNC_BYTES:
                file.settle()  # a disk that is slower than the network slows the writer here
                self._sync(file)
            elif file.due:
                if time.monotonic() >= file.due:
                    self._sync(file)
            elif self._journal is not None:
                self._note_unclaimed(file)
        except OSError as error:  # an earlier sync failed: what it lost cannot be written again
            return self._fail(op.index, *sink_failure(error))
        return []

    def _check_piece(self, op: CheckPiece) -> list[SinkResult]:
        file = self._in_work(op.index)
        if file is None:
            return []
        if file.has_leaf(op.piece, op.leaf):
            if not file.due and self._journal is not None:
                self._note_unclaimed(file)
            return []
        return [*self._reset(file, op.piece), PieceBad(op.index, op.piece)]

    def _reset(self, file: Arriving, piece: int) -> list[SinkResult]:
        """Forget a piece; the checkpoint must not go on claiming it: what it says last is believed."""
        if not file.reset(piece):
            return []
        try:
            file.settle()  # a claim under way would come after
        except OSError as error:
            return self._fail(file.index, *sink_failure(error))
        self._record(Unclaimed(file.index, piece, piece + 1))
        return []

    def _is_claimed(self, file: Arriving) -> bool:
        """Whether the checkpoint hears of single pieces of this file: of fewer than two there is nothing to say."""
        return self._journal is not None and file.pieces > 1

    def _note_unclaimed(self, file: Arriving) -> None:
        if file.pieces > 1:
            file.due = time.monotonic() + CLAIM_SECONDS
            self._unclaimed[file.index] = file

    def _sync(self, file: Arriving) -> None:
        """Begin to put what arrived on the medium, and then to claim it, unless that is under way.

        Raises:
            OSError: If the sync before it failed.
        """
        if file.syncing is not None and not file.syncing.done():
            return
        file.settle()
        claims = file.claim() if self._is_claimed(file) else []
        file.syncing = self._finisher.sync_ahead(file.fd, drop=file.entry.size >= DROP_FROM, claims=claims)
        file.unsynced = 0
        file.due = 0.0
        self._unclaimed.pop(file.index, None)

    def _finish(self, op: Finish) -> list[SinkResult]:
        file = self._in_work(op.index)
        if file is None:
            return []
        if not file.has_digest(op.digest):
            return [DigestBad(op.index)]
        file.digest = op.digest
        if file.unverified:
            return []  # its answer comes when every piece was looked at
        return self._complete(file, op.digest)

    def _complete(self, file: Arriving, digest: bytes) -> list[SinkResult]:
        """The file is whole and right: give it to the next batch."""
        try:
            if file.fd < 0:
                file.unpark()
            file.set_attributes(self._umask)
        except OSError as error:
            return self._fail(file.index, *sink_failure(error))
        self._unclaimed.pop(file.index, None)
        del self._working[file.index]
        if not self._batch:
            self._batch_due = time.monotonic() + BATCH_SECONDS
        self._batch.append(Finished(file, self._targets.replaceable(file.index, file.entry.path), digest))
        self._batch_bytes += file.unsynced
        if len(self._batch) >= self._batch_limit or self._batch_bytes >= BATCH_BYTES:
            return self._hand_over()
        return []

    def _hand_over(self) -> list[SinkResult]:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        return self._finisher.submit(batch) if batch else []

    # What happens by itself

    def next_poll(self) -> float | None:
        """Return when :meth:`poll` should be called at the latest (seconds of the monotonic clock), or None."""
        return min((file.due for file in self._unclaimed.values() if not _syncs(file)), default=None)

    def poll(self, *, idle: bool) -> list[SinkResult]:
        """Return what ended meanwhile; begin to finish the current batch, and to claim, when that is due.

        Does not block.

        Args:
            idle: Whether no operation waits: then files that are complete need not wait for others.
        """
        results = [*self._late, *self._finisher.collect()]
        self._late.clear()
        if self._unclaimed:
            results += self._claim_due()
        if self._verifying:
            results += self._take_answers()
        if self._batch:
            due = time.monotonic() >= self._batch_due
            if (idle and self._finisher.idle) or (due and self._finisher.has_room):
                results += self._hand_over()
        return results

    def _claim_due(self) -> list[SinkResult]:
        results: list[SinkResult] = []
        now = time.monotonic()
        for file in [file for file in self._unclaimed.values() if file.due <= now]:
            if file.fd < 0:  # it is claimed when more of it comes, or when all stops
                file.due = 0.0
                del self._unclaimed[file.index]
                continue
            try:
                self._sync(file)
            except OSError as error:
                results += self._fail(file.index, *sink_failure(error))
        return results

    def _take_answers(self) -> list[SinkResult]:
        """Take what looking again has found; finish the files that waited for that."""
        results: list[SinkResult] = []
        for file in list(self._verifying.values()):
            rehash = file.rehash
            if rehash is None:
                continue
            over = rehash.future.done()
            bad = [piece for piece, right in rehash.answers() if file.looked_at(piece) and not right]
            for piece in bad:
                results += [*self._reset(file, piece), PieceBad(file.index, piece)]
            if not over or file.index not in self._working:
                continue
            rehash.future.result()  # a fault of ours is not swallowed
            file.unverified.clear()  # what was reset meanwhile
            file.rehash = None
            del self._verifying[file.index]
            digest, file.digest = file.digest, None
            if digest is not None:
                results += self._complete(file, digest) if file.has_digest(digest) else [DigestBad(file.index)]
        return results

    # Directories and links

    def _make_directory(self, op: MakeDirectory) -> list[SinkResult]:
        path = op.entry.path
        problem = self._targets.judge(path)
        if problem is None:
            try:
                identity = self._targets.make_directory(path)
                if identity is None:
                    return [EntryDone(op.index)]
                if self._targets.to_be_recorded(path):
                    self._record(Made(path, identity), durable=b"/" not in path)
                self._made.append(op.index, op.entry)
            except OSError as error:
                results = self._refuse(op.index, path, error)
                self._targets.refuse(path, sink_failure(error)[0])
                return results
            return []
        self._targets.refuse(path, problem[0])
        return self._fail(op.index, *problem)

    def _defer_link(self, op: MakeLink) -> list[SinkResult]:
        problem = self._targets.judge(op.entry.path)
        if problem is None:
            text = check_link(op.entry.path, op.entry.target)
            problem = None if text is None else (Reason.NAME, text)
        if problem is not None:
            return self._fail(op.index, *problem)
        self._links.append(op.index, op.entry)
        return []

    def _replaces_link(self, index: int, made: Identity, replaces: Identity) -> None:
        """Announce a link that is about to replace another, as files are."""
        self._record(Finishings([Finishing(index, made, bytes(32), replaces)]), durable=True)

    def _seal(self, *, final: bool) -> list[SinkResult]:
        """Finish everything: files, then links, then directories from the deepest up."""
        results = self._finish_batches()
        for file in list(self._verifying.values()):
            if file.digest is not None and file.rehash is not None:
                file.rehash.future.result()
        results += self._take_answers()
        results += self._finish_batches()
        for index in list(self._working):
            results += self._fail(index, Reason.OTHER, "the file was not completed")
        if not final and self._journal is not None:
            return [*results, Sealed()]
        links = finish_entries(
            iter(self._links),
            lambda index, entry: self._targets.make_link(index, entry, self._replaces_link),
            self._finisher,
        )
        for chunk in in_chunks(links):
            done = [(result.index, result.index + 1) for result in chunk if isinstance(result, EntryDone)]
            self._record(*([Done(done)] if done else []))
            self._tell(chunk, results)
        self._tell_all(finish_entries(reversed(self._made), self._targets.finish_directory, self._finisher), results)
        results.append(Sealed())
        return results

    def _finish_batches(self) -> list[SinkResult]:
        results = [*self._late, *self._hand_over(), *self._finisher.drain()]
        self._late.clear()
        return results

    def _tell_all(self, found: Iterable[SinkResult], results: list[SinkResult]) -> None:
        for chunk in in_chunks(found):
            self._tell(chunk, results)

    def _tell(self, chunk: list[SinkResult], results: list[SinkResult]) -> None:
        """Hand results on at once if somebody takes them, else keep them for the operation's end."""
        if self._publish is None:
            results += chunk
        else:
            self._publish([*results, *chunk])
            results.clear()

    # The end

    def discard_all(self) -> list[SinkResult]:
        """Give up for good: finish what is verified, remove every unfinished file of our own, of earlier sessions too.

        Returns what still ended well.
        """
        results = self._finish_batches()
        for file in self._finisher.kept:
            self._left.add(file.index, file.path, file.identity)
        for index in list(self._working):
            self._drop(index)
        self._record(*[Dropped(index) for index in self._left.remove_all()])
        return results

    def suspend_all(self) -> list[SinkResult]:
        """Stop for now: finish what is verified, keep and claim what is here of the rest. Returns what ended well.

        Where no checkpoint is kept this is :meth:`discard_all`.
        """
        if self._journal is None:
            return self.discard_all()
        results = self._finish_batches()
        records: list[Record] = []
        for index in list(self._working):
            records += self._suspend(index)
        self._record(*records, durable=True)
        return results

    def _suspend(self, index: int) -> list[Record]:
        """Close a file; return what the checkpoint may say of it: all is on the medium."""
        file = self._end(index)
        if file is None:
            return []
        records: list[Record] = []
        if self._is_claimed(file):
            with contextlib.suppress(OSError):
                file.settle()
                if file.fd < 0:
                    file.unpark()
                if not file.broken:
                    sync_file(file.fd)
                    records += file.claim()
                    if not file.unverified:
                        found = os.fstat(file.fd)
                        stopped = Stopped(index, file.identity, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
                        records.append(stopped)
        if self._is_claimed(file) and file.claims:
            self._leave(file)
            return records
        self._discard(file)
        return []

    def close(self) -> None:
        """Free everything. What is unfinished is suspended, or discarded where no checkpoint is kept.

        The sink cannot be used afterwards.
        """
        try:
            self.suspend_all()
        finally:
            self._finisher.close()
            self._rehasher.close()
            self._targets.close()
            self._made.close()
            self._links.close()


def _syncs(file: Arriving) -> bool:
    """Whether a sync is under way; its end is heard of."""
    return file.syncing is not None and not file.syncing.done()

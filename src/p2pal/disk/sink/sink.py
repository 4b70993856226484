"""The receiver's disk: carries out what the receiving machine decides, and nothing outside of the chosen places.

A file is written under a name of our own beside its target, verified, and only then given its name, durably
(:mod:`p2pal.disk.sink.group_commit`). Every directory is reached by handles (:mod:`p2pal.disk.fs.directory`); every
name is judged (:mod:`p2pal.disk.fs.names`); what may be replaced was decided with the person's consent
(:mod:`p2pal.disk.sink.placement`).

Where a checkpoint is kept, its journal never says more than the medium has. A part file is named in it as soon as it is
made; its pieces are claimed once a sync that began after they were written and verified is done, about twice a second;
what gets its name is announced first. So a stop at any moment, also of the machine, costs what arrived since the last
claim, and the next session (:mod:`p2pal.disk.sink.survey`) finds every file that this one made.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from p2pal.checkpoint.records import CheckpointRecord, Dropped
from p2pal.checkpoint.replay import ReceiveState
from p2pal.disk.checkpoints.journal import Journal
from p2pal.disk.fs.limits import read_umask
from p2pal.disk.fs.names import check_link
from p2pal.disk.fs.os_errors import FULL, TARGET_GONE, DiskFull, sink_failure
from p2pal.disk.sink.batches import Batches
from p2pal.disk.sink.claims import Claiming
from p2pal.disk.sink.group_commit import CompleteFile, GroupCommit
from p2pal.disk.sink.leftovers import Leftovers, open_part
from p2pal.disk.sink.links_and_directories import LinksAndDirectories
from p2pal.disk.sink.open_files import Working
from p2pal.disk.sink.part_file import Arriving
from p2pal.disk.sink.placement import Placement
from p2pal.disk.sink.targets import Targets
from p2pal.disk.sink.verification import Verifying
from p2pal.errors import ProtocolError
from p2pal.transfer.ops import (
    Begin,
    CheckPiece,
    DigestBad,
    Discard,
    EntryDone,
    EntryRenamed,
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
    WriteFailed,
)
from p2pal.wire.transfer import Reason


class Sink:
    """Writes what arrives. One thread calls it; syncs and renames run in threads of its own.

    Args:
        placement: Where the top-level entries go; resolved or restored.
        tag: Eight characters (0-9, a-z) that name this transfer's unfinished files.
        umask: Permission bits never given; the process's own by default.
        journal: The checkpoint. Without one nothing is kept of an unfinished file. If it cannot be written any more
            (:attr:`~p2pal.disk.checkpoints.journal.Journal.failed`) files arrive all the same, and less is known of
            them later.
        resume: What the checkpoint said, and a survey found true (:func:`p2pal.disk.sink.survey.survey`).

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
        self._targets = Targets(placement, tag, self._umask, resume)
        self._left = Leftovers(self._targets.locate, tag, resume)
        self._commit = GroupCommit(self._notify, journal)
        self._claiming = Claiming(journal, self._commit, resumed=resume is not None)
        self._verifying = Verifying(self._notify)
        self._links_and_directories = LinksAndDirectories(self._targets, self._commit, self._claiming)
        self._keeps = journal is not None
        self._journal = journal
        self._working = Working(self._left, self._claiming, self._verifying)
        self._batches = Batches(self._commit)
        self._late: list[SinkResult] = []
        self._listener: Callable[[], None] = lambda: None
        self._publish: Callable[[list[SinkResult]], None] | None = None

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

    @property
    def durable(self) -> int | None:
        """Bytes of the transfer that the checkpoint says are durable; None without one. Safe from any thread."""
        return None if self._journal is None else self._journal.durable

    def _notify(self) -> None:
        self._listener()

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
                file = self._working.find(op.index)
                return [] if file is None else self._reset(file, op.piece)
            case Discard():
                self._working.drop(op.index, given_up=op.given_up)
                return []
            case Suspend():
                self._claiming.record(*self._working.suspend(op.index), durable=True)
                return []
            case MakeDirectory():
                return self._make_directory(op)
            case MakeLink():
                return self._defer_link(op)
            case Seal():
                return self._seal(final=op.final, settled=op.settled)

    def _refuse(self, index: int, path: bytes, error: OSError) -> list[SinkResult]:
        """Fail an entry because of the disk, or raise DiskFull if that may pass."""
        if error.errno in FULL and self.patient:
            raise DiskFull from error
        if error.errno == errno.ENOENT and self._targets.gone(path):
            return self._fail(index, Reason.DISK, TARGET_GONE)
        return self._fail(index, *sink_failure(error))

    def _fail(self, index: int, reason: Reason, text: str) -> list[SinkResult]:
        """End an entry; what is claimed of it stays."""
        self._working.fail(index)
        return [WriteFailed(index, reason, text)]

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
                before = self._left.take(op.index, directory, keep=op.claim is not None)
                file = open_part(op, directory, self._tag, name, resumed=self._left.resumed)
            finally:
                directory.release()
        except OSError as error:
            return self._refuse(op.index, path, error)
        self._make_room()
        self._working.add(file)
        self._claiming.begin(file, before, resumed=op.claim is not None)
        try:
            if op.claim is not None:
                self._claiming.distrust(file)
            if file.unverified:
                self._verifying.begin(file)
        except OSError as error:
            return self._fail(op.index, *sink_failure(error))
        return []

    def _make_room(self) -> None:
        for file, error in self._working.make_room():
            self._late += self._fail(file.index, *sink_failure(error))

    def _write(self, op: Write) -> list[SinkResult]:
        file = self._working.find(op.index)
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
            self._claiming.written(file)
        except OSError as error:  # an earlier sync failed: what it lost cannot be written again
            return self._fail(op.index, *sink_failure(error))
        return []

    def _check_piece(self, op: CheckPiece) -> list[SinkResult]:
        file = self._working.find(op.index)
        if file is None:
            return []
        if file.has_leaf(op.piece, op.leaf):
            self._claiming.wait(file)
            return []
        return [*self._reset(file, op.piece), PieceBad(op.index, op.piece)]

    def _reset(self, file: Arriving, piece: int) -> list[SinkResult]:
        """Forget a piece, and what the checkpoint claims of it."""
        try:
            if file.reset(piece):
                self._claiming.revoke(file, piece)
        except OSError as error:
            return self._fail(file.index, *sink_failure(error))
        return []

    def _finish(self, op: Finish) -> list[SinkResult]:
        file = self._working.find(op.index)
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
        self._working.complete(file)
        finished = CompleteFile(file, self._targets.replaceable(file.index, file.entry.path), digest)
        return self._batches.add(finished, file.unsynced)

    # What happens by itself

    def next_poll(self) -> float | None:
        """Return when :meth:`poll` should be called at the latest (seconds of the monotonic clock), or None."""
        return self._claiming.next_due()

    def poll(self, *, idle: bool) -> list[SinkResult]:
        """Return what ended meanwhile; begin to finish the current batch, and to claim, when that is due.

        Does not block.

        Args:
            idle: Whether no operation waits: then files that are complete need not wait for others.
        """
        results = [*self._late, *self._commit.collect()]
        self._late.clear()
        for file, error in self._claiming.sync_due():
            results += self._fail(file.index, *sink_failure(error))
        results += self._take_answers()
        results += self._batches.poll(idle=idle)
        return results

    def _take_answers(self) -> list[SinkResult]:
        """Take what looking again has found; finish the files that waited for that."""
        results: list[SinkResult] = []
        for file, bad, over in self._verifying.look():
            for piece in bad:
                results += [*self._reset(file, piece), PieceBad(file.index, piece)]
            if over and file.index in self._working:
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
                made = self._links_and_directories.make_directory(op.index, op.entry)
            except OSError as error:
                results = self._refuse(op.index, path, error)
                self._targets.refuse(path, sink_failure(error)[0])
                return results
            name = self._targets.other_name(path)
            results = [] if name is None or not made else [EntryRenamed(op.index, name)]
            return results if made else [EntryDone(op.index)]
        self._targets.refuse(path, problem[0])
        return self._fail(op.index, *problem)

    def _defer_link(self, op: MakeLink) -> list[SinkResult]:
        problem = self._targets.judge(op.entry.path)
        if problem is None:
            text = check_link(op.entry.path, op.entry.target)
            problem = None if text is None else (Reason.NAME, text)
        if problem is not None:
            return self._fail(op.index, *problem)
        self._links_and_directories.defer_link(op.index, op.entry)
        return []

    def _seal(self, *, final: bool, settled: bool) -> list[SinkResult]:
        """Finish everything: files, then links, then directories from the deepest up."""
        results = self._finish_batches()
        self._verifying.wait()
        results += self._take_answers()
        results += self._finish_batches()
        for index in self._working.indices():
            results += self._fail(index, Reason.OTHER, "the file was not completed")
        if not final and self._keeps:
            return [*results, Sealed()]
        for chunk in self._links_and_directories.finish(settled=settled or not self._keeps):
            self._tell(chunk, results)
        results.append(Sealed())
        return results

    def _finish_batches(self) -> list[SinkResult]:
        results = [*self._late, *self._batches.drain()]
        self._late.clear()
        return results

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
        for file in self._commit.kept:
            self._left.add(file.index, file.path, file.identity)
        for index in self._working.indices():
            self._working.drop(index)
        self._claiming.record(*[Dropped(index) for index in self._left.remove_all()])
        return results

    def suspend_all(self) -> list[SinkResult]:
        """Stop for now: finish what is verified, keep and claim what is here of the rest. Returns what ended well.

        Where no checkpoint is kept this is :meth:`discard_all`.
        """
        if not self._keeps:
            return self.discard_all()
        results = self._finish_batches()
        records: list[CheckpointRecord] = []
        for index in self._working.indices():
            records += self._working.suspend(index)
        self._claiming.record(*records, durable=True)
        return results

    def close(self) -> None:
        """Free everything. What is unfinished is suspended, or discarded where no checkpoint is kept.

        The sink cannot be used afterwards.
        """
        try:
            self.suspend_all()
        finally:
            self._commit.close()
            self._verifying.close()
            self._links_and_directories.close()
            self._targets.close()

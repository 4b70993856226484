"""The receiver's disk: carries out what the receiving machine decides, and nothing outside of the chosen places.

A file is written under a name of our own beside its target, verified, and only then given its name, durably
(:mod:`p2pal.files.finisher`). Every directory is reached by handles (:mod:`p2pal.files.rooted`); every name is judged
(:mod:`p2pal.files.names`); what may be replaced was decided with the person's consent (:mod:`p2pal.files.placement`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from p2pal.errors import ProtocolError
from p2pal.files.arriving import Arriving
from p2pal.files.failures import STANDS_THERE, sink_failure
from p2pal.files.finisher import Finished, Finisher
from p2pal.files.limits import batch_limit, read_umask
from p2pal.files.names import check_link, part_name
from p2pal.files.placement import Placement
from p2pal.files.sealing import Deferred, finish_entries
from p2pal.files.targets import Targets
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
from p2pal.wire.transfer import Reason

MAX_OPEN: Final = 32
"""Incomplete files that stay open: the one that arrives, and some that are being repaired."""

SYNC_BYTES: Final = 32 << 20
"""A batch, or the unsynced part of a big file, is not larger: bytes."""

DROP_FROM: Final = 256 << 20
"""Files of this size, in bytes, and larger leave the page cache once they are on the medium."""

BATCH_SECONDS: Final = 0.5
"""A complete file waits no longer for its batch, even while the writer is busy."""

_ENDED: Final = b"\x01"


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
        self._tag = tag
        self._umask = read_umask() if umask is None else umask
        self._targets = Targets(placement, tag, self._umask)
        self._working: dict[int, Arriving] = {}
        self._ended = bytearray()  # by index; a set would cost a hundred bytes for each of a million files that fail
        self._made = Deferred()
        self._links = Deferred()
        self._batch: list[Finished] = []
        self._batch_bytes = 0
        self._batch_limit = batch_limit()
        self._batch_due = 0.0
        self._listener: Callable[[], None] = lambda: None
        self._finisher = Finisher(self._notify)

    def set_listener(self, listener: Callable[[], None]) -> None:
        """Call this, from another thread, whenever :meth:`poll` has something to return."""
        self._listener = listener

    def _notify(self) -> None:
        self._listener()

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
            case Discard() | Suspend():
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
        if file is None and self._ended[index : index + 1] != _ENDED:
            raise ProtocolError("the other side sent data of a file that is not open")
        return file

    def _fail(self, index: int, reason: Reason, text: str) -> list[SinkResult]:
        self._drop(index)
        return [EntryFailed(index, reason, text)]

    def _drop(self, index: int) -> None:
        self._ended.extend(bytes(max(0, index + 1 - len(self._ended))))
        self._ended[index : index + 1] = _ENDED
        file = self._working.pop(index, None)
        if file is not None:
            file.discard()

    # Files

    def _begin(self, op: Begin) -> list[SinkResult]:
        if op.index in self._working:
            raise ProtocolError("the other side began a file twice")
        problem = self._targets.judge(op.entry.path)
        if problem is not None:
            return self._fail(op.index, *problem)
        try:
            directory, name = self._targets.locate(op.entry.path)
            try:
                found = directory.status(name)
                if found is not None:
                    replaceable = self._targets.replaceable(op.entry.path)
                    if replaceable is None or not replaceable(found):
                        return self._fail(op.index, Reason.EXISTS, STANDS_THERE)
                file = Arriving(op, directory, part_name(self._tag, op.index), name)
            finally:
                directory.release()
        except OSError as error:
            return self._fail(op.index, *sink_failure(error))
        results = self._make_room()
        self._working[op.index] = file
        return results

    def _make_room(self) -> list[SinkResult]:
        """Close the files that wait for repair, when there are many."""
        results: list[SinkResult] = []
        if len(self._working) >= MAX_OPEN:
            opened = [file for file in self._working.values() if file.fd >= 0]
            for file in opened if len(opened) >= MAX_OPEN else ():
                try:
                    file.park()
                except OSError as error:
                    results += self._fail(file.index, *sink_failure(error))
        return results

    def _write(self, op: Write) -> list[SinkResult]:
        file = self._working.get(op.index) or self._in_work(op.index)
        if file is None:
            return []
        results: list[SinkResult] = []
        try:
            if file.fd < 0:
                results = self._make_room()
                file.unpark()
            file.write(op.offset, op.data)
            if file.unsynced >= SYNC_BYTES:
                file.settle()  # a disk that is slower than the network slows the writer here
                file.syncing = self._finisher.sync_ahead(file.fd, drop=file.entry.size >= DROP_FROM)
                file.unsynced = 0
        except OSError as error:
            results += self._fail(op.index, *sink_failure(error))
        return results

    def _finish(self, op: Finish) -> list[SinkResult]:
        file = self._in_work(op.index)
        if file is None:
            return []
        if not file.has_digest(op.digest):
            return [DigestBad(op.index)]
        try:
            if file.fd < 0:
                file.unpark()
            file.set_attributes(self._umask)
        except OSError as error:
            return self._fail(op.index, *sink_failure(error))
        del self._working[op.index]
        if not self._batch:
            self._batch_due = time.monotonic() + BATCH_SECONDS
        self._batch.append(Finished(file, self._targets.replaceable(file.entry.path)))
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
        problem = self._targets.judge(path)
        if problem is None:
            try:
                if not self._targets.make_directory(path):
                    return [EntryDone(op.index)]
                self._made.append(op.index, op.entry)
            except OSError as error:
                problem = sink_failure(error)
            else:
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

    def _seal(self) -> list[SinkResult]:
        """Finish everything: files, then links, then directories from the deepest up."""
        results = self._hand_over()
        results += self._finisher.drain()
        for index in list(self._working):
            results += self._fail(index, Reason.OTHER, "the file was not completed")
        results += finish_entries(iter(self._links), self._targets.make_link, self._finisher)
        results += finish_entries(reversed(self._made), self._targets.finish_directory, self._finisher)
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
        try:
            self.discard_all()
        finally:
            self._finisher.close()
            self._targets.close()
            self._made.close()
            self._links.close()

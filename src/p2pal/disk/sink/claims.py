"""What the checkpoint says of files while they arrive: nothing that the medium might not have.

A piece is claimed once a sync that began after it was written and verified is done; that begins half a second after it
came, or with every 16 MiB. After a sync that failed nothing more of the file is claimed. What is about to be written
again is taken back first.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Final

from p2pal.checkpoint.records import Begun, CheckpointRecord, Stopped, Unclaimed
from p2pal.disk.checkpoints.journal import Journal
from p2pal.disk.fs.directory import sync_file
from p2pal.disk.sink.group_commit import GroupCommit
from p2pal.disk.sink.part_file import Arriving

SYNC_BYTES: Final = 16 << 20
"""The unsynced part of a big file is not larger: bytes."""

DROP_FROM: Final = 256 << 20
"""Files of this size, in bytes, and larger leave the page cache once they are on the medium."""

CLAIM_SECONDS: Final = 0.5
"""What arrived is claimed so much later at most, and the time of a sync."""


class Claiming:
    """Syncs what arrives, and claims it. For the writer's thread.

    Args:
        journal: The checkpoint; without one files are only synced as they grow.
        commit: Its threads sync.
        resumed: Whether an earlier session left something.
    """

    def __init__(self, journal: Journal | None, commit: GroupCommit, *, resumed: bool) -> None:
        self._journal = journal
        self._commit = commit
        self._waiting: dict[int, Arriving] = {}
        self._begins = not resumed or journal is None or journal.sync()

    def record(self, *records: CheckpointRecord, durable: bool = False) -> None:
        """Tell the checkpoint, if there is one."""
        if self._journal is not None and records:
            self._journal.write(*records, durable=durable)

    def claims(self, file: Arriving) -> bool:
        """Say whether the checkpoint hears of single pieces of a file: of fewer than two there is nothing to say."""
        return self._journal is not None and file.pieces > 1

    # A file's beginning

    def distrust(self, file: Arriving) -> None:
        """Make sure that what the last stop said of a part file is not believed once more, before it is written to.

        The checkpoint says so itself, by the beginning of the session. Where that is not durable, because its disk
        takes nothing, the part file does, by its time.

        Raises:
            OSError: If neither can be made durable.
        """
        self._begins = self._begins or self._journal is None or self._journal.sync()
        if not self._begins:
            file.touch()

    def begin(self, file: Arriving, before: Begun | None, *, resumed: bool) -> None:
        """Tell the checkpoint of a part file, and which earlier claims of it stay.

        Args:
            file: It was just opened.
            before: What the checkpoint says of it already.
            resumed: Whether an earlier session left it.
        """
        entry = file.entry
        begun = Begun(file.index, file.identity, entry.size, entry.mtime_ns, entry.path)
        self.record(*([] if begun == before else [begun]), *(file.gone_on_with() if resumed else []))

    # While it arrives

    def written(self, file: Arriving) -> None:
        """Bytes were written: sync and claim when there are enough of them, or at the latest after a while.

        Raises:
            OSError: If an earlier sync failed: what it lost cannot be written again.
        """
        if file.unsynced >= SYNC_BYTES:
            file.settle()  # a disk that is slower than the network slows the writer here
            self.sync(file)
        elif not file.due:
            self.wait(file)
        elif time.monotonic() >= file.due:
            self.sync(file)

    def wait(self, file: Arriving) -> None:
        """There is something to claim, a little later."""
        if not file.due and self.claims(file):
            file.due = time.monotonic() + CLAIM_SECONDS
            self._waiting[file.index] = file

    def sync(self, file: Arriving) -> None:
        """Begin to put what arrived on the medium, and then to claim it, unless that is under way.

        Raises:
            OSError: If the sync before it failed.
        """
        if _syncs(file):
            return
        file.settle()
        claims = file.claim() if self.claims(file) else []
        file.syncing = self._commit.sync_ahead(file.fd, drop=file.entry.size >= DROP_FROM, claims=claims)
        file.unsynced = 0
        file.due = 0.0
        self._waiting.pop(file.index, None)

    def next_due(self) -> float | None:
        """Return when :meth:`sync_due` has something to do (seconds of the monotonic clock); None if nothing waits."""
        return min((file.due for file in self._waiting.values() if not _syncs(file)), default=None)

    def sync_due(self) -> list[tuple[Arriving, OSError]]:
        """Begin to sync and claim what has waited long enough; return the files of which an earlier sync failed."""
        failed = []
        now = time.monotonic() if self._waiting else 0.0
        for file in [file for file in self._waiting.values() if file.due <= now]:
            if file.fd < 0:  # it is claimed when more of it comes, or when all stops
                file.due = 0.0
                self.forget(file.index)
                continue
            try:
                self.sync(file)
            except OSError as error:
                failed.append((file, error))
        return failed

    def revoke(self, file: Arriving, piece: int) -> None:
        """A claimed piece is about to be written again: the checkpoint must not go on claiming it.

        Raises:
            OSError: If a sync under way failed.
        """
        file.settle()  # a claim under way would come after
        self.record(Unclaimed(file.index, piece, piece + 1))

    # Its end

    def forget(self, index: int) -> None:
        """Wait for nothing of this file any more."""
        self._waiting.pop(index, None)

    def stop(self, file: Arriving) -> list[CheckpointRecord]:
        """Put what is here of a file on the medium; return what the checkpoint may then say, for the caller to write.

        Whether anything of it is claimed then, :attr:`Arriving.claims` says.
        """
        records: list[CheckpointRecord] = []
        if not self.claims(file):
            return records
        with contextlib.suppress(OSError):
            file.settle()
            if file.fd < 0:
                file.unpark()
            if not file.broken:
                sync_file(file.fd)
                records += file.claim()
                if not file.unverified:
                    found = os.fstat(file.fd)
                    records.append(
                        Stopped(file.index, file.identity, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
                    )
        return records

    def keeps(self, file: Arriving) -> bool:
        """Say whether a later session can go on with the file."""
        return self.claims(file) and file.claims


def _syncs(file: Arriving) -> bool:
    """Whether a sync is under way; its end is heard of."""
    return file.syncing is not None and not file.syncing.done()

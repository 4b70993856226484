"""Complete files gathered into batches, which the commit makes durable together."""

from __future__ import annotations

import time
from typing import Final

from p2pal.disk.fs.limits import batch_limit
from p2pal.disk.sink.group_commit import CompleteFile, GroupCommit
from p2pal.transfer.ops import SinkResult

BATCH_BYTES: Final = 32 << 20
"""A batch of complete files has no more unsynced bytes."""

BATCH_SECONDS: Final = 0.5
"""A complete file waits no longer for its batch, even while the writer is busy."""


class Batches:
    """Gathers complete files. For the writer's thread.

    Args:
        commit: Takes them.
    """

    def __init__(self, commit: GroupCommit) -> None:
        self._commit = commit
        self._batch: list[CompleteFile] = []
        self._bytes = 0
        self._limit = batch_limit()
        self._due = 0.0

    def add(self, file: CompleteFile, unsynced: int) -> list[SinkResult]:
        """Add a file, of which so many bytes were not synced yet; return what ended meanwhile."""
        if not self._batch:
            self._due = time.monotonic() + BATCH_SECONDS
        self._batch.append(file)
        self._bytes += unsynced
        if len(self._batch) >= self._limit or self._bytes >= BATCH_BYTES:
            return self._hand_over()
        return []

    def poll(self, *, idle: bool) -> list[SinkResult]:
        """Hand the batch over if that is due, or nobody has other work; return what ended meanwhile."""
        if self._batch:
            due = time.monotonic() >= self._due
            if (idle and self._commit.idle) or (due and self._commit.has_room):
                return self._hand_over()
        return []

    def drain(self) -> list[SinkResult]:
        """Finish everything; return how it ended."""
        return [*self._hand_over(), *self._commit.drain()]

    def _hand_over(self) -> list[SinkResult]:
        batch, self._batch, self._bytes = self._batch, [], 0
        return self._commit.submit(batch) if batch else []

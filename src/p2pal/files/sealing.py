"""What comes last: links, then the modes and times of directories, deepest first, and all of it durable.

Links come after every file so that no write can meet one that the sender made. Directories get their own attributes
after all children because a child changes its parent's time, and may need a permission that the parent will not have.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Final, cast

from p2pal.errors import ProtocolError
from p2pal.files.failures import sink_failure
from p2pal.files.finisher import Finisher
from p2pal.files.rooted import Directory, release_all
from p2pal.transfer.manifest import Manifest
from p2pal.transfer.ops import EntryDone, EntryFailed, SinkResult
from p2pal.wire.transfer import Entry

IN_MEMORY: Final = 1 << 20
"""Bytes of deferred entries before they go to a temporary file."""

CHUNK: Final = 64
"""Entries that are made durable together."""

RESULTS: Final = 1024
"""Results that are told together: a million links make no list of a million."""

Touch = Callable[[int, Entry], list[Directory]]
"""Does what is left for one entry; returns the directories to be synced, for the caller to release."""


class Deferred:
    """Entries that wait for the end, in order, in memory that does not grow with them (12 bytes for each)."""

    def __init__(self) -> None:
        self._store = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - closed by close()
        self._manifest = Manifest(cast("BinaryIO", self._store))
        self._indices = array("Q")

    def append(self, index: int, entry: Entry) -> None:
        """Keep an entry.

        Raises:
            ProtocolError: If there are more than the protocol allows.
        """
        try:
            self._manifest.append(entry)
        except ValueError as error:
            raise ProtocolError("the other side offered too much") from error
        self._indices.append(index)

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[tuple[int, Entry]]:
        return self._at(range(len(self)))

    def __reversed__(self) -> Iterator[tuple[int, Entry]]:
        return self._at(reversed(range(len(self))))

    def _at(self, positions: Iterable[int]) -> Iterator[tuple[int, Entry]]:
        for position in positions:
            yield self._indices[position], self._manifest[position]

    def close(self) -> None:
        """Drop everything."""
        self._store.close()


def finish_entries(entries: Iterator[tuple[int, Entry]], touch: Touch, finisher: Finisher) -> Iterator[SinkResult]:
    """Touch each entry, sync what was touched, and yield how each ended."""
    touched: list[tuple[int, list[Directory]]] = []
    for index, entry in entries:
        try:
            touched.append((index, touch(index, entry)))
        except OSError as error:
            yield EntryFailed(index, *sink_failure(error))
        if len(touched) >= CHUNK:
            yield from _sync(touched, finisher)
            touched = []
    yield from _sync(touched, finisher)


def in_chunks(results: Iterable[SinkResult]) -> Iterator[list[SinkResult]]:
    """Yield the results in lists of :data:`RESULTS`, the last one shorter."""
    chunk: list[SinkResult] = []
    for result in results:
        chunk.append(result)
        if len(chunk) >= RESULTS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _sync(touched: list[tuple[int, list[Directory]]], finisher: Finisher) -> Iterator[SinkResult]:
    try:
        failures = finisher.sync_directories(directory for _, directories in touched for directory in directories)
        for index, directories in touched:
            failed = [failures[each.identity] for each in directories if each.identity in failures]
            yield EntryFailed(index, *sink_failure(failed[0])) if failed else EntryDone(index)
    finally:
        for _, directories in touched:
            release_all(directories)

"""What comes last: links, then the modes and times of directories, deepest first, and all of it durable.

Links come after every file so that no write can meet one that the sender made. Directories get their own attributes
after all children because a child changes its parent's time, and may need a permission that the parent will not have.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Final, cast

from p2pal.checkpoint.records import Done, Finishing, Finishings, Made, Named
from p2pal.disk.fs.directory import Directory, release_all
from p2pal.disk.fs.os_errors import sink_failure
from p2pal.disk.fs.rename import Identity
from p2pal.disk.sink.claims import Claiming
from p2pal.disk.sink.group_commit import GroupCommit
from p2pal.disk.sink.targets import Targets
from p2pal.errors import ProtocolError
from p2pal.transfer.manifest import Manifest
from p2pal.transfer.ops import EntryDone, EntryRenamed, SinkResult, WriteFailed
from p2pal.wire.pieces import LEAF_BYTES
from p2pal.wire.transfer import Entry

IN_MEMORY: Final = 1 << 20
"""Bytes of deferred entries before they go to a temporary file."""

CHUNK: Final = 64
"""Entries that are made durable together."""

RESULTS: Final = 1024
"""Results that are told together: a million links make no list of a million."""

Touch = Callable[[int, Entry], list[Directory]]
"""Does what is left for one entry; returns the directories to be synced, for the caller to release."""


class DeferredEntries:
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


class LinksAndDirectories:
    """Directories and links of one transfer: made at once, or at the end. For the writer's thread.

    Args:
        targets: Makes them.
        commit: Makes them durable.
        claiming: Hears of them.
    """

    def __init__(self, targets: Targets, commit: GroupCommit, claiming: Claiming) -> None:
        self._targets = targets
        self._commit = commit
        self._claiming = claiming
        self._made = DeferredEntries()
        self._links = DeferredEntries()

    def make_directory(self, index: int, entry: Entry) -> bool:
        """Make a directory now, its mode and times later; False if it was found, and stays as it is.

        Raises:
            ProtocolError: If there are more than the protocol allows.
            OSError: If it cannot be made.
        """
        path = entry.path
        identity = self._targets.make_directory(path, self._name)
        if identity is None:
            return False
        if self._targets.to_be_recorded(path):
            self._claiming.record(Made(path, identity), durable=b"/" not in path)
        self._made.append(index, entry)
        return True

    def defer_link(self, index: int, entry: Entry) -> None:
        """Keep a link for the end. Raises ProtocolError if there are more than the protocol allows."""
        self._links.append(index, entry)

    def finish(self, *, settled: bool = True) -> Iterator[list[SinkResult]]:
        """Make the links, then give directories their modes and times from the deepest up; yield how they ended.

        Where something can still be had (not ``settled``, or a link failed), directories stay writable for their owner:
        the next session has to write into them.
        """
        named: list[SinkResult] = []

        def make(index: int, entry: Entry) -> list[Directory]:
            made = self._targets.make_link(index, entry, self._name, self._announce)
            name = self._targets.other_name(entry.path)
            if name is not None:
                named.append(EntryRenamed(index, name))
            return made

        for chunk in in_chunks(finish_entries(iter(self._links), make, self._commit)):
            done = [(result.index, result.index + 1) for result in chunk if isinstance(result, EntryDone)]
            self._claiming.record(*([Done(done)] if done else []))
            settled = settled and len(done) == len(chunk)
            yield [*named, *chunk]
            named.clear()

        def touch(_: int, entry: Entry) -> list[Directory]:
            return self._targets.finish_directory(entry, writable=not settled)

        yield from in_chunks(finish_entries(reversed(self._made), touch, self._commit))

    def _name(self, named: Named) -> None:
        """Tell the checkpoint of another name; like what follows it may fail."""
        self._claiming.record(named, durable=True)

    def _announce(self, index: int, made: Identity, replaces: Identity) -> None:
        """Tell the checkpoint of a link that is about to replace another, as of files; like there it may fail."""
        self._claiming.record(Finishings([Finishing(index, made, bytes(LEAF_BYTES), replaces)]), durable=True)

    def close(self) -> None:
        """Drop everything."""
        self._made.close()
        self._links.close()


def finish_entries(entries: Iterator[tuple[int, Entry]], touch: Touch, commit: GroupCommit) -> Iterator[SinkResult]:
    """Touch each entry, sync what was touched, and yield how each ended."""
    touched: list[tuple[int, list[Directory]]] = []
    for index, entry in entries:
        try:
            touched.append((index, touch(index, entry)))
        except OSError as error:
            yield WriteFailed(index, *sink_failure(error))
        if len(touched) >= CHUNK:
            yield from _sync(touched, commit)
            touched = []
    yield from _sync(touched, commit)


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


def _sync(touched: list[tuple[int, list[Directory]]], commit: GroupCommit) -> Iterator[SinkResult]:
    try:
        failures = commit.sync_directories(directory for _, directories in touched for directory in directories)
        for index, directories in touched:
            failed = [failures[each.identity] for each in directories if each.identity in failures]
            yield WriteFailed(index, *sink_failure(failed[0])) if failed else EntryDone(index)
    finally:
        for _, directories in touched:
            release_all(directories)

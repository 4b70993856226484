"""A real sink and a real source on a real file system, with little to write in a test."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from p2pal.disk.sink.placement import Placement, plan
from p2pal.disk.sink.sink import Sink
from p2pal.disk.source.source import Source
from p2pal.disk.source.walk import WalkFailed
from p2pal.transfer import ops
from p2pal.wire.pieces import file_digest, leaf, piece_count, piece_size
from p2pal.wire.transfer import Entry, EntryKind, Reason

TAG = "abcd2345"
UMASK = 0o022
NOBODY = 65534
MTIME = 1_600_000_000_123_456_789


def file_entry(path: bytes, data: bytes = b"", mode: int = 0o644) -> Entry:
    return Entry(path, EntryKind.FILE, len(data), mode, MTIME)


def directory_entry(path: bytes, mode: int = 0o755) -> Entry:
    return Entry(path, EntryKind.DIRECTORY, 0, mode, MTIME)


def link_entry(path: bytes, target: bytes) -> Entry:
    return Entry(path, EntryKind.LINK, 0, 0o777, MTIME, target)


def digest_of(data: bytes) -> bytes:
    size = piece_size(len(data))
    return file_digest(len(data), size, (leaf(piece) for piece in pieces_of(data)))


def pieces_of(data: bytes) -> Iterator[bytes]:
    size = piece_size(len(data))
    for piece in range(piece_count(len(data), size)):
        yield data[piece * size : (piece + 1) * size]


class Disk:
    """A sink for entries of some top-level names; remembers all results.

    Args:
        out: As in ``-out``.
        tops: Top-level names and kinds.
        overwrite: Whether a person agreed to replace what exists.
    """

    def __init__(self, out: Path, tops: Iterable[tuple[bytes, EntryKind]], *, overwrite: bool = False) -> None:
        self.placement: Placement = plan(out, list(tops))
        self.placement.resolve(overwrite=overwrite)
        self.sink = Sink(self.placement, TAG, umask=UMASK)
        self.results: list[ops.SinkResult] = []
        self._next = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sink.close()

    def do(self, *operations: ops.SinkOp) -> list[ops.SinkResult]:
        results = []
        for op in operations:
            results += self.sink.execute(op)
        self.results += results
        return results

    def begin(self, entry: Entry) -> int:
        index, self._next = self._next, self._next + 1
        self.do(ops.Begin(index, entry, piece_size(entry.size)))
        return index

    def file(self, path: bytes, data: bytes = b"", mode: int = 0o644) -> int:
        """Let a whole file arrive."""
        index = self.begin(file_entry(path, data, mode))
        offset = 0
        for number, piece in enumerate(pieces_of(data)):
            self.do(ops.Write(index, offset, piece), ops.CheckPiece(index, number, leaf(piece)))
            offset += len(piece)
        self.do(ops.Finish(index, digest_of(data)))
        return index

    def directory(self, path: bytes, mode: int = 0o755) -> int:
        index, self._next = self._next, self._next + 1
        self.do(ops.MakeDirectory(index, directory_entry(path, mode)))
        return index

    def link(self, path: bytes, target: bytes) -> int:
        index, self._next = self._next, self._next + 1
        self.do(ops.MakeLink(index, link_entry(path, target)))
        return index

    def seal(self) -> None:
        assert self.do(ops.Seal())[-1] == ops.Sealed()

    @property
    def done(self) -> set[int]:
        return {result.index for result in self.results if isinstance(result, ops.EntryDone)}

    @property
    def named(self) -> dict[int, bytes]:
        """What stands under another name than was meant."""
        return {result.index: result.name for result in self.results if isinstance(result, ops.EntryRenamed)}

    @property
    def failed(self) -> dict[int, Reason]:
        return {result.index: result.reason for result in self.results if isinstance(result, ops.WriteFailed)}


def snapshot(root: Path) -> dict[bytes, bytes | None]:
    """Return every path below a directory with its file's bytes, its link's target, or None for a directory."""
    found: dict[bytes, bytes | None] = {}
    top = os.fsencode(root)
    for parent, directories, files in os.walk(top):
        for name in directories + files:
            path = os.path.join(parent, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                content: bytes | None = b"-> " + os.readlink(path)
            elif stat.S_ISREG(mode):
                content = Path(os.fsdecode(path)).read_bytes()
            else:
                content = None
            found[os.path.relpath(path, top)] = content
    return found


@contextmanager
def public_directory() -> Iterator[Path]:
    """A directory that every user reaches, unlike pytest's own."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o777)
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Permissions mean nothing to root: be somebody else for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


def part_files(root: Path) -> list[bytes]:
    return [path for path in snapshot(root) if os.path.basename(path).startswith(b".p2pal-")]


def walk_of(source: Source) -> tuple[list[Entry], list[WalkFailed]]:
    entries, failures = [], []
    for found in source.walk():
        if isinstance(found, Entry):
            entries.append(found)
        else:
            failures.append(found)
    return entries, failures


def job_for(index: int, entry: Entry, again: tuple[int, int] | None = None) -> ops.ReadJob:
    size = piece_size(entry.size)
    first, stop = again or (0, piece_count(entry.size, size))
    return ops.ReadJob(index, entry, size, first, stop, again is not None)


def data_of(results: Iterable[ops.SourceResult]) -> bytes:
    return b"".join(bytes(result.data) for result in results if isinstance(result, ops.BlockRead))

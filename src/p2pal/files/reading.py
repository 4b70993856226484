"""Reading one open file for a job: blocks, leaves, digest, and proof that it did not change meanwhile."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from typing import Final

from p2pal.files.failures import error_text
from p2pal.files.leaves import FileLeaves
from p2pal.files.positioned import read_some
from p2pal.transfer.ops import BlockRead, FileRead, PieceRead, ReadFailed, ReadJob, SourceResult
from p2pal.transfer.pieces import LeafHasher, file_digest, leaf, piece_count
from p2pal.wire.transfer import Reason

BLOCK: Final = 1 << 20
"""Bytes read at once, at most."""

CHANGED: Final = "the file changed while it was read"

_READ_AHEAD_FROM: Final = 1 << 20
"""Below this, the system's read-ahead covers the file anyway and the advice would only cost a call."""


class _Shorter(Exception):
    """The file ended before its listed size."""


def _read_block(fd: int, size: int, offset: int) -> bytes:
    """Read exactly ``size`` bytes; a whole block in one call is not copied."""
    block = read_some(fd, size, offset)
    while len(block) < size:
        more = read_some(fd, size - len(block), offset + len(block))
        if not more:
            raise _Shorter
        block += more
    return block


def _same(before: os.stat_result, after: os.stat_result) -> bool:
    return (
        before.st_mtime_ns == after.st_mtime_ns
        and before.st_size == after.st_size
        and before.st_ctime_ns == after.st_ctime_ns
    )


def read_pieces(
    fd: int, before: os.stat_result, job: ReadJob, known: FileLeaves | None = None
) -> Iterator[SourceResult]:
    """Yield the job's results.

    Args:
        fd: The open file.
        before: Its status when it was opened: the state that all bytes must belong to.
        job: The pieces to read.
        known: Leaves of the file in that state; those that are read are added. Without it none are known.
    """
    same, digest = False, b""
    try:
        digest = yield from _read_all(fd, job, known)
        same = _same(before, os.fstat(fd))
    except _Shorter:
        pass
    except OSError as error:
        yield ReadFailed(job.index, Reason.READ, error_text(error))
        return
    if same:
        yield FileRead(job.index, digest, job.again)
    else:
        yield ReadFailed(job.index, Reason.CHANGED, CHANGED)


def _read_all(fd: int, job: ReadJob, known: FileLeaves | None) -> Generator[SourceResult, None, bytes]:
    """Yield blocks and leaves; return the digest, if the job covers the whole file."""
    index, size, piece_size = job.index, job.entry.size, job.piece_size
    if size > _READ_AHEAD_FROM and sys.platform == "linux":
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    count = piece_count(size, piece_size)
    whole = job.first == 0 and job.stop == count
    leaves = FileLeaves(piece_size, 0.0) if known is None else known
    head = job.head
    for first, stop in ((job.first, job.stop),) if job.wanted is None else job.wanted:
        for piece in range(first, stop):
            found = yield from _read_piece(fd, job, piece, head)
            if whole:
                leaves.add(piece, found)
            yield PieceRead(index, piece, found)
            head = 0
    if not whole:
        return b""
    for piece in leaves.unknown(count):
        found = yield from _read_piece(fd, job, piece, piece_size)
        leaves.add(piece, found)
        yield PieceRead(index, piece, found)
    return file_digest(size, piece_size, leaves.first(count))


def _read_piece(fd: int, job: ReadJob, piece: int, head: int) -> Generator[BlockRead, None, bytes]:
    """Hash a piece and return its leaf; of its bytes yield those from ``head`` on."""
    start = piece * job.piece_size
    stop = min(start + job.piece_size, job.entry.size)
    offset, wanted_from = start, min(start + head, stop)
    if stop - start <= BLOCK and wanted_from == start:
        block = _read_block(fd, stop - start, start)
        found = leaf(block)
        yield BlockRead(job.index, start, block)
        return found
    hasher = LeafHasher()
    while offset < stop:
        wanted = offset >= wanted_from
        block = _read_block(fd, min(BLOCK, (stop if wanted else wanted_from) - offset), offset)
        hasher.update(block)
        if wanted:
            yield BlockRead(job.index, offset, block)
        offset += len(block)
    return hasher.digest()

"""Reading one open file for a job: blocks, leaves, digest, and proof that it did not change meanwhile."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import Final

from p2pal.files.failures import error_text
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


if hasattr(os, "pread"):

    def _read_some(fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)
else:

    def _read_some(fd: int, size: int, offset: int) -> bytes:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, size)


def _read_block(fd: int, size: int, offset: int) -> bytes:
    """Read exactly ``size`` bytes; a whole block in one call is not copied."""
    block = _read_some(fd, size, offset)
    while len(block) < size:
        more = _read_some(fd, size - len(block), offset + len(block))
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


def read_pieces(fd: int, before: os.stat_result, job: ReadJob) -> Iterator[SourceResult]:
    """Yield the job's results.

    Args:
        fd: The open file.
        before: Its status when it was opened: the state that all bytes must belong to.
        job: The pieces to read.
    """
    same, digest = False, b""
    try:
        digest = yield from _read_all(fd, job)
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


def _read_all(fd: int, job: ReadJob) -> Generator[SourceResult, None, bytes]:
    """Yield blocks and leaves; return the digest, if the job covers the whole file."""
    index, size, piece_size = job.index, job.entry.size, job.piece_size
    if size > _READ_AHEAD_FROM and hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    whole = job.first == 0 and job.stop == piece_count(size, piece_size)
    leaves: list[bytes] = []
    for piece in range(job.first, job.stop):
        offset = piece * piece_size
        stop = min(offset + piece_size, size)
        if stop - offset <= BLOCK:
            block = _read_block(fd, stop - offset, offset)
            found = leaf(block)
            yield BlockRead(index, offset, block)
        else:
            hasher = LeafHasher()
            while offset < stop:
                block = _read_block(fd, min(BLOCK, stop - offset), offset)
                hasher.update(block)
                yield BlockRead(index, offset, block)
                offset += len(block)
            found = hasher.digest()
        if whole:
            leaves.append(found)
        yield PieceRead(index, piece, found)
    return file_digest(size, piece_size, leaves) if whole else b""

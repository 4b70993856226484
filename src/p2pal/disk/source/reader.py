"""Reading one open file for a job: blocks, leaves, and a digest that is of one state of the file.

Status fields only say that a file *may* have changed: a hard link, a new mode or a backup move them as well, and some
file systems over a network move them for nothing. So where they are not as before when the last piece was read, the
file is read once more, and its content decides. Two readings in a row that give the same leaves, or one during which
the fields stood still, are of one state; what differs from the leaves that were given out before is given out anew.

Clocks of file systems tick coarsely: two changes within a tick leave the same fields. So pieces that were read less
than :data:`~p2pal.disk.source.leaf_cache.GRACE` after the file's last change are read once more, too.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Final

from p2pal.disk.fs.io import read_some
from p2pal.disk.fs.os_errors import error_text
from p2pal.disk.source.leaf_cache import FileLeaves, settled_at
from p2pal.transfer.ops import BlockRead, FileRead, PieceRead, PieceReread, ReadFailed, ReadJob, SourceResult
from p2pal.wire.pieces import MAX_RESTATED, LeafHasher, file_digest, leaf, piece_count
from p2pal.wire.transfer import Reason

BLOCK: Final = 1 << 20
"""Bytes read at once, at most."""

MAX_COMPARISONS: Final = 3
"""How often a file is read again; one that had another content each time is being written to."""

COPY_FIRST: Final = "copy it first, and send the copy"
CHANGED: Final = f"it is being written to; {COPY_FIRST}"
RESIZED: Final = f"it has another size now; {COPY_FIRST}"
LONGER: Final = f"it gives more than the size that it names; {COPY_FIRST}"
SHORTER: Final = f"it gives less than the size that it names; {COPY_FIRST}"

_READ_AHEAD_FROM: Final = 1 << 20
"""Below this, the system's read-ahead covers the file anyway and the advice would only cost a call."""


class _Unfit(Exception):
    """The file cannot be sent as it was listed."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


def _read_block(fd: int, size: int, offset: int) -> bytes:
    """Read ``size`` bytes, fewer only at the file's end; a whole block in one call is not copied."""
    block = read_some(fd, size, offset)
    while len(block) < size:
        more = read_some(fd, size - len(block), offset + len(block))
        if not more:
            break
        block += more
    return block


def _unfit(fd: int, size: int, text: str) -> _Unfit:
    """Return why a file that does not have its size cannot be sent: it changed, or names a size that is none."""
    return _Unfit(Reason.READ, text) if os.fstat(fd).st_size == size else _Unfit(Reason.CHANGED, RESIZED)


def _same(before: os.stat_result, after: os.stat_result) -> bool:
    return (
        before.st_mtime_ns == after.st_mtime_ns
        and before.st_size == after.st_size
        and before.st_ctime_ns == after.st_ctime_ns
    )


def read_pieces(
    fd: int,
    before: os.stat_result,
    job: ReadJob,
    known: FileLeaves | None = None,
    *,
    clock: Callable[[], float] = time.time,
) -> Iterator[SourceResult]:
    """Yield the job's results.

    Args:
        fd: The open file.
        before: Its status when it was opened.
        job: The pieces to read.
        known: Leaves that are believed of the file in the state of ``before``; those that are read are added. For a
            repair: the leaves that were given out, which the pieces must still have. Without it none are known.
        clock: Gives the time in seconds since the epoch.
    """
    digest = b""
    try:
        if job.again:
            yield from _read_again(fd, job, known)
        elif job.stop <= 1 and job.entry.size <= BLOCK and job.wanted is None:
            digest = yield from _read_small(fd, before, job, clock)
        else:
            digest = yield from _read_all(fd, before, job, known, clock)
    except _Unfit as problem:
        if known is not None and not job.again:
            known.restart(clock())
        yield ReadFailed(job.index, problem.reason, problem.text)
    except OSError as error:
        yield ReadFailed(job.index, Reason.READ, error_text(error))
    else:
        yield FileRead(job.index, digest, job.again)


def _read_again(fd: int, job: ReadJob, known: FileLeaves | None) -> Iterator[SourceResult]:
    """Yield pieces that travel once more. The receiver has been told what they must be."""
    for piece in range(job.first, job.stop):
        found = yield from _read_piece(fd, job, piece, 0)
        said = None if known is None else known.get(piece)
        if said not in (None, found):
            raise _Unfit(Reason.CHANGED, CHANGED)
        yield PieceRead(job.index, piece, found)


def _read_small(
    fd: int, before: os.stat_result, job: ReadJob, clock: Callable[[], float]
) -> Generator[SourceResult, None, bytes]:
    """Yield a file of one block once its content is known to be of one state; return its digest."""
    index, size = job.index, job.entry.size
    data: bytes | None = None
    for _ in range(1 + MAX_COMPARISONS):
        begun, earlier = clock(), data
        data = _read_exactly(fd, size)
        after = os.fstat(fd)
        if data == earlier or (begun >= settled_at(before) and _same(before, after)):
            break
        before = after
    else:
        raise _Unfit(Reason.CHANGED, CHANGED)
    if not data:
        return file_digest(0, job.piece_size, ())
    found = leaf(data)
    yield BlockRead(index, 0, data)
    yield PieceRead(index, 0, found)
    return file_digest(size, job.piece_size, (found,))


def _read_exactly(fd: int, size: int) -> bytes:
    """Read a whole file, and look for more behind its end."""
    data = _read_block(fd, size + 1, 0)
    if len(data) != size:
        raise _unfit(fd, size, LONGER if len(data) > size else SHORTER)
    return data


def _read_all(
    fd: int, before: os.stat_result, job: ReadJob, known: FileLeaves | None, clock: Callable[[], float]
) -> Generator[SourceResult, None, bytes]:
    """Yield blocks and leaves; return the digest of the whole file."""
    index, size, piece_size = job.index, job.entry.size, job.piece_size
    if size > _READ_AHEAD_FROM and sys.platform == "linux":
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    count = piece_count(size, piece_size)
    leaves = FileLeaves(piece_size, 0.0) if known is None else known
    settled = settled_at(before)
    doubtful: list[int] = []
    head = job.head

    def read(piece: int, head: int) -> Iterator[SourceResult]:
        if clock() < settled:
            doubtful.append(piece)
        found = yield from _read_piece(fd, job, piece, head)
        leaves.add(piece, found)
        yield PieceRead(index, piece, found)

    for first, stop in ((job.first, job.stop),) if job.wanted is None else job.wanted:
        for piece in range(first, stop):
            yield from read(piece, head)
            head = 0
    for piece in leaves.unknown(count):
        yield from read(piece, piece_size)
    if read_some(fd, 1, size):
        raise _unfit(fd, size, LONGER)
    said = list(leaves.first(count))
    if not _same(before, os.fstat(fd)) or (yield from _differ(fd, job, leaves, doubtful, tell=False)):
        yield from _settle(fd, job, leaves, clock)
        yield from _restate(job, leaves, said)
    return file_digest(size, piece_size, leaves.first(count))


def _differ(
    fd: int, job: ReadJob, leaves: FileLeaves, pieces: Iterable[int], *, tell: bool
) -> Generator[SourceResult, None, bool]:
    """Read pieces again for their leaves, and with ``tell`` say so; return whether any has another one now."""
    differ = False
    for piece in pieces:
        if tell:
            yield PieceReread(job.index)
        found = yield from _read_piece(fd, job, piece, job.piece_size)
        if leaves.get(piece) != found:
            leaves.add(piece, found)
            differ = True
    return differ


def _settle(
    fd: int, job: ReadJob, leaves: FileLeaves, clock: Callable[[], float]
) -> Generator[SourceResult, None, None]:
    """Read a file again until its leaves are known to be of one state."""
    size = job.entry.size
    for _ in range(MAX_COMPARISONS):
        begun, before = clock(), os.fstat(fd)
        differ = yield from _differ(fd, job, leaves, range(job.stop), tell=True)
        if read_some(fd, 1, size):
            raise _unfit(fd, size, LONGER)
        if not differ or (begun >= settled_at(before) and _same(before, os.fstat(fd))):
            return
    raise _Unfit(Reason.CHANGED, CHANGED)


def _restate(job: ReadJob, leaves: FileLeaves, said: Sequence[bytes]) -> Iterator[SourceResult]:
    """Yield the leaves that are others than before."""
    others = [piece for piece, found in enumerate(leaves.first(len(said))) if found != said[piece]]
    if len(others) > MAX_RESTATED:
        raise _Unfit(Reason.CHANGED, CHANGED)
    for piece in others:
        found = leaves.get(piece)
        assert found is not None  # noqa: S101 - for the type checker
        yield PieceRead(job.index, piece, found)


def _read_piece(fd: int, job: ReadJob, piece: int, head: int) -> Generator[BlockRead, None, bytes]:
    """Hash a piece and return its leaf; of its bytes yield those from ``head`` on."""
    start = piece * job.piece_size
    stop = min(start + job.piece_size, job.entry.size)
    offset, wanted_from = start, min(start + head, stop)
    if stop - start <= BLOCK and wanted_from == start:
        block = _read_part(fd, job, stop - start, start)
        found = leaf(block)
        yield BlockRead(job.index, start, block)
        return found
    hasher = LeafHasher()
    while offset < stop:
        wanted = offset >= wanted_from
        block = _read_part(fd, job, min(BLOCK, (stop if wanted else wanted_from) - offset), offset)
        hasher.update(block)
        if wanted:
            yield BlockRead(job.index, offset, block)
        offset += len(block)
    return hasher.digest()


def _read_part(fd: int, job: ReadJob, size: int, offset: int) -> bytes:
    block = _read_block(fd, size, offset)
    if len(block) != size:
        raise _unfit(fd, job.entry.size, SHORTER)
    return block

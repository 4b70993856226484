from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.files.disk import data_of, digest_of, file_entry, job_for

from p2pal.files import positioned, reading
from p2pal.files.leaves import FileLeaves
from p2pal.files.reading import BLOCK, read_pieces
from p2pal.transfer import ops
from p2pal.transfer.pieces import file_digest, leaf, piece_count
from p2pal.wire.transfer import Reason

PIECE = 1 << 20


class Opened:
    """A file of some bytes, open, with its job."""

    def __init__(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)
        self.path = path
        self.fd = os.open(path, os.O_RDONLY)
        self.before = os.fstat(self.fd)
        self.job = job_for(0, file_entry(b"x", data))

    def read(self) -> Iterator[ops.SourceResult]:
        return read_pieces(self.fd, self.before, self.job)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    file = Opened(tmp_path / "x", os.urandom(3 * PIECE + 5))
    yield file
    os.close(file.fd)


def test_big_pieces_come_in_blocks(tmp_path: Path) -> None:
    data = os.urandom(9 * PIECE + 7)
    file = Opened(tmp_path / "x", data)
    job = ops.ReadJob(0, file.job.entry, 4 * PIECE, 0, 3)
    results = list(read_pieces(file.fd, file.before, job))
    os.close(file.fd)
    blocks = [result for result in results if isinstance(result, ops.BlockRead)]
    assert data_of(results) == data
    assert max(len(block.data) for block in blocks) == BLOCK
    assert [block.offset for block in blocks] == [i * BLOCK for i in range(10)]
    leaves = [result.leaf for result in results if isinstance(result, ops.PieceRead)]
    assert leaves == [leaf(data[i : i + 4 * PIECE]) for i in range(0, len(data), 4 * PIECE)]
    assert type(results[4]) is ops.PieceRead


def test_part_of_a_file_has_no_digest(opened: Opened) -> None:
    opened.job = job_for(0, opened.job.entry, again=(1, 2))
    results = list(opened.read())
    assert data_of(results) == opened.path.read_bytes()[PIECE : 2 * PIECE]
    assert results[-1] == ops.FileRead(0, b"", again=True)


@pytest.mark.parametrize("change", ["truncate", "append", "touch", "overwrite"])
def test_a_change_while_reading_is_noticed(opened: Opened, change: str) -> None:
    results = opened.read()
    next(results)
    with opened.path.open("r+b") as file:
        if change == "truncate":
            file.truncate(PIECE + 3)
        elif change == "append":
            file.seek(0, os.SEEK_END)
            file.write(b"more")
        elif change == "overwrite":
            file.write(b"other")
    if change in {"touch", "overwrite"}:
        os.utime(opened.path, ns=(0, opened.before.st_mtime_ns + 1))
    last = list(results)[-1]
    assert isinstance(last, ops.ReadFailed)
    assert last.reason is Reason.CHANGED


def test_a_time_that_is_set_back_hides_nothing(opened: Opened) -> None:
    results = opened.read()
    next(results)
    while os.stat(opened.path).st_ctime_ns == opened.before.st_ctime_ns:  # until the clock of the file system ticks
        os.utime(opened.path, ns=(opened.before.st_atime_ns, opened.before.st_mtime_ns))
    last = list(results)[-1]
    assert isinstance(last, ops.ReadFailed)
    assert last.reason is Reason.CHANGED


def test_short_reads_are_continued(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: pread(fd, min(size, 400_000), offset))
    data = opened.path.read_bytes()
    results = list(opened.read())
    assert data_of(results) == data
    assert results[-1] == ops.FileRead(0, digest_of(data))


def test_a_read_error_is_reported(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(reading, "read_some", broken)
    assert list(opened.read()) == [ops.ReadFailed(0, Reason.READ, "Input/output error")]


SMALL_PIECE = 1000


def resumed_job(size: int, wanted: tuple[tuple[int, int], ...], head: int = 0, piece_size: int = PIECE) -> ops.ReadJob:
    entry = file_entry(b"x", bytes(size))
    return ops.ReadJob(0, entry, piece_size, 0, piece_count(size, piece_size), wanted=wanted, head=head)


@st.composite
def resumed(draw: st.DrawFn) -> tuple[ops.ReadJob, set[int]]:
    """A job for a file that is partly there, and the pieces whose leaves are known."""
    size = draw(st.integers(SMALL_PIECE + 1, 9 * SMALL_PIECE))
    count = piece_count(size, SMALL_PIECE)
    pieces = sorted(draw(st.sets(st.integers(0, count - 1))))
    ranges: list[tuple[int, int]] = []
    for piece in pieces:
        if ranges and ranges[-1][1] == piece and draw(st.booleans()):
            ranges[-1] = (ranges[-1][0], piece + 1)
        else:
            ranges.append((piece, piece + 1))
    head = draw(st.integers(0, min(SMALL_PIECE, size - pieces[0] * SMALL_PIECE) - 1)) if pieces else 0
    known = draw(st.sets(st.integers(0, count - 1)))
    return resumed_job(size, tuple(ranges), head, SMALL_PIECE), known


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(what=resumed(), block=st.integers(100, 1500), seed=st.binary(min_size=1, max_size=8))
def test_what_is_wanted_comes_and_the_rest_is_only_hashed(
    tmp_path: Path, what: tuple[ops.ReadJob, set[int]], block: int, seed: bytes
) -> None:
    job, known_pieces = what
    size, count = job.entry.size, job.stop
    data = (seed * size)[:size]
    leaves = [leaf(data[start : start + SMALL_PIECE]) for start in range(0, size, SMALL_PIECE)]
    known = FileLeaves(SMALL_PIECE, 0.0)
    for piece in known_pieces:
        known.add(piece, leaves[piece])
    (tmp_path / "x").write_bytes(data)
    fd = os.open(tmp_path / "x", os.O_RDONLY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "BLOCK", block)
        results = list(read_pieces(fd, os.fstat(fd), job, known))
    os.close(fd)

    wanted = [piece for first, stop in job.wanted or () for piece in range(first, stop)]
    others = [piece for piece in range(count) if piece not in wanted and piece not in known_pieces]
    assert [
        (result.piece, result.leaf) for result in results if isinstance(result, ops.PieceRead)
    ] == [(piece, leaves[piece]) for piece in [*wanted, *others]]  # fmt: skip
    assert results[-1] == ops.FileRead(0, file_digest(size, SMALL_PIECE, leaves))
    assert len(known) == count

    # Each wanted piece's bytes, in order, are followed by its leaf; no other bytes come.
    position, head = 0, job.head
    for piece in wanted:
        expected = data[piece * SMALL_PIECE + head : (piece + 1) * SMALL_PIECE]
        offset, got = piece * SMALL_PIECE + head, b""
        while isinstance(result := results[position], ops.BlockRead):
            assert result.offset == offset + len(got)
            assert len(result.data) <= block
            got += bytes(result.data)
            position += 1
        assert got == expected
        position += 1
        head = 0
    assert not any(isinstance(result, ops.BlockRead) for result in results[position:])


def offsets_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that fills with the numbers of the MiB that are read."""
    found: list[int] = []
    read_some = positioned.read_some

    def noting(fd: int, size: int, offset: int) -> bytes:
        found.append(offset // PIECE)
        return read_some(fd, size, offset)

    monkeypatch.setattr(reading, "read_some", noting)
    return found


def test_pieces_whose_leaves_are_known_are_not_read(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    data = opened.path.read_bytes()
    known = FileLeaves(PIECE, 0.0)
    for piece in (0, 2):
        known.add(piece, leaf(data[piece * PIECE : (piece + 1) * PIECE]))
    read = offsets_read(monkeypatch)
    job = resumed_job(len(data), ((3, 4),))
    results = list(read_pieces(opened.fd, opened.before, job, known))
    assert read == [3, 1]
    assert data_of(results) == data[3 * PIECE :]
    assert results[-1] == ops.FileRead(0, digest_of(data))
    read.clear()
    again = resumed_job(len(data), ())
    assert list(read_pieces(opened.fd, opened.before, again, known)) == [ops.FileRead(0, digest_of(data))]
    assert not read


def test_the_first_wanted_piece_goes_on_where_it_was_cut(opened: Opened) -> None:
    data = opened.path.read_bytes()
    job = resumed_job(len(data), ((1, 2), (3, 4)), head=PIECE - 1)
    results = list(read_pieces(opened.fd, opened.before, job))
    assert results[:2] == [
        ops.BlockRead(0, 2 * PIECE - 1, data[2 * PIECE - 1 : 2 * PIECE]),
        ops.PieceRead(0, 1, leaf(data[PIECE : 2 * PIECE])),
    ]
    assert data_of(results[2:]) == data[3 * PIECE :]
    assert [result.piece for result in results if isinstance(result, ops.PieceRead)] == [1, 3, 0, 2]


def test_a_change_while_only_leaves_are_read_is_noticed(opened: Opened) -> None:
    results = read_pieces(opened.fd, opened.before, resumed_job(3 * PIECE + 5, ()))
    next(results)
    os.utime(opened.path, ns=(0, opened.before.st_mtime_ns + 1))
    last = list(results)[-1]
    assert isinstance(last, ops.ReadFailed)
    assert last.reason is Reason.CHANGED


def test_a_repair_touches_no_leaves(opened: Opened) -> None:
    opened.job = job_for(0, opened.job.entry, again=(2, 3))
    known = FileLeaves(PIECE, 0.0)
    list(read_pieces(opened.fd, opened.before, opened.job, known))
    assert len(known) == 0

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.files.disk import data_of, digest_of, file_entry, job_for

from p2pal.files import reading
from p2pal.files.reading import BLOCK, read_pieces
from p2pal.transfer import ops
from p2pal.transfer.pieces import leaf
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

    monkeypatch.setattr(reading, "_read_some", broken)
    assert list(opened.read()) == [ops.ReadFailed(0, Reason.READ, "Input/output error")]

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.disk.disk import data_of, digest_of, file_entry, job_for

from p2pal.disk.fs import io
from p2pal.disk.source import reader
from p2pal.disk.source.leaf_cache import GRACE, FileLeaves
from p2pal.disk.source.reader import BLOCK, read_pieces
from p2pal.transfer import ops
from p2pal.wire.pieces import file_digest, leaf, piece_count
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


def ticked(path: Path, before: os.stat_result) -> None:
    """Wait until the file system's clock has ticked since this status: only then does a change show in it."""
    probe = path.with_name("probe")
    while True:
        probe.write_bytes(b"")
        if os.stat(probe).st_ctime_ns > before.st_ctime_ns:
            return


def with_new_attributes(path: Path, change: str) -> None:
    found = path.stat()
    match change:
        case "touch":
            os.utime(path)
        case "times set back":
            os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
        case "mode":
            path.chmod(0o640)
        case "link":
            os.link(path, path.with_name("other name"))
        case "rename":
            path.rename(path.with_name("moved"))
        case "unlink":
            path.unlink()
        case "replace":
            path.with_name("new").write_bytes(os.urandom(found.st_size))
            path.with_name("new").replace(path)


ATTRIBUTES = ["touch", "times set back", "mode", "link", "rename", "unlink", "replace"]


@pytest.mark.parametrize("change", ATTRIBUTES)
@pytest.mark.parametrize("wanted", [None, ((1, 2),), ()])
def test_new_attributes_change_nothing(opened: Opened, change: str, wanted: tuple[tuple[int, int], ...] | None) -> None:
    data = opened.path.read_bytes()
    ticked(opened.path, opened.before)
    if wanted is not None:
        opened.job = resumed_job(len(data), wanted)
    results = opened.read()
    got = [next(results)]
    with_new_attributes(opened.path, change)
    got += results
    assert got[-1] == ops.FileRead(0, digest_of(data))
    assert any(isinstance(result, ops.PieceReread) for result in got)
    assert data_of(got) == (data if wanted is None else b"".join(data[a * PIECE : b * PIECE] for a, b in wanted))
    pieces = [result.piece for result in got if isinstance(result, ops.PieceRead)]
    assert len(pieces) == len(set(pieces)) == 4, "no leaf is taken back"


def test_attributes_that_never_stand_still_change_nothing(opened: Opened) -> None:
    data = opened.path.read_bytes()
    results = []
    for number, result in enumerate(opened.read()):
        results.append(result)
        ticked(opened.path, opened.path.stat())
        opened.path.chmod(0o600 + number % 2)
    assert results[-1] == ops.FileRead(0, digest_of(data))
    assert data_of(results) == data


@pytest.mark.parametrize("wanted", [None, ((1, 2),), ()])
def test_what_was_written_to_after_it_was_read_is_said_anew(
    opened: Opened, wanted: tuple[tuple[int, int], ...] | None
) -> None:
    data = bytearray(opened.path.read_bytes())
    if wanted is not None:
        opened.job = resumed_job(len(data), wanted)
    results = opened.read()
    got = []
    for result in results:
        got.append(result)
        if isinstance(result, ops.PieceRead) and len([each for each in got if isinstance(each, ops.PieceRead)]) == 4:
            ticked(opened.path, opened.before)
            for piece in (0, 3):
                data[piece * PIECE + 1] ^= 1
            with opened.path.open("r+b") as file:
                file.write(data)
            break
    got += results
    assert got[-1] == ops.FileRead(0, digest_of(bytes(data)))
    assert got[-3:-1] == [ops.PieceRead(0, piece, leaf(data[piece * PIECE : (piece + 1) * PIECE])) for piece in (0, 3)]


def test_a_file_that_is_written_to_all_the_time_is_never_a_mixture(opened: Opened) -> None:
    results = []
    with opened.path.open("r+b") as file:
        for number, result in enumerate(opened.read()):
            results.append(result)
            file.seek(PIECE)
            file.write(number.to_bytes(4, "big"))
            file.flush()
            ticked(opened.path, opened.path.stat())
    assert results[-1] == ops.ReadFailed(0, Reason.CHANGED, reader.CHANGED)
    compared = [result for result in results if isinstance(result, ops.PieceReread)]
    assert len(compared) == 4 * reader.MAX_COMPARISONS


@pytest.mark.parametrize("size", [5, 3 * PIECE + 5])
@pytest.mark.parametrize("change", [-2, 4])
def test_a_file_that_gets_another_size_fails(tmp_path: Path, size: int, change: int) -> None:
    file = Opened(tmp_path / "x", os.urandom(size))
    os.truncate(file.path, size + change)
    results = list(file.read())
    os.close(file.fd)
    assert results[-1] == ops.ReadFailed(0, Reason.CHANGED, reader.RESIZED)


@pytest.mark.parametrize("moment", ["open", "first", "compare"])
@pytest.mark.parametrize("size", [PIECE + 3, 3 * PIECE + 9])
def test_another_size_is_noticed_at_any_time(opened: Opened, moment: str, size: int) -> None:
    results = opened.read()
    ticked(opened.path, opened.before)
    if moment != "open":
        next(results)
    if moment == "compare":
        os.utime(opened.path)
        while not isinstance(next(results), ops.PieceReread):
            pass
    os.truncate(opened.path, size)
    assert list(results)[-1] == ops.ReadFailed(0, Reason.CHANGED, reader.RESIZED)


def read_with_entry_of(path: str, size: int) -> list[ops.SourceResult]:
    fd = os.open(path, os.O_RDONLY)
    try:
        return list(read_pieces(fd, os.fstat(fd), job_for(0, file_entry(b"x", bytes(size)))))
    finally:
        os.close(fd)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such files for everyone")
def test_sizes_that_are_none_are_noticed() -> None:
    assert os.stat("/proc/version").st_size == 0
    assert read_with_entry_of("/proc/version", 0) == [ops.ReadFailed(0, Reason.READ, reader.LONGER)]
    path = "/sys/kernel/mm/transparent_hugepage/enabled"
    if os.path.exists(path):
        size = os.stat(path).st_size
        assert read_with_entry_of(path, size) == [ops.ReadFailed(0, Reason.READ, reader.SHORTER)]


@pytest.mark.parametrize("times", [1, 2, 9])
def test_a_small_file_is_given_out_when_two_readings_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    file = Opened(tmp_path / "x", b"state 0")
    read_some = io.read_some
    states = [b"state %d" % number for number in range(1, times + 1)]

    def reading_while_it_is_written(fd: int, size: int, offset: int) -> bytes:
        data = read_some(fd, size, offset)
        if states and not offset:
            ticked(file.path, file.path.stat())
            file.path.write_bytes(states.pop(0))
        return data

    monkeypatch.setattr(reader, "read_some", reading_while_it_is_written)
    results = list(file.read())
    os.close(file.fd)
    if times > reader.MAX_COMPARISONS:
        assert results == [ops.ReadFailed(0, Reason.CHANGED, reader.CHANGED)]
    else:
        assert data_of(results) == b"state %d" % times
        assert results[-1] == ops.FileRead(0, digest_of(b"state %d" % times))


@pytest.mark.parametrize("size", [100, 3 * PIECE + 5])
def test_a_change_within_a_tick_of_the_clock_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    file = Opened(tmp_path / "x", os.urandom(size))
    data = bytearray(file.path.read_bytes())
    monkeypatch.setattr(reader, "_same", lambda *_: True)  # a clock that ticks once in the time of this test
    clock = iter(range(10**6))
    began = file.before.st_ctime_ns / 1e9
    read_some = io.read_some

    def then_written(fd: int, count: int, offset: int) -> bytes:
        found = read_some(fd, count, offset)
        data[0] ^= 1
        monkeypatch.setattr(reader, "read_some", read_some)
        file.path.write_bytes(data)
        return found

    monkeypatch.setattr(reader, "read_some", then_written)
    results = list(read_pieces(file.fd, file.before, file.job, clock=lambda: began + 0.01 * next(clock)))
    os.close(file.fd)
    assert results[-1] == ops.FileRead(0, digest_of(bytes(data)))


def test_what_had_not_changed_for_a_while_is_read_once(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    read = offsets_read(monkeypatch)
    later = opened.before.st_ctime_ns / 1e9 + GRACE
    results = list(read_pieces(opened.fd, opened.before, opened.job, clock=lambda: later))
    assert read == [0, 1, 2, 3, 3], "the last one looks behind the end"
    assert isinstance(results[-1], ops.FileRead)


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

    monkeypatch.setattr(reader, "read_some", broken)
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
        patch.setattr(reader, "BLOCK", block)
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
    read_some = io.read_some

    def noting(fd: int, size: int, offset: int) -> bytes:
        found.append(offset // PIECE)
        return read_some(fd, size, offset)

    monkeypatch.setattr(reader, "read_some", noting)
    return found


def test_pieces_whose_leaves_are_known_are_not_read(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    data = opened.path.read_bytes()
    known = FileLeaves(PIECE, 0.0)
    for piece in (0, 2):
        known.add(piece, leaf(data[piece * PIECE : (piece + 1) * PIECE]))
    read = offsets_read(monkeypatch)
    job = resumed_job(len(data), ((3, 4),))
    later = opened.before.st_ctime_ns / 1e9 + GRACE
    results = list(read_pieces(opened.fd, opened.before, job, known, clock=lambda: later))
    assert read == [3, 1, 3], "the last one looks behind the end"
    assert data_of(results) == data[3 * PIECE :]
    assert results[-1] == ops.FileRead(0, digest_of(data))
    read.clear()
    again = resumed_job(len(data), ())
    assert list(read_pieces(opened.fd, opened.before, again, known)) == [ops.FileRead(0, digest_of(data))]
    assert read == [3]


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


def test_a_repair_must_have_the_leaf_that_was_said(opened: Opened) -> None:
    data = opened.path.read_bytes()
    opened.job = job_for(0, opened.job.entry, again=(1, 2))
    known = FileLeaves(PIECE, 0.0)
    known.add(1, leaf(data[PIECE : 2 * PIECE]))
    assert list(read_pieces(opened.fd, opened.before, opened.job, known))[-1] == ops.FileRead(0, b"", again=True)
    known.add(1, leaf(b"another"))
    results = list(read_pieces(opened.fd, opened.before, opened.job, known))
    assert results[-1] == ops.ReadFailed(0, Reason.CHANGED, reader.CHANGED)
    assert not any(isinstance(result, ops.PieceRead) for result in results)
    assert known.get(1) == leaf(b"another")


def test_a_repair_touches_no_leaves(opened: Opened) -> None:
    opened.job = job_for(0, opened.job.entry, again=(2, 3))
    known = FileLeaves(PIECE, 0.0)
    list(read_pieces(opened.fd, opened.before, opened.job, known))
    assert len(known) == 0

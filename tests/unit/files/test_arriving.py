from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.files.disk import digest_of, file_entry

from p2pal.errors import ProtocolError
from p2pal.files.arriving import MAX_PIECES_IN_WORK, Arriving
from p2pal.files.rooted import Directory, open_root
from p2pal.transfer.ops import Begin
from p2pal.transfer.pieces import leaf

PIECE = 1 << 20


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    opened = open_root(os.fsencode(tmp_path))
    yield opened
    opened.release()


def arriving(directory: Directory, data: bytes) -> Arriving:
    return Arriving(Begin(0, file_entry(b"x", data), PIECE), directory, b"part", b"x")


def test_short_writes_are_continued(directory: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:7], offset))
    file = arriving(directory, b"0123456789abcdefghij")
    file.write(0, b"0123456789abcdefghij")
    assert (tmp_path / "part").read_bytes() == b"0123456789abcdefghij"
    assert file.has_digest(digest_of(b"0123456789abcdefghij"))
    file.discard()


def test_bytes_that_the_disk_refused_may_be_written_again(
    directory: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(3 * PIECE)
    file = arriving(directory, data)
    pwrite, refusals = os.pwrite, iter([True, False, True, True, False] * 20)

    def refuse(fd: int, part: bytes, offset: int) -> int:
        if next(refusals, False):
            raise OSError(28, "No space left on device")
        return pwrite(fd, memoryview(part)[: PIECE // 3], offset)

    monkeypatch.setattr(os, "pwrite", refuse)
    for start, stop in ((0, 1000), (1000, 2 * PIECE + 7), (2 * PIECE + 7, 3 * PIECE)):
        for _ in range(100):
            try:
                file.write(start, data[start:stop])
                break
            except OSError:
                continue
    assert file.has_digest(digest_of(data))
    assert (tmp_path / "part").read_bytes() == data
    file.discard()


def test_pieces_may_be_in_work_side_by_side(directory: Directory) -> None:
    data = os.urandom(3 * PIECE)
    file = arriving(directory, data)
    half = PIECE // 2
    for offset in (0, 2 * PIECE, PIECE, 2 * PIECE + half, half, PIECE + half):
        file.write(offset, data[offset : offset + half])
    assert file.unsynced == len(data)
    for piece in range(3):
        assert file.has_leaf(piece, leaf(data[piece * PIECE : (piece + 1) * PIECE]))
    assert file.has_digest(digest_of(data))
    assert not file.has_digest(bytes(32))
    assert not file.has_leaf(1, bytes(32))
    assert not file.reset(1)
    assert not file.has_digest(digest_of(data))  # a piece that was found wrong is not counted any more
    file.discard()


def test_a_piece_in_work_may_be_reset(directory: Directory) -> None:
    file = arriving(directory, b"right")
    file.write(0, b"wr")
    file.reset(0)
    file.write(0, b"right")
    assert file.has_digest(digest_of(b"right"))
    file.discard()


def test_too_many_pieces_in_work_are_the_peers_fault(directory: Directory) -> None:
    file = arriving(directory, bytes(40 * PIECE))
    for piece in range(MAX_PIECES_IN_WORK):
        file.write(piece * PIECE, b"x")
    with pytest.raises(ProtocolError):
        file.write(MAX_PIECES_IN_WORK * PIECE, b"x")
    file.discard()


def test_an_incomplete_piece_has_no_leaf(directory: Directory) -> None:
    file = arriving(directory, b"12345")
    file.write(0, b"1234")
    assert not file.has_digest(digest_of(b"1234"))
    assert not file.has_leaf(0, leaf(b"1234"))
    file.discard()


def test_a_parked_file_is_discarded_too(directory: Directory, tmp_path: Path) -> None:
    file = arriving(directory, b"12345")
    file.park()
    assert file.fd == -1
    file.discard()
    assert os.listdir(tmp_path) == []


def test_no_part_file_is_taken_over(directory: Directory, tmp_path: Path) -> None:
    (tmp_path / "part").symlink_to("elsewhere")
    with pytest.raises(FileExistsError):
        arriving(directory, b"1")
    assert not (tmp_path / "elsewhere").exists()

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.disk.disk import as_nobody, digest_of, file_entry, public_directory

from p2pal.checkpoint.records import Claim, Claimed, Unclaimed
from p2pal.disk.fs.directory import Directory
from p2pal.disk.fs.part_files import open_left
from p2pal.disk.fs.root import open_root
from p2pal.disk.sink.part_file import MAX_PIECES_IN_WORK, Arriving
from p2pal.errors import ProtocolError
from p2pal.transfer.ops import Begin
from p2pal.wire.pieces import leaf

PIECE = 1 << 20


@pytest.fixture(params=[True, False], ids=["handles", "paths"])
def directory(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Directory]:
    opened = open_root(os.fsencode(tmp_path), handles=request.param)
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


# Going on


def test_a_part_file_with_its_final_mode_can_be_opened_again() -> None:
    with public_directory() as path, as_nobody():
        (path / "part").write_bytes(b"12345")
        (path / "part").chmod(0o400)
        found = (path / "part").stat()
        opened = open_root(os.fsencode(path))
        fd = open_left(opened, b"part", (found.st_dev, found.st_ino))
        assert os.pwrite(fd, b"x", 0) == 1
        os.close(fd)
        (path / "part").chmod(0o400)
        with pytest.raises(FileNotFoundError):
            open_left(opened, b"part", (found.st_dev, found.st_ino + 1))
        assert (path / "part").stat().st_mode & 0o777 == 0o400
        opened.release()


def test_claims_name_what_is_checked_and_the_head_of_the_next(directory: Directory) -> None:
    data = os.urandom(5 * PIECE)
    leaves = [leaf(data[i * PIECE : (i + 1) * PIECE]) for i in range(5)]
    file = arriving(directory, data)
    assert file.claim() == []
    assert not file.claims
    for piece in (0, 1, 3):
        file.write(piece * PIECE, data[piece * PIECE : (piece + 1) * PIECE])
    assert file.claim() == []  # complete, but nobody said what they must be
    for piece in (0, 1, 3):
        assert file.has_leaf(piece, leaves[piece])
    file.write(2 * PIECE, data[2 * PIECE : 2 * PIECE + 7])
    assert file.claim() == [
        Claimed(0, 0, leaves[0] + leaves[1], 2, 7),
        Claimed(0, 3, leaves[3], 2, 7),
    ]
    assert file.claims
    assert file.claim() == []
    file.write(2 * PIECE + 7, data[2 * PIECE + 7 : 2 * PIECE + 9])
    assert file.claim() == [Claimed(0, 0, b"", 2, 9)]
    assert file.reset(1)
    assert not file.reset(2)
    assert file.claim() == [Claimed(0, 0, b"")]
    file.discard()


def test_a_claim_is_gone_on_with(directory: Directory, tmp_path: Path) -> None:
    data = os.urandom(3 * PIECE)
    (tmp_path / "part").write_bytes(data[: PIECE + 5] + b"behind")
    found = (tmp_path / "part").stat()
    claim = Claim((found.st_dev, found.st_ino), {0: leaf(data[:PIECE])}, 1, 5)
    file = Arriving(Begin(0, file_entry(b"x", data), PIECE, claim), directory, b"part", b"x")
    assert file.unverified == {0}
    assert file.gone_on_with() == [Unclaimed(0, 1, 3), Claimed(0, 0, b"", 1, 5)]
    file.write(PIECE + 5, data[PIECE + 5 : 2 * PIECE])
    assert file.has_leaf(1, leaf(data[PIECE : 2 * PIECE]))
    file.write(2 * PIECE, data[2 * PIECE :])
    assert file.has_digest(digest_of(data))
    with pytest.raises(ProtocolError):
        file.write(0, b"x")
    assert (tmp_path / "part").read_bytes() == data
    file.leave()
    assert (tmp_path / "part").exists()


def test_a_claim_on_more_than_there_is_fails(directory: Directory, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(bytes(10))
    found = (tmp_path / "part").stat()
    before = len(os.listdir("/proc/self/fd"))
    for claim in (
        Claim((found.st_dev, found.st_ino), {}, 0, 11),
        Claim((found.st_dev, found.st_ino), {}, 0, PIECE),
        Claim((found.st_dev, found.st_ino + 1), {}, 0, 5),
    ):
        with pytest.raises(OSError):
            Arriving(Begin(0, file_entry(b"x", bytes(2 * PIECE)), PIECE, claim), directory, b"part", b"x")
    assert len(os.listdir("/proc/self/fd")) == before
    assert (tmp_path / "part").read_bytes() == bytes(10)

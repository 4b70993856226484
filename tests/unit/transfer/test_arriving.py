"""One arriving file: exactly its bytes, once, in order; repairs only as asked."""

from __future__ import annotations

import pytest

from p2pal.errors import ProtocolError
from p2pal.transfer.arriving import ArrivingFile
from p2pal.wire.transfer import Chunk

MIB = 1 << 20
SIZE = 2 * MIB + 10


def chunk(offset: int, count: int) -> Chunk:
    return Chunk(0, offset, memoryview(bytes(count)))


def arrived(size: int = SIZE) -> ArrivingFile:
    file = ArrivingFile(0, size)
    for piece in range(file.pieces):
        file.chunk(chunk(piece * MIB, min(MIB, size - piece * MIB)))
        if file.pieces > 1:
            file.piece_done(piece)
    file.file_done(bytes(32))
    return file


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, SIZE])
def test_a_whole_file(size: int) -> None:
    file = arrived(size)
    assert file.digest == bytes(32)
    assert not file.repairing


@pytest.mark.parametrize(("offset", "count"), [(1, 5), (0, MIB + 1), (MIB, 1), (2**63 - 1, 2**16)])
def test_bytes_out_of_place(offset: int, count: int) -> None:
    with pytest.raises(ProtocolError):
        ArrivingFile(0, SIZE).chunk(chunk(offset, count))


def test_the_next_piece_waits_for_the_end_of_this_one() -> None:
    file = ArrivingFile(0, SIZE)
    file.chunk(chunk(0, MIB))
    with pytest.raises(ProtocolError):
        file.chunk(chunk(MIB, 1))
    with pytest.raises(ProtocolError):
        file.piece_done(1)
    file.piece_done(0)
    with pytest.raises(ProtocolError):
        file.piece_done(0)
    file.chunk(chunk(MIB, 1))
    with pytest.raises(ProtocolError):
        file.piece_done(1)


def test_a_file_of_one_piece_has_no_ends_of_pieces() -> None:
    file = ArrivingFile(0, 1)
    file.chunk(chunk(0, 1))
    with pytest.raises(ProtocolError):
        file.piece_done(0)


def test_a_file_is_not_done_before_its_bytes_and_pieces() -> None:
    file = ArrivingFile(0, SIZE)
    with pytest.raises(ProtocolError):
        file.file_done(bytes(32))
    for piece in (0, 1):
        file.chunk(chunk(piece * MIB, MIB))
        file.piece_done(piece)
    file.chunk(chunk(2 * MIB, 10))
    with pytest.raises(ProtocolError):
        file.file_done(bytes(32))
    file.piece_done(2)
    with pytest.raises(ProtocolError):
        file.piece_done(3)
    file.file_done(bytes(32))


def test_repairs_come_as_asked_and_once() -> None:
    file = arrived()
    with pytest.raises(ProtocolError):
        file.repair_chunk(chunk(0, 5))
    assert file.ask_again(2)
    assert file.ask_again(0)
    assert not file.ask_again(2)
    with pytest.raises(ProtocolError):
        file.repair_chunk(chunk(MIB, 5))
    with pytest.raises(ProtocolError):
        file.repair_chunk(chunk(2 * MIB, 11))
    with pytest.raises(ProtocolError):
        file.repair_done(2)
    file.repair_chunk(chunk(2 * MIB, 10))
    file.repair_done(2)
    assert file.repairing
    assert file.repaired
    with pytest.raises(ProtocolError):
        file.repair_done(2)
    file.repair_chunk(chunk(0, MIB))
    file.repair_done(0)
    assert not file.repairing
    assert not file.ask_again(0)


def test_a_dead_files_repair_may_end_early() -> None:
    file = arrived()
    file.ask_again(0)
    file.dead = True
    file.repair_done(0)
    assert not file.repairing

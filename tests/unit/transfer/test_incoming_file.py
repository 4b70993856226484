"""One arriving file: exactly its bytes, once, in order; repairs only as asked."""

from __future__ import annotations

import pytest

from p2pal.errors import ProtocolError
from p2pal.transfer.incoming_file import ArrivingFile
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


def in_parts(*wanted: tuple[int, int], head: int = 0) -> ArrivingFile:
    """Return a file of five pieces, the last of 10 bytes, of which only some are to come."""
    return ArrivingFile(0, 4 * MIB + 10, wanted, head)


def test_of_a_file_in_parts_the_wanted_pieces_come_and_then_the_ends_of_others() -> None:
    file = in_parts((1, 3), (4, 5), head=7)
    for piece, start, count in ((1, 7, MIB - 7), (2, 0, MIB), (4, 0, 10)):
        with pytest.raises(ProtocolError):
            file.piece_done(0)
        with pytest.raises(ProtocolError):
            file.piece_done(piece)
        with pytest.raises(ProtocolError):
            file.file_done(bytes(32))
        file.chunk(chunk(piece * MIB + start, count))
        assert file.piece_done(piece)
    assert file.piece_done(3)
    for piece in (5, 2**60):
        with pytest.raises(ProtocolError):
            file.piece_done(piece)
    file.file_done(bytes(32))
    assert file.unchecked() == [0]
    assert file.unchecked() == []


@pytest.mark.parametrize("wanted", [None, ((1, 3),)])
def test_ends_are_said_again_once_each_when_all_is_here(wanted: tuple[tuple[int, int], ...] | None) -> None:
    file = ArrivingFile(0, 4 * MIB + 10, wanted)
    for piece in range(*wanted[0]) if wanted else range(5):
        with pytest.raises(ProtocolError):
            file.piece_done(piece - 1)
        file.chunk(chunk(piece * MIB, MIB if piece < 4 else 10))
        assert file.piece_done(piece)
    if wanted:
        assert file.piece_done(3)  # which an earlier session left
    assert not file.may_be_said_twice(2)
    assert file.ask_again(2)
    assert not file.piece_done(2), "it comes again anyway"
    assert file.may_be_said_twice(2)
    assert file.piece_done(3)
    for piece in (0, 2, 3, 5, 2**60):
        with pytest.raises(ProtocolError):
            file.piece_done(piece)
    assert file.piece_done(4)
    file.file_done(bytes(32))
    assert file.unchecked() == ([0] if wanted else [])


@pytest.mark.parametrize("offset", [0, MIB, 2 * MIB, 3 * MIB + 5, 4 * MIB, 4 * MIB + 10])
def test_bytes_of_pieces_that_are_not_wanted(offset: int) -> None:
    with pytest.raises(ProtocolError):
        in_parts((3, 4), head=6).chunk(chunk(offset, 1))


def test_a_file_of_which_nothing_is_wanted_has_ends_only() -> None:
    file = in_parts()
    with pytest.raises(ProtocolError):
        file.chunk(chunk(0, 1))
    with pytest.raises(ProtocolError):
        file.chunk(chunk(4 * MIB + 10, 1))
    assert file.piece_done(2)
    file.file_done(bytes(32))
    assert file.unchecked() == [0, 1, 3, 4]


def test_a_piece_that_is_on_its_way_again_is_not_compared() -> None:
    file = in_parts()
    assert file.ask_again(1)
    assert file.awaits(1)
    assert not file.piece_done(1)
    assert file.piece_done(2)
    file.file_done(bytes(32))
    file.repair_chunk(chunk(MIB, MIB))
    file.repair_done(1)
    assert not file.awaits(1)
    assert file.unchecked() == [0, 3, 4]


def test_what_came_again_counts_as_compared() -> None:
    file = in_parts()
    file.ask_again(1)
    file.file_done(bytes(32))
    assert file.unchecked() == [0, 2, 3, 4]
    assert ArrivingFile(0, SIZE).unchecked() == []

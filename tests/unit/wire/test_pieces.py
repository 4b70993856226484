"""Pieces, leaves and digests, against plain hashlib."""

from __future__ import annotations

import hashlib

import pytest

from p2pal.wire.pieces import (
    MAX_PIECE_SIZE,
    TARGET_PIECES,
    LeafHasher,
    file_digest,
    leaf,
    piece_count,
    piece_size,
)
from p2pal.wire.transfer import MAX_FILE_SIZE

MIB, GIB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, MIB), (1, MIB), (GIB, MIB), (GIB + 1, 2 * MIB), (2 * GIB, 2 * MIB), (2 * GIB + 1, 4 * MIB),
        (4 * GIB, 4 * MIB), (8 * GIB, 8 * MIB), (8 * GIB + 1, 16 * MIB), (16 * GIB, 16 * MIB),
        (MAX_FILE_SIZE, 16 * MIB),
    ],
)  # fmt: skip
def test_the_piece_size_grows_with_the_file(size: int, expected: int) -> None:
    assert piece_size(size) == expected
    assert piece_count(size, expected) <= TARGET_PIECES or expected == MAX_PIECE_SIZE


@pytest.mark.parametrize("size", [-1, MAX_FILE_SIZE + 1])
def test_there_are_no_other_sizes(size: int) -> None:
    with pytest.raises(ValueError, match="no such file size"):
        piece_size(size)


@pytest.mark.parametrize(("size", "count"), [(0, 0), (1, 1), (MIB, 1), (MIB + 1, 2), (10 * MIB, 10)])
def test_the_last_piece_may_be_short(size: int, count: int) -> None:
    assert piece_count(size, MIB) == count


def test_a_leaf_is_not_the_hash_of_its_data_nor_a_file_digest() -> None:
    assert leaf(b"data") == hashlib.sha256(b"\x00data").digest()
    assert file_digest(4, MIB, [leaf(b"data")]) == hashlib.sha256(
        b"\x01" + (4).to_bytes(8, "big") + MIB.to_bytes(4, "big") + leaf(b"data")
    ).digest()  # fmt: skip


def test_an_empty_file_has_no_leaves() -> None:
    assert file_digest(0, MIB, []) == hashlib.sha256(b"\x01" + bytes(8) + MIB.to_bytes(4, "big")).digest()


def test_a_leaf_in_blocks_is_the_same_leaf() -> None:
    hasher = LeafHasher()
    for block in (b"da", b"", memoryview(b"ta")):
        hasher.update(block)
    assert hasher.digest() == leaf(b"data") == hasher.digest()

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.disk.source.leaf_cache import GRACE, MAX_PIECES, FileLeaves, LeafStore, can_be_trusted

MIB = 1 << 20


def leaf_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_leaves_are_kept_by_piece() -> None:
    known = FileLeaves(MIB, 0.0)
    known.add(3, leaf_of(3))
    known.add(1, leaf_of(9))
    known.add(1, leaf_of(1))
    assert len(known) == 2
    assert [piece for piece in range(6) if piece in known] == [1, 3]
    assert list(known.unknown(6)) == [0, 2, 4, 5]
    assert list(known.unknown(2)) == [0]
    for piece in (0, 2):
        known.add(piece, leaf_of(piece))
    assert list(known.first(4)) == [leaf_of(piece) for piece in range(4)]
    known.restart(5.0)
    assert (len(known), known.at, 1 in known) == (0, 5.0, False)


@settings(deadline=None, max_examples=100)
@given(st.sets(st.integers(0, 20)), st.integers(0, 20), st.sets(st.integers(0, 20)))
def test_what_is_unknown_is_found_while_it_is_added(pieces: set[int], count: int, added: set[int]) -> None:
    known = FileLeaves(MIB, 0.0)
    for piece in pieces:
        known.add(piece, leaf_of(piece))
    found = []
    for piece in known.unknown(count):
        found.append(piece)
        if piece in added:
            known.add(piece, leaf_of(piece))
    assert found == sorted(set(range(count)) - pieces)


def test_a_file_that_changed_lately_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"1")
    now = path.stat().st_ctime_ns / 1e9
    os.utime(path, (now - 1000, now - 1000))
    found = path.stat()
    changed = found.st_ctime_ns / 1e9
    assert can_be_trusted(found, changed + GRACE + 0.001)
    assert not can_be_trusted(found, changed + GRACE - 0.001)
    assert not can_be_trusted(found, float("nan"))
    os.utime(path, (now + 1000, now + 1000))  # a time yet to come: nobody knows when it will be reached
    assert not can_be_trusted(path.stat(), now + 500)
    assert can_be_trusted(path.stat(), now + 1003)


def test_a_checkpoint_is_taken_at_its_word_only_where_it_can_be_true() -> None:
    store = LeafStore()
    leaves = {-1: leaf_of(9), 0: leaf_of(0), 1: b"short", 2: leaf_of(2), 3: leaf_of(3), 2**60: leaf_of(4)}
    store.restore(0, 3 * MIB, MIB, leaves, 7.0)
    known = store.of(0, MIB, 99.0)
    assert [piece for piece in range(9) if piece in known] == [0, 2]
    assert known.at == 7.0


@pytest.mark.parametrize("size", [0, MIB, (MAX_PIECES + 1) * 16 * MIB])
def test_files_of_one_piece_or_of_no_likely_size_are_not_kept(size: int) -> None:
    store = LeafStore()
    store.restore(0, size, 16 * MIB, {0: leaf_of(0), MAX_PIECES: leaf_of(1)}, 7.0)
    assert not len(store)


def test_what_is_forgotten_is_not_missed_by_who_reads_it() -> None:
    store = LeafStore()
    known = store.of(4, MIB, 1.0)
    known.add(0, leaf_of(0))
    assert store.of(4, MIB, 2.0) is known
    assert 4 in store
    store.forget(4)
    store.forget(4)
    known.add(1, leaf_of(1))
    assert list(known.first(2)) == [leaf_of(0), leaf_of(1)]
    assert 4 not in store
    assert len(store.of(4, MIB, 3.0)) == 0


def test_another_piece_size_makes_other_leaves() -> None:
    store = LeafStore()
    store.of(0, MIB, 1.0).add(0, leaf_of(0))
    assert len(store.of(0, 2 * MIB, 2.0)) == 0

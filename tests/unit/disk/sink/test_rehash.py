from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pal.disk.sink import rehash as rehash_module
from p2pal.disk.sink.rehash import Rehasher, hash_range
from p2pal.wire.pieces import LeafHasher, leaf

DATA = os.urandom(3000)


@pytest.fixture
def fd(tmp_path: Path) -> int:
    (tmp_path / "x").write_bytes(DATA)
    return os.open(tmp_path / "x", os.O_RDONLY)


@pytest.fixture
def rehasher() -> Iterator[Rehasher]:
    made = Rehasher(lambda: None)
    yield made
    made.close()


def piece(number: int) -> tuple[int, int]:
    return number * 1000, (number + 1) * 1000


def test_each_piece_is_told(fd: int, rehasher: Rehasher) -> None:
    leaves = {0: leaf(DATA[:1000]), 1: bytes(32), 2: leaf(DATA[2000:]), 3: leaf(b"")}
    rehash = rehasher.begin(fd, leaves, piece)
    rehash.future.result(60)
    assert rehash.answers() == [(0, True), (1, False), (2, True), (3, False)]
    assert rehash.answers() == []
    with pytest.raises(OSError):
        os.fstat(fd)


def test_what_is_cancelled_says_nothing_and_ends(fd: int, rehasher: Rehasher, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def slow(fd: int, size: int, offset: int) -> bytes:
        reading.set()
        assert go_on.wait(60)
        return os.pread(fd, size, offset)

    monkeypatch.setattr(rehash_module, "read_some", slow)
    rehash = rehasher.begin(fd, {0: bytes(32), 1: bytes(32)}, piece)
    assert reading.wait(60)
    rehash.cancel()
    go_on.set()
    rehash.future.result(60)
    assert rehash.answers() == []
    with pytest.raises(OSError):
        os.fstat(fd)


def test_what_cannot_be_read_is_not_there(fd: int, rehasher: Rehasher, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(rehash_module, "read_some", broken)
    rehash = rehasher.begin(fd, {0: leaf(DATA[:1000])}, piece)
    rehash.future.result(60)
    assert rehash.answers() == [(0, False)]


def test_the_listener_hears_of_bad_pieces_and_of_the_end(fd: int) -> None:
    heard = threading.Semaphore(0)
    rehasher = Rehasher(heard.release)
    rehasher.begin(fd, {0: bytes(32), 1: leaf(DATA[1000:2000])}, piece)
    assert heard.acquire(timeout=60)
    assert heard.acquire(timeout=60)
    rehasher.close()
    assert not heard.acquire(blocking=False)


def test_a_range_is_read_in_blocks(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehash_module, "BLOCK", 7)
    hasher = LeafHasher()
    assert hash_range(fd, 100, 200, hasher)
    assert hasher.digest() == leaf(DATA[100:200])
    assert not hash_range(fd, 2999, 3001, LeafHasher())
    os.close(fd)


def test_nothing_is_made_until_it_is_needed() -> None:
    before = threading.active_count()
    Rehasher(lambda: None).close()
    assert threading.active_count() == before

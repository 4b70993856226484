"""What the list shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.unit.disk.kept import Kept
from tests.unit.transfer.records import ID, MIB, OTHER, begun, entries_of, finishing, leaves, listing

from p2pal.checkpoint.records import Arrived, Claimed, Done, Finishings, Leaves, TopRecord, Tops
from p2pal.disk.checkpoints import contents, store
from p2pal.disk.checkpoints.journal import read_at


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_a_receivers_shows_what_is_done_and_where(kept: Kept) -> None:
    path = kept.closed(begun(0), begun(1), Claimed(1, 0, leaves(1), 1, 10), Finishings([finishing(0)]), Done([(0, 1)]))
    os.utime(path, (2000.0, 2000.0))
    (summary,) = kept.store.list()
    assert (summary.id, summary.role, summary.names, summary.more) == (ID, "receive", ("top",), 0)
    assert (summary.files, summary.files_done) == (100, 1)
    assert (summary.total, summary.done) == (1000 * MIB, 4 * MIB + 10)
    assert (summary.created, summary.used, summary.expires_at) == (1000.0, 2000.0, 2600.0)
    assert summary.where == str(kept.out)
    assert not summary.in_use
    assert not summary.problem


def test_a_senders_shows_what_the_receiver_said(kept: Kept) -> None:
    journal = kept.create(
        Tops([TopRecord(b"top", b"/my/top", True)]),
        listing(0, entries_of(100)),
        Leaves(1, 0, leaves(1), 1.0),
        role="send",
    )
    journal.write(Arrived(5 * MIB, 7))
    (summary,) = kept.store.list()
    assert (summary.role, summary.where, summary.files_done, summary.done) == ("send", "/my/top", 7, 5 * MIB)
    assert summary.in_use
    journal.write(Arrived(2**60, 10**6))
    assert kept.store.list()[0].done == summary.total
    assert kept.store.list()[0].files_done == summary.files


def test_the_last_used_come_first(kept: Kept) -> None:
    os.utime(kept.closed(), (1000.0, 1000.0))
    os.utime(kept.closed(ident=OTHER), (3000.0, 3000.0))
    os.utime(kept.closed(role="send"), (2000.0, 2000.0))
    assert [(each.id, each.role) for each in kept.store.list()] == [
        (OTHER, "receive"),
        (ID, "send"),
        (ID, "receive"),
    ]


def test_one_that_cannot_be_used_says_why(kept: Kept) -> None:
    path = kept.closed()
    os.utime(path, (1000.0, 1000.0))
    for data, problem in ((b"", "no checkpoint"), (b"p2pal-cp", "damaged"), (b"\x7fELF" * 9, "no checkpoint")):
        path.write_bytes(data)
        (summary,) = kept.store.list()
        assert problem in summary.problem
        assert (summary.id, summary.role) == (ID, "receive")
        assert summary.used > 1000.0


def test_a_long_listing_is_not_read(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [listing(first, entries_of(4096)) for first in range(0, 20 * 4096, 4096)]
    path = kept.closed(*records, Arrived(1, 1), role="send")
    read = 0
    real = read_at

    def count(fd: int, wanted: int, offset: int) -> bytes:
        nonlocal read
        data = real(fd, wanted, offset)
        read += len(data)
        return data

    monkeypatch.setattr(contents, "read_at", count)
    (summary,) = kept.store.list()
    assert summary.files_done == 1
    assert path.stat().st_size > 2_000_000
    assert read < path.stat().st_size / 4


def test_one_that_is_removed_meanwhile_is_not_shown(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kept.closed()
    monkeypatch.setattr(store, "checkpoint_files", lambda _: [(ID, "receive"), (OTHER, "send")])
    assert [each.id for each in kept.store.list()] == [ID]
    path.unlink()
    assert kept.store.list() == []

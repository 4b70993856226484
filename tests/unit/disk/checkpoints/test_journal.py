"""The journal: what it could not write it writes later, in order, and behind nothing torn."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.disk.kept import Kept
from tests.unit.transfer.records import ID, leaves

from p2pal.checkpoint.codec import decode
from p2pal.checkpoint.records import CheckpointRecord, Dropped, Leaves
from p2pal.disk.checkpoints import journal as journals
from p2pal.disk.checkpoints.journal import MAX_PENDING, Journal, read_at, write_at
from p2pal.disk.fs import io
from p2pal.disk.fs.directory import sync_data


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


class Faults:
    """Makes the journal's system calls fail, or stop half-way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self.room = 0
        self.sync_fails = False
        self.syncs = 0
        self._write: Callable[..., int] = io.write_some
        self._sync: Callable[[int], None] = sync_data
        monkeypatch.setattr(journals, "write_some", self.write)
        monkeypatch.setattr(journals, "sync_data", self.sync)

    def write(self, fd: int, data: bytes, offset: int) -> int:
        if not self.full:
            return self._write(fd, data, offset)
        if not self.room:
            raise OSError(errno.ENOSPC, "full")
        part, self.room = bytes(data[: self.room]), 0
        return self._write(fd, part, offset)

    def sync(self, fd: int) -> None:
        self.syncs += 1
        if self.sync_fails:
            raise OSError(errno.EIO, "bad medium")
        self._sync(fd)


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    return Faults(monkeypatch)


def on_disk(journal: Journal) -> list[CheckpointRecord]:
    """Return what follows header and places."""
    return list(decode(journal.path.read_bytes()))[2:]


def test_what_is_written_is_on_disk_at_once(kept: Kept, faults: Faults) -> None:
    journal = kept.create()
    assert journal.write(Dropped(1), Dropped(2))
    assert on_disk(journal) == [Dropped(1), Dropped(2)]
    assert faults.syncs == 0
    assert journal.write(Dropped(3), durable=True)
    assert journal.sync()  # nothing new
    assert faults.syncs == 1
    assert not journal.failed


@pytest.mark.parametrize("room", [0, 1, 7, 8, 15])
def test_a_full_disk_loses_nothing_once_there_is_room(kept: Kept, faults: Faults, room: int) -> None:
    journal = kept.create()
    journal.write(Dropped(1))
    faults.full, faults.room = True, room
    assert not journal.write(Dropped(2), Dropped(3))
    assert on_disk(journal) == [Dropped(1)] or room > 10
    assert not journal.write(Dropped(4), durable=True)
    assert faults.syncs == 0
    faults.full = False
    assert journal.write(Dropped(5))
    assert on_disk(journal) == [Dropped(number) for number in range(1, 6)]
    assert list(decode(journal.path.read_bytes()))[-1] == Dropped(5)


def test_closing_is_the_last_try(kept: Kept, faults: Faults) -> None:
    journal = kept.create()
    faults.full = True
    journal.write(Dropped(1))
    faults.full = False
    journal.close()
    assert on_disk(journal) == [Dropped(1)]
    faults.full = True
    lost = kept.store.open(ID, "receive").journal
    lost.write(Dropped(2))
    lost.close()
    assert on_disk(journal) == [Dropped(1)]


def test_with_too_much_unwritten_it_is_given_up_and_what_is_there_stays_true(kept: Kept, faults: Faults) -> None:
    journal = kept.create()
    journal.write(Dropped(1))
    faults.full, faults.room = True, 100
    big = Leaves(1, 0, leaves(1) * (MAX_PENDING // 64), 0.0)
    assert not journal.write(big)
    assert not journal.failed
    assert not journal.write(big, big)
    assert journal.failed
    faults.full = False
    assert not journal.write(Dropped(2))
    assert not journal.sync()
    assert on_disk(journal) == [Dropped(1)]
    journal.close()


def test_after_a_failed_sync_all_since_the_last_good_one_is_written_again(kept: Kept, faults: Faults) -> None:
    journal = kept.create()
    assert journal.write(Dropped(1), durable=True)
    synced = journal.path.stat().st_size
    journal.write(Dropped(2))
    faults.sync_fails = True
    assert not journal.write(Dropped(3), durable=True)
    faults.sync_fails = False
    # What the system would give back after a crash: the lost pages are holes.
    size = journal.path.stat().st_size
    with journal.path.open("r+b") as file:
        file.seek(synced)
        file.write(bytes(size - synced))
    assert journal.write(Dropped(4), durable=True)
    assert on_disk(journal) == [Dropped(1), Dropped(2), Dropped(3), Dropped(4)]


def test_after_a_failed_sync_of_much_it_is_given_up(kept: Kept, faults: Faults) -> None:
    journal = kept.create()
    journal.write(Leaves(1, 0, leaves(1) * (MAX_PENDING // 32), 0.0))
    faults.sync_fails = True
    assert not journal.sync()
    assert journal.failed
    journal.close()


def test_a_torn_tail_goes_before_the_first_append(kept: Kept) -> None:
    path = kept.closed(Dropped(1))
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0" * 500)
    journal = kept.store.open(ID, "receive").journal
    assert path.stat().st_size == len(whole) + 500
    journal.write(Dropped(2))
    assert path.read_bytes()[: len(whole)] == whole
    assert on_disk(journal) == [Dropped(1), Dropped(2)]


def test_threads_write_whole_records(kept: Kept) -> None:
    journal = kept.create()

    def write(first: int) -> None:
        for number in range(first, first + 50):
            journal.write(Dropped(number), Dropped(number), durable=number % 10 == 0)

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 1000, 2000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = on_disk(journal)
    assert len(found) == 300
    assert found[::2] == found[1::2]
    for first in (0, 1000, 2000):
        mine = [each.index for each in found[::2] if isinstance(each, Dropped) and first <= each.index < first + 1000]
        assert mine == list(range(first, first + 50))


def test_a_sync_that_takes_long_keeps_nobody_from_writing(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = kept.create()
    begun, go_on = threading.Event(), threading.Event()

    def wait(_: int) -> None:
        begun.set()
        assert go_on.wait(30)

    monkeypatch.setattr(journals, "sync_data", wait)
    syncing = threading.Thread(target=journal.write, args=(Dropped(1),), kwargs={"durable": True})
    syncing.start()
    assert begun.wait(30)
    assert journal.write(Dropped(2))
    closing = threading.Thread(target=journal.close)
    closing.start()
    go_on.set()
    syncing.join()
    closing.join()
    assert on_disk(journal) == [Dropped(1), Dropped(2)]


def test_who_is_durable_already_does_not_sync_because_others_went_on(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = kept.create()
    entered, go_on = threading.Semaphore(0), threading.Semaphore(0)
    syncs = []

    def sync(_: int) -> None:
        syncs.append(1)
        entered.release()
        assert go_on.acquire(timeout=30)

    monkeypatch.setattr(journals, "sync_data", sync)
    answers: list[bool] = []
    waiting = journal._syncing
    first = threading.Thread(target=lambda: answers.append(journal.write(Dropped(1), durable=True)))
    first.start()
    assert entered.acquire(timeout=30)
    journal.write(Dropped(2))
    go_on.release()
    first.join(30)
    assert answers == [True]
    end = journal._synced
    journal.write(Dropped(3))
    assert journal._sync(end)  # what is wanted is durable; others have gone on since
    assert syncs == [1]
    assert not waiting.locked()
    go_on.release()
    assert journal.sync()
    assert syncs == [1, 1]


def test_what_a_failed_sync_took_back_is_not_called_durable(kept: Kept, faults: Faults) -> None:
    journal = kept.create()
    journal.write(Dropped(1))
    end = journal._end
    faults.sync_fails = True
    assert not journal.sync()
    faults.sync_fails = False
    assert not journal._sync(end)
    assert journal.sync()
    assert journal._sync(end)
    assert on_disk(journal) == [Dropped(1)]


def test_a_closed_or_removed_one_takes_nothing(kept: Kept) -> None:
    journal = kept.create()
    journal.remove()
    assert kept.files() == []
    for each in (journal, kept.create()):
        each.close()
        each.close()
        each.remove()
        assert not each.write(Dropped(1))
        assert not each.sync()
        with pytest.raises(ValueError, match="closed"):
            each.read(1, 0)
    assert kept.files() == [journal.path.name]  # closed, then not removed any more


def test_another_file_under_its_name_is_not_removed(kept: Kept) -> None:
    journal = kept.create()
    journal.path.unlink()
    journal.path.write_bytes(b"another")
    journal.remove()
    assert journal.path.read_bytes() == b"another"


def test_short_reads_and_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    write, read = io.write_some, io.read_some
    monkeypatch.setattr(journals, "write_some", lambda fd, data, offset: write(fd, bytes(data[:3]), offset))
    monkeypatch.setattr(journals, "read_some", lambda fd, count, offset: read(fd, min(count, 2), offset))
    write_at(fd, b"0123456789", 5)
    assert read_at(fd, 10, 5) == b"0123456789"
    assert read_at(fd, 100, 12) == b"789"
    os.close(fd)


def test_it_shows_nothing_secret(kept: Kept) -> None:
    assert repr(kept.create()) == f"<Journal of {ID[:8]}>"

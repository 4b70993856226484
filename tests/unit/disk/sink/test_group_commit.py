from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.disk.disk import MTIME, file_entry

from p2pal.disk.fs.directory import Directory, sync_file
from p2pal.disk.fs.root import open_root
from p2pal.disk.fs.syncfs import LEAST_FILES
from p2pal.disk.sink import group_commit
from p2pal.disk.sink.group_commit import CompleteFile, GroupCommit
from p2pal.disk.sink.part_file import Arriving
from p2pal.transfer.ops import Begin, EntryDone, EntryRenamed, WriteFailed
from p2pal.wire.transfer import Reason


@pytest.fixture(params=[True, False], ids=["handles", "paths"])
def directory(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Directory]:
    opened = open_root(os.fsencode(tmp_path), handles=request.param)
    yield opened
    opened.release()


@pytest.fixture
def commit() -> Iterator[GroupCommit]:
    made = GroupCommit(lambda: None)
    yield made
    made.close()


def finished(directory: Directory, index: int, name: bytes) -> CompleteFile:
    begin = Begin(index, file_entry(name), 1 << 20)
    return CompleteFile(Arriving(begin, directory, b"part-%d" % index, name), None)


def test_a_batch_is_durable_before_it_is_told(
    directory: Directory, commit: GroupCommit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order is the promise: every file, then its name, then the directory, then the answer."""
    log: list[str] = []
    rename = type(directory).rename_new

    def log_file(fd: int) -> None:
        log.append("file")
        sync_file(fd)

    def log_rename(self: Directory, source: bytes, target: bytes) -> None:
        log.append("rename")
        rename(self, source, target)

    monkeypatch.setattr(group_commit, "sync_file", log_file)
    monkeypatch.setattr(type(directory), "rename_new", log_rename)
    monkeypatch.setattr(type(directory), "sync", lambda _: log.append("directory"))
    commit.submit([finished(directory, index, b"%d" % index) for index in range(20)])
    results = commit.drain()
    assert results == [EntryDone(index) for index in range(20)]
    assert log == ["file"] * 20 + ["rename"] * 20 + ["directory"]
    assert sorted(os.listdir(tmp_path)) == sorted(str(index) for index in range(20))
    assert commit.idle
    assert commit.collect() == []


def test_one_failure_spares_the_others(directory: Directory, commit: GroupCommit, tmp_path: Path) -> None:
    files = [finished(directory, 0, b"a"), finished(directory, 1, b"gone"), finished(directory, 2, b"b")]
    os.unlink(os.path.join(os.fsencode(tmp_path), files[1].part))
    commit.submit(files)
    results = commit.drain()
    assert results[0] == EntryDone(0)
    assert isinstance(results[1], WriteFailed)
    assert results[2] == EntryDone(2)
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_name_that_is_taken_gets_a_number(directory: Directory, commit: GroupCommit, tmp_path: Path) -> None:
    for name in ("taken.txt", "taken (1).txt"):
        (tmp_path / name).write_bytes(b"old")
    commit.submit([finished(directory, 0, b"a"), finished(directory, 1, b"taken.txt")])
    assert commit.drain() == [EntryRenamed(1, b"taken (2).txt"), EntryDone(0), EntryDone(1)]
    assert sorted(os.listdir(tmp_path)) == ["a", "taken (1).txt", "taken (2).txt", "taken.txt"]
    assert (tmp_path / "taken.txt").read_bytes() == b"old"


def test_a_directory_that_cannot_be_synced_fails_its_files(
    directory: Directory, commit: GroupCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Directory) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(type(directory), "sync", broken)
    commit.submit([finished(directory, 0, b"a")])
    (result,) = commit.drain()
    assert isinstance(result, WriteFailed)
    assert result.reason is Reason.DISK


def test_the_writer_waits_when_two_batches_are_under_way(
    directory: Directory, commit: GroupCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def slow(fd: int) -> None:
        release.wait(60)
        sync_file(fd)

    monkeypatch.setattr(group_commit, "sync_file", slow)
    assert commit.submit([finished(directory, 0, b"a")]) == []
    assert commit.has_room
    assert commit.submit([finished(directory, 1, b"b")]) == []
    assert not commit.has_room
    assert not commit.idle
    release.set()
    assert commit.submit([finished(directory, 2, b"c")]) == [EntryDone(0)]
    assert commit.drain() == [EntryDone(1), EntryDone(2)]


def test_the_listener_hears_of_each_batch(directory: Directory) -> None:
    heard = threading.Semaphore(0)
    commit = GroupCommit(heard.release)
    commit.submit([finished(directory, 0, b"a")])
    assert heard.acquire(timeout=60)
    assert commit.collect() == [EntryDone(0)]
    commit.close()


def test_a_fault_of_ours_is_not_swallowed(
    directory: Directory, commit: GroupCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(CompleteFile, "rename", bug)
    commit.submit([finished(directory, 0, b"a")])
    with pytest.raises(ZeroDivisionError):
        commit.drain()


@pytest.mark.parametrize("together", [True, False])
def test_many_small_files_are_synced_together_or_else_each(
    together: bool, directory: Directory, commit: GroupCommit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []

    def log_together(fd: int) -> bool:
        os.fstat(fd)  # still open
        log.append("together")
        return together

    monkeypatch.setattr(group_commit, "sync_together", log_together)
    monkeypatch.setattr(group_commit, "sync_file", lambda _: log.append("file"))
    batch = [finished(directory, index, b"%d" % index) for index in range(LEAST_FILES)]
    fds = [file.fd for file in batch]
    commit.submit(batch)
    assert commit.drain() == [EntryDone(index) for index in range(LEAST_FILES)]
    assert log == ["together"] + ["file"] * (0 if together else LEAST_FILES)
    for fd in fds:
        with pytest.raises(OSError):
            os.fstat(fd)


def test_what_failed_together_is_found_one_by_one(
    directory: Directory, commit: GroupCommit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = [finished(directory, index, b"%d" % index) for index in range(LEAST_FILES)]
    broken = batch[5].fd

    def sync(fd: int) -> None:
        if fd == broken:
            raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(group_commit, "sync_together", lambda _: False)
    monkeypatch.setattr(group_commit, "sync_file", sync)
    commit.submit(batch)
    results = commit.drain()
    assert isinstance(results[5], WriteFailed)
    assert [result for result in results if isinstance(result, EntryDone)] == [
        EntryDone(index) for index in range(LEAST_FILES) if index != 5
    ]
    assert not (tmp_path / "5").exists()


def test_a_few_files_are_synced_each(
    directory: Directory, commit: GroupCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(_: int) -> bool:
        raise AssertionError("not for so few")

    monkeypatch.setattr(group_commit, "sync_together", never)
    commit.submit([finished(directory, index, b"%d" % index) for index in range(LEAST_FILES - 1)])
    assert len(commit.drain()) == LEAST_FILES - 1


def test_where_a_file_must_be_closed_first_it_gets_mode_and_time_after_that(
    tmp_path: Path, commit: GroupCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows dates a file anew when what was written to it is flushed."""
    directory = open_root(os.fsencode(tmp_path), handles=False)
    begin = Begin(0, file_entry(b"a", b"data", mode=0o444), 1 << 20)
    file = Arriving(begin, directory, b"part", b"a")
    file.write(0, b"data")
    file.set_attributes(0o022)
    assert file.then == (0o444, MTIME)
    assert (tmp_path / "part").stat().st_mtime_ns != MTIME
    fd, log = file.fd, []
    attributes = type(directory).set_file_attributes

    def set_attributes(self: Directory, given: int, name: bytes, mode: int, mtime_ns: int) -> None:
        with pytest.raises(OSError):
            os.fstat(fd)
        log.append(given)
        attributes(self, given, name, mode, mtime_ns)

    monkeypatch.setattr(type(directory), "set_file_attributes", set_attributes)
    commit.submit([CompleteFile(file, None)])
    assert commit.drain() == [EntryDone(0)]
    assert log == [-1]
    found = (tmp_path / "a").stat()
    assert (found.st_mode & 0o777, found.st_mtime_ns) == (0o444, MTIME)

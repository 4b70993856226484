from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.unit.disk.disk import directory_entry

from p2pal.disk.fs.directory import Directory
from p2pal.disk.fs.root import open_root
from p2pal.disk.sink import links_and_directories
from p2pal.disk.sink.group_commit import GroupCommit
from p2pal.disk.sink.links_and_directories import DeferredEntries, finish_entries
from p2pal.errors import ProtocolError
from p2pal.transfer.manifest import Manifest
from p2pal.transfer.ops import EntryDone, WriteFailed
from p2pal.wire.transfer import Entry, Reason


def test_deferred_entries_come_back_in_either_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links_and_directories, "IN_MEMORY", 100)
    deferred = DeferredEntries()
    entries = [(7 * number, directory_entry(b"d/%d" % number)) for number in range(500)]
    for index, entry in entries:
        deferred.append(index, entry)
    assert len(deferred) == 500
    assert list(deferred) == entries
    assert list(reversed(deferred)) == entries[::-1]
    deferred.append(1, entries[0][1])
    assert len(list(deferred)) == 501
    deferred.close()


def test_too_many_are_the_peers_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(_: Manifest, entry: Entry) -> int:
        raise ValueError(entry.path)

    monkeypatch.setattr(Manifest, "append", too_large)
    deferred = DeferredEntries()
    with pytest.raises(ProtocolError):
        deferred.append(0, directory_entry(b"d"))
    deferred.close()


def test_each_entry_is_told_how_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links_and_directories, "CHUNK", 3)
    (tmp_path / "bad").mkdir()
    commit = GroupCommit(lambda: None)
    before = len(os.listdir("/proc/self/fd"))

    def touch(index: int, _: Entry) -> list[Directory]:
        if index == 4:
            raise PermissionError(13, "Permission denied")
        return [open_root(os.fsencode(tmp_path / "bad" if index == 5 else tmp_path))]

    bad = (tmp_path / "bad").stat()
    sync_directories = commit.sync_directories

    def failing(directories: object) -> dict[tuple[int, int], OSError]:
        found = sync_directories(directories)  # type: ignore[arg-type]
        return {**found, (bad.st_dev, bad.st_ino): OSError(5, "Input/output error")}

    monkeypatch.setattr(commit, "sync_directories", failing)
    results = list(finish_entries(((index, directory_entry(b"d")) for index in range(8)), touch, commit))
    assert len(os.listdir("/proc/self/fd")) == before
    commit.close()
    assert {result.index for result in results if isinstance(result, EntryDone)} == {0, 1, 2, 3, 6, 7}
    assert [(result.index, result.reason) for result in results if isinstance(result, WriteFailed)] == [
        (4, Reason.PERMISSION),
        (5, Reason.DISK),
    ]

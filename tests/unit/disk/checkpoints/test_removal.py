"""What is expired goes; what is in use, newer or not ours to judge stays."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from tests.unit.disk.kept import Kept
from tests.unit.transfer.records import ID, OTHER, frame

from p2pal.checkpoint.codec import MAGIC
from p2pal.disk.checkpoints import removal
from p2pal.disk.checkpoints.ids import DEFAULT_TTL
from p2pal.disk.fs.directory import Directory
from p2pal.disk.fs.locks import open_locked, try_lock

TTL = 600.0


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def used_at(path: Path, when: float) -> Path:
    os.utime(path, (when, when))
    return path


def write(kept: Kept, name: str, data: bytes) -> Path:
    kept.store.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = kept.store.path / name
    path.write_bytes(data)
    path.chmod(0o600)
    return path


NEWER = MAGIC + frame(msgspec.msgpack.encode([1, 2, "whatever"]))


def test_only_the_expired_go_with_their_part_files(kept: Kept) -> None:
    part, record = kept.part(0)
    used_at(kept.closed(record), 1000.0)
    young = used_at(kept.closed(ident=OTHER), 1001.0)
    assert kept.store.clean(999.0 + TTL) == []
    (removed,) = kept.store.clean(1000.0 + TTL)
    assert (removed.id, removed.role, removed.removed, removed.problem) == (ID, "receive", True, "")
    assert (removed.cleaned.parts, removed.cleaned.size) == (1, 10)
    assert not part.exists()
    assert kept.files() == [young.name]


def test_an_expired_one_in_use_is_reported_and_stays(kept: Kept) -> None:
    part, record = kept.part(0)
    journal = kept.create(record)
    used_at(journal.path, 1000.0)
    (removed,) = kept.store.clean(1e9)
    assert not removed.removed
    assert "using" in removed.problem
    assert part.exists()
    journal.close()


def test_one_that_is_used_just_now_does_not_go(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    path = used_at(kept.closed(), 1000.0)

    def use_first(directory: Directory, name: bytes) -> int:
        used_at(path, 1e9)
        return open_locked(directory, name)

    monkeypatch.setattr(removal, "open_locked", use_first)
    assert kept.store.clean(1e9) == []
    assert path.exists()
    kept.store.open(ID, "receive").journal.close()


def test_a_damaged_one_goes_after_the_default_time(kept: Kept) -> None:
    used_at(write(kept, f"{ID}.send", MAGIC + b"rubbish"), 1000.0)
    assert kept.store.clean(999.0 + DEFAULT_TTL) == []
    (removed,) = kept.store.clean(1000.0 + DEFAULT_TTL)
    assert removed.removed
    assert removed.problem == "it is damaged, so its part files are not known"


def test_one_of_a_newer_p2pal_goes_only_when_it_is_named(kept: Kept) -> None:
    used_at(write(kept, f"{ID}.send", NEWER), 1000.0)
    assert kept.store.clean(1e12) == []
    (removed,) = kept.store.remove(ID)
    assert removed.removed
    assert "newer" in removed.problem


def test_all_go_at_once(kept: Kept) -> None:
    part, record = kept.part(0)
    kept.closed(record)
    kept.closed(role="send")
    write(kept, f"{OTHER}.send", b"")
    write(kept, f"{OTHER}.receive", NEWER)
    busy = kept.create(ident="b" * 26)
    found = kept.store.clean_all()
    assert [each.removed for each in found] == [True, True, True, True, False]
    assert kept.files() == [busy.path.name]
    assert not part.exists()


def test_other_files_in_the_directory_are_not_touched(kept: Kept) -> None:
    kept.closed()
    for name in ("notes.txt", f"{ID}.receive.bak", f"{ID.upper()}.send", f".{ID}.send.tmp"):
        used_at(write(kept, name, b"mine"), 1.0)
    kept.store.clean(1e12)
    kept.store.clean_all()
    assert len(kept.files()) == 4


def test_old_temporary_files_go_and_young_or_locked_ones_stay(kept: Kept) -> None:
    names = [f".{ID}.send.{number:016x}.tmp" for number in range(3)]
    for name, when in zip(names, (1000.0, 4601.0, 1000.0), strict=True):
        used_at(write(kept, name, b"half"), when)
    fd = os.open(kept.store.path / names[2], os.O_RDWR)
    assert try_lock(fd)
    kept.store.clean(4600.0)
    assert kept.files() == names[1:]
    os.close(fd)
    kept.store.clean(10_000.0)
    assert kept.files() == []


def test_what_the_system_refuses_is_reported(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.closed()

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(removal, "remove_locked", refuse)
    (removed,) = kept.store.remove(ID)
    assert (removed.removed, removed.problem) == (False, "Operation not permitted")

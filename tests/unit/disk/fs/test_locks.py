"""One process at a time: real processes, and files that are replaced while they are being locked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.disk.kept import Kept, identity
from tests.unit.transfer.records import ID

from p2pal.checkpoint.codec import decode
from p2pal.checkpoint.records import Dropped
from p2pal.disk.fs import locks
from p2pal.disk.fs.directory import Directory
from p2pal.disk.fs.locks import NotOurs, identity_of, in_use, open_locked, open_private, remove_locked, try_lock
from p2pal.disk.fs.root import open_root
from p2pal.errors import CheckpointError

NAME = b"file"


@pytest.fixture(params=[True, False], ids=["handles", "paths"])
def directory(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Directory]:
    (tmp_path / "file").write_bytes(b"first")
    (tmp_path / "file").chmod(0o600)
    found = open_root(str(tmp_path), handles=request.param)
    yield found
    found.release()


HOLDER = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from p2pal.disk.checkpoints.store import Checkpoints
opened = Checkpoints(Path(sys.argv[1])).open({ident!r}, "receive")
print("locked", flush=True)
sys.stdin.read()
"""


def test_another_process_keeps_it_until_it_is_killed(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.closed()
    code = HOLDER.format(root=str(Path(__file__).parents[4]), ident=ID)
    command = [sys.executable, "-c", code, str(tmp_path / "home")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(CheckpointError, match="another p2pal process"):
            kept.store.open(ID, "receive")
        assert kept.store.list()[0].in_use
        holder.kill()
        holder.wait()
    kept.store.open(ID, "receive").journal.close()


RIVAL = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from p2pal.errors import CheckpointError
from p2pal.disk.checkpoints.store import Checkpoints
from p2pal.checkpoint.records import Dropped
from tests.unit.transfer.records import header
store = Checkpoints(Path(sys.argv[1]))
who, wins = int(sys.argv[2]), 0
for turn in range(40):
    try:
        if turn % 4 == 0:
            journal = store.create(header())
        else:
            journal = store.open({ident!r}, "receive").journal
    except CheckpointError:
        continue
    for number in range(5):
        assert journal.write(Dropped(who))
    wins += 1
    journal.remove() if turn % 5 == 0 else journal.close()
print(wins)
"""


def test_two_processes_never_write_into_one_checkpoint(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.closed()
    code = RIVAL.format(root=str(Path(__file__).parents[4]), ident=ID)
    rivals = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "home"), str(who)], stdout=subprocess.PIPE)
        for who in (1, 2)
    ]
    wins = [int(rival.communicate(timeout=60)[0]) for rival in rivals]
    assert [rival.returncode for rival in rivals] == [0, 0]
    assert all(wins)
    for name in kept.files():
        assert name == f"{ID}.receive"
        writers = [each.index for each in decode((kept.store.path / name).read_bytes()) if isinstance(each, Dropped)]
        runs = [writers[start : start + 5] for start in range(0, len(writers), 5)]
        assert all(len(run) == 5 and len(set(run)) == 1 for run in runs)


def test_a_file_replaced_between_opening_and_locking_is_opened_again(
    directory: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def swap(fd: int, *, shared: bool = False) -> bool:
        nonlocal calls
        calls += 1
        if calls == 1:
            (tmp_path / "new").write_bytes(b"second")
            (tmp_path / "new").chmod(0o600)
            (tmp_path / "new").rename(tmp_path / "file")
        return try_lock(fd, shared=shared)

    monkeypatch.setattr(locks, "try_lock", swap)
    fd = open_locked(directory, NAME)
    assert os.read(fd, 10) == b"second"
    assert identity_of(fd) == identity(tmp_path / "file")
    assert calls == 2
    os.close(fd)


def test_a_file_removed_between_opening_and_locking_is_gone(
    directory: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remove(fd: int, *, shared: bool = False) -> bool:
        (tmp_path / "file").unlink(missing_ok=True)
        return try_lock(fd, shared=shared)

    monkeypatch.setattr(locks, "try_lock", remove)
    with pytest.raises(FileNotFoundError):
        open_locked(directory, NAME)


def test_a_file_that_is_replaced_again_and_again_counts_as_in_use(
    directory: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swap(fd: int, *, shared: bool = False) -> bool:
        (tmp_path / "new").write_bytes(b"next")
        (tmp_path / "new").chmod(0o600)
        (tmp_path / "new").rename(tmp_path / "file")
        return True

    monkeypatch.setattr(locks, "try_lock", swap)
    with pytest.raises(CheckpointError, match="another p2pal process"):
        open_locked(directory, NAME)


def test_looking_whether_it_is_in_use_keeps_nobody_out_for_long(directory: Directory) -> None:
    look = open_private(directory, NAME)
    assert not in_use(look)
    fd = open_locked(directory, NAME)  # while the other is still open
    assert in_use(look)
    os.close(look)
    remove_locked(directory, NAME, fd)
    assert directory.status(NAME) is None


def test_a_file_system_without_locks_is_an_error(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, *, shared: bool = False) -> bool:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(locks, "try_lock", refuse)
    with pytest.raises(OSError, match="No locks"):
        open_locked(directory, NAME)
    look = open_private(directory, NAME)
    assert not in_use(look)
    os.close(look)


def test_a_missing_one_and_one_that_is_no_file(directory: Directory, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_private(directory, b"missing")
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "directory").mkdir(mode=0o700)
    for name in (b"fifo", b"directory"):
        with pytest.raises(NotOurs, match="no regular file"):
            open_locked(directory, name)

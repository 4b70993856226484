"""The directory of checkpoints: made whole, found by prefix, opened by one process at a time."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from tests.unit.disk.kept import Kept
from tests.unit.transfer.records import ID, OTHER, TRANSFER, begun, entries_of, header, leaves, listing

from p2pal.checkpoint.records import Arrived, CheckpointRecord, Done, Dropped, Leaves, TopRecord, Tops
from p2pal.checkpoint.replay import ReceiveState, SendState
from p2pal.disk.checkpoints import cleanup, journal, store
from p2pal.disk.checkpoints.store import Checkpoints
from p2pal.disk.fs.directory import Directory
from p2pal.disk.fs.handle_directory import HandleDirectory
from p2pal.disk.fs.locks import open_locked
from p2pal.disk.fs.path_directory import PathDirectory
from p2pal.disk.fs.root import open_root
from p2pal.errors import CheckpointError


@pytest.fixture(params=[True, False], ids=["handles", "paths"])
def kept(tmp_path: Path, request: pytest.FixtureRequest) -> Kept:
    return Kept(tmp_path, handles=request.param)


def test_without_a_directory_there_is_none_and_none_is_made(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path / "home")
    assert store.list() == []
    assert store.offered(TRANSFER) == []
    assert store.clean(0.0) == store.clean_all() == []
    for attempt in (lambda: store.open("abc", "send"), lambda: store.remove("abc")):
        with pytest.raises(CheckpointError, match="there is no checkpoint abc"):
            attempt()
    assert not (tmp_path / "home").exists()


def test_the_default_is_below_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Checkpoints().path == tmp_path / ".p2pal" / "checkpoints"


def test_a_checkpoint_is_for_its_owner_alone(kept: Kept) -> None:
    before = os.umask(0)
    try:
        path = kept.closed()
    finally:
        os.umask(before)
    assert path == kept.store.path / f"{ID}.receive"
    for each, mode in ((path, 0o600), (path.parent, 0o700), (path.parent.parent, 0o700)):
        assert stat.S_IMODE(each.stat().st_mode) == mode
    assert kept.files() == [path.name]


def test_what_was_written_is_there_when_it_is_opened(kept: Kept) -> None:
    with_begun = kept.create(begun(1))
    assert with_begun.write(begun(2), begun(3))
    with_begun.close()
    opened = kept.store.open(ID, "receive")
    assert isinstance(opened.state, ReceiveState)
    assert set(opened.state.begun) == {1, 2, 3}
    assert opened.header == kept.header()
    assert opened.journal.id == ID
    opened.journal.write(Dropped(2))
    opened.journal.close()
    again = kept.store.open(ID, "receive").state
    assert isinstance(again, ReceiveState)
    assert set(again.begun) == {1, 3}


def test_the_senders_listing_is_read_from_the_file(kept: Kept) -> None:
    entries = entries_of(100)
    tops = [TopRecord(b"top", b"/somewhere/top", True)]
    records: list[CheckpointRecord] = [Tops(tops), listing(0, entries[:70]), listing(70, entries[70:])]
    journal = kept.create(*records, role="send")
    journal.write(Leaves(1, 0, leaves(1), 5.0), Arrived(10, 1))
    journal.close()
    opened = kept.store.open(ID, "send")
    assert isinstance(opened.state, SendState)
    assert opened.state.tops == tops
    assert opened.state.leaves[1] == {0: leaves(1)}
    assert [entry for entry, _ in opened.listing()] == entries
    assert [found[1] for _, found in opened.listing()][-1] == 99


def test_a_prefix_is_enough_and_case_does_not_matter(kept: Kept) -> None:
    kept.closed()
    kept.closed(ident=OTHER)
    kept.store.open(ID[:5].upper(), "receive").journal.close()
    with pytest.raises(CheckpointError, match="more than one") as caught:
        kept.store.open(ID[:4], "receive")
    assert ID[:12] in caught.value.message
    assert OTHER[:12] in caught.value.message


@pytest.mark.parametrize("prefix", ["", " ", "..", "a/b", "*", "abc1", "a" * 27, "\x1b[31m"])
def test_what_is_no_id_is_said_to_be_none(kept: Kept, prefix: str) -> None:
    kept.closed()
    with pytest.raises(CheckpointError, match="no checkpoint's id"):
        kept.store.open(prefix, "receive")
    with pytest.raises(CheckpointError, match="no checkpoint's id"):
        kept.store.remove(prefix)


def test_the_other_sides_checkpoint_is_not_ours_to_go_on_from(kept: Kept) -> None:
    kept.closed(role="send")
    with pytest.raises(CheckpointError, match="of a receiver") as caught:
        kept.store.open(ID, "receive")
    assert "p2pal send --resume" in caught.value.hint


def test_one_in_use_is_not_opened_not_replaced_and_not_removed(kept: Kept) -> None:
    journal = kept.create()
    for attempt in (lambda: kept.store.open(ID, "receive"), lambda: kept.store.create(kept.header())):
        with pytest.raises(CheckpointError, match="another p2pal process is using this transfer"):
            attempt()
    (removed,) = kept.store.remove(ID)
    assert not removed.removed
    assert "using" in removed.problem
    assert kept.store.clean_all() == [removed]
    assert [header.id for header in kept.store.offered(TRANSFER)] == [ID]
    journal.close()
    assert kept.files() == [f"{ID}.receive"]


def test_one_not_in_use_is_replaced(kept: Kept) -> None:
    kept.closed(begun(1))
    kept.closed(begun(2))
    state = kept.store.open(ID, "receive").state
    assert isinstance(state, ReceiveState)
    assert set(state.begun) == {2}
    assert kept.files() == [f"{ID}.receive"]


def test_both_roles_of_one_transfer_stand_beside_each_other(kept: Kept) -> None:
    kept.closed()
    kept.closed(role="send")
    assert [(each.id, each.role) for each in kept.store.remove(ID, "send")] == [(ID, "send")]
    kept.closed(role="send")
    assert {each.role for each in kept.store.remove(ID)} == {"send", "receive"}
    assert kept.files() == []


def test_offered_looks_at_the_transfer_and_at_the_role(kept: Kept) -> None:
    kept.closed()
    kept.closed(ident=OTHER, role="send")
    (kept.store.path / f"{OTHER}.receive").write_bytes(b"p2pal-cp rubbish")
    assert [header.id for header in kept.store.offered(TRANSFER)] == [ID]
    assert kept.store.offered(b"u" * 16) == []


def test_a_header_that_could_not_be_read_again_is_not_written(kept: Kept) -> None:
    with pytest.raises(ValueError, match="could not be read again"):
        kept.store.create(header("receive", ident="short"))
    assert not kept.store.path.exists()


def test_it_works_without_directory_handles(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (store, cleanup):
        monkeypatch.setattr(module, "open_root", partial(open_root, handles=False))
    part, record = kept.part(0)
    kept.closed()
    journal = kept.create(record)
    assert journal.write(begun(1, size=1), Done([(1, 2)]), durable=True)
    with pytest.raises(CheckpointError, match="another p2pal process"):
        kept.store.open(ID, "receive")
    journal.close()
    kept.store.open(ID, "receive").journal.close()
    assert kept.store.list()[0].done == 1
    assert kept.store.remove(ID)[0].cleaned.parts == 1
    assert not part.exists()
    kept.create().remove()
    assert kept.files() == []


class Boom(Exception):
    """A process's end."""


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Boom()])
@pytest.mark.parametrize("step", ["lock", "records", "fsync", "rename", "directory"])
def test_a_checkpoint_that_cannot_be_made_leaves_nothing(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, step: str, error: Exception
) -> None:
    kept.store.path.mkdir(parents=True, mode=0o700)
    records: list[CheckpointRecord] = [begun(1)]

    def fail(*_: object, **__: object) -> None:
        raise error

    if step == "lock":
        monkeypatch.setattr(store, "try_lock", fail)
    elif step == "records":
        monkeypatch.setattr(journal, "write_some", fail)
    elif step == "fsync":
        monkeypatch.setattr(store, "sync_file", fail)
    else:
        for directory in (HandleDirectory, PathDirectory):
            monkeypatch.setattr(directory, "rename_new" if step == "rename" else "sync", fail)
    expected = CheckpointError if isinstance(error, OSError) else Boom
    with pytest.raises(expected):
        kept.create(*records)
    assert kept.files() == []


DYING = """
import os, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from p2pal.disk.checkpoints import journal, store
from p2pal.disk.fs.handle_directory import HandleDirectory
from tests.unit.disk.kept import Kept
from tests.unit.transfer.records import begun

def die(*_, **__):
    os._exit(9)

step = sys.argv[2]
kept = Kept(Path(sys.argv[1]))
if step == "lock":
    store.try_lock = die
elif step == "records":
    journal.write_some = die
elif step == "fsync":
    store.sync_file = die
elif step == "rename":
    HandleDirectory.rename_new = die
elif step == "directory":
    kept.store.path.mkdir(parents=True, mode=0o700)
    HandleDirectory.sync = die
kept.create(begun(1))
os._exit(0)
"""


@pytest.mark.parametrize("step", ["lock", "records", "fsync", "rename", "directory", "none"])
def test_a_process_that_dies_leaves_no_checkpoint_or_a_whole_one(tmp_path: Path, step: str) -> None:
    root = str(Path(__file__).parents[4])
    done = subprocess.run([sys.executable, "-c", DYING.format(root=root), str(tmp_path), step], check=False)
    assert done.returncode == (0 if step == "none" else 9)
    store = Checkpoints(tmp_path / "home")
    whole = [name for name in os.listdir(store.path) if not name.startswith(".")]
    assert len(whole) == (step in {"directory", "none"})
    for summary in store.list():
        assert not summary.problem
        assert not summary.in_use
        store.open(summary.id, "receive").journal.close()
    for name in os.listdir(store.path):
        if name.startswith("."):
            os.utime(store.path / name, (1.0, 1.0))
    assert store.clean(4000.0) == []
    assert sorted(os.listdir(store.path)) == sorted(whole)


def test_what_the_system_refuses_is_said_in_its_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for home in (tmp_path / "file", tmp_path / "file" / "home"):
        with pytest.raises(CheckpointError, match="cannot be used: ") as caught:
            Checkpoints(home).create(header())
        assert "P2PAL_HOME" in caught.value.hint


def test_without_a_home_directory_one_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise RuntimeError("could not determine home directory")

    monkeypatch.setattr(Path, "home", none)
    with pytest.raises(CheckpointError, match="no home directory"):
        Checkpoints()


def test_one_that_vanishes_or_appears_while_it_is_looked_for(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kept.closed()
    times = 2

    def vanish(directory: Directory, name: bytes) -> int:
        nonlocal times
        if times:
            times -= 1
            path.unlink()
        return open_locked(directory, name)

    monkeypatch.setattr(store, "open_locked", vanish)
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        kept.store.open(ID, "receive")
    path.touch(0o600)
    kept.closed(begun(3))  # it stood there, and was gone when it was to be replaced
    assert kept.files() == [path.name]


def test_where_a_file_must_be_closed_to_get_its_name_another_process_may_be_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Checkpoints(tmp_path / "home", handles=False)
    header_ = header("send", ident=ID)
    sync = PathDirectory.rename_new

    def replaced(directory: Directory, source: bytes, target: bytes) -> None:
        assert isinstance(directory, PathDirectory)
        sync(directory, source, target)
        path = store.path / os.fsdecode(target)
        path.rename(path.with_suffix(".old"))
        path.touch(0o600)

    monkeypatch.setattr(PathDirectory, "rename_new", replaced)
    with pytest.raises(CheckpointError, match="another p2pal process"):
        store.create(header_)
    monkeypatch.undo()
    assert (store.path / f"{ID}.send").stat().st_size == 0, "what the other made is left alone"


def test_where_no_open_file_is_renamed_none_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a new checkpoint nor one that takes the place of another is open when it gets its name."""
    store = Checkpoints(tmp_path / "home", handles=False)
    renamed: list[str] = []

    def watch(call: str) -> None:
        real = getattr(os, call)

        def rename(source: bytes, target: bytes) -> None:
            for held in os.listdir("/proc/self/fd"):
                with contextlib.suppress(OSError):
                    assert os.readlink(f"/proc/self/fd/{held}") not in {os.fsdecode(source), os.fsdecode(target)}
            renamed.append(call)
            real(source, target)

        monkeypatch.setattr(os, call, rename)

    watch("rename")
    watch("replace")
    for _ in range(2):
        store.create(header("send", ident=ID)).close()
    assert renamed == ["rename", "replace"]
    opened = store.open(ID, "send")
    with pytest.raises(CheckpointError, match="another p2pal process"):
        store.open(ID, "send")
    opened.journal.remove()
    assert os.listdir(store.path) == []

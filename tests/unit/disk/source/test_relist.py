from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.disk.disk import (
    as_nobody,
    data_of,
    digest_of,
    file_entry,
    job_for,
    pieces_of,
    public_directory,
    walk_of,
)

from p2pal.checkpoint.records import VERSION, CheckpointHeader, Leaves, TopRecord
from p2pal.checkpoint.replay import SendState
from p2pal.disk.checkpoints.store import Checkpoints
from p2pal.disk.fs.identities import Identity3
from p2pal.disk.source.leaf_cache import GRACE
from p2pal.disk.source.relist import GONE, check_tops
from p2pal.disk.source.source import Source
from p2pal.errors import CheckpointError
from p2pal.transfer import ops
from p2pal.transfer.manifest import Manifest
from p2pal.wire.pieces import leaf
from p2pal.wire.transfer import Entry, EntryKind, Reason

MIB = 1 << 20
LONG_AGO = 1_500_000_000_000_000_000
MUCH_LATER = 2.0**33


class Earlier:
    """What a checkpoint keeps of a first walk.

    Args:
        paths: The arguments.
        at: When every leaf was hashed.
    """

    def __init__(self, *paths: Path, at: float = MUCH_LATER) -> None:
        source = Source(list(paths), recursive=True)
        self.entries, failures = walk_of(source)
        assert not failures
        self.identities: list[Identity3] = [source.identity(index) for index in range(len(self.entries))]
        self.tops = [top for record in source.tops_records() for top in record.tops]
        self.leaves: dict[int, dict[int, bytes]] = {}
        self.at = at
        for index, entry in enumerate(self.entries):
            if entry.kind is EntryKind.FILE:
                data = data_of(source.read(job_for(index, entry)))
                self.leaves[index] = {number: leaf(piece) for number, piece in enumerate(pieces_of(data))}
        source.close()

    def index(self, path: bytes) -> int:
        return [entry.path for entry in self.entries].index(path)

    def restored(self) -> Source:
        listing = zip(self.entries, self.identities, strict=True)
        return Source.restored(self.tops, listing, self.leaves, dict.fromkeys(self.leaves, self.at))

    def again(self) -> tuple[Source, list[Entry]]:
        source = self.restored()
        entries, failures = walk_of(source)
        assert not failures
        assert len(entries) == len(self.entries)
        return source, entries


@pytest.fixture
def top(tmp_path: Path) -> Path:
    path = tmp_path / "top"
    (path / "d").mkdir(parents=True)
    (path / "empty").mkdir()
    for name, data in (("a", b"1" * (2 * MIB + 5)), ("d/b", b"2" * (3 * MIB)), ("d/c", b"3"), ("e", b"")):
        (path / name).write_bytes(data)
        os.utime(path / name, ns=(LONG_AGO, LONG_AGO))
    (path / "link").symlink_to("d/b")
    return path


def test_an_untouched_tree_is_listed_as_before(top: Path, tmp_path: Path) -> None:
    (tmp_path / "named").symlink_to("top/a")
    earlier = Earlier(top, tmp_path / "named")
    source, entries = earlier.again()
    assert entries == earlier.entries
    assert source.names == [b"top", b"named"]
    assert not source.changed
    assert not source.vanished
    assert [source.identity(index) for index in range(len(entries))] == earlier.identities
    assert len(source.known_leaves) == 3  # of two pieces and more: top/a, top/d/b, named
    for index, entry in enumerate(entries):
        if entry.kind is EntryKind.FILE:
            job = ops.ReadJob(index, entry, MIB, 0, -(-entry.size // MIB), wanted=())
            (result,) = source.read(job) if entry.size > MIB else [*source.read(job_for(index, entry))][-1:]
            path = tmp_path / os.fsdecode(entry.path)
            assert result == ops.FileRead(index, digest_of(path.read_bytes()))


def test_what_is_new_in_the_tree_is_not_sent(top: Path) -> None:
    earlier = Earlier(top)
    (top / "d" / "new").write_bytes(b"1")
    source, entries = earlier.again()
    assert entries == earlier.entries
    assert not source.changed


def longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")
    os.utime(path, ns=(LONG_AGO, LONG_AGO))


def touched(path: Path) -> None:
    os.utime(path, ns=(LONG_AGO + 1, LONG_AGO + 1))


def touched_and_set_back(path: Path) -> None:
    touched(path)
    os.utime(path, ns=(LONG_AGO, LONG_AGO))


def overwritten_and_set_back(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"X")
    os.utime(path, ns=(LONG_AGO, LONG_AGO))


def other_mode(path: Path) -> None:
    path.chmod(0o600)


def replaced(path: Path) -> None:
    other = path.parent.parent / "other"
    shutil.copyfile(path, other)
    os.utime(other, ns=(LONG_AGO, LONG_AGO))
    other.rename(path)


@pytest.mark.parametrize(
    "change", [longer, touched, touched_and_set_back, overwritten_and_set_back, other_mode, replaced]
)
def test_a_changed_file_is_listed_as_it_is_today(top: Path, change: Callable[[Path], None]) -> None:
    earlier = Earlier(top)
    index = earlier.index(b"top/a")
    before = (top / "a").stat().st_ctime_ns
    while (top / "a").stat().st_ctime_ns == before:  # until the clock of the file system ticks
        os.utime(top / "a", ns=(LONG_AGO, LONG_AGO))
    change(top / "a")
    found = (top / "a").stat()
    source, entries = earlier.again()
    assert source.changed == {index}
    assert index not in source.known_leaves
    assert entries[index] == Entry(b"top/a", EntryKind.FILE, found.st_size, found.st_mode & 0o777, found.st_mtime_ns)
    assert entries[:index] + entries[index + 1 :] == earlier.entries[:index] + earlier.entries[index + 1 :]
    assert source.identity(index) == (found.st_dev, found.st_ino, found.st_ctime_ns)
    data = (top / "a").read_bytes()
    results = list(source.read(ops.ReadJob(index, entries[index], MIB, 0, 3, wanted=((1, 2),))))
    assert data_of(results) == data[MIB : 2 * MIB]
    assert [result.piece for result in results if isinstance(result, ops.PieceRead)] == [1, 0, 2]
    assert results[-1] == ops.FileRead(index, digest_of(data))


def gone(path: Path) -> None:
    path.unlink()


def parent_gone(path: Path) -> None:
    shutil.rmtree(path.parent)


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def parent_a_file(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_bytes(b"1")


@pytest.mark.parametrize("change", [gone, parent_gone, a_directory, a_link, a_fifo, parent_a_file])
def test_a_vanished_file_keeps_its_place_and_fails(top: Path, change: Callable[[Path], None]) -> None:
    earlier = Earlier(top)
    index = earlier.index(b"top/d/b")
    change(top / "d" / "b")
    source, entries = earlier.again()
    assert entries == earlier.entries
    assert source.vanished[index] == GONE
    assert source.vanished.keys() <= {index, earlier.index(b"top/d/c")}
    assert not source.changed
    assert index not in source.known_leaves
    (result,) = source.read(job_for(index, entries[index]))
    assert result == ops.ReadFailed(index, Reason.READ, GONE)


def test_a_file_that_comes_back_after_the_walk_is_not_read(top: Path) -> None:
    earlier = Earlier(top)
    index = earlier.index(b"top/a")
    (top / "a").rename(top / "aside")
    source, entries = earlier.again()
    (top / "aside").rename(top / "a")
    assert list(source.read(job_for(index, entries[index]))) == [ops.ReadFailed(index, Reason.READ, GONE)]


def test_directories_and_links_travel_as_they_were_offered(top: Path) -> None:
    earlier = Earlier(top)
    shutil.rmtree(top / "empty")
    (top / "d").chmod(0o700)
    (top / "link").unlink()
    (top / "link").symlink_to("/etc/passwd")
    source, entries = earlier.again()
    assert entries == earlier.entries
    assert not source.changed
    assert not source.vanished


@pytest.mark.parametrize("instead", ["nothing", "directory"])
def test_a_named_file_can_vanish(tmp_path: Path, instead: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"1")
    earlier = Earlier(path)
    path.unlink()
    if instead == "directory":
        path.mkdir()
    source, entries = earlier.again()
    assert entries == earlier.entries
    assert source.vanished == {0: GONE}


def test_a_tree_that_became_a_file_vanishes_as_a_whole(top: Path) -> None:
    earlier = Earlier(top)
    shutil.rmtree(top)
    top.write_bytes(b"1")
    source, entries = earlier.again()
    assert entries == earlier.entries
    assert [earlier.entries[index].path for index in source.vanished] == [b"top/a", b"top/d/b", b"top/d/c", b"top/e"]


def test_a_file_behind_a_closed_directory_fails_for_that_reason() -> None:
    with public_directory() as path:
        (path / "top" / "d").mkdir(parents=True)
        (path / "top" / "d" / "x").write_bytes(b"1")
        earlier = Earlier(path / "top")
        (path / "top" / "d").chmod(0)
        with as_nobody():
            source, _ = earlier.again()
        (path / "top" / "d").chmod(0o755)
    assert source.vanished == {earlier.index(b"top/d/x"): "Permission denied"}


@pytest.mark.parametrize(("late", "trusted"), [(0.5, True), (-0.5, False)])
def test_leaves_hashed_right_after_a_change_are_not_trusted(top: Path, late: float, trusted: bool) -> None:
    earlier = Earlier(top)
    earlier.at = (top / "a").stat().st_ctime_ns / 1e9 + GRACE + late
    source, entries = earlier.again()
    index = earlier.index(b"top/a")
    assert not source.changed
    assert (index in source.known_leaves) is trusted
    results = list(source.read(ops.ReadJob(index, entries[index], MIB, 0, 3, wanted=())))
    assert [result.piece for result in results if isinstance(result, ops.PieceRead)] == ([] if trusted else [0, 1, 2])
    assert results[-1] == ops.FileRead(index, digest_of((top / "a").read_bytes()))


def test_leaves_of_unknown_age_are_not_trusted(top: Path) -> None:
    earlier = Earlier(top)
    listing = zip(earlier.entries, earlier.identities, strict=True)
    source = Source.restored(earlier.tops, listing, earlier.leaves, {})
    walk_of(source)
    assert not len(source.known_leaves)


@pytest.mark.parametrize(
    "tops",
    [
        [],
        [TopRecord(b"a", b"relative", False)],
        [TopRecord(b"a", b"/x\0y", False)],
        [TopRecord(b"a/b", b"/x", False)],
        [TopRecord(b"a", b"/x", False), TopRecord(b"a", b"/y", False)],
    ],
)
def test_arguments_that_cannot_be_are_refused(tops: list[TopRecord]) -> None:
    with pytest.raises(CheckpointError):
        check_tops(tops)


@pytest.mark.parametrize("path", [b"other", b"top/../x", b"top/./x", b"top//x", b"/top", b"top/", b"top/x\0", b".."])
def test_entries_that_no_walk_could_have_found_are_refused(tmp_path: Path, path: bytes) -> None:
    top = TopRecord(b"top", os.fsencode(tmp_path), True)
    source = Source.restored([top], [(file_entry(path, b"1"), (1, 2, 3))], {}, {})
    with pytest.raises(CheckpointError, match="damaged"):
        list(source.walk())


def test_a_checkpoint_on_disk_restores_the_source(top: Path, tmp_path: Path) -> None:
    earlier = Earlier(top)
    source = earlier.restored()
    manifest = Manifest()
    for entry in walk_of(source)[0]:
        manifest.append(entry)
    header = CheckpointHeader(
        version=VERSION, role="send", id="a" * 26, transfer_id=bytes(16), resume_key=bytes(32), created=0.0, ttl=1.0,
        digest=manifest.digest(), shape=manifest.shape(), entries=len(manifest), files=manifest.files,
        total=manifest.total, names=[b"top"], more=0,
    )  # fmt: skip
    index = earlier.index(b"top/a")
    leaves = Leaves(index, 0, b"".join(earlier.leaves[index][piece] for piece in range(2)), MUCH_LATER)
    kept = Checkpoints(tmp_path / "home")
    kept.create(header, [*source.tops_records(), *source.listing_records(manifest), leaves]).close()
    (top / "d" / "b").unlink()
    (top / "d" / "c").write_bytes(b"other")

    opened = kept.open("a" * 8, "send")
    state = opened.state
    assert isinstance(state, SendState)
    source = Source.restored(state.tops, opened.listing(), state.leaves, state.leaves_at)
    entries, _ = walk_of(source)
    opened.journal.close()
    assert [entry.path for entry in entries] == [entry.path for entry in earlier.entries]
    assert source.vanished == {earlier.index(b"top/d/b"): GONE}
    assert source.changed == {earlier.index(b"top/d/c")}
    results = list(source.read(ops.ReadJob(index, entries[index], MIB, 0, 3, wanted=())))
    assert [type(result) for result in results] == [ops.PieceRead, ops.FileRead]
    changed = Manifest()
    for entry in entries:
        changed.append(entry)
    assert changed.digest() != header.digest
    assert changed.shape() == header.shape

"""Links that redirect a write: in the payload, in the target already, or swapped in while the transfer runs."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from tests.unit.disk.disk import Disk, digest_of, directory_entry, file_entry, part_files, snapshot
from tests.unit.disk.sessions import Kept

from p2pal.disk.sink.placement import plan
from p2pal.disk.sink.sink import Sink
from p2pal.errors import DiskError
from p2pal.transfer import ops
from p2pal.wire.transfer import EntryKind, Reason

TOP = [(b"top", EntryKind.DIRECTORY)]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    (path / "victim").write_bytes(b"precious")
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    path = tmp_path / "out"
    path.mkdir()
    return path


def untouched(outside: Path) -> bool:
    return snapshot(outside) == {b"victim": b"precious"}


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (b"top/l", b"/etc/passwd"),
        (b"top/l", b"../outside"),
        (b"top/l", b".."),
        (b"top/d/l", b"../../x"),
        (b"top/d/l", b"../d/../../x"),
        (b"top/l", b"d/../.."),
        (b"top/l", b"d/../x"),
        (b"top/l", b".//..//outside"),
    ],
)
def test_a_link_out_of_its_tree_is_not_made(out: Path, outside: Path, path: bytes, target: bytes) -> None:
    with Disk(out, TOP) as disk:
        disk.directory(b"top")
        disk.directory(b"top/d")
        index = disk.link(path, target)
        disk.seal()
        assert disk.failed == {index: Reason.NAME}
    assert snapshot(out) == {b"top": None, b"top/d": None}
    assert untouched(outside)


def test_a_top_level_link_leads_nowhere_of_its_own(out: Path) -> None:
    """Its tree is itself: whatever it names belongs to the receiver."""
    (out / "mine").write_bytes(b"precious")
    with Disk(out, [(b"l", EntryKind.LINK)]) as disk:
        index = disk.link(b"l", b"mine")
        disk.seal()
        assert disk.failed == {index: Reason.NAME}
    assert snapshot(out) == {b"mine": b"precious"}


def test_links_that_lead_out_only_together_are_not_made(out: Path) -> None:
    """As text ``a/b/x/..`` is in the tree; through the link ``x`` to the top it would be the directory above it."""
    with Disk(out, TOP) as disk:
        for directory in (b"top", b"top/a", b"top/a/b"):
            disk.directory(directory)
        innocent = disk.link(b"top/a/b/x", b"../..")
        guilty = disk.link(b"top/y", b"a/b/x/..")
        disk.seal()
        assert innocent in disk.done
        assert disk.failed == {guilty: Reason.NAME}


def test_a_link_of_the_payload_redirects_no_later_write(out: Path, outside: Path) -> None:
    """Links are made last, so a file below the link's name finds no such directory; and then none is followed."""
    with Disk(out, TOP) as disk:
        disk.directory(b"top")
        disk.directory(b"top/d")
        link = disk.link(b"top/l", b"d")
        below = disk.file(b"top/l/x", b"1")
        disk.seal()
        late = disk.file(b"top/l/y", b"1")
        assert link in disk.done
        assert disk.failed == {below: Reason.OTHER, late: Reason.EXISTS}
    assert snapshot(out) == {b"top": None, b"top/d": None, b"top/l": b"-> d"}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("where", ["file", "directory", "top", "dangling"])
def test_a_link_that_stands_in_the_target_is_not_followed(
    out: Path, outside: Path, overwrite: bool, where: str
) -> None:
    if where == "top":
        (out / "top").symlink_to(outside)
    else:
        (out / "top").mkdir()
        (out / "top" / "l").symlink_to({"file": outside / "victim", "directory": outside}.get(where, outside / "new"))
    with Disk(out, TOP, overwrite=overwrite) as disk:
        disk.directory(b"top")
        disk.file(b"top/l", b"forged")
        disk.directory(b"top/l")
        disk.file(b"top/l/victim", b"forged")
        disk.file(b"top/l/new", b"forged")
        disk.file(b"top/victim", b"forged")
        disk.seal()
    assert untouched(outside)


def test_a_link_under_the_name_that_was_chosen_is_not_followed(out: Path, outside: Path) -> None:
    (out / "x").symlink_to(outside / "victim")
    for overwrite in (False, True):
        with Disk(out / "x", [(b"offered", EntryKind.FILE)], overwrite=overwrite) as disk:
            disk.file(b"offered", b"new")
            disk.seal()
            assert disk.failed == {}
    assert untouched(outside)
    assert sorted(os.listdir(out)) == ["x", "x (1)", "x (2)"]


@pytest.mark.parametrize("link", [True, False])
def test_a_target_that_someone_else_made_after_the_question_is_not_used(
    tmp_path: Path, outside: Path, link: bool
) -> None:
    target = tmp_path / "new"
    placement = plan(target, [(b"a", EntryKind.FILE), (b"b", EntryKind.FILE)])
    placement.resolve(overwrite=False)
    if link:
        target.symlink_to(outside)
    else:
        target.mkdir()
    with pytest.raises(DiskError):
        Sink(placement, "0123abcd")
    assert untouched(outside)


def test_a_target_swapped_for_a_link_after_the_question_is_not_used(out: Path, outside: Path) -> None:
    placement = plan(out, [(b"a", EntryKind.FILE), (b"b", EntryKind.FILE)])
    placement.resolve(overwrite=True)
    out.rmdir()
    out.symlink_to(outside)
    with pytest.raises(DiskError):
        Sink(placement, "0123abcd")
    assert untouched(outside)


def test_a_directory_swapped_for_a_link_between_two_files(out: Path, outside: Path) -> None:
    with Disk(out, TOP) as disk:
        disk.directory(b"top")
        disk.directory(b"top/d")
        disk.file(b"top/d/before", b"1")
        (out / "top" / "d").rename(out / "top" / "moved")
        (out / "top" / "d").symlink_to(outside)
        disk.file(b"top/d/victim", b"forged")
        disk.sink._targets._locator._tree.close()  # as if so many directories were in use that this one is opened again
        again = disk.file(b"top/d/new", b"forged")
        disk.seal()
        assert disk.failed[again] is Reason.EXISTS
    assert untouched(outside)


def test_a_directory_swapped_for_a_link_while_a_file_arrives(out: Path, outside: Path) -> None:
    with Disk(out, TOP) as disk:
        disk.directory(b"top")
        disk.directory(b"top/d")
        index = disk.begin(file_entry(b"top/d/victim", b"12"))
        disk.do(ops.Write(index, 0, b"1"))
        (out / "top" / "d").rename(out / "top" / "moved")
        (out / "top" / "d").symlink_to(outside)
        disk.do(ops.Write(index, 1, b"2"), ops.Finish(index, digest_of(b"12")))
        disk.seal()
    assert untouched(outside)
    assert (out / "top" / "moved" / "victim").read_bytes() == b"12"


def test_a_part_file_swapped_for_a_link_before_the_rename(out: Path, outside: Path) -> None:
    with Disk(out, TOP) as disk:
        disk.directory(b"top")
        index = disk.file(b"top/x", b"12")
        part = out / "top" / ".p2pal-abcd2345-1.part"
        part.unlink()
        part.symlink_to(outside / "victim")
        disk.seal()
        assert index in disk.failed
    assert untouched(outside)
    assert not (out / "top" / "x").exists()


def test_a_final_name_swapped_for_a_link_before_the_rename(out: Path, outside: Path) -> None:
    (out / "x").write_bytes(b"old")
    with Disk(out, [(b"x", EntryKind.FILE)], overwrite=True) as disk:
        index = disk.file(b"x", b"new")
        (out / "x").unlink()
        (out / "x").symlink_to(outside / "victim")
        disk.seal()
        assert disk.named == {index: b"x (1)"}
    assert untouched(outside)
    assert (out / "x").is_symlink()
    assert (out / "x (1)").read_bytes() == b"new"


def test_directories_swapped_before_the_seal_change_nothing_outside(out: Path, outside: Path) -> None:
    """Modes and times of directories come last; a link in a directory's place must not receive them."""
    before = outside.stat()
    with Disk(out, TOP) as disk:
        disk.directory(b"top")
        index = disk.directory(b"top/d", 0o777)
        link = disk.link(b"top/d/l", b"x")
        (out / "top" / "d").rmdir()
        (out / "top" / "d").symlink_to(outside)
        disk.seal()
        assert set(disk.failed) == {index, link}
    assert untouched(outside)
    assert (outside.stat().st_mode, outside.stat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


def test_swapping_all_the_time_wins_nothing(out: Path, outside: Path) -> None:
    """A thread puts a link in the directory's place and takes it away again, as fast as it can, while files arrive."""
    stop = threading.Event()
    real, aside = out / "top" / "d", out / "top" / "aside"

    def swap() -> None:
        while not stop.is_set():
            real.rename(aside)
            real.symlink_to(outside)
            real.unlink()
            aside.rename(real)

    with Disk(out, TOP) as disk:
        disk.directory(b"top")
        disk.directory(b"top/d")
        attacker = threading.Thread(target=swap)
        attacker.start()
        try:
            for number in range(300):
                disk.file(b"top/d/victim" if number == 0 else b"top/d/%d" % number, b"forged")
                disk.sink._targets._locator._tree.close()
            disk.do(ops.Seal())
        finally:
            stop.set()
            attacker.join()
        assert disk.done
    assert untouched(outside)
    assert {path for path in snapshot(out / "top") if path.startswith(b".p2pal")} == set()


BIG = bytes(range(256)) * 8192  # two pieces


def stopped(tmp_path: Path) -> Kept:
    """Half of a file in a directory is here, and the transfer was stopped well."""
    kept = Kept(tmp_path, [directory_entry(b"top"), file_entry(b"top/x", BIG)])
    kept.do(ops.MakeDirectory(0, kept.entries[0]))
    kept.begin(1)
    kept.piece(1, 0, BIG)
    kept.stop()
    return kept


def test_a_directory_swapped_for_a_link_between_two_sessions_is_not_followed(tmp_path: Path) -> None:
    kept = stopped(tmp_path)
    (kept.out / "top").rename(tmp_path / "elsewhere")
    (kept.out / "top").symlink_to(tmp_path / "elsewhere")
    before = snapshot(tmp_path / "elsewhere")
    resume, starts_over = kept.look()
    assert not resume.claims
    assert [index for index, _ in starts_over] == [1]
    assert kept.do(ops.MakeDirectory(0, kept.entries[0])) == [ops.EntryRenamed(0, b"top (1)")]
    kept.begin(1)
    assert [os.path.dirname(part) for part in part_files(kept.out)] == [b"top (1)"]
    kept.sink.discard_all()
    kept.stop()
    assert snapshot(tmp_path / "elsewhere") == before


def test_a_part_file_swapped_for_a_link_while_going_on_is_not_written_through(tmp_path: Path) -> None:
    kept = stopped(tmp_path)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    for make in (
        lambda part: part.symlink_to(victim),
        lambda part: os.link(victim, part),
        lambda part: os.mkfifo(part),
    ):
        resume, _ = kept.look()
        kept.do(ops.MakeDirectory(0, kept.entries[0]))
        (part,) = (kept.out / "top").iterdir()
        part.rename(tmp_path / "moved")
        make(part)
        (failed,) = kept.begin(1, resume.claims[1])
        assert isinstance(failed, ops.WriteFailed)
        part.unlink()
        (tmp_path / "moved").rename(part)
        kept.stop()
    assert victim.read_bytes() == b"precious"


def test_what_an_empty_directory_hides_is_not_adopted(tmp_path: Path) -> None:
    """A directory that nobody recorded is ours only if nothing is in it; a link to an empty one never is."""
    (tmp_path / "empty").mkdir()
    kept = Kept(tmp_path, [directory_entry(b"top"), directory_entry(b"top/d")])
    kept.stop()
    kept.look()
    (kept.out / "top").symlink_to(tmp_path / "empty")
    assert kept.do(ops.MakeDirectory(0, kept.entries[0])) == [ops.EntryRenamed(0, b"top (1)")]
    kept.stop()
    kept.look()
    assert kept.do(ops.MakeDirectory(0, kept.entries[0])) == []  # the one of before
    (kept.out / "top (1)" / "d").symlink_to(tmp_path / "empty")
    assert kept.do(ops.MakeDirectory(1, kept.entries[1])) == [ops.EntryRenamed(1, b"d (1)")]
    kept.stop()
    assert snapshot(tmp_path / "empty") == {}
    assert (kept.out / "top (1)" / "d (1)").is_dir()

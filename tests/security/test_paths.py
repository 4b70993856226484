"""Paths that escape, sizes that lie, modes that raise privileges: nothing outside the chosen place is touched."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from tests.unit.disk.disk import Disk, digest_of, directory_entry, file_entry, link_entry, part_files, snapshot
from tests.unit.disk.sessions import ID, Kept

from p2pal.checkpoint.records import Begun, Claimed, Finishing, Finishings, PlaceRecord
from p2pal.disk.fs.names import check_path
from p2pal.disk.sink.placement import Placement
from p2pal.errors import CheckpointError, ProtocolError
from p2pal.transfer import ops
from p2pal.wire.transfer import Entry, EntryKind, Reason

TOP = [(b"top", EntryKind.DIRECTORY)]

ESCAPES = [
    b"../victim", b"top/../../victim", b"top/..", b"..", b".", b"top/./x", b"top//x", b"/etc/passwd", b"/",
    b"top/", b"",
    b"top/\0x", b"top/x\0", b"top/" + b"x" * 256, b"top/" * 1024 + b"x", b"top/.p2pal-abcd2345-0.part",
]  # fmt: skip
WINDOWS_ESCAPES = [
    b"C:\\Windows\\x", b"C:x", b"top/C:/x", b"\\\\host\\share\\x", b"\\\\?\\C:\\x", b"\\x", b"top\\..\\..\\x",
    b"top/x:stream", b"top/x::$DATA", b"top/NUL", b"top/con.txt", b"COM1", b"top/lpt\xc2\xb9", b"top/x.", b"top/x ",
    b"top/a<b", b"top/a|b", b"top/a*b", b"top/\x1f",
]  # fmt: skip


def offered(disk: Disk) -> ops.SinkResult:
    """Return the one result so far."""
    (result,) = disk.results
    return result


@pytest.mark.parametrize("path", ESCAPES)
@pytest.mark.parametrize("kind", list(EntryKind))
def test_a_path_that_escapes_fails_for_its_name(tmp_path: Path, path: bytes, kind: EntryKind) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "victim").write_bytes(b"precious")
    before = snapshot(tmp_path)
    with Disk(out, [*TOP, (path.split(b"/")[0], kind)]) as disk:
        if kind is EntryKind.FILE:
            disk.do(ops.Begin(0, Entry(path, kind, 1), 1 << 20), ops.Write(0, 0, b"x"))
        elif kind is EntryKind.DIRECTORY:
            disk.do(ops.MakeDirectory(0, directory_entry(path)))
        else:
            disk.do(ops.MakeLink(0, link_entry(path, b"x")))
        result = offered(disk)
        assert isinstance(result, ops.WriteFailed)
        assert result.reason is Reason.NAME
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("path", WINDOWS_ESCAPES)
def test_windows_paths_that_escape_are_refused_on_windows(path: bytes) -> None:
    assert check_path(path, windows=True) is not None


@pytest.mark.parametrize("path", WINDOWS_ESCAPES)
def test_windows_paths_are_plain_names_elsewhere(tmp_path: Path, path: bytes) -> None:
    """Where a backslash or colon means nothing, such a name is a name: one entry, below the root."""
    top = path.split(b"/")[0]
    with Disk(tmp_path, [(top, EntryKind.FILE)]) as disk:
        if b"/" in path:
            disk.directory(top)
            for depth in range(2, path.count(b"/") + 1):
                disk.directory(b"/".join(path.split(b"/")[:depth]))
        disk.file(path, b"x")
        disk.seal()
        assert disk.failed == {}
    assert snapshot(tmp_path)[path] == b"x"


def test_entries_below_an_entry_that_was_not_offered_are_the_peers_fault(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with Disk(tmp_path, TOP, overwrite=True) as disk:
        for op in (
            ops.Begin(0, file_entry(b"mine/x", b"1"), 1 << 20),
            ops.Begin(1, file_entry(b"mine", b"1"), 1 << 20),
            ops.MakeDirectory(2, directory_entry(b"mine/d")),
            ops.MakeDirectory(3, directory_entry(b"new")),
        ):
            with pytest.raises(ProtocolError):
                disk.do(op)
    assert snapshot(tmp_path) == {b"mine": None}


def test_an_escape_cannot_hide_behind_the_chosen_name(tmp_path: Path) -> None:
    """``-out new`` renames the top-level entry; its offered name must be a good one all the same."""
    out = tmp_path / "out"
    out.mkdir()
    for path in (b"..", b"../x"):
        with Disk(out / "new", [(b"..", EntryKind.DIRECTORY)]) as disk:
            disk.do(ops.MakeDirectory(0, directory_entry(path)))
            assert disk.failed == {0: Reason.NAME}
    assert snapshot(tmp_path) == {b"out": None}


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o1777, 0o7777])
def test_set_user_id_and_its_kin_are_never_set(tmp_path: Path, mode: int) -> None:
    """The wire allows nine bits; even if more came through, no more are set."""
    with Disk(tmp_path, [(b"x", EntryKind.FILE)]) as disk:
        disk.file(b"x", b"#!/bin/sh", mode)
        disk.seal()
        assert disk.failed == {}
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == mode & 0o755


def test_the_umask_holds(tmp_path: Path) -> None:
    with Disk(tmp_path, TOP) as disk:
        disk.directory(b"top", 0o777)
        disk.file(b"top/x", b"1", 0o666)
        disk.seal()
    assert stat.S_IMODE((tmp_path / "top").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "top" / "x").stat().st_mode) == 0o644


@pytest.mark.parametrize(("offset", "length"), [(0, 11), (10, 1), (9, 2), (2**63 - 1, 1), (-1, 1), (2**64, 1)])
def test_writes_past_the_declared_size_end_the_transfer(tmp_path: Path, offset: int, length: int) -> None:
    with Disk(tmp_path, [(b"x", EntryKind.FILE)]) as disk:
        disk.begin(file_entry(b"x", bytes(10)))
        with pytest.raises(ProtocolError):
            disk.do(ops.Write(0, offset, bytes(length)))
    assert snapshot(tmp_path) == {}


def test_a_lying_size_costs_nothing(tmp_path: Path) -> None:
    """Nothing is reserved for what was only declared, and an incomplete file never gets its name."""
    with Disk(tmp_path, [(b"x", EntryKind.FILE)]) as disk:
        disk.do(ops.Begin(0, Entry(b"x", EntryKind.FILE, 2**63 - 1), 16 << 20), ops.Write(0, 0, b"x"))
        (part,) = part_files(tmp_path)
        assert os.stat(os.path.join(os.fsencode(tmp_path), part)).st_blocks <= 16
        assert disk.do(ops.Finish(0, digest_of(b"x"))) == [ops.DigestBad(0)]
    assert snapshot(tmp_path) == {}


def test_cleaning_up_takes_only_our_own_unfinished_files(tmp_path: Path) -> None:
    mine = [".p2pal-abcd2345-7.part", ".p2pal-zzzzzzzz-0.part", "x.part", ".p2pal-abcd2345-0.part.bak"]
    for name in mine:
        (tmp_path / name).write_bytes(b"precious")
    with Disk(tmp_path, [(b"x", EntryKind.FILE)]) as disk:
        disk.begin(file_entry(b"x", b"1"))
        assert len(os.listdir(tmp_path)) == len(mine) + 1
    assert sorted(os.listdir(tmp_path)) == sorted(mine)


def test_a_part_file_that_stands_there_already_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    for make in (
        lambda part: part.symlink_to("victim"),
        lambda part: os.link(tmp_path / "victim", part),
        lambda part: os.mkfifo(part),
    ):
        part = tmp_path / ".p2pal-abcd2345-0.part"
        make(part)
        with Disk(tmp_path, [(b"x", EntryKind.FILE)]) as disk:
            disk.file(b"x", b"1")
            disk.seal()
            assert disk.done == {0}
        assert (tmp_path / "x").read_bytes() == b"1"
        (tmp_path / "x").unlink()
        assert sorted(os.listdir(tmp_path)) == sorted({part.name, "victim"})
        part.unlink()
    assert (tmp_path / "victim").read_bytes() == b"precious"


@pytest.mark.parametrize("name", [b"..", b".", b"a/b", b"/etc", b"a\0", b".p2pal-abcd2345-0.part", b"x" * 256])
def test_a_forged_checkpoint_gives_no_name_that_escapes(tmp_path: Path, name: bytes) -> None:
    found = tmp_path.stat()
    with pytest.raises(CheckpointError):
        Placement.restored(tmp_path, (found.st_dev, found.st_ino), {b"x": PlaceRecord(b"x", name, "NEW")}, 0)


@pytest.mark.parametrize("path", [b"../secret", b"top/../../secret", b"/secret", b"never offered"])
def test_a_forged_checkpoint_leads_to_no_file_outside(tmp_path: Path, path: bytes) -> None:
    """It names a part file somewhere else, with the right inode: neither looking nor cleaning up touches that."""
    (tmp_path / "out").mkdir()
    victim = tmp_path / f".p2pal-{ID[:8]}-0.part"
    victim.write_bytes(bytes(3 << 20))
    found = victim.stat()
    kept = Kept(tmp_path, [file_entry(b"x", bytes(3 << 20))])
    part = (found.st_dev, found.st_ino)
    kept.journal.write(
        Begun(0, part, 3 << 20, 0, path), Claimed(0, 0, bytes(32)), Finishings([Finishing(0, part, bytes(32), part)])
    )
    kept.stop()
    resume, starts_over = kept.look()
    assert not resume.claims
    assert not resume.done
    assert len(starts_over) == 1
    kept.sink.discard_all()
    kept.stop()
    assert victim.stat().st_size == 3 << 20

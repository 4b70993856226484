from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.unit.disk.disk import MTIME, TAG, as_nobody, directory_entry, link_entry, public_directory

from p2pal.checkpoint.records import Named
from p2pal.disk.sink.placement import plan
from p2pal.disk.sink.targets import Targets
from p2pal.errors import ProtocolError
from p2pal.wire.transfer import EntryKind, Reason


def ignored(_: Named) -> None:
    """What no test asks for."""


def targets_of(out: Path, *tops: bytes, overwrite: bool = False) -> Targets:
    placement = plan(out, [(top, EntryKind.DIRECTORY) for top in tops])
    placement.resolve(overwrite=overwrite)
    return Targets(placement, TAG, 0o022)


@pytest.fixture
def targets(tmp_path: Path) -> Iterator[Targets]:
    made = targets_of(tmp_path, b"top")
    yield made
    made.close()


def test_paths_are_judged(targets: Targets) -> None:
    assert targets.judge(b"top/x") is None
    assert targets.judge(b"top/../x") == (Reason.NAME, "the path has a part that is '.' or '..'")
    targets.refuse(b"top/d", Reason.PERMISSION)
    assert targets.judge(b"top/d/e/x") == (Reason.PERMISSION, "its directory could not be made")
    assert targets.judge(b"top/dx") is None


def test_entries_are_located_under_their_final_names(tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    targets = targets_of(tmp_path, b"top")
    assert targets.make_directory(b"top", ignored)
    directory, name = targets.locate(b"top")
    assert name == b"top (1)"
    directory.release()
    directory, name = targets.locate(b"top/x")
    assert name == b"x"
    os.close(directory.create(b"x"))
    directory.release()
    assert (tmp_path / "top (1)" / "x").exists()
    make = partial(targets.make_directory, announce=ignored)
    for operation in (targets.locate, partial(targets.replaceable, 0), make):
        with pytest.raises(ProtocolError):
            operation(b"never offered")
    targets.close()


def test_only_what_was_agreed_to_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "old").write_bytes(b"1")
    targets = targets_of(tmp_path, b"merged", b"new", overwrite=True)
    (tmp_path / "merged" / "young").write_bytes(b"1")
    assert targets.replaceable(0, b"new/x") is None
    replaceable = targets.replaceable(0, b"merged/x")
    assert replaceable is not None
    assert replaceable((tmp_path / "merged" / "old").stat())
    assert not replaceable((tmp_path / "merged" / "young").stat())
    assert sorted(os.listdir(tmp_path)) == ["merged"]
    targets.close()


def test_a_directory_is_made_once(targets: Targets, tmp_path: Path) -> None:
    named: list[Named] = []
    assert targets.make_directory(b"top", named.append)
    with pytest.raises(FileExistsError):
        targets.make_directory(b"top", named.append)
    first = targets.make_directory(b"top/d", named.append)
    assert first
    assert named == []
    assert targets.make_directory(b"top/d", named.append) not in (None, first)  # as where case is ignored
    assert named == [Named(b"top/d", b"d (1)")]
    (directory, parent) = targets.finish_directory(directory_entry(b"top", 0o777))
    directory.release()
    parent.release()
    assert (tmp_path / "top").stat().st_mode & 0o777 == 0o755


def test_a_link_gets_its_own_time(tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "old").symlink_to("x")
    targets = targets_of(tmp_path, b"top", overwrite=True)
    for name in (b"top/new", b"top/old"):
        (directory,) = targets.make_link(0, link_entry(name, b"nowhere"), ignored)
        directory.release()
        assert os.lstat(tmp_path / os.fsdecode(name)).st_mtime_ns == MTIME
    targets.close()


def test_a_link_that_is_there_already_is_done(tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "l").symlink_to("x")
    targets = targets_of(tmp_path, b"top", overwrite=True)
    for target in (b"x", b"y"):
        (directory,) = targets.make_link(0, link_entry(b"top/l", target), ignored)
        directory.release()
        assert os.readlink(tmp_path / "top" / "l") == target.decode()
    assert os.listdir(tmp_path / "top") == ["l"]
    named: list[Named] = []
    (directory,) = targets.make_link(1, link_entry(b"top/l", b"z"), named.append)
    directory.release()
    assert named == [Named(b"top/l", b"l (1)")]
    assert os.readlink(tmp_path / "top" / "l") == "y"
    assert os.readlink(tmp_path / "top" / "l (1)") == "z"
    targets.close()


def test_a_root_that_is_not_writable_still_serves_a_directory_in_it() -> None:
    with public_directory() as path:
        (path / "top").mkdir()
        (path / "top").chmod(0o777)
        (path / "top" / "old").write_bytes(b"1")
        path.chmod(0o755)
        with as_nobody():
            targets = targets_of(path, b"top", overwrite=True)
            replaceable = targets.replaceable(0, b"top/old")
            assert replaceable is not None
            assert replaceable((path / "top" / "old").stat())
            targets.close()

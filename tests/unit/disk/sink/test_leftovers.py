from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.disk.disk import TAG, file_entry

from p2pal.disk.fs.directory import Directory
from p2pal.disk.fs.names import part_name, part_names
from p2pal.disk.fs.part_files import find_part
from p2pal.disk.fs.root import open_root
from p2pal.disk.sink.leftovers import Leftovers, open_part
from p2pal.transfer.ops import Begin

BEGIN = Begin(3, file_entry(b"x", b"data"), 1 << 20)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    opened = open_root(os.fsencode(tmp_path))
    yield opened
    opened.release()


def leftovers(directory: Directory) -> Leftovers:
    return Leftovers(lambda path: (directory.retain(), path), TAG, None)


def identity_of(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def test_the_first_free_name_is_taken(directory: Directory, tmp_path: Path) -> None:
    names = [tmp_path / os.fsdecode(name) for name in part_names(TAG, 3)]
    assert names[0].name == os.fsdecode(part_name(TAG, 3))
    assert names[1].name == f".p2pal-{TAG}-3-1.part"
    for taken in names[:2]:
        taken.write_bytes(b"foreign")
    file = open_part(BEGIN, directory, TAG, b"x", resumed=True)
    assert file.part == os.fsencode(names[2].name)
    assert find_part(directory, TAG, 3, file.identity) == (file.part, os.fstat(file.fd))
    assert file.discard()
    assert find_part(directory, TAG, 3, file.identity) is None
    assert [path.read_bytes() for path in names[:2]] == [b"foreign"] * 2
    for taken in names[2:]:
        taken.write_bytes(b"foreign")
    with pytest.raises(FileExistsError):
        open_part(BEGIN, directory, TAG, b"x", resumed=True)


@pytest.mark.parametrize("resumed", [True, False])
def test_an_empty_file_of_our_name_is_nobodys(directory: Directory, tmp_path: Path, resumed: bool) -> None:
    names = [tmp_path / os.fsdecode(name) for name in part_names(TAG, 3)]
    names[0].touch()
    was = identity_of(names[0])
    file = open_part(BEGIN, directory, TAG, b"x", resumed=resumed)
    assert file.part == os.fsencode(names[0 if resumed else 1].name)
    assert (identity_of(names[0]) == was) or resumed
    file.discard()


def test_only_the_recorded_file_is_removed(directory: Directory, tmp_path: Path) -> None:
    part, second = (tmp_path / os.fsdecode(name) for name in list(part_names(TAG, 3))[:2])
    part.write_bytes(b"foreign")
    second.write_bytes(b"ours")
    left = leftovers(directory)
    left.add(3, b"x", identity_of(second))
    left.add(4, b"x", identity_of(part))
    assert left.remove(3)
    assert not left.remove(3)
    assert not left.remove(5)
    assert left.remove_all() == [4]
    assert os.listdir(tmp_path) == [part.name]


def test_an_entry_that_begins_anew_loses_its_part_file(directory: Directory, tmp_path: Path) -> None:
    part = tmp_path / os.fsdecode(part_name(TAG, 3))
    part.write_bytes(b"ours")
    left = leftovers(directory)
    left.add(3, b"x", identity_of(part))
    begun = left.take(3, directory, keep=True)
    assert begun is not None
    assert begun.part == identity_of(part)
    left.add(3, b"x", identity_of(part))
    assert left.take(3, directory, keep=False) is None
    assert os.listdir(tmp_path) == []
    assert left.remove_all() == []


def test_a_directory_that_is_gone_took_its_part_files_along() -> None:
    def missing(_: bytes) -> tuple[Directory, bytes]:
        raise FileNotFoundError

    def forbidden(_: bytes) -> tuple[Directory, bytes]:
        raise PermissionError

    for locate, removed in ((missing, [3]), (forbidden, [])):
        left = Leftovers(locate, TAG, None)
        left.add(3, b"d/x", (1, 1))
        left.add(4, b"../x", (1, 1))
        assert left.remove_all() == removed

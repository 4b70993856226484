"""One suite for directories behind handles and behind checked paths."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pal.disk.fs.directory import Directory, Tree, sync_file, where_supported
from p2pal.disk.fs.root import HAVE_HANDLES, open_root


@pytest.fixture(params=[pytest.param(True, marks=pytest.mark.skipif(not HAVE_HANDLES, reason="no handles")), False])
def handles(request: pytest.FixtureRequest) -> bool:
    value: bool = request.param
    return value


@pytest.fixture
def root(tmp_path: Path, handles: bool) -> Iterator[Directory]:
    directory = open_root(os.fsencode(tmp_path), handles=handles)
    yield directory
    directory.release()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_file_is_made_opened_and_removed(root: Directory, tmp_path: Path) -> None:
    fd = root.create(b"x")
    os.write(fd, b"data")
    root.set_file_attributes(fd, b"x", 0o640, 1_000_000_007)
    sync_file(fd)
    found = os.fstat(fd)
    os.close(fd)
    assert stat.S_IMODE(found.st_mode) == 0o640
    assert found.st_mtime_ns == 1_000_000_007
    assert root.has(b"x", (found.st_dev, found.st_ino))
    assert not root.has(b"x", (0, 0))
    assert root.names() == [b"x"]
    for opened in (root.open_read(b"x"), root.open_part(b"x")):
        assert os.read(opened, 9) == b"data"
        os.close(opened)
    with pytest.raises(FileExistsError):
        root.create(b"x")
    root.remove(b"x")
    assert root.status(b"x") is None
    assert os.listdir(tmp_path) == []


def test_a_new_file_is_private(root: Directory) -> None:
    fd = root.create(b"x")
    assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o600
    os.close(fd)


def test_directories_links_and_renames(root: Directory, tmp_path: Path) -> None:
    root.make_directory(b"d")
    child = root.open_directory(b"d")
    assert child.identity == (tmp_path.joinpath("d").stat().st_dev, tmp_path.joinpath("d").stat().st_ino)
    child.make_link(b"l", b"somewhere")
    assert child.read_link(b"l") == b"somewhere"
    os.close(child.create(b"part"))
    child.rename_new(b"part", b"a")
    os.close(child.create(b"part"))
    with pytest.raises(FileExistsError):
        child.rename_new(b"part", b"a")
    found = child.status(b"a")
    assert found is not None
    child.rename_over(b"part", b"a", (found.st_dev, found.st_ino))
    os.close(child.create(b"part"))
    with pytest.raises(FileExistsError):
        child.rename_over(b"part", b"a", (found.st_dev, found.st_ino))
    child.set_attributes(0o750, 5_000_000_000)
    child.sync()
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o750
    assert (tmp_path / "d").stat().st_mtime_ns == 5_000_000_000
    assert sorted(child.names()) == [b"a", b"l", b"part"]
    child.release()


def test_links_are_never_followed(root: Directory, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "file").write_bytes(b"secret")
    (tmp_path / "d").symlink_to(outside)
    (tmp_path / "f").symlink_to(outside / "file")
    with pytest.raises(OSError):
        root.open_directory(b"d")
    for opening in (root.open_read, root.open_part, root.create):
        with pytest.raises(OSError):
            opening(b"f")
    found = root.status(b"f")
    assert found is not None
    assert stat.S_ISLNK(found.st_mode)
    root.remove(b"f")
    assert (outside / "file").exists()


def test_a_file_is_no_directory(root: Directory) -> None:
    os.close(root.create(b"x"))
    with pytest.raises(NotADirectoryError):
        root.open_directory(b"x")


def test_a_directory_swapped_for_a_link_is_not_written_through(
    root: Directory, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, handles: bool
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    root.make_directory(b"d")
    child = root.open_directory(b"d")
    (tmp_path / "d").rename(tmp_path / "moved")
    (tmp_path / "d").symlink_to(outside)
    if handles:  # the handle means the directory that was opened, wherever it is now
        os.close(child.create(b"x"))
        assert (tmp_path / "moved" / "x").exists()
    else:
        with pytest.raises(OSError):
            child.create(b"x")
    assert os.listdir(outside) == []
    child.release()


def test_another_directory_in_its_place_is_noticed(tmp_path: Path) -> None:
    root = open_root(os.fsencode(tmp_path), handles=False)
    root.make_directory(b"d")
    child = root.open_directory(b"d")
    (tmp_path / "d").rename(tmp_path / "moved")
    (tmp_path / "d").mkdir()
    with pytest.raises(OSError, match="took its place"):
        child.create(b"x")


def test_the_root_may_be_named_by_a_link(tmp_path: Path, handles: bool) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    root = open_root(os.fsencode(tmp_path / "link"), handles=handles)
    os.close(root.create(b"x"))
    assert (tmp_path / "real" / "x").exists()
    root.release()
    with pytest.raises(OSError):
        open_root(os.fsencode(tmp_path / "missing"), handles=handles)


def test_the_last_user_closes(tmp_path: Path) -> None:
    before = open_files()
    root = open_root(os.fsencode(tmp_path))
    root.retain()
    root.release()
    assert root.names() == []
    root.release()
    assert open_files() == before


def test_a_tree_opens_part_by_part_and_keeps_few_open(root: Directory, tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / "top" / str(number) / "deep").mkdir(parents=True)
    before = open_files()
    tree = Tree(root.open_directory, limit=4)
    for _ in range(2):
        for number in range(10):
            directory = tree.directory(b"top/%d/deep" % number)
            os.close(directory.create(b"%d" % _))
            directory.release()
    assert open_files() <= before + 4
    assert sorted(os.listdir(tmp_path / "top" / "7" / "deep")) == ["0", "1"]
    for bad in (b"top/missing", b"missing", b"top/7/deep/0"):
        with pytest.raises(OSError):
            tree.directory(bad)
    tree.close()
    assert open_files() == before


def test_deep_trees_need_no_more_open_directories(tmp_path: Path) -> None:
    depth = 300
    root = open_root(os.fsencode(tmp_path))
    current = root.retain()
    for _ in range(depth):
        current.make_directory(b"d")
        deeper = current.open_directory(b"d")
        current.release()
        current = deeper
    current.release()
    tree = Tree(root.open_directory, limit=8)
    before = open_files()
    tree.directory(b"/".join([b"d"] * depth)).release()
    assert open_files() <= before + 8
    tree.close()
    root.release()


def test_attributes_that_a_file_system_lacks_are_passed_over() -> None:
    with where_supported:
        raise PermissionError(1, "FAT has no modes")
    with where_supported:
        raise OverflowError
    with pytest.raises(OSError), where_supported:
        raise OSError(5, "input/output error")


def test_a_tree_that_was_closed_keeps_nothing_open(root: Directory) -> None:
    root.make_directory(b"a")
    tree = Tree(root.open_directory)
    before = open_files()
    tree.directory(b"a").release()
    tree.close()
    tree.directory(b"a").release()  # a thread that walks on
    assert open_files() == before


def test_a_tree_may_be_closed_while_another_thread_walks(root: Directory) -> None:
    for number in range(100):
        root.make_directory(b"%d" % number)
    before = open_files()
    failures: list[BaseException] = []
    for _ in range(20):
        tree = Tree(root.open_directory)

        def walk(tree: Tree = tree) -> None:
            try:
                for number in range(100):
                    tree.directory(b"%d" % number).release()
            except BaseException as error:  # noqa: BLE001 - told below
                failures.append(error)

        walking = threading.Thread(target=walk)
        walking.start()
        tree.close()
        walking.join()
    assert not failures
    assert open_files() == before


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.EINVAL, errno.ENOTTY])
def test_a_file_system_without_a_full_sync_gets_the_plain_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)

    def refused(_fd: int) -> None:
        raise OSError(number, "no such command")

    sync_file(7, refused)
    assert synced == [7]


def test_a_full_sync_is_enough_and_its_failure_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    plain: list[int] = []
    full: list[int] = []
    monkeypatch.setattr(os, "fsync", plain.append)
    sync_file(7, full.append)
    assert (full, plain) == ([7], [])

    def broken(_fd: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    with pytest.raises(OSError, match="input/output"):
        sync_file(7, broken)
    assert plain == []


def test_the_names_of_a_directory_are_synced_as_thoroughly_as_files(
    root: Directory, handles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr("p2pal.disk.fs.handle_directory.sync_file", synced.append)
    root.sync()
    assert len(synced) == handles


def test_where_a_file_must_be_closed_first(root: Directory, handles: bool) -> None:
    assert root.closes_first is not handles


def test_what_took_the_place_of_another_file_is_not_replaced_in_turn(tmp_path: Path) -> None:
    """NTFS gives it the creation time of what it replaced: by that it could pass for what was there before."""
    root = open_root(os.fsencode(tmp_path), handles=False)
    root.make_directory(b"d")
    child = root.open_directory(b"d")
    for name in (b"name", b"first", b"second"):
        os.close(child.create(name))

    def identity(name: bytes) -> tuple[int, int]:
        found = child.status(name)
        assert found is not None
        return found.st_dev, found.st_ino

    child.rename_over(b"first", b"name", identity(b"name"))
    again = root.open_directory(b"d")
    with pytest.raises(FileExistsError):
        again.rename_over(b"second", b"name", identity(b"name"))
    assert sorted(child.names()) == [b"name", b"second"]
    other = open_root(os.fsencode(tmp_path / "d"), handles=False)
    other.rename_over(b"second", b"name", identity(b"name"))

"""Both the kernel's own calls and what does where it has none."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pal.disk.fs.rename import CALLS, Renames, identity_from, load


@pytest.fixture(params=["kernel", "links", "plain"])
def renames(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Renames:
    if request.param == "plain":

        def no_links(*_: object, **__: object) -> None:
            raise PermissionError(errno.EPERM, "no hard links here")

        monkeypatch.setattr(os, "link", no_links)
    return load() if request.param == "kernel" else Renames()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "part").write_bytes(b"new")
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def test_a_new_name(renames: Renames, directory: int, tmp_path: Path) -> None:
    renames.new(directory, b"part", b"name")
    assert os.listdir(tmp_path) == ["name"]


@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_nothing_is_replaced(renames: Renames, directory: int, tmp_path: Path, kind: str) -> None:
    name = tmp_path / "name"
    if kind == "file":
        name.write_bytes(b"old")
    elif kind == "link":
        name.symlink_to("nowhere")
    else:
        name.mkdir()
    with pytest.raises(FileExistsError):
        renames.new(directory, b"part", b"name")
    with pytest.raises(FileExistsError):
        renames.over(directory, b"part", b"name", (0, 0))
    assert sorted(os.listdir(tmp_path)) == ["name", "part"]
    assert (tmp_path / "part").read_bytes() == b"new"


def test_the_allowed_file_is_replaced(renames: Renames, directory: int, tmp_path: Path) -> None:
    (tmp_path / "name").write_bytes(b"old")
    renames.over(directory, b"part", b"name", identity(tmp_path / "name"))
    assert os.listdir(tmp_path) == ["name"]
    assert (tmp_path / "name").read_bytes() == b"new"


def test_a_missing_source_is_an_error(renames: Renames, directory: int) -> None:
    with pytest.raises(FileNotFoundError):
        renames.new(directory, b"other", b"name")
    with pytest.raises(FileNotFoundError):
        renames.over(directory, b"part", b"missing", (0, 0))


@pytest.mark.skipif(load().call is None, reason="the system cannot exchange two names")
def test_a_file_slipped_in_between_check_and_exchange_is_put_back(directory: int, tmp_path: Path) -> None:
    name, part = tmp_path / "name", tmp_path / "part"
    name.write_bytes(b"old")
    allowed = identity(name)
    system = load()
    calls: list[int] = []

    def slip_in(source_fd: int, source: bytes, target_fd: int, target: bytes, flags: int) -> int:
        assert system.call is not None
        if not calls:
            (tmp_path / "other").write_bytes(b"precious")
            os.replace(tmp_path / "other", name)
        calls.append(flags)
        return system.call(source_fd, source, target_fd, target, flags)

    with pytest.raises(FileExistsError):
        Renames(slip_in, system.no_replace, system.exchange).over(directory, b"part", b"name", allowed)
    assert name.read_bytes() == b"precious"
    assert part.read_bytes() == b"new"


def test_each_system_is_asked_by_its_own_name_and_flags() -> None:
    assert CALLS == {"linux": ("renameat2", 1, 2), "darwin": ("renameatx_np", 4, 2)}
    missing = "darwin" if sys.platform == "linux" else "linux"  # the library has no such function
    for platform in ("win32", "freebsd14", missing):
        found = load(platform)
        assert (found.call, found.no_replace, found.exchange) == (None, 0, 0)


def test_a_number_of_128_bits_is_folded_to_what_a_checkpoint_holds() -> None:
    def found(device: int, number: int) -> os.stat_result:
        return os.stat_result((0, number, device, 1, 0, 0, 0, 0, 0, 0))

    assert identity_from(found(7, 2**64 - 1)) == (7, 2**64 - 1)
    folded = [identity_from(found(7, (directory << 64) + file)) for directory in range(8) for file in range(100, 120)]
    assert len(set(folded)) == len(folded)
    assert all(0 <= number < 2**64 for _, number in folded)

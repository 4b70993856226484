"""Both the kernel's own calls and what does where it has none."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pal.disk.fs import rename
from p2pal.disk.fs.rename import identity_from, rename_new, rename_over


@pytest.fixture(params=["kernel", "links", "plain"])
def directory(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    if request.param != "kernel":
        monkeypatch.setattr(rename, "_rename_with_flags", None)
    if request.param == "plain":

        def no_links(*_: object, **__: object) -> None:
            raise PermissionError(errno.EPERM, "no hard links here")

        monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "part").write_bytes(b"new")
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def test_a_new_name(directory: int, tmp_path: Path) -> None:
    rename_new(directory, b"part", b"name")
    assert os.listdir(tmp_path) == ["name"]


@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_nothing_is_replaced(directory: int, tmp_path: Path, kind: str) -> None:
    name = tmp_path / "name"
    if kind == "file":
        name.write_bytes(b"old")
    elif kind == "link":
        name.symlink_to("nowhere")
    else:
        name.mkdir()
    with pytest.raises(FileExistsError):
        rename_new(directory, b"part", b"name")
    with pytest.raises(FileExistsError):
        rename_over(directory, b"part", b"name", (0, 0))
    assert sorted(os.listdir(tmp_path)) == ["name", "part"]
    assert (tmp_path / "part").read_bytes() == b"new"


def test_the_allowed_file_is_replaced(directory: int, tmp_path: Path) -> None:
    (tmp_path / "name").write_bytes(b"old")
    rename_over(directory, b"part", b"name", identity(tmp_path / "name"))
    assert os.listdir(tmp_path) == ["name"]
    assert (tmp_path / "name").read_bytes() == b"new"


def test_a_missing_source_is_an_error(directory: int) -> None:
    with pytest.raises(FileNotFoundError):
        rename_new(directory, b"other", b"name")
    with pytest.raises(FileNotFoundError):
        rename_over(directory, b"part", b"missing", (0, 0))


@pytest.mark.skipif(rename._rename_with_flags is None, reason="the system cannot exchange two names")
def test_a_file_slipped_in_between_check_and_exchange_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, part = tmp_path / "name", tmp_path / "part"
    part.write_bytes(b"new")
    name.write_bytes(b"old")
    allowed = identity(name)
    call = rename._call
    calls: list[int] = []

    def slip_in(fd: int, source: bytes, target: bytes, flags: int) -> bool:
        if not calls:
            (tmp_path / "other").write_bytes(b"precious")
            os.replace(tmp_path / "other", name)
        calls.append(flags)
        return call(fd, source, target, flags)

    monkeypatch.setattr(rename, "_call", slip_in)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(FileExistsError):
            rename_over(fd, b"part", b"name", allowed)
    finally:
        os.close(fd)
    assert name.read_bytes() == b"precious"
    assert part.read_bytes() == b"new"


def test_each_system_is_asked_by_its_own_name_and_flags() -> None:
    assert rename._CALLS == {"linux": ("renameat2", 1, 2), "darwin": ("renameatx_np", 4, 2)}
    for platform in ("win32", "freebsd14"):
        assert rename._load(platform) == (None, 0, 0)
    missing = "darwin" if sys.platform == "linux" else "linux"
    assert rename._load(missing) == (None, 0, 0), "the library has no such function"


def test_a_number_of_128_bits_is_folded_to_what_a_checkpoint_holds() -> None:
    def found(device: int, number: int) -> os.stat_result:
        return os.stat_result((0, number, device, 1, 0, 0, 0, 0, 0, 0))

    assert identity_from(found(7, 2**64 - 1)) == (7, 2**64 - 1)
    folded = [identity_from(found(7, (directory << 64) + file)) for directory in range(8) for file in range(100, 120)]
    assert len(set(folded)) == len(folded)
    assert all(0 <= number < 2**64 for _, number in folded)

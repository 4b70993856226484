"""Names that mean more, or something else, on this file system than they say."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.unit.disk.disk import Disk, snapshot

from p2pal.disk.fs.names import check_path, free_name
from p2pal.wire.transfer import EntryKind, Reason

TOP = [(b"top", EntryKind.DIRECTORY)]


@pytest.fixture
def folding(tmp_path: Path) -> Path:
    """A directory that ignores case, where the file system has such (macOS, Windows, ext4 with casefold)."""
    path = tmp_path / "folding"
    path.mkdir()
    subprocess.run(["chattr", "+F", path], check=False, capture_output=True)
    (path / "a").write_bytes(b"")
    folds = (path / "A").exists()
    (path / "a").unlink()
    if not folds:
        pytest.skip("this file system tells names apart by case")
    return path


def test_names_that_differ_in_case_never_replace_each_other(folding: Path) -> None:
    for overwrite in (False, True):
        with Disk(folding, TOP, overwrite=overwrite) as disk:
            disk.directory(b"top")
            disk.file(b"top/readme", b"first")
            second = disk.file(b"top/README", b"second")
            disk.directory(b"top/d")
            third = disk.directory(b"top/D")
            disk.seal()
            assert disk.named == {second: b"README (1)", third: b"D (1)"}
        found = snapshot(folding)
        assert {found[b"top/readme"], found[b"top/README (1)"]} == {b"first", b"second"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_one_name_twice_never_replaces_the_first(tmp_path: Path, overwrite: bool) -> None:
    """What a file system that ignores case or normal forms makes of two names, a lying sender can do on any."""
    (tmp_path / "top").mkdir()
    with Disk(tmp_path, TOP, overwrite=overwrite) as disk:
        disk.directory(b"top")
        first = disk.file(b"top/x", b"first")
        second = disk.file(b"top/x", b"second")
        disk.directory(b"top/d")
        twice = disk.directory(b"top/d")
        disk.seal()
        assert first in disk.done
        assert disk.failed == {}
        assert disk.named == {second: b"x (1)", twice: b"d (1)"}
    root = tmp_path / ("top" if overwrite else "top (1)")
    assert snapshot(root) == {b"x": b"first", b"x (1)": b"second", b"d": None, b"d (1)": None}


def test_normal_forms_are_two_names_or_the_second_fails(tmp_path: Path) -> None:
    composed, decomposed = "\u00e9".encode(), "e\u0301".encode()
    with Disk(tmp_path, TOP) as disk:
        disk.directory(b"top")
        disk.file(b"top/" + composed, b"first")
        second = disk.file(b"top/" + decomposed, b"second")
        disk.seal()
        assert set(disk.failed) <= {second}
    contents = sorted(content for content in snapshot(tmp_path / "top").values() if content is not None)
    assert contents in ([b"first"], [b"first", b"second"])


def test_over_long_names_fail_alone(tmp_path: Path) -> None:
    with Disk(tmp_path, TOP) as disk:
        disk.directory(b"top")
        good = disk.file(b"top/" + b"x" * 255, b"1")
        characters = disk.file(b"top/" + "\u4e2d".encode() * 85, b"1")
        bad = [disk.file(b"top/" + b"x" * 256, b"1"), disk.directory(b"top/" + "\u4e2d".encode() * 86)]
        disk.seal()
        assert {good, characters} <= disk.done
        assert disk.failed == dict.fromkeys(bad, Reason.NAME)


def test_deep_paths_work_up_to_the_limit(tmp_path: Path) -> None:
    """4,096 bytes is more than the system takes in one call below another path: handles need no such call."""
    with Disk(tmp_path, TOP) as disk:
        path = b"top"
        disk.directory(path)
        while len(path) + 202 < 4096:
            path += b"/" + b"d" * 200
            disk.directory(path)
        disk.file(path + b"/x", b"1")
        disk.seal()
        assert disk.failed == {}
    names, handle = path.split(b"/"), os.open(tmp_path, os.O_RDONLY)
    for name in names:
        deeper = os.open(name, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = deeper
    assert os.listdir(handle) == ["x"]
    os.close(handle)


def test_names_that_look_like_options_or_hold_control_characters_are_only_names(tmp_path: Path) -> None:
    names = [
        b"-rf",
        b"--",
        b"~",
        b"$HOME",
        b"a\nb",
        b"\x1b[31mred",
        "\u202etxt.exe".encode(),
        b"\xff\xfe",
        b"*",
        b"a;b",
    ]
    with Disk(tmp_path, TOP) as disk:
        disk.directory(b"top")
        for name in names:
            disk.file(b"top/" + name, name)
        disk.seal()
        assert disk.failed == {}
    assert snapshot(tmp_path / "top") == {name: name for name in names}


@pytest.mark.parametrize("device", ["CON", "nul", "Aux.txt", "PRN ", "com9", "LPT1.tar.gz", "COM\u00b2", "conin$"])
def test_reserved_device_names_are_refused_on_windows(device: str) -> None:
    assert check_path(b"top/" + device.encode(), windows=True) is not None
    assert check_path(b"top/" + device.encode(), windows=False) is None


def test_a_free_name_is_one_part_and_no_part_file(tmp_path: Path) -> None:
    for name in (b".p2pal-abcd2345-0", b"x" * 255, b"..x", b"a.part"):
        found = free_name({name}.__contains__, name)
        assert check_path(found) is None
        assert b"/" not in found

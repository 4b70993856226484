"""What Windows wants: told to each function, so that it is tested wherever the tests run."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from p2pal.disk.fs.windows_calls import (
    is_elsewhere,
    link_from_system,
    link_to_system,
    long_path,
    make_writable,
    patiently,
)


class _Found:
    """What Windows says of a name, as far as it is looked at."""

    def __init__(self, tag: int) -> None:
        self.st_reparse_tag = tag


@pytest.mark.parametrize(
    ("tag", "elsewhere"),
    [
        (0xA000000C, True),  # a symbolic link
        (0xA0000003, True),  # a junction
        (0xA000001D, True),  # a link of WSL
        (0x9000001A, False),  # a directory of OneDrive
        (0x80000013, False),  # a deduplicated file
        (0, False),
    ],
)
def test_what_stands_for_another_place(tag: int, elsewhere: bool) -> None:
    assert is_elsewhere(_Found(tag)) is elsewhere  # type: ignore[arg-type]


def test_nothing_stands_for_another_place_where_there_is_no_such_thing(tmp_path: Path) -> None:
    assert not is_elsewhere(os.lstat(tmp_path))


LONG = b"\\deep" * 50


@pytest.mark.parametrize(
    ("path", "given"),
    [
        (b"C:\\short", b"C:\\short"),
        (b"C:" + LONG, b"\\\\?\\C:" + LONG),
        (b"\\\\server\\share" + LONG, b"\\\\?\\UNC\\server\\share" + LONG),
        (b"\\\\?\\C:" + LONG, b"\\\\?\\C:" + LONG),
    ],
)
def test_long_paths(path: bytes, given: bytes) -> None:
    assert long_path(path, windows=True) == given
    assert long_path(path, windows=False) == path


@pytest.mark.parametrize(
    ("travels", "there"),
    [(b"../a/b", b"..\\a\\b"), (b"a", b"a"), (b"C:/x", b"\\\\?\\C:\\x"), (b"//server/x", b"\\\\?\\UNC\\server\\x")],
)
def test_links_have_backslashes_there(travels: bytes, there: bytes) -> None:
    assert link_from_system(there, windows=True) == travels
    assert link_to_system(travels, windows=True) == there.replace(b"\\\\?\\UNC\\", b"\\\\").removeprefix(b"\\\\?\\")
    for target in (travels, there):
        assert link_from_system(target, windows=False) == link_to_system(target, windows=False) == target


def test_only_a_read_only_file_is_made_writable(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.touch()
    file.chmod(0o444)
    link.symlink_to("file")
    make_writable(os.fsencode(link), windows=True)
    make_writable(os.fsencode(file), windows=False)
    assert stat.S_IMODE(file.stat().st_mode) == 0o444
    make_writable(os.fsencode(file), windows=True)
    assert file.stat().st_mode & stat.S_IWRITE
    file.chmod(0o640)
    make_writable(os.fsencode(file), windows=True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


class _Busy:
    """An action that another program is in the way of.

    Args:
        times: How often.
        number: Windows' number of the error.
    """

    def __init__(self, times: int, number: int | None) -> None:
        self.left = times
        self._number = number

    def __call__(self) -> None:
        if self.left:
            self.left -= 1
            error = PermissionError(13, "the file is in use")
            vars(error)["winerror"] = self._number
            raise error


@pytest.mark.parametrize("number", [5, 32, 33])
def test_who_is_in_the_way_for_a_moment_is_waited_for(number: int) -> None:
    pauses: list[float] = []
    patiently(_Busy(3, number), pauses.append)
    assert pauses == [0.01, 0.02, 0.04]


def test_who_stays_in_the_way_is_not_waited_for_long() -> None:
    pauses: list[float] = []
    with pytest.raises(PermissionError):
        patiently(_Busy(100, 32), pauses.append)
    assert sum(pauses) < 1


@pytest.mark.parametrize("number", [None, 1314])
def test_what_waiting_does_not_mend_fails_at_once(number: int | None) -> None:
    busy = _Busy(2, number)
    with pytest.raises(PermissionError):
        patiently(busy)
    assert busy.left == 1

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from p2pal.disk.sink.placement import plan
from p2pal.disk.sink.preflight import check_destination
from p2pal.errors import DiskError, P2palError, UsageError
from p2pal.wire.transfer import EntryKind

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="devices, pipes and links")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))  # the whole path may be too long


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["there", "new", "./new", "there/new", "./-"])
def test_directories_and_new_names_are_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, overwrite: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    check_destination(Path(name) if name != "./-" else tmp_path / "-", overwrite=overwrite)
    check_destination(None, overwrite=overwrite)
    assert os.listdir(tmp_path) == ["there"]


@POSIX
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (os.mkfifo, UsageError, "is neither a file nor a directory"),
        (_socket, UsageError, "is neither a file nor a directory"),
        (lambda path: path.symlink_to("/dev/null"), UsageError, "is neither a file nor a directory"),
        (lambda path: path.symlink_to("nowhere"), UsageError, "is a link that leads nowhere"),
    ],
)
def test_what_can_hold_no_file_is_told_of(
    tmp_path: Path, make: Callable[[Path], None], error: type[P2palError], text: str, overwrite: bool
) -> None:
    make(tmp_path / "it")
    with pytest.raises(error, match=text):
        check_destination(tmp_path / "it", overwrite=overwrite)


@pytest.mark.parametrize("parent", ["missing", "file"])
def test_a_parent_that_is_none(tmp_path: Path, parent: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match="does not exist; make it first, or choose another with -out"):
        check_destination(tmp_path / parent / "new", overwrite=True)


def test_a_file_is_replaced_only_with_overwrite(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="exists already; replace it with -overwrite, or name another"):
        check_destination(tmp_path / "file", overwrite=False)
    check_destination(tmp_path / "file", overwrite=True)


def test_standard_output_is_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="does not write files to standard output"):
        check_destination(Path("-"), overwrite=True)


@POSIX
def test_a_device_that_came_meanwhile_gets_no_neighbour() -> None:
    with pytest.raises(DiskError, match="/dev/null is neither a file nor a directory"):
        plan(Path("/dev/null"), [(b"file", EntryKind.FILE)])


@POSIX
@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (["recv", "-y", "zebra-luna-47"], 7, "the current directory does not exist any more; "),
        (["recv", "-y", "-out", "new", "zebra-luna-47"], 7, "the current directory does not exist any more; "),
        (["send", "-y", "file"], 7, "the current directory does not exist any more; "),
        (["send", "-y", "-r", "."], 7, "the current directory does not exist any more; "),
        (["checkpoint", "list"], 0, ""),
        (["--version"], 0, ""),
    ],
)
def test_a_current_directory_that_is_gone(tmp_path: Path, args: list[str], code: int, told: str) -> None:
    (tmp_path / "gone").mkdir()
    shell = 'cd "$0" && rmdir "$0" && exec "$@"'
    command = [str(Path(sys.executable).with_name("p2pal")), *args]
    if args[0] == "send":
        command[2:2] = ["-server", "http://127.0.0.1:1", "-stun", "none"]
    done = subprocess.run(
        ["sh", "-c", shell, str(tmp_path / "gone"), *command],
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "P2PAL_HOME": str(tmp_path), "P2PAL_ONLY_LOOPBACK": "1"},
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(f"p2pal: {told}" if told else "")
    assert "Traceback" not in done.stderr

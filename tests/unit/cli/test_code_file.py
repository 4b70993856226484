"""Codes in files and in the environment."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from p2pal.cli.code_file import MAX_TEXT, CodeFile, read_code_file, take_variable
from p2pal.cli.commands.recv_run import given_code
from p2pal.errors import DiskError, UsageError

CODE = "zebra-luna-47"


def test_a_code_is_there_whole_for_its_owner_alone_and_goes(tmp_path: Path) -> None:
    path = tmp_path / "code"
    with CodeFile(path) as file:
        assert not path.exists()
        file.write(CODE)
        assert path.read_bytes() == b"zebra-luna-47\n"
        assert path.stat().st_mode & 0o777 == 0o600
        assert os.listdir(tmp_path) == ["code"]
        assert read_code_file(path) == CODE
    assert os.listdir(tmp_path) == []


def test_another_code_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "code"
    with CodeFile(path) as file:
        file.write(CODE)
        file.write("pasta-locate-12")
        assert read_code_file(path) == "pasta-locate-12"


@pytest.mark.parametrize("what", ["file", "directory", "dangling link"])
def test_what_is_there_already_is_never_replaced(tmp_path: Path, what: str) -> None:
    path = tmp_path / "code"
    match what:
        case "file":
            path.write_text("mine")
        case "directory":
            path.mkdir()
        case _:
            path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="exists already"):
        CodeFile(path)


def test_what_came_meanwhile_is_not_replaced_and_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "code"
    with CodeFile(path) as file:
        path.write_text("mine")
        with pytest.raises(UsageError, match="exists already"):
            file.write(CODE)
    assert path.read_text() == "mine"
    assert os.listdir(tmp_path) == ["code"]


def test_what_somebody_put_in_its_place_stays(tmp_path: Path) -> None:
    path = tmp_path / "code"
    with CodeFile(path) as file:
        file.write(CODE)
        path.unlink()
        path.write_text("mine")
    assert path.read_text() == "mine"


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "code"
    with CodeFile(path) as file:
        file.write(CODE)
        assert read_code_file(path) == CODE
        path.unlink()
        path.write_text("mine")
        with pytest.raises(UsageError, match="exists already"):
            file.write(CODE)
    assert os.listdir(tmp_path) == ["code"]


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with CodeFile(tmp_path / "no" / "code") as file, pytest.raises(DiskError, match="cannot write the join code to"):
        file.write(CODE)


def test_only_the_first_line_counts(tmp_path: Path) -> None:
    path = tmp_path / "code"
    path.write_text("  zebra-luna-47 \r\nmore\n")
    assert read_code_file(path) == CODE


@pytest.mark.parametrize("text", ["", "\n", " \n zebra-luna-47"])
def test_a_file_without_a_code(tmp_path: Path, text: str) -> None:
    path = tmp_path / "code"
    path.write_text(text)
    with pytest.raises(UsageError, match="there is no join code in"):
        read_code_file(path)


@pytest.mark.parametrize("name", ["missing", "."])
def test_what_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot read the join code from"):
        read_code_file(tmp_path / name)


def test_a_large_file_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "code"
    path.write_bytes(b"\xff" * (1 << 20))
    assert len(read_code_file(path)) == MAX_TEXT


def test_the_variable_is_taken_out_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P2PAL_CODE", f" {CODE}\n")
    assert take_variable() == CODE
    assert "P2PAL_CODE" not in os.environ
    assert take_variable() is None
    monkeypatch.setenv("P2PAL_CODE", "")
    assert take_variable() is None


def test_the_nearest_code_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "code"
    path.write_text("in-file-1\n")
    for text, file, expected in (
        ("typed-here-3", None, "typed-here-3"),
        (None, path, "in-file-1"),
        (None, None, "in-environment-2"),
    ):
        monkeypatch.setenv("P2PAL_CODE", "in-environment-2")
        assert given_code(text, file) == expected
        assert "P2PAL_CODE" not in os.environ
    assert given_code(None, None) is None

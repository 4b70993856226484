"""Names of a list: only these are sent, with the directories that they have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pal.disk.source.selection import Selection
from p2pal.disk.source.source import Source
from p2pal.disk.source.walk import WalkFailed
from p2pal.errors import UsageError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    here = tmp_path / "here"
    for name in ("a/b/c.txt", "a/b/d.txt", "a/e.txt", "a/sub/f/g.txt", "x.txt", "z/y.txt"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("x")
    (here / "link").symlink_to("z")
    (here / "a/link").symlink_to("sub")
    (tmp_path / "outside.txt").write_text("x")
    monkeypatch.chdir(here)
    return here


def sent(*listed: str, paths: tuple[str, ...] = (), recursive: bool = False, skip_errors: bool = False) -> list[str]:
    source = Source(paths, recursive=recursive, skip_errors=skip_errors, listed=listed)
    try:
        return [
            f"failed: {found.name}: {found.text}" if isinstance(found, WalkFailed) else os.fsdecode(found.path)
            for found in source.walk()
        ]
    finally:
        source.close()


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (["x.txt"], ["x.txt"]),
        (["a/b/c.txt"], ["a", "a/b", "a/b/c.txt"]),
        (["a/e.txt", "a/b/d.txt", "z/y.txt", "x.txt"], ["a", "a/b", "a/b/d.txt", "a/e.txt", "z", "z/y.txt", "x.txt"]),
        (["./a//b/../e.txt", "a/e.txt"], ["a", "a/e.txt"]),
        (["a/link"], ["a", "a/link"]),
        (["link/y.txt"], ["link", "link/y.txt"]),
        (["../outside.txt"], ["outside.txt"]),
    ],
)
def test_names_keep_their_directories(here: Path, listed: list[str], expected: list[str]) -> None:
    assert sent(*listed) == expected


def test_an_absolute_name_is_an_argument_like_others(here: Path) -> None:
    assert sent(str(here / "a/b/c.txt"), "x.txt") == ["c.txt", "x.txt"]


def test_a_directory_of_a_list_is_sent_with_all_in_it(here: Path) -> None:
    assert sent("a/sub", "a/e.txt", recursive=True) == ["a", "a/e.txt", "a/sub", "a/sub/f", "a/sub/f/g.txt"]
    whole = ["z", "z/y.txt"]
    assert sent("z", "z/y.txt", recursive=True) == sent("z/y.txt", "z", recursive=True) == whole
    for name in ("a/sub", "z"):
        with pytest.raises(UsageError, match=f"{name} is a directory"):
            sent(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.txt", "missing.txt: No such file or directory"),
        ("a/missing.txt", "a/missing.txt: No such file or directory"),
        ("x.txt/y", "x.txt/y: Not a directory"),
        ("a/link/f/g.txt", "a/link/f/g.txt: a/link is a link to a directory"),
        ("", "an empty name was given to send"),
    ],
)
def test_what_cannot_be_sent_is_named(here: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        sent("x.txt", name)
    assert raised.value.message == message


def test_what_cannot_be_sent_can_be_skipped(here: Path) -> None:
    listed = ("a/link/f/g.txt", "a/missing.txt", "a/link/f", "a/e.txt")
    found = sent(*listed, skip_errors=True, recursive=True)
    assert found[-2:] == ["a", "a/e.txt"]
    assert [line.split(":")[1].strip() for line in found[:-2]] == ["a/link/f/g.txt", "a/missing.txt", "a/link/f"]


def test_files_beside_a_list(here: Path) -> None:
    assert sent("a/e.txt", paths=("x.txt",)) == ["x.txt", "a", "a/e.txt"]


def test_what_is_not_restricted_is_taken_whole() -> None:
    selection = Selection()
    selection.add(b"a/b/c")
    assert selection.takes(b"a/x")
    selection.restrict(b"a")
    assert [path for path in (b"a/b", b"a/b/c", b"a/b/c/d", b"a/b/x", b"a/x", b"b/x") if selection.takes(path)] == [
        b"a/b", b"a/b/c", b"a/b/c/d", b"b/x",
    ]  # fmt: skip
    selection.take_all(b"a")
    assert selection.takes(b"a/x")

"""What is left out of a tree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pal.disk.source.exclusion import MAX_GITIGNORE, Exclusion
from p2pal.disk.source.report import FindingKind
from p2pal.disk.source.source import Source
from p2pal.disk.source.walk import WalkFailed
from p2pal.errors import UsageError
from p2pal.wire.transfer import Entry


def tree(root: Path, *names: str, **texts: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_text("x")
    return root


def sent(*paths: Path, patterns: tuple[str, ...] = (), git: bool = False) -> tuple[list[str], list[str]]:
    """The names that are offered, and those that are said to be left out."""
    source = Source(paths, recursive=True, exclusion=Exclusion(patterns, git=git))
    try:
        offered = [os.fsdecode(found.path) for found in source.walk() if isinstance(found, Entry)]
        out = [name for finding in source.findings if finding.kind is FindingKind.EXCLUDED for name in finding.names]
    finally:
        source.close()
    return offered, out


def test_without_patterns_nothing_is_left_out(tmp_path: Path) -> None:
    top = tree(tmp_path / "top", "a.o", ".git/config", "node_modules/x")
    (top / ".gitignore").write_text("*.o\n")
    assert not Exclusion()
    assert sent(top)[1] == []
    assert len(sent(top)[0]) == 7


@pytest.mark.parametrize(
    ("patterns", "out"),
    [
        (("*.o",), ["top/a.o", "top/sub/b.o"]),
        (("/a.o",), ["top/a.o"]),
        (("sub/",), ["top/sub"]),
        (("sub/*.o",), ["top/sub/b.o"]),
        (("**/deep",), ["top/sub/deep"]),
        (("*.o", "!b.o"), ["top/a.o"]),
        (("sub", "!sub/b.o"), ["top/sub"]),
        (("# a.o", "", "  "), []),
        ((r"\#c",), ["top/#c"]),
        (("a.o/",), []),
        (("top",), ["top"]),
    ],
)
def test_patterns_count_from_the_top_of_a_tree(tmp_path: Path, patterns: tuple[str, ...], out: list[str]) -> None:
    top = tree(tmp_path / "top", "a.o", "a.c", "#c", "sub/b.o", "sub/deep/x")
    other = tree(tmp_path / "other", "z")
    assert sent(top, other, patterns=patterns)[1] == out


def test_a_file_that_was_named_is_left_out_as_well(tmp_path: Path) -> None:
    tree(tmp_path, "a.log", "b.txt")
    assert sent(tmp_path / "a.log", tmp_path / "b.txt", patterns=("*.log",)) == (["b.txt"], ["a.log"])
    with pytest.raises(UsageError, match="everything that was named is left out by a pattern"):
        Source([tmp_path / "a.log"], recursive=True, exclusion=Exclusion(("*.log",)))


def test_an_argument_that_failed_is_told_whatever_the_patterns_are(tmp_path: Path) -> None:
    tree(tmp_path, "a.log", "b.txt")
    source = Source(
        [tmp_path / "missing", tmp_path / "b.txt"], recursive=True, skip_errors=True, exclusion=Exclusion(("[0-9]",))
    )
    try:
        failed = [found.name for found in source.walk() if isinstance(found, WalkFailed)]
    finally:
        source.close()
    assert failed == ["missing"]


def test_gitignore_files_count_for_what_is_below_them(tmp_path: Path) -> None:
    top = tree(tmp_path / "top", "a.o", "keep/b.o", "keep/c.log", "other/c.log", "other/sub/c.log")
    (top / ".gitignore").write_text("*.o\n")
    (top / "keep/.gitignore").write_text("!b.o\n*.log\n")
    (top / "other/.gitignore").write_text("/c.log\n")
    assert sent(top, git=True)[1] == ["top/a.o", "top/keep/c.log", "top/other/c.log"]
    assert sent(top)[1] == []


def test_what_the_user_says_comes_before_what_a_gitignore_says(tmp_path: Path) -> None:
    top = tree(tmp_path / "top", "a.o", "b.o")
    (top / ".gitignore").write_text("!*.o\n")
    assert sent(top, patterns=("a.o",), git=True)[1] == ["top/a.o"]


def test_a_gitignore_may_hold_anything(tmp_path: Path) -> None:
    top = tree(tmp_path / "top", "a.o", "b.o")
    ignore = top / ".gitignore"
    ignore.write_bytes(b"\xef\xbb\xbfa.o\r\n/\n!\n\xff\n[\n")
    assert sent(top, git=True)[1] == ["top/a.o"]
    ignore.write_bytes(b"#" * MAX_GITIGNORE + b"\n*.o\n")
    assert sent(top, git=True)[1] == []
    ignore.unlink()
    (tmp_path / "all").write_text("*\n")
    ignore.symlink_to(tmp_path / "all")
    assert sent(top, git=True)[1] == []
    ignore.unlink()
    ignore.mkdir()
    assert sent(top, git=True)[1] == []


def test_names_that_are_no_text(tmp_path: Path) -> None:
    top = tree(tmp_path / "top", "x")
    (Path(os.fsdecode(os.fsencode(top) + b"/\xff.o"))).write_text("x")
    assert sent(top, patterns=("*.o",))[0] == ["top", "top/x"]


@pytest.mark.parametrize("pattern", ["/", "!", "["])
def test_what_is_not_a_pattern(pattern: str) -> None:
    with pytest.raises(UsageError, match="is not a pattern"):
        Exclusion((pattern,))

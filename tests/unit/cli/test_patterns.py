"""Patterns on the command line."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from p2pal.cli.patterns import MAX_PATTERNS, expand, read_names, read_patterns
from p2pal.errors import UsageError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.pdf", "a.pdf", "c.txt", ".hidden.pdf", "src/x.py", "src/deep/y.py", "a[1].txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["c.txt", "missing.txt"], ["c.txt", "missing.txt"]),
        (["*.pdf"], ["a.pdf", "b.pdf"]),
        (["?.pdf", "c.txt"], ["a.pdf", "b.pdf", "c.txt"]),
        (["[bc].*"], ["b.pdf", "c.txt"]),
        (["src/**/*.py"], ["src/deep/y.py", "src/x.py"]),
        ([".*.pdf"], [".hidden.pdf"]),
        (["a[1].txt"], ["a[1].txt"]),
        (["sr?"], ["src"]),
    ],
)
def test_what_patterns_stand_for(here: Path, given: list[str], expected: list[str]) -> None:
    assert list(map(str, expand(map(Path, given)))) == expected


def test_an_absolute_pattern(here: Path) -> None:
    assert expand([here / "*.txt"]) == sorted([here / "a[1].txt", here / "c.txt"])


def test_a_link_that_leads_nowhere_exists_by_its_name(here: Path) -> None:
    (here / "x*").symlink_to("nowhere")
    assert expand([Path("x*")]) == [Path("x*")]


def test_a_pattern_that_fits_nothing_is_named(here: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing fits the pattern \*\.doc"):
        expand([Path("*.pdf"), Path("*.doc")])


def test_patterns_from_files_and_standard_input(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "one").write_bytes(b"\xef\xbb\xbf# comment\r\n*.o\n\n")
    (here / "two").write_bytes(os.fsencode("/build\n\udcff\n"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"*.tmp\n")))
    assert read_patterns(["one", "-", "two"]) == ["# comment", "*.o", "", "*.tmp", "/build", "\udcff"]


def test_a_line_that_is_not_a_pattern_is_named(here: Path) -> None:
    (here / "one").write_text("*.o\n!\n")
    with pytest.raises(UsageError, match="line 2 of one is not a pattern"):
        read_patterns(["one"])


@pytest.mark.parametrize("name", ["missing", "src"])
def test_a_file_that_cannot_be_read(here: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot read patterns from"):
        read_patterns([name])


def test_a_file_that_cannot_be_one_of_patterns(here: Path) -> None:
    (here / "one").write_bytes(b"x\n" * MAX_PATTERNS)
    with pytest.raises(UsageError, match="more than 1 MiB of patterns"):
        read_patterns(["one"])


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"a b\n c\n\nd", ["a b", " c", "d"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\nb\0c\0\0", ["a\nb", "c"]),
        (b"\xff\n*.pdf\n#x\n", ["\udcff", "*.pdf", "#x"]),
    ],
)
def test_names_of_a_list(here: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, names: list[str]) -> None:
    (here / "list").write_bytes(data)
    assert read_names("list") == names
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert read_names("-") == names


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\0\0"])
def test_a_list_without_names(here: Path, data: bytes) -> None:
    (here / "list").write_bytes(data)
    with pytest.raises(UsageError, match="there are no names in list"):
        read_names("list")


def test_a_list_that_cannot_be_read(here: Path) -> None:
    with pytest.raises(UsageError, match="cannot read names from missing"):
        read_names("missing")

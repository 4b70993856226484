"""What is left out is what git leaves out, by git's own word."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.disk.source.exclusion import Exclusion
from p2pal.disk.source.source import Source
from p2pal.wire.transfer import Entry

NAMES = ("a", "b", "ab", "a.o")
PATHS = [
    *NAMES, *(f"{one}/{two}" for one in ("d", "e") for two in NAMES), "d/c/b", "d/e/a.o", "d/e/f/ab", "e/e/a", "e/d/b",
]  # fmt: skip

PARTS = st.sampled_from(["a", "b", "ab", "d", "e", "f", "*", "?", "a*", "*b", "*.o", "[ab]", "[!a]", "**"])
PATTERNS = st.builds(
    lambda negated, rooted, parts, directory: "!" * negated + "/" * rooted + "/".join(parts) + "/" * directory,
    st.booleans(),
    st.booleans(),
    st.lists(PARTS, min_size=1, max_size=3),
    st.booleans(),
).filter(lambda pattern: not pattern.endswith("**/"))  # to git directories alone, here files, too
FILES = st.lists(PATTERNS, max_size=4)


def sent(top: Path) -> set[str]:
    source = Source([top], recursive=True, exclusion=Exclusion(git=True))
    try:
        found = [entry for entry in source.walk() if isinstance(entry, Entry)]
    finally:
        source.close()
    return {os.fsdecode(entry.path).partition("/")[2] for entry in found}


def by_git(top: Path) -> set[str]:
    """The files that git would add, and the ignore files."""
    listed = ["ls-files", "--others", "--exclude-standard", "-z"]
    git = ["git", "-c", "core.excludesFile=", "-c", "core.ignoreCase=false", "-C", str(top)]
    return set(subprocess.run([*git, *listed], check=True, capture_output=True, text=True).stdout.split("\0")[:-1])


@pytest.mark.skipif(
    shutil.which("git") is None and not os.environ.get("CI"), reason="PATTERNS ARE NOT COMPARED: there is no git"
)
@settings(max_examples=200, deadline=None)
@given(FILES, FILES, FILES)
def test_the_same_as_git(root: list[str], below: list[str], deeper: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder, "top")
        for path in PATHS:
            (top / path).parent.mkdir(parents=True, exist_ok=True)
            (top / path).write_text("x")
        for where, lines in ((top, root), (top / "d", below), (top / "d/e", deeper)):
            (where / ".gitignore").write_text("".join(f"{line}\n" for line in lines))
        subprocess.run(["git", "init", "-q", str(top)], check=True)
        expected = by_git(top)
        shutil.rmtree(top / ".git")
        files = {path for path in sent(top) if (top / path).is_file()}
        assert files == expected
